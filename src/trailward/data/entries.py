"""What the entries of observations and actions are: names, ranges, rates of change, places."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from trailward.data.dataset import Dataset
from trailward.data.normalizer import ROUNDING
from trailward.errors import DataError

_RATE, _SAME, _NUM_COMPARED, _FEWEST = 0.9, 0.9999, 20_000, 3
_AXES = (("x", "y"), ("longitude", "latitude"), ("easting", "northing"), ("x", "z"))
_EVERY_AXIS = {axis for pair in _AXES for axis in pair}
_SPELT = {
    "lon": "longitude", "long": "longitude", "lng": "longitude", "lat": "latitude",
    "east": "easting", "north": "northing",
}  # fmt: skip
_PREFIXED = {f"{letter}{axis}": f"{letter} {axis}" for letter in "pcv" for axis in "xyz"}
_MOVING = {
    "v", "vel", "velocity", "speed", "acc", "acceleration", "d", "delta", "goal", "target",
    "force", "angular", "action",
}  # fmt: skip

Rows = Float[np.ndarray, "row entry"]


@dataclass(frozen=True)
class Entry:
    """One entry of observations or actions: where its values lie, environment units.

    Attributes:
        name: the column's, or its number.
        unit: None if it is not known.
        minimum: over all episodes.
        low: 5% quantile.
        median: 50% quantile.
        high: 95% quantile.
        maximum: over all episodes.
        mean: over all episodes.
        deviation: standard deviation.
        constant: whether it never changes.
        same_as: an earlier entry that tells the same, but for scale and shift.
        rate_of: another entry whose change from step to step it follows, as a velocity follows
            the change of a position.
    """

    name: str
    unit: str | None
    minimum: float
    low: float
    median: float
    high: float
    maximum: float
    mean: float
    deviation: float
    constant: bool
    same_as: str | None
    rate_of: str | None


def describe_entries(
    rows: Rows,
    names: Sequence[str],
    units: Mapping[str, str],
    rates: Sequence[int | None] = (),
) -> tuple[Entry, ...]:
    """Where the values of each entry lie, and what is odd about it.

    Args:
        rows: observations or actions, environment units.
        names: of the entries.
        units: of the names that have one.
        rates: the number of the entry that each is the rate of change of, if any is.
    """
    low, median, high = np.quantile(rows, [0.05, 0.5, 0.95], axis=0)
    minimum, maximum = rows.min(0), rows.max(0)
    same = _same_entries(rows)
    rates = rates or [None] * len(names)
    return tuple(
        Entry(
            name=name,
            unit=units.get(name),
            minimum=float(minimum[i]),
            low=float(low[i]),
            median=float(median[i]),
            high=float(high[i]),
            maximum=float(maximum[i]),
            mean=float(rows[:, i].mean()),
            deviation=float(rows[:, i].std()),
            constant=not changes(rows[:, i]),
            same_as=None if (twin := same[i]) is None else names[twin],
            rate_of=None if (of := rates[i]) is None else names[of],
        )
        for i, name in enumerate(names)
    )


def _same_entries(rows: Rows) -> list[int | None]:
    """The first earlier entry that each entry is a multiple of, but for a shift."""
    generator = np.random.default_rng(0)
    some = _standard(rows[generator.permutation(len(rows))[:_NUM_COMPARED]])
    alike = np.tril(np.abs(some.T @ some) / len(some) > _SAME, -1)
    return [int(row.argmax()) if row.any() else None for row in alike]


def changes(entry: Float[np.ndarray, "row"]) -> bool:
    """Whether an entry changes by more than rounding, as normalizers see it."""
    low, high = float(entry.min()), float(entry.max())
    return high - low > ROUNDING * max(abs(low), abs(high))


def entry_names(dataset: Dataset) -> list[str]:
    """The name of each entry of an observation, or its number."""
    count = dataset.observation_dim
    return list(dataset.columns.observations) or [f"observation {entry}" for entry in range(count)]


def action_names(dataset: Dataset) -> list[str]:
    """The name of each entry of an action, or its number."""
    count = dataset.action_dim
    return list(dataset.columns.actions) or [f"action {entry}" for entry in range(count)]


def rates_of_change(dataset: Dataset, *, seed: int = 0) -> list[int | None]:
    """Which other entry of the observation each entry is the rate of change of; None if of none.

    The mean of an entry at both ends of a step correlates by more than 0.9 with the change of the
    other over that step. The 5% lowest and highest changes are left out, so that angles that wrap
    and episodes that leap do not matter. Data cannot tell a velocity from the second coordinate of
    a movement in circles, which follows the change of the first one just as well.

    Args:
        dataset: environment units.
        seed: of the steps compared, 20,000 at most.
    """
    lengths = np.array([len(episode) for episode in dataset.episodes])
    rows, firsts = observations_of(dataset), rows_before_another(lengths)
    if len(firsts) < 2:
        return [None] * dataset.observation_dim
    generator = np.random.default_rng(seed)
    picks = generator.permutation(firsts)[:_NUM_COMPARED]
    now, then = rows[picks], rows[picks + 1]
    alike = np.zeros((dataset.observation_dim, dataset.observation_dim))
    for entry, change in enumerate((then - now).T):
        low, high = np.quantile(change, [0.05, 0.95])
        usual = (low <= change) & (change <= high)
        if usual.sum() < _FEWEST:
            continue
        middle = _standard((now[usual] + then[usual]) / 2)
        alike[:, entry] = middle.T @ _standard(change[usual, None])[:, 0] / usual.sum()
    np.fill_diagonal(alike, 0.0)
    return [int(row.argmax()) if row.max() > _RATE else None for row in alike]


def place_entries(dataset: Dataset) -> tuple[int, int] | None:
    """The two entries of the observation to draw paths by; None if none look like a place.

    Those whose names differ only in being of x and y (``pos_x``, ``y_px``, ``xCenter``, ``cx``), or
    else x and z, longitude and latitude, or easting and northing. Otherwise the two that there
    are; without names also the first two of four if the others are their rates of change.
    """
    names, count = dataset.columns.observations, dataset.observation_dim
    spelt = [_axis_of(name) for name in names]
    for across, up in _AXES:
        for entry, found in enumerate(spelt):
            if found is not None and found[0] == across and (up, found[1]) in spelt:
                return entry, spelt.index((up, found[1]))
    if count == 2 and not any(_MOVING & set(_words(name)) for name in names):
        return 0, 1
    is_named = any(not re.search(r"\.\d+$", name) for name in names)
    moves = not is_named and count == 4 and rates_of_change(dataset)[2:] == [0, 1]
    return (0, 1) if moves else None


def _words(name: str) -> list[str]:
    """The words of a name, in lower case: ``xCenter`` is x and center."""
    apart = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    words = re.findall(r"[a-z]+|\d+", apart.lower())
    if _EVERY_AXIS & set(words):
        return words
    return [part for word in words for part in str(_PREFIXED.get(word, word)).split()]


def _axis_of(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Which axis a name is of, and the rest of its words; None if of none, or of a movement."""
    words = _words(name)
    axes = [_SPELT.get(word, word) for word in words if _SPELT.get(word, word) in _EVERY_AXIS]
    if len(axes) != 1 or _MOVING & set(words):
        return None
    return axes[0], tuple(word for word in words if _SPELT.get(word, word) not in _EVERY_AXIS)


