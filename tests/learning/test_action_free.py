"""Recordings without actions: from data to a reward and plans."""

from pathlib import Path

import numpy as np

import tiny
from refusals import refused
from trailward.acting.planner import Planner
from trailward.data.dataset import Dataset
from trailward.data.episode import Columns, Episode
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import DenoiserConfig, Diffuser, SamplingConfig
from trailward.diffusion.training import TrainingConfig, train_diffuser
from trailward.learning.config import LearningConfig
from trailward.learning.learn_reward import learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.rewards import AdditiveSettings

NAMES = Columns(("east", "north"), (), {"east": "m"})


def watched(data: Dataset) -> Dataset:
    """The same without the actions."""
    bare = [Episode(e.observations, np.zeros((len(e), 0))) for e in data.episodes]
    return Dataset(bare, columns=NAMES)


def test_a_reward_is_learnt_and_plans_are_made_without_any_action(tmp_path: Path) -> None:
    train_diffuser(
        watched(tiny.random_walks((40,) * 6)),
        PlanSpec(4, 2, 2, 0),
        tmp_path / "diffuser",
        denoiser_config=DenoiserConfig(width=16, depth=1, num_diffusion_steps=8),
        config=TrainingConfig(num_steps=3, batch_size=8),
    )
    diffuser = Diffuser.load(tmp_path / "diffuser")
    assert diffuser.inverse_dynamics is None
    demonstrations = watched(tiny.random_walks((30,) * 3, drift=0.5))
    learn_reward(
        diffuser,
        demonstrations,
        tmp_path / "reward",
        reward=AdditiveSettings(hidden=(8,)),
        sampling=SamplingConfig(num_steps=3, stop_step=0),
        config=LearningConfig(num_steps=2, batch_size=4),
    )
    learnt = LearntReward.load(tmp_path / "reward")
    assert learnt.columns == NAMES
    assert learnt.episode_rewards(demonstrations.episodes[0]).shape == (31,)
    planner = Planner(diffuser, learnt.sampling, learnt.guide_model)
    assert planner.plan(np.zeros((3, 2))).shape == (3, 4, 2)
    with refused(place="actions", value=None, remedy="plan()"):
        planner(np.zeros((3, 2)))
