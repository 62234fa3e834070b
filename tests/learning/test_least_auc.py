from pathlib import Path

import pytest
import torch
from test_learn_reward import CONFIG, PLAY, STAGED, TURNING, learn

from refusals import refused
from trailward.diffusion.training import logged_losses
from trailward.errors import SettingsError
from trailward.learning.config import LearningConfig, SelectionConfig
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.selection import Record

UNREACHED = {"play": PLAY, "least_auc": 1.0, "weight_decay": 5.0}
LAST = CONFIG.num_steps


def weights(learnt: LearntReward) -> list[torch.Tensor]:
    return [each.clone() for each in learnt.model.state_dict().values()]


def same(a: LearntReward, b: LearntReward) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def test_a_reward_that_tells_demonstrations_apart_is_learnt_once() -> None:
    steps = list[int]()
    learnt = learn(None, play=PLAY, least_auc=0.05, on_step=lambda state: steps.append(state.step))
    assert steps == [*range(1, LAST + 1), LAST]
    told = learnt.provenance["learnt"]
    assert told["auc"] >= 0.05
    assert (told["times_eased"], told["weight_decay"]) == (0, CONFIG.weight_decay)
    assert same(learnt, learn(None, play=PLAY))


def test_one_that_does_not_is_learnt_anew_with_less_weight_decay_and_says_so() -> None:
    steps = list[int]()
    learnt = learn(None, **UNREACHED, on_step=lambda state: steps.append(state.step))
    assert steps == [*range(1, LAST + 1)] * 3 + [LAST]
    told = learnt.provenance["learnt"]
    assert (told["times_eased"], told["weight_decay"]) == (2, 5.0 / 25)
    assert f"in {told['auc']:.0%} of pairs" in told["warning"]
    assert Record(auc=0.0).same_as_play(LearningConfig(selection=SelectionConfig(least_auc=0.1)))
    assert same(learnt, learn(None, play=PLAY, weight_decay=5.0 / 25))
    assert not same(learnt, learn(None, play=PLAY, weight_decay=5.0))


@pytest.mark.parametrize("ended_after", [LAST, LAST + 7, 2 * LAST + 13])
def test_stopped_and_started_again_it_ends_with_the_same_bits(
    tmp_path: Path, ended_after: int
) -> None:
    calls = list[int]()

    def stop(state: object) -> bool:
        calls.append(0)
        return len(calls) < ended_after

    learn(tmp_path / "stopped", **UNREACHED, on_step=stop)
    ended = learn(tmp_path / "stopped", **UNREACHED)
    whole = learn(tmp_path / "whole", **UNREACHED)
    assert same(ended, whole)
    assert ended.provenance["learnt"]["times_eased"] == 2
    curves = [dict(logged_losses(tmp_path / name, "learn/loss")) for name in ("stopped", "whole")]
    assert curves[0] == curves[1]
    assert sorted(curves[0]) == [*range(LAST)]


def test_a_reward_that_remembers_is_not_asked() -> None:
    learnt = learn(None, **UNREACHED, reward=STAGED, demonstrations=TURNING)
    assert learnt.num_stages == 2
    told = learnt.provenance["learnt"]
    assert (told["times_eased"], told["auc"], told["warning"]) == (0, None, "")


def test_it_needs_play_data_and_a_share() -> None:
    with refused(SettingsError, place="play", remedy="least_auc"):
        learn(None, least_auc=0.9)
    with refused(SettingsError, place="least_auc", value=1.5):
        SelectionConfig(least_auc=1.5)
