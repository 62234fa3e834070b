import sys
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp

from linear_world import linear_demonstrations
from refusals import refused
from trailward.baselines.optimal_transport import TransportReward
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.errors import SettingsError
from trailward.optional import MissingExtraError

DEMONSTRATIONS = linear_demonstrations(3, length=20)
EPISODE = linear_demonstrations(1, length=30, seed=1).episodes[0]


def reordered(episode: Episode, order: np.ndarray) -> Episode:
    """The steps of an episode in another order; its last observation stays the last."""
    observations = np.concatenate([episode.observations[:-1][order], episode.observations[-1:]])
    return Episode(observations, episode.actions[order])


def sinkhorn_costs(ours: np.ndarray, theirs: np.ndarray, entropy: float) -> np.ndarray:
    """What each of our steps costs, by Sinkhorn's algorithm in the log domain."""
    similar = (ours[:, None] * theirs).sum(-1)
    lengths = np.linalg.norm(ours, axis=1)[:, None] * np.linalg.norm(theirs, axis=1)
    costs = 1 - similar / lengths
    f, g = np.zeros(len(ours)), np.zeros(len(theirs))
    for _ in range(500):
        g = -entropy * (logsumexp((f[:, None] - costs) / entropy, axis=0) + np.log(len(theirs)))
        f = -entropy * (logsumexp((g - costs) / entropy, axis=1) + np.log(len(ours)))
    plan = np.exp((f[:, None] + g - costs) / entropy)
    np.testing.assert_allclose(plan.sum(0), 1 / len(theirs), rtol=1e-4)
    return (plan * costs).sum(1)


def test_rewards_are_those_of_the_formula() -> None:
    """Algorithm 1 of arXiv 2303.13971, for the demonstration that it comes closest to."""
    reward = TransportReward(DEMONSTRATIONS, 2.0, 0.7, entropy=0.1, num_iterations=500)
    candidates = []
    for demonstration in DEMONSTRATIONS.episodes:
        ours, theirs = EPISODE.observations[:-1], demonstration.observations[:-1]
        spent = sinkhorn_costs(ours, theirs, 0.1)
        candidates.append(2.0 * np.exp(-0.7 * 30 * spent / 3))
    expected = max(candidates, key=np.sum)
    np.testing.assert_allclose(reward(EPISODE), expected, rtol=1e-4)


def test_demonstrations_are_worth_most() -> None:
    reward = TransportReward(DEMONSTRATIONS)
    own = [reward(demonstration) for demonstration in DEMONSTRATIONS.episodes]
    assert np.min(own) > 0.95 * reward.scale
    assert np.max(own) <= reward.scale
    others = linear_demonstrations(10, length=20, seed=2).episodes
    assert max(reward(other).sum() for other in others) < min(map(np.sum, own))


@pytest.mark.parametrize("shift", [1, 7])
def test_a_demonstration_shifted_in_time_gives_the_same_rewards(shift: int) -> None:
    order = np.roll(np.arange(20), shift)
    shifted = Dataset(
        [reordered(demonstration, order) for demonstration in DEMONSTRATIONS.episodes]
    )
    np.testing.assert_allclose(
        TransportReward(shifted)(EPISODE), TransportReward(DEMONSTRATIONS)(EPISODE)
    )


def test_rewards_move_with_the_steps_they_are_of() -> None:
    reward, order = TransportReward(DEMONSTRATIONS), np.random.default_rng(0).permutation(30)
    np.testing.assert_allclose(reward(reordered(EPISODE, order)), reward(EPISODE)[order])


def test_lengths_may_differ() -> None:
    lengths = [5, 20, 60]
    longer = Dataset([linear_demonstrations(1, length=n, seed=n).episodes[0] for n in lengths])
    reward = TransportReward(longer)(EPISODE)
    assert reward.shape == (30,)
    assert (reward > 0).all()


def test_rewards_depend_on_the_direction_of_observations_alone() -> None:
    """A property of the cosine, and a reason not to expect much where the origin means nothing."""
    reward = TransportReward(DEMONSTRATIONS)
    far = Episode(3 * EPISODE.observations, EPISODE.actions)
    np.testing.assert_allclose(reward(far), reward(EPISODE), rtol=1e-6)


def test_an_observation_at_the_origin_is_as_far_from_all() -> None:
    still = Episode(np.zeros((4, 3)), np.zeros((3, 2)))
    reward = TransportReward(DEMONSTRATIONS)
    np.testing.assert_allclose(reward(still), np.full(3, 5 * np.exp(-5 / 3)), rtol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [{"scale": 0.0}, {"sharpness": -1.0}, {"entropy": float("nan")}, {"num_iterations": 0}],
    ids=str,
)
def test_numbers_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    ((name, value),) = wrong.items()
    with refused(SettingsError, place=name, value=value, remedy="it must be"):
        TransportReward(DEMONSTRATIONS, **wrong)


def test_without_pot_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'trailward\[baselines\]'"):
        TransportReward(DEMONSTRATIONS)
