"""Names, ranges, twins and rates of change of entries, on data made to have them."""

import numpy as np
import pytest

from tiny import random_walks
from trailward.data.dataset import Dataset
from trailward.data.entries import describe_entries, entry_names, place_entries, rates_of_change
from trailward.data.episode import Columns, Episode

UNITS = Columns(("place", "speed", "still", "twin"), units={"place": "m"})


def cars(count: int = 6, *, columns: Columns = UNITS, wrap: float = np.inf) -> Dataset:
    """Cars on a road: place, speed (its rate of change), a constant, and the place in feet."""
    generator = np.random.default_rng(0)
    episodes = []
    for _ in range(count):
        speeds = 0.2 * generator.standard_normal(81).cumsum()
        places = np.concatenate([[0.0], (speeds[:-1] + speeds[1:]).cumsum() / 2])
        if np.isfinite(wrap):
            places = (places + wrap) % (2 * wrap) - wrap
        entries = [places, speeds, np.full(81, 3.0), 5 - 3.28 * places]
        episodes.append(Episode(np.stack(entries, -1), np.zeros((80, 0))))
    return Dataset(episodes, {}, columns)


def test_an_entry_is_described_by_what_numpy_says_of_its_column() -> None:
    data = cars()
    rows = np.concatenate([episode.observations for episode in data.episodes])
    place, speed, still, twin = describe_entries(
        rows, entry_names(data), UNITS.units, rates_of_change(data)
    )
    column = rows[:, 0]
    assert (place.name, place.unit) == ("place", "m")
    assert (place.minimum, place.median, place.maximum) == (
        column.min(), np.median(column), column.max()
    )  # fmt: skip
    assert (place.low, place.high) == pytest.approx(tuple(np.quantile(column, [0.05, 0.95])))
    assert (place.mean, place.deviation) == pytest.approx((column.mean(), column.std()))
    assert [entry.constant for entry in (place, speed, still, twin)] == [False, False, True, False]
    assert [entry.same_as for entry in (place, speed, still, twin)] == [None, None, None, "place"]
    assert [entry.rate_of for entry in (place, speed, still, twin)] == [None, "place", None, None]


def test_a_rate_of_change_is_found_through_angles_that_wrap() -> None:
    assert rates_of_change(cars(wrap=12.0)) == [None, 0, None, None]


def test_steps_from_one_episode_to_the_next_do_not_count() -> None:
    path = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [3.0, 1.0]])
    backwards = np.array([[9.0, -1.0], [8.0, -1.0], [7.0, -1.0], [6.0, -1.0]])
    pair = [Episode(path, np.zeros((3, 0))), Episode(backwards, np.zeros((3, 0)))]
    assert rates_of_change(Dataset(pair * 3)) == [None, 0]


def test_random_walks_are_no_rates_of_change_of_each_other() -> None:
    assert rates_of_change(random_walks((80, 90), observation_dim=4)) == [None] * 4


def test_episodes_of_one_observation_have_no_rates() -> None:
    alone = Dataset([Episode(np.ones((1, 2)), np.zeros((0, 1)))])
    assert rates_of_change(alone) == [None, None]


@pytest.mark.parametrize(
    ("names", "place"),
    [
        (("x", "y", "vx"), (0, 1)),
        (("heading", "pos_y", "pos_x"), (2, 1)),
        (("position.x", "position.y"), (0, 1)),
        (("Latitude", "Longitude"), (1, 0)),
        (("temperature", "wind"), None),
        (("vx", "vy"), None),
    ],
)
def test_a_place_is_known_by_its_names(names: tuple[str, ...], place: tuple | None) -> None:
    walks = random_walks(observation_dim=len(names))
    assert place_entries(Dataset(walks.episodes, {}, Columns(names))) == place


def test_without_names_a_place_is_two_entries_or_two_with_their_rates() -> None:
    assert place_entries(random_walks(observation_dim=2)) == (0, 1)
    assert place_entries(random_walks(observation_dim=3)) is None
    assert place_entries(random_walks(observation_dim=4)) is None
    moving = []
    for one, other in zip(cars().episodes[:3], cars().episodes[3:], strict=True):
        both = np.stack([one.observations, other.observations], -1)[:, :2].reshape(81, 4)
        moving.append(Episode(both, one.actions))
    assert place_entries(Dataset(moving)) == (0, 1)