def entry_numbers(
    given: Sequence[str | int], names: Sequence[str], count: int, *, what: str = "entry"
) -> tuple[int, ...]:
    """The numbers of entries that are given by name or by number.

    Args:
        given: names as the columns have them, or numbers from 0, which may be text.
        names: of all entries; none if they have none.
        count: of all entries.
        what: of errors: the setting.

    Raises:
        DataError: if there is no such entry, or one is given twice.
    """
    found = []
    for each in given:
        if each in names:
            number = list(names).index(str(each))
        elif str(each).isdecimal() and int(each) < count:
            number = int(each)
        else:
            known = f"one of {', '.join(names)}, or " if names else ""
            remedy = f"give {known}a number from 0 to {count - 1}"
            raise DataError(place=what, value=f"'{each}'", remedy=remedy)
        if number in found:
            raise DataError(place=what, value=f"'{each}' twice", remedy="give each entry once")
        found.append(number)
    return tuple(found)


def observations_of(dataset: Dataset) -> Rows:
    """The observations of all episodes, one after the other, environment units."""
    return np.concatenate([episode.observations for episode in dataset.episodes])


def rows_before_another(lengths: Int[np.ndarray, "episode"]) -> Int[np.ndarray, "step"]:
    """The rows that have a next one in the same episode."""
    has_next = np.ones(int(lengths.sum()) + len(lengths), bool)
    has_next[(lengths + 1).cumsum() - 1] = False
    return np.flatnonzero(has_next)


def _standard(rows: Rows) -> Rows:
    """Rows of mean 0 and deviation 1 in each entry, 0 where an entry does not change."""
    deviation = rows.std(0)
    still = deviation <= ROUNDING * np.abs(rows).max(0)
    return np.where(still, 0.0, (rows - rows.mean(0)) / np.where(still, 1.0, deviation))
