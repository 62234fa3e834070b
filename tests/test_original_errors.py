"""Errors of the thesis's code that must stay gone, each on data like HalfCheetah's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tiny import random_walks, tiny_diffuser, tiny_reward
from trailward.acting.network_policy import ladder_of
from trailward.acting.planner import Policy
from trailward.data.dataset import Dataset, Windows
from trailward.data.episode import Episode
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.environments.gymnasium_env import OwnReward
from trailward.judging.behaviour import judge_behaviour
from trailward.judging.config import EvaluationConfig
from trailward.judging.evaluate import reward_pairs
from trailward.learning import learn_reward as reward_learning
from trailward.learning.config import LearningConfig, PlanningConfig, SelectionConfig
from trailward.learning.learnt_reward import LearntReward
from trailward.objectives.matching import OBJECTIVES
from trailward.rewards import AdditiveSettings

SPEC = PlanSpec(4, 1, 17, 6, with_actions=True)
DIFFUSER = tiny_diffuser(SPEC)
DEMONSTRATIONS = random_walks([12, 9], observation_dim=17, action_dim=6, drift=2.0, seed=7)
PLAY = random_walks([30] * 4, observation_dim=17, action_dim=6, seed=3)
SAMPLING = SamplingConfig("ddpm", 3, "noisy", 0.7, 1, 3, temperature=0.6)


def learn(folder: Path, **changes) -> LearntReward:
    settings = {"num_steps": 3, "batch_size": 6, "selection": SelectionConfig(num_held_out=0)}
    objective = changes.pop("objective", "mmd_gaussian")
    return reward_learning.learn_reward(
        DIFFUSER,
        DEMONSTRATIONS,
        folder,
        play=PLAY,
        objective=objective,
        reward=AdditiveSettings(hidden=(8,)),
        sampling=SAMPLING,
        config=LearningConfig(**settings | changes),
    )


@pytest.mark.parametrize("starts", ["demonstrations", "both"])
def test_demonstrations_are_normalised_once_and_as_the_play_data_was(
    starts: str, tmp_path: Path
) -> None:
    seen, usual = [], OBJECTIVES["mmd_gaussian"]

    def note(plans: Tensor, demonstrations: Tensor, mask: Tensor | None = None) -> Tensor:
        seen.extend(demonstrations)
        return usual(plans, demonstrations, mask)

    learnt = learn(tmp_path, starts=starts, objective=note)
    shifts, scales = (
        torch.cat([getattr(DIFFUSER.observation_normalizer, name),
                   getattr(DIFFUSER.action_normalizer, name)])
        for name in ("shift", "scale")
    )  # fmt: skip
    windows = Windows(DEMONSTRATIONS, SPEC)
    by_hand = (windows.gather(torch.arange(len(windows)))[0] - shifts) / scales
    assert len(seen) == 18
    for window in seen:
        assert (by_hand - window).abs().amax((1, 2)).min() < 1e-5
    assert by_hand.abs().max() > 2  # they lie outside the play data, and are left there
    for ours, theirs in (
        (learnt.observation_normalizer, DIFFUSER.observation_normalizer),
        (learnt.action_normalizer, DIFFUSER.action_normalizer),
    ):
        assert torch.equal(ours.shift, theirs.shift)
        assert torch.equal(ours.scale, theirs.scale)


def test_plans_are_guided_in_planning_as_they_were_in_learning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, sample_plans = [], Diffuser.sample_plans

    def watching(self: Diffuser, first: Tensor, sampling: SamplingConfig, **options) -> Tensor:
        guide = sampling.build_guide(options["reward_model"])
        used.append((sampling, type(guide), guide.scale, guide.stop_step, guide.repeats))
        return sample_plans(self, first, sampling, **options)

    monkeypatch.setattr(Diffuser, "sample_plans", watching)
    learn(tmp_path)
    back = LearntReward.load(tmp_path)
    back = replace(back, planning=PlanningConfig(num_candidates=2))
    planner = EvaluationConfig().planner(DIFFUSER, back, guided=True)
    planner(PLAY.episodes[0].observations[:3])
    assert back.sampling == SAMPLING
    assert len(used) == 4
    assert len(set(used)) == 1
    assert used[0][0] == SAMPLING


def test_returns_are_not_discounted() -> None:
    """A reward of 1 counts as much at the 1000th step as at the first."""

    early, late = ladder_of("HalfCheetah-v5")[:2]

    def run(policy: Policy) -> list[Episode]:
        rewards = np.zeros((2, 1000))
        rewards[:, 0 if policy is early else -1] = 1
        return [Episode(np.zeros((1001, 17)), np.zeros((1000, 6)), each) for each in rewards]

    _, figures = judge_behaviour({"unguided": early, "learnt": late}, run)
    values = {name: found["value"] for name, found in figures["return"].items()}
    assert values == {"unguided": 1.0, "learnt": 1.0}


def test_rewards_are_correlated_over_whole_play_episodes_and_over_windows() -> None:
    """Not over demonstrations or a few starts; each play episode counts, from end to end."""
    reward = tiny_reward(DIFFUSER)
    config = EvaluationConfig(num_windows=500)
    pairs = reward_pairs(reward, OwnReward(), PLAY, config)
    assert set(pairs) == {"windows", "episodes"}
    learnt, true = pairs["episodes"]
    assert len(true) == len(PLAY.episodes)
    normalize = DIFFUSER.observation_normalizer.normalize
    for found, expected, episode in zip(learnt, true, PLAY.episodes, strict=True):
        observed = normalize(torch.from_numpy(episode.observations).float())
        by_hand = reward.model.step_rewards(observed.unsqueeze(0)).mean().item()
        assert found == pytest.approx(by_hand, rel=1e-4)
        assert expected == pytest.approx(sum(episode.rewards) / 30)
    assert len(pairs["windows"][0]) == 500
    changed = Dataset([*PLAY.episodes[:3], with_late_reward(PLAY.episodes[3])])
    again = reward_pairs(reward, OwnReward(), changed, config)
    assert again["episodes"][1][3] == pytest.approx(true[3] + 1)
    assert (again["windows"][1] != pairs["windows"][1]).any()


def with_late_reward(episode: Episode) -> Episode:
    rewards = episode.rewards + 30 * (np.arange(30) == 29)
    return Episode(episode.observations, episode.actions, rewards)
