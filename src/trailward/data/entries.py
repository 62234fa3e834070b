"""What the entries of observations and actions are: names, ranges, rates of change, places."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from trailward.data.dataset import Dataset

_RATE, _SAME, _NUM_COMPARED = 0.9, 0.9999, 20_000
_PLACE = re.compile(r"position|pos|coordinate|[^a-z]")
_PLACES = (("x", "y"), ("longitude", "latitude"), ("lon", "lat"))

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
            constant=bool(minimum[i] == maximum[i]),
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
        middle = _standard((now[usual] + then[usual]) / 2)
        alike[:, entry] = middle.T @ _standard(change[usual, None])[:, 0] / usual.sum()
    np.fill_diagonal(alike, 0.0)
    return [int(row.argmax()) if row.max() > _RATE else None for row in alike]


def place_entries(dataset: Dataset) -> tuple[int, int] | None:
    """The two entries of the observation to draw paths by; None if none look like a place.

    Those called x and y (or ``pos_x``, ``y_position``, ``position.x``, longitude and latitude ...);
    without names, the two that there are, or the first two of four if the others are their rates
    of change.
    """
    if dataset.columns.observations:
        names = [_PLACE.sub("", name.lower()) for name in dataset.columns.observations]
        for across, up in _PLACES:
            if across in names and up in names:
                return names.index(across), names.index(up)
        return None
    moves = dataset.observation_dim == 4 and rates_of_change(dataset)[2:] == [0, 1]
    return (0, 1) if dataset.observation_dim == 2 or moves else None


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
    still = deviation <= 1e-9 * np.abs(rows).max(0)
    return np.where(still, 0.0, (rows - rows.mean(0)) / np.where(still, 1.0, deviation))
