"""Names, ranges, twins and rates of change of entries, on data made to have them."""

import numpy as np
import pytest

from refusals import refused
from tiny import random_walks
from trailward.data.dataset import Dataset
from trailward.data.entries import (
    describe_entries,
    entry_names,
    entry_numbers,
    place_entries,
    rates_of_change,
)
from trailward.data.episode import Columns, Episode
from trailward.data.statistics import inspect_data, uninformative

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
        (("temperature", "wind"), (0, 1)),
        (("temperature", "rain", "wind"), None),
        (("vx", "vy"), None),
        (("x", "z"), (0, 1)),
        (("x", "z", "heading"), (0, 1)),
        (("x", "y", "z"), (0, 1)),
        (("location-long", "location-lat", "height"), (0, 1)),
        (("lat", "lng", "speed"), (1, 0)),
        (("easting", "northing", "v"), (0, 1)),
        (("t", "utm_x", "utm_y"), (1, 2)),
        (("x_m", "y_m", "vx"), (0, 1)),
        (("xCenter", "yCenter", "width"), (0, 1)),
        (("x_px", "y_px", "area"), (0, 1)),
        (("tail_x", "head_y", "head_x"), (2, 1)),
        (("centroid_x", "centroid_y", "age"), (0, 1)),
        (("px", "py", "vx", "vy"), (0, 1)),
        (("vx", "vy", "cx", "cy"), (2, 3)),
        (("x_coord", "y_coord", "id2"), (0, 1)),
        (("goal_x", "goal_y", "x", "y"), (2, 3)),
        (("state.0", "state.1"), (0, 1)),
        (("left", "right"), (0, 1)),
        (("state.0", "state.1", "state.2"), None),
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


def test_entries_are_found_by_name_or_number() -> None:
    names = ("x", "z", "vx")
    assert entry_numbers(["z", "x"], names, 3) == (1, 0)
    assert entry_numbers(["0", 2], names, 3) == (0, 2)
    assert entry_numbers(["1"], (), 2) == (1,)
    for wrong in (["y"], ["3"], [-1], ["x", "0"]):
        with refused(place="--reward.features") as caught:
            entry_numbers(wrong, names, 3, what="--reward.features")
        assert f"'{wrong[-1]}'" in caught.value.value


@pytest.mark.parametrize("lengths", [(2,), (1, 1), (1,), (3,), (2, 1)])
def test_a_few_steps_in_all_are_inspected(lengths: tuple[int, ...]) -> None:
    walks = random_walks(lengths)
    assert rates_of_change(walks) in ([None, None], [1, None], [None, 0], [1, 0])
    found = inspect_data(walks, random_walks((2,)))
    assert found.play.num_steps == sum(lengths)


@pytest.mark.parametrize(("scale", "offset"), [(1e-8, 0.0), (1.0, 1.7e9), (1e-3, 1e5)])
def test_entries_of_any_scale_and_offset_change(scale: float, offset: float) -> None:
    rows = scale * np.random.default_rng(0).standard_normal((50, 2)) + offset
    found = describe_entries(rows, ["a", "b"], {})
    assert not any(entry.constant or entry.same_as for entry in found)
    assert describe_entries(np.full((5, 1), 0.1 + 0.2), ["c"], {})[0].constant
    data = Dataset([Episode(np.stack([rows[:, 0], np.full(50, offset)], -1), np.zeros((49, 0)))])
    (told,) = uninformative(data)
    assert told == "observation 1 never changes: it carries no information"


def test_plans_longer_than_any_episode_are_told() -> None:
    walks = random_walks((14, 10))
    assert uninformative(walks, num_observations=15) == []
    (told,) = uninformative(walks, num_observations=121)
    assert "a plan reaches over 121 observations, the longest episode has 15" in told
