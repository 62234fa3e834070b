"""Entries that wrap: found, and sine and cosine inside."""

from dataclasses import replace

import numpy as np
import pytest

from trailward.data.angles import find_angles, lift, with_angles
from trailward.data.dataset import Dataset
from trailward.data.episode import Columns, Episode

NAMES = Columns(("x", "heading", "level"), ("turn",), {"x": "m"})


def turning(period: float, *, low: float = 0.0, named: bool = True) -> Dataset:
    """A place, a heading that wraps, and a level that falls from 6 to 0 and is filled up."""
    draw = np.random.default_rng(0)
    found = []
    for _ in range(12):
        change = draw.normal(0.03, 0.04, 200) * period
        heading = (np.cumsum(change) - low) % period + low
        level = 6.0 - (0.06 * np.arange(200) + draw.uniform(0, 6)) % 6
        rows = np.stack([draw.normal(size=200), heading, level], 1)
        found.append(Episode(rows, np.zeros((199, 1))))
    return Dataset(found, {}, NAMES if named else Columns())


@pytest.mark.parametrize(("period", "low"), [(2 * np.pi, 0.0), (2 * np.pi, -np.pi), (360.0, 0.0)])
def test_what_turns_is_found_and_what_is_filled_up_is_not(period: float, low: float) -> None:
    assert find_angles(turning(period, low=low)) == ((1, period),)


def test_what_does_not_wrap_or_turn_all_the_way_is_no_angle() -> None:
    data = turning(2 * np.pi)
    unwrapped = [replace(e, observations=np.unwrap(e.observations, axis=0)) for e in data.episodes]
    halved = [replace(e, observations=e.observations * [1, 0.5, 1]) for e in data.episodes]
    assert find_angles(Dataset(unwrapped)) == ()
    assert find_angles(Dataset(halved)) == ()


@pytest.mark.parametrize("named", [True, False])
def test_angles_become_sines_in_place_and_cosines_at_the_end(named: bool) -> None:
    data = turning(360.0, named=named)
    inside = with_angles(data, ((1, 360.0),))
    name = "heading" if named else "observation 1"
    assert inside.columns.observations[1::2] == (f"sin {name}", f"cos {name}")
    for before, after in zip(data.episodes, inside.episodes, strict=True):
        turned = np.radians(before.observations[:, 1])
        np.testing.assert_allclose(after.observations[:, 1], np.sin(turned), atol=1e-12)
        np.testing.assert_allclose(after.observations[:, 3], np.cos(turned), atol=1e-12)
        np.testing.assert_array_equal(after.observations[:, ::2], before.observations[:, ::2])
    assert Columns.from_config(inside.columns.to_config()) == inside.columns


def test_observations_are_lifted_once_and_others_stay() -> None:
    inside = with_angles(turning(2 * np.pi), ((1, 2 * np.pi),))
    row = np.array([3.0, np.pi / 2, 5.0])
    lifted = lift(inside.columns, row)
    np.testing.assert_allclose(lifted, [3, 1, 5, 0], atol=1e-12)
    np.testing.assert_array_equal(lift(inside.columns, lifted), lifted)
    np.testing.assert_array_equal(lift(Columns(), row), row)
