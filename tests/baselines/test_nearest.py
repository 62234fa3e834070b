import sys
from typing import Any

import numpy as np
import pytest

from linear_world import linear_demonstrations
from refusals import refused
from trailward.baselines.nearest import NearestReward
from trailward.data.episode import Episode
from trailward.errors import SettingsError
from trailward.optional import MissingExtraError

DEMONSTRATIONS = linear_demonstrations(3, length=20)
EPISODE = linear_demonstrations(1, length=30, seed=1).episodes[0]


def transitions(episode: Episode, *, with_actions: bool = True) -> np.ndarray:
    parts = [episode.observations[:-1], episode.actions, episode.observations[1:]]
    return np.concatenate(parts if with_actions else parts[::2], axis=1)


@pytest.mark.parametrize("num_neighbours", [1, 3])
@pytest.mark.parametrize("with_actions", [True, False])
def test_rewards_are_those_of_the_formula(num_neighbours: int, with_actions: bool) -> None:
    """Equation 4 of arXiv 2402.03807, with every distance computed."""
    reward = NearestReward(
        DEMONSTRATIONS, 2.0, 0.7, num_neighbours=num_neighbours, with_actions=with_actions
    )
    shown = np.concatenate(
        [transitions(e, with_actions=with_actions) for e in DEMONSTRATIONS.episodes]
    )
    asked = transitions(EPISODE, with_actions=with_actions)
    distances = np.sort(np.linalg.norm(asked[:, None] - shown, axis=-1), axis=1)
    expected = 2.0 * np.exp(-0.7 * distances[:, num_neighbours - 1] / 2)
    np.testing.assert_allclose(reward(EPISODE), expected)


def test_demonstrated_transitions_are_worth_most() -> None:
    reward = NearestReward(DEMONSTRATIONS)
    for demonstration in DEMONSTRATIONS.episodes:
        np.testing.assert_array_equal(reward(demonstration), np.ones(20))
    assert (reward(EPISODE) < 1).all()


def test_only_without_actions_may_actions_differ() -> None:
    shown = DEMONSTRATIONS.episodes[0]
    other = Episode(shown.observations, shown.actions + 0.1)
    assert (NearestReward(DEMONSTRATIONS)(other) < 1).all()
    assert (NearestReward(DEMONSTRATIONS, with_actions=False)(other) == 1).all()


@pytest.mark.parametrize(
    "wrong", [{"scale": 0.0}, {"sharpness": float("nan")}, {"num_neighbours": 0}], ids=str
)
def test_numbers_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    ((name, value),) = wrong.items()
    with refused(SettingsError, place=name, value=value, remedy="it must be"):
        NearestReward(DEMONSTRATIONS, **wrong)


def test_more_neighbours_than_transitions_are_refused() -> None:
    with refused(place="num_neighbours", value=61, remedy="60"):
        NearestReward(DEMONSTRATIONS, num_neighbours=61)


def test_without_scipy_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.spatial", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'trailward\[baselines\]'"):
        NearestReward(DEMONSTRATIONS)
