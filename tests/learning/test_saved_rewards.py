"""Saved rewards: those of version 0.1, parts from elsewhere, and what a file may not do."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from refusals import refused
from tiny import random_walks, seeded, tiny_diffuser, tiny_reward
from trailward.acting.planner import Planner
from trailward.checkpoint import CheckpointError
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import SamplingConfig
from trailward.interop.exported import export_reward
from trailward.judging.without_truth import held_out_demonstrations
from trailward.learning.config import LearningConfig, PlanningConfig, SelectionConfig
from trailward.learning.learn_reward import learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.rewards import RewardModel

OLD = Path(__file__).parent / "version_0_1"
EXPECTED = json.loads((OLD / "expected.json").read_text())
OBSERVATIONS = np.array(EXPECTED["observations"])
SPEC = PlanSpec(horizon=5, stride=1, observation_dim=2, action_dim=2)
SAMPLING = SamplingConfig(num_steps=3, stop_step=0, scale=0.5)
ELSEWHERE = """
from torch import nn
from trailward.rewards import RewardModel

class Slope(RewardModel):
    def __init__(self, spec):
        super().__init__(spec, inputs=(0,))
        self.slope = nn.Linear(1, 1)

    def step_rewards(self, plan, past=None):
        return self.slope(plan[..., self.inputs]).squeeze(-1)
"""


class FarReward(RewardModel):
    """Somebody else's reward: ``step_rewards`` and nothing more."""

    def __init__(self, spec: PlanSpec) -> None:
        super().__init__(spec, inputs=range(spec.observation_dim))
        self.network = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1))

    def step_rewards(self, plan: Tensor, past: Tensor | None = None) -> Tensor:
        return self.network(plan[..., self.inputs]).squeeze(-1)


@pytest.mark.parametrize("name", ["staged", "ensemble", "mlp", "tuned"])
def test_a_reward_of_version_0_1_is_what_it_was(name: str, tmp_path: Path) -> None:
    learnt = LearntReward.load(OLD / name)
    again = LearntReward.load(learnt.save(tmp_path))
    plans = torch.randn((3, 5, 2), generator=seeded())
    for found in (learnt, again):
        torch.testing.assert_close(
            found.guide_model(plans), torch.tensor(EXPECTED[name]["plans"]), rtol=1e-5, atol=1e-6
        )
        if name != "mlp":
            np.testing.assert_allclose(
                found.step_rewards(OBSERVATIONS), EXPECTED[name]["steps"], rtol=1e-5, atol=1e-6
            )
        assert found.planning == PlanningConfig()
        assert (found.fine_tuned is not None) == (name == "tuned")
        assert len(held_out_demonstrations(found, random_walks([9] * 4)).episodes) == 2


def test_a_model_that_was_added_to_version_0_1_by_hand_says_how_to_go_on(tmp_path: Path) -> None:
    config = json.loads((OLD / "mlp" / "config.json").read_text())
    config["reward"]["model"] = "mine"
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "weights.safetensors").write_bytes(
        (OLD / "mlp" / "weights.safetensors").read_bytes()
    )
    remedy = "learn the reward again"
    with refused(CheckpointError, place=f"{tmp_path}: reward: model", value="mine", remedy=remedy):
        LearntReward.load(tmp_path)


def test_a_folder_of_a_later_version_is_refused(tmp_path: Path) -> None:
    folder = tiny_reward(tiny_diffuser(SPEC)).save(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"format": 99}))
    place = f"{folder}: format"
    with refused(CheckpointError, place=place, value=99, remedy="update trailward"):
        LearntReward.load(folder)
    for wrong in ("x", None, 0, (2,)):
        (folder / "config.json").write_text(json.dumps(config | {"format": wrong}))
        with refused(CheckpointError, place=place, value=wrong, remedy="save it again"):
            LearntReward.load(folder)


def test_a_reward_with_step_rewards_alone_works_all_the_way_through(tmp_path: Path) -> None:
    diffuser, play = tiny_diffuser(SPEC), random_walks([30] * 4, seed=3)
    learnt = learn_reward(
        diffuser,
        random_walks([14, 12], drift=0.4),
        tmp_path / "reward",
        play=play,
        objective="energy",
        reward=FarReward,
        sampling=SAMPLING,
        config=LearningConfig(num_steps=2, batch_size=4),
    )
    back = LearntReward.load(tmp_path / "reward")
    assert json.loads((tmp_path / "reward" / "config.json").read_text())["reward"] == {
        "model": f"{__name__}:FarReward",
        "settings": {},
    }
    walk = play.episodes[0]
    np.testing.assert_array_equal(back.episode_rewards(walk), learnt.episode_rewards(walk))
    cautious = back.pessimistic()
    away = walk.observations + 90
    np.testing.assert_allclose(cautious.step_rewards(away), back.known_region.floor, rtol=1e-6)
    actions = Planner.for_reward(back, diffuser)(walk.observations[:3])
    assert actions.shape == (3, 2)
    path = export_reward(cautious, tmp_path / "reward.pt2")
    program = torch.export.load(path).module()
    told = program(torch.tensor(walk.observations, dtype=torch.float32))
    np.testing.assert_allclose(told.numpy(), cautious.step_rewards(walk.observations), atol=1e-5)


def test_an_instance_is_copied_and_learnt_on_in_memory() -> None:
    mine = FarReward(SPEC)
    before = {name: weight.clone() for name, weight in mine.state_dict().items()}
    learnt = learn_reward(
        tiny_diffuser(SPEC),
        random_walks([14, 12], drift=0.4),
        objective="energy",
        reward=mine,
        sampling=SAMPLING,
        config=LearningConfig(num_steps=2, batch_size=4, selection=SelectionConfig(num_held_out=0)),
    )
    assert all(torch.equal(w, before[n]) for n, w in mine.state_dict().items())
    assert not all(torch.equal(w, before[n]) for n, w in learnt.model.state_dict().items())


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reward whose kind is in a module that is not imported."""
    (tmp_path / "rewards_from_elsewhere.py").write_text(ELSEWHERE)
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tiny_reward(tiny_diffuser(SPEC), "rewards_from_elsewhere:Slope").save(tmp_path / "r")
    monkeypatch.delitem(sys.modules, "rewards_from_elsewhere")
    return folder


def test_loading_imports_nothing_unless_it_is_allowed(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, value = f"{elsewhere}: rewards", "rewards_from_elsewhere:Slope"
    with refused(CheckpointError, place=place, value=value, remedy="--allow-import"):
        LearntReward.load(elsewhere)
    assert "rewards_from_elsewhere" not in sys.modules
    assert LearntReward.load(elsewhere, allow_import=True).model.name.endswith(":Slope")
    assert LearntReward.load(elsewhere).step_rewards(OBSERVATIONS).shape == (4,)
    monkeypatch.delitem(sys.modules, "rewards_from_elsewhere")


def test_a_guide_that_a_file_names_is_not_imported(tmp_path: Path) -> None:
    folder = tiny_reward(tiny_diffuser(SPEC)).save(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["sampling"]["guide"] = guide = "this_module_must_not_be_imported:Guide"
    (folder / "config.json").write_text(json.dumps(config))
    place = f"{folder}: guides"
    with refused(CheckpointError, place=place, value=guide, remedy="--allow-import"):
        LearntReward.load(folder)
