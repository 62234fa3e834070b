"""Entries that nobody moves, in a room with weather, a clock and a visitor."""

import numpy as np
import pytest

from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.data.unmoved import unmoved_entries


def rooms(num: int = 20, *, seed: int = 0, jumps: bool = False) -> Dataset:
    """Room (moved by heating), walls (by the room), weather, a clock that wraps, a constant."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(num):
        room, walls, weather, clock = 20.0, 19.0, draw.normal(), draw.uniform(0, 24)
        rows, actions = [], []
        for step in range(41):
            rows.append([room, walls, weather, clock, 3.0])
            if step == 40:
                break
            heat = draw.uniform(-1, 1)
            actions.append([heat])
            walls += 0.3 * (room - walls)
            room += 0.5 * heat + 0.1 * (weather - 0.1 * room) + 0.05 * draw.normal()
            if jumps and draw.uniform() < 0.02:
                room += 8
            weather = 0.9 * weather + 0.3 * draw.normal()
            clock = (clock + 0.5) % 24
        found.append(Episode(np.array(rows), np.array(actions)))
    return Dataset(found)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("jumps", [False, True])
def test_weather_clock_and_constants_are_unmoved_and_what_hangs_on_heating_is_not(
    seed: int, jumps: bool
) -> None:
    assert unmoved_entries(rooms(40, seed=seed, jumps=jumps)) == (2, 3, 4)


def test_without_actions_or_with_few_episodes_nothing_is_told() -> None:
    bare = Dataset([Episode(each.observations) for each in rooms().episodes])
    assert unmoved_entries(bare) == ()
    assert unmoved_entries(rooms(4)) == ()
