"""Flat rows: names with units, and values that models cannot take."""

import numpy as np
import pytest

from refusals import refused
from trailward.data.formats.rows import LARGEST, bounds_of, check_values, split_unit


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x (m)", ("x", "m")),
        ("x[m]", ("x", "m")),
        ("turn rate (rad/s)", ("turn rate", "rad/s")),
        ("x", ("x", None)),
        ("joint [3]", ("joint [3]", None)),
        ("joint(12)", ("joint(12)", None)),
        ("(m)", ("(m)", None)),
        ("x ()", ("x ()", None)),
        ("x (m) left", ("x (m) left", None)),
    ],
)
def test_a_unit_stands_in_brackets_behind_the_name(
    name: str, expected: tuple[str, str | None]
) -> None:
    assert split_unit(name) == expected


def test_bounds_hold_first_rows_and_the_number_of_rows() -> None:
    assert bounds_of(np.array([False, True, False, False])).tolist() == [0, 2, 4]
    assert bounds_of(np.array([True, True])).tolist() == [0, 1, 2]
    assert bounds_of(np.zeros(0, bool)).tolist() == [0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2 * LARGEST, -2 * LARGEST])
def test_a_value_that_models_cannot_take_is_placed(value: float) -> None:
    array = np.zeros((5, 3))
    check_values("here", array)
    array[3, 1] = value
    with refused(place="here, row 3, entry 1", value=f"{value:g}"):
        check_values("here", array)
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        np.square(np.float32(20 * LARGEST))
    assert np.isfinite(np.square(np.float32(LARGEST)))


def test_the_smallest_whole_number_is_too_large_too() -> None:
    with refused(place="here, row 1", value="-9.22337e+18"):
        check_values("here", np.array([0, np.iinfo(np.int64).min]))
