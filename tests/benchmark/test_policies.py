"""The training of policies: what it leaves, that it goes on, and what is chosen."""

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from refusals import refused
from trailward.acting.network_policy import NetworkPolicy, ladder
from trailward.checkpoint import CONFIG, WEIGHTS, CheckpointError
from trailward.environments.halfcheetah.environment import HalfCheetah
from trailward.errors import SettingsError
from trailward.optional import MissingExtraError
from trailward_benchmark.policies import (
    STATE,
    PolicyTrainingConfig,
    package_policies,
    snapshots,
    spread,
    train_policies,
)

CHEETAH = HalfCheetah()
TINY = PolicyTrainingConfig(
    num_steps=240, snapshot_every=80, checkpoint_every=1, num_envs=2, num_random_steps=60,
    batch_size=8, width=8, num_quantiles=3, num_replay=200, num_evaluated=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policies")
    train_policies(CHEETAH, TINY, folder)
    return folder


def named(returns: list[float]) -> list[NetworkPolicy]:
    layer = (np.zeros((6, 17), np.float32), np.zeros(6, np.float32))
    return [NetworkPolicy([layer], {"return": {"mean": value}}) for value in returns]


def test_snapshots_start_untrained_and_come_as_often_as_asked(trained: Path) -> None:
    found = snapshots(trained)
    assert [policy.facts["step"] for policy in found] == [0, 80, 160, 240]
    assert all(policy.facts["return"]["count"] == 2 for policy in found)
    weights = [policy.layers[0][0] for policy in found]
    for before, after in pairwise(weights):
        assert not np.array_equal(before, after)


def test_a_snapshot_acts_as_the_actor_did(trained: Path) -> None:
    from sb3_contrib import TQC
    from stable_baselines3.common.vec_env import DummyVecEnv

    from trailward.environments.halfcheetah.environment import make_env

    model = TQC(
        "MlpPolicy", DummyVecEnv([make_env]), policy_kwargs={"net_arch": [8, 8], "n_quantiles": 3}
    )
    state = load_file(trained / STATE)
    actor = {k[len("policy.actor.") :]: v for k, v in state.items() if "policy.actor." in k}
    model.actor.load_state_dict(actor)
    observations = np.random.default_rng(0).standard_normal((5, 17))
    expected = model.predict(observations.astype(np.float32), deterministic=True)[0]
    np.testing.assert_allclose(snapshots(trained)[-1](observations), expected, atol=1e-6)


@pytest.mark.parametrize("stopped_at", [80, 160])
def test_training_that_was_stopped_goes_on_to_the_same_bits(
    stopped_at: int, trained: Path, tmp_path: Path
) -> None:
    train_policies(CHEETAH, replace(TINY, num_steps=stopped_at), tmp_path)
    train_policies(CHEETAH, TINY, tmp_path)
    whole, resumed = load_file(trained / STATE), load_file(tmp_path / STATE)
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not whole[name].equal(resumed[name])] == []
    assert snapshots(tmp_path)[-1].facts == snapshots(trained)[-1].facts


def test_another_seed_trains_another_policy_and_leaves_the_callers_randomness(
    trained: Path, tmp_path: Path
) -> None:
    np.random.seed(3)
    train_policies(CHEETAH, replace(TINY, num_steps=0, seed=1), tmp_path)
    after = np.random.random()
    np.random.seed(3)
    assert after == np.random.random()
    weights = [snapshots(folder)[0].layers[0][0] for folder in (trained, tmp_path)]
    assert not np.array_equal(*weights)


def test_a_folder_of_other_settings_is_refused(trained: Path) -> None:
    place = f"{trained / STATE}: learning_rate"
    with refused(CheckpointError, place=place, value=(0.001, 0.1)):
        train_policies(CHEETAH, replace(TINY, learning_rate=0.1), trained)


def test_settings_that_cannot_be_are_refused() -> None:
    with refused(SettingsError, place="snapshot_every", value=81, remedy="num_envs, 2"):
        replace(TINY, snapshot_every=81)
    with refused(SettingsError, place="batch_size", value=0):
        replace(TINY, batch_size=0)


def test_without_the_training_library_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'trailward\[halfcheetah,rl\]'"):
        train_policies(CHEETAH, TINY, tmp_path)


def test_the_ladder_is_spread_evenly_from_the_first_to_the_best() -> None:
    found = spread(named([0, 90, 10, 52, 60, 300, 100, 49, 20, 75]), 4)
    assert [policy.mean_return for policy in found] == [0, 90, 100, 300]
    found = spread(named([-5, -9, -7, 3]), 4)
    assert [policy.mean_return for policy in found] == [-9, -7, -5, 3]


@pytest.mark.parametrize("num", [1, 5])
def test_a_ladder_of_more_than_there_is_is_refused(num: int) -> None:
    with refused(SettingsError, place="num", value=num, remedy="2 to 4"):
        spread(named([1, 2, 3, 4]), num)


def test_a_folder_without_snapshots_is_refused(tmp_path: Path) -> None:
    with refused(place=str(tmp_path), value=None, remedy="'trailward policies'"):
        snapshots(tmp_path)


def test_a_packaged_ladder_comes_back_in_order_of_returns(trained: Path, tmp_path: Path) -> None:
    made = package_policies(CHEETAH, trained, tmp_path / "ladder", num=3, num_evaluated=2)
    back = ladder(tmp_path / "ladder")
    assert [policy.facts for policy in back] == [dict(policy.facts) for policy in made]
    returns = [policy.mean_return for policy in back]
    assert returns == sorted(returns)
    assert back[0].facts["return"]["count"] == 2
    assert {path.name for path in (tmp_path / "ladder").iterdir()} == {WEIGHTS, CONFIG}
