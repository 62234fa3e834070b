import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny
from refusals import refused
from trailward.cli.main import main
from trailward.data.dataset import Dataset, Windows
from trailward.data.episode import Episode
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import SamplingConfig
from trailward.interop.exported import export_reward
from trailward.learning.config import LearningConfig, SelectionConfig
from trailward.learning.disagreement import is_known
from trailward.learning.learn_reward import learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.rewards import AdditiveSettings, EnsembleSettings, RewardSettings
from trailward.rewards.known_region import KnownRegion, find_known_region

SPEC = PlanSpec(4, 1, 2, 2)
WITH_ACTIONS = PlanSpec(4, 1, 2, 2, with_actions=True)
PLAY, SHOWN = tiny.random_walks([20] * 60, seed=3), tiny.random_walks([20] * 2, seed=4)


def reward_of(config: RewardSettings, spec: PlanSpec = SPEC) -> LearntReward:
    """A reward of noise that knows where the random walks are."""
    learnt = tiny.tiny_reward(tiny.tiny_diffuser(spec), config)
    region = find_known_region(
        learnt.model, learnt.normalizer, Windows(PLAY, spec), Windows(SHOWN, spec)
    )
    return replace(learnt, known_region=region)


def region_of(learnt: LearntReward) -> KnownRegion:
    assert learnt.known_region is not None
    return learnt.known_region


def test_a_step_is_known_within_the_limit_of_a_sample() -> None:
    sample = torch.tensor([[0.0, 0.0], [1.0, 0.0]]).repeat(300, 1)  # more than are judged at once
    region = KnownRegion(sample, torch.tensor(0.5), torch.tensor(-1.0))
    steps = torch.tensor([[[0.5, 0.0], [0.0, 0.51]], [[-0.3, 0.4], [1.4, 0.4]]])
    assert region(steps).tolist() == [[True, False], [True, False]]


def test_99_percent_of_play_data_from_elsewhere_is_known_and_so_are_the_demonstrations() -> None:
    learnt = reward_of(AdditiveSettings(hidden=(8,)))
    more = tiny.random_walks([20] * 40, seed=9)
    normalize = learnt.observation_normalizer.normalize
    seen = lambda data: normalize(
        torch.cat([torch.from_numpy(e.observations).float() for e in data.episodes])
    )
    assert 0.9 < region_of(learnt)(seen(more)).float().mean() <= 1
    apart = Dataset([Episode(e.observations + 50, e.actions) for e in SHOWN.episodes])
    assert not region_of(learnt)(seen(apart)).any()
    region = find_known_region(
        learnt.model, learnt.normalizer, Windows(PLAY, SPEC), Windows(apart, SPEC)
    )
    assert region(seen(apart)).all()


@pytest.mark.parametrize(
    ("config", "spec"),
    [
        (AdditiveSettings(hidden=(8,)), SPEC),
        (AdditiveSettings(hidden=(8,), features=(1,)), SPEC),
        (EnsembleSettings(member=AdditiveSettings(hidden=(8,)), num_members=3), SPEC),
        (AdditiveSettings(hidden=(8,), sees_actions=True), WITH_ACTIONS),
        (tiny.STAGED, SPEC),
    ],
    ids=["all", "features", "ensemble", "actions", "staged"],
)
def test_a_pessimistic_reward_is_the_same_where_known_and_its_least_elsewhere(
    config: RewardSettings, spec: PlanSpec, tmp_path: Path
) -> None:
    learnt = reward_of(config, spec)
    learnt.save(tmp_path)
    back = LearntReward.load(tmp_path).pessimistic()
    episode = SHOWN.episodes[0]
    plain, cautious = learnt.episode_rewards(episode), back.episode_rewards(episode)
    floor = region_of(learnt).floor.item()
    near = is_known(learnt, episode.observations, episode.actions)
    assert near.shape == plain.shape
    assert near.mean() > 0.5
    np.testing.assert_array_equal(cautious, np.where(near, plain, np.float32(floor)))

    away = Episode(episode.observations + np.array([0, 90]), episode.actions)
    np.testing.assert_allclose(back.episode_rewards(away), floor, rtol=1e-6)
    assert not np.allclose(learnt.episode_rewards(away), floor)
    assert not is_known(learnt, away.observations, away.actions).any()
    if getattr(config, "features", None) == (1,):  # what it does not see is of no account
        beside = Episode(episode.observations + np.array([90, 0]), episode.actions)
        np.testing.assert_array_equal(back.episode_rewards(beside), cautious)


