import random
import sys

import gymnasium
import numpy as np
import pytest
import torch

from linear_world import linear_controller, linear_demonstrations
from refusals import refused
from trailward.baselines.behavioural_cloning import clone
from trailward.baselines.imitation_library import NetworkPolicy
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.errors import SettingsError
from trailward.optional import MissingExtraError


def weights(policy: NetworkPolicy) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in policy.network.parameters()])


def test_a_linear_controller_is_cloned() -> None:
    policy = clone(linear_demonstrations(16), seed=0, num_epochs=20)
    unseen = linear_demonstrations(1, seed=1).episodes[0].observations
    errors = policy(unseen) - linear_controller(unseen)
    assert np.sqrt((errors**2).mean()) < 0.05
    assert np.sqrt((linear_controller(unseen) ** 2).mean()) > 0.3


def test_a_wide_network_copes_with_observations_of_any_unit() -> None:
    near = linear_demonstrations(16)
    unit = np.array([1000.0, 1.0, 0.001])
    far = Dataset([Episode(e.observations * unit, e.actions) for e in near.episodes])
    policy = clone(far, seed=0, num_epochs=20, width=64)
    unseen = linear_demonstrations(1, seed=1).episodes[0].observations
    errors = policy(unseen * unit) - linear_controller(unseen)
    assert np.sqrt((errors**2).mean()) < 0.1
    assert len(weights(policy)) > 64 * 64


def test_the_same_seed_gives_the_same_weights() -> None:
    demonstrations = linear_demonstrations()
    first = weights(clone(demonstrations, seed=3, num_epochs=2))
    torch.rand(5)
    np.random.random(5)
    assert torch.equal(weights(clone(demonstrations, seed=3, num_epochs=2)), first)
    assert not torch.equal(weights(clone(demonstrations, seed=4, num_epochs=2)), first)


def test_global_generators_and_default_logger_stay_as_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    demonstrations = linear_demonstrations()
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    expected = torch.rand(3), np.random.random(3), random.random()
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    clone(demonstrations, seed=0, num_epochs=1)
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.random(3), expected[1])
    assert random.random() == expected[2]
    assert capsys.readouterr() == ("", "")


def test_actions_stay_within_their_bounds() -> None:
    low, high = np.array([[-0.2, -1.0], [0.1, 1.0]], np.float32)
    episodes = [
        Episode(e.observations, np.clip(e.actions, low, high))
        for e in linear_demonstrations().episodes
    ]
    space = gymnasium.spaces.Box(low, high)
    policy = clone(Dataset(episodes), seed=0, num_epochs=5, action_space=space)
    actions = policy(10 * episodes[0].observations)
    assert (actions >= low).all()
    assert (actions <= high).all()


def test_actions_out_of_bounds_are_refused() -> None:
    space, data = gymnasium.spaces.Box(-0.5, 0.5, (2,)), linear_demonstrations()
    actions = data.episodes[0].actions
    time, entry = np.argwhere(abs(actions) > 0.5)[0]
    place = f"episode 0: actions[{time}, {entry}]"
    with refused(place=place, value=actions[time, entry], remedy="-0.5 to 0.5"):
        clone(data, seed=0, action_space=space)


def test_an_action_space_of_another_environment_is_refused() -> None:
    space = gymnasium.spaces.Box(-1, 1, (6,))
    with refused(place="action_space", value=(6,), remedy="(2,)"):
        clone(linear_demonstrations(), seed=0, action_space=space)


def test_less_than_a_batch_is_refused() -> None:
    with refused(place="demonstrations", value=31, remedy="32"):
        clone(linear_demonstrations(1, length=31), seed=0)


def test_no_training_is_refused() -> None:
    with refused(SettingsError, place="num_epochs", value=0):
        clone(linear_demonstrations(), seed=0, num_epochs=0)


@pytest.mark.parametrize("missing", ["imitation", "stable_baselines3"])
def test_a_missing_library_is_an_error_that_names_the_command(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [m for m in sys.modules if m.split(".")[0] in ("imitation", "stable_baselines3")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=r"pip install --no-deps imitation==1.0.1"):
        clone(linear_demonstrations(), seed=0)