def test_the_floor_is_the_least_reward_of_the_sample() -> None:
    learnt = reward_of(AdditiveSettings(hidden=(8,)))
    region = region_of(learnt)
    units = learnt.observation_normalizer.unnormalize(region.sample).numpy()
    assert region.floor.item() == pytest.approx(learnt.step_rewards(units).min(), abs=1e-5)


def test_play_data_of_one_episode_will_do() -> None:
    learnt = reward_of(AdditiveSettings(hidden=(8,)))
    one = Windows(Dataset(PLAY.episodes[:1]), SPEC)
    region = find_known_region(learnt.model, learnt.normalizer, one, Windows(SHOWN, SPEC))
    assert 0 <= region.limit.item() < 1


def test_learning_with_play_data_leaves_a_known_region(tmp_path: Path) -> None:
    diffuser = tiny.tiny_diffuser(SPEC)

    def learn(play: Dataset | None, model: str = "additive") -> LearntReward:
        config = LearningConfig(
            num_steps=1, batch_size=2, selection=SelectionConfig(num_held_out=0)
        )
        reward = AdditiveSettings(hidden=(8,)) if model == "additive" else model
        folder = tmp_path / f"{model}-{play is None}"
        learn_reward(
            diffuser,
            SHOWN,
            folder,
            play=play,
            reward=reward,
            sampling=SamplingConfig(num_steps=3, stop_step=0),
            config=config,
        )
        return LearntReward.load(folder)

    learnt = learn(PLAY)
    again = find_known_region(
        learnt.model, diffuser.normalizer, Windows(PLAY, SPEC), Windows(SHOWN, SPEC)
    )
    weights: dict[str, Tensor] = region_of(learnt).state_dict()
    assert all(torch.equal(weights[name], value) for name, value in again.state_dict().items())
    assert learn(PLAY, "linear").known_region is None
    with pytest.raises(TypeError, match="of whole plans"):
        learn(PLAY, "linear").pessimistic()
    with refused(place="known_region", value=None, remedy="--play"):
        learn(None).pessimistic()


@pytest.mark.parametrize(
    "config", [AdditiveSettings(hidden=(8,)), tiny.STAGED], ids=["one", "staged"]
)
def test_the_pessimistic_form_is_not_saved(config: RewardSettings, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="save the reward itself"):
        reward_of(config).pessimistic().save(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("config", "spec"),
    [
        (AdditiveSettings(hidden=(8,), features=(1,)), SPEC),
        (AdditiveSettings(hidden=(8,), sees_actions=True), WITH_ACTIONS),
    ],
    ids=["features", "actions"],
)
def test_the_pessimistic_form_can_be_exported(
    config: RewardSettings, spec: PlanSpec, tmp_path: Path
) -> None:
    learnt, path = reward_of(config, spec), tmp_path / "reward.pt2"
    export_reward(learnt.pessimistic(), path)
    program = torch.export.load(path).module()
    episode, floor = SHOWN.episodes[0], region_of(learnt).floor.item()
    for place, same in (episode.observations[:-1], True), (episode.observations[:-1] + 90, False):
        inputs = (place, episode.actions) if config.sees_actions else (place,)
        told = program(*(torch.from_numpy(each).float() for each in inputs)).numpy()
        np.testing.assert_allclose(told, learnt.pessimistic()(*inputs), atol=1e-5)
        assert (told != np.float32(floor)).any() == same


def test_the_command_line_exports_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learnt, out = reward_of(AdditiveSettings(hidden=(8,))), tmp_path / "reward.pt2"
    learnt.save(tmp_path / "reward")
    asked = ["export", f"--reward={tmp_path}/reward", f"--out={out}", "--pessimistic"]
    assert main(asked) == 0
    facts = {"trailward.json": ""}
    program = torch.export.load(out, extra_files=facts).module()
    assert json.loads(facts["trailward.json"])["pessimistic"] is True
    far = program(torch.full((1, 2), 90.0)).item()
    assert far == pytest.approx(region_of(learnt).floor.item())

    replace(learnt, known_region=None).save(tmp_path / "reward")
    out.unlink()
    assert main(asked) == 2
    assert "learnt without play data" in capsys.readouterr().err
    assert not out.exists()
