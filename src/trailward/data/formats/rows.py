"""Flat rows, checked and cut into episodes: what the readers of all formats share."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from trailward.data.episode import LARGEST, Columns, Episode
from trailward.data.episode import as_numbers as numbers_of
from trailward.errors import DataError

_UNIT = re.compile(r"^(.*\S)\s*(?:\(([^()]+)\)|\[([^\[\]]+)\])$")


@dataclass(frozen=True)
class Recording:
    """What a reader found.

    Attributes:
        episodes: environment units.
        columns: what their entries are called.
        provenance: where they come from, and what there was to say about them; JSON values.
        attributes: what is known of each episode, such as its animal: by name, a text for each.
    """

    episodes: Sequence[Episode]
    columns: Columns = Columns()
    provenance: dict[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Rows:
    """A row an observation and what was done there, one episode after the other.

    Attributes:
        observations: environment units.
        actions: the same; shape (row, 0) where none were recorded.
        rewards: true ones, if they were recorded.
        reached: the observation that each action led to, if it was recorded.
        terminated: whether the environment ended the episode at each row, if it was recorded.
        truncated: whether the episode was cut short at each row, if it was recorded.
    """

    observations: Float[np.ndarray, "row observation"]
    actions: Float[np.ndarray, "row action"]
    rewards: Float[np.ndarray, "row"] | None = None
    reached: Float[np.ndarray, "row observation"] | None = None
    terminated: Bool[np.ndarray, "row"] | None = None
    truncated: Bool[np.ndarray, "row"] | None = None

    def cut_where_they_contradict(
        self, place: str, bounds: Int[np.ndarray, "bound"]
    ) -> tuple[Int[np.ndarray, "bound"], int]:
        """Bounds that also stand where the next row is not what a row's action led to.

        There an episode ended without a mark; values that differ by rounding alone are the same.

        Args:
            place: of errors: the file.
            bounds: as :meth:`cut` takes them.

        Returns:
            The bounds, and how many were added.

        Raises:
            DataError: if half of the rows are not followed by what they led to: then they are in
                another order than they were recorded in.
        """
        if self.reached is None or len(self.observations) < 2:
            return bounds, 0
        here, led_to = self.observations[1:], self.reached[:-1]
        spans = np.ptp(self.observations, axis=0)
        differ = np.abs(here - led_to) > 1e-5 * spans + 1e-6 * np.abs(here)
        inside = np.ones(len(here), bool)
        inside[bounds[1:-1] - 1] = False
        wrong = np.flatnonzero(differ.any(1) & inside)
        if len(wrong) > 1 and 2 * len(wrong) >= inside.sum():
            row = int(wrong[0])
            remedy = (
                "rows must follow each other in time, those of one environment together: sort "
                "them, or leave 'next_observations' out if they are normalised otherwise"
            )
            where = f"{place}: 'next_observations', row {row}"
            msg = (
                f"{where} is not 'observations' of row {row + 1}, nor in {len(wrong)} of "
                f"{inside.sum()} rows"
            )
            raise DataError(msg, place=where, value=len(wrong), remedy=remedy)
        return np.union1d(bounds, wrong + 1), len(wrong)

    def cut(self, place: str, bounds: Int[np.ndarray, "bound"]) -> list[Episode]:
        """The episodes between the bounds.

        Where it is not known what an episode's last action led to, that action is dropped. An
        episode of which nothing is left is left out.

        Args:
            place: of errors: the file.
            bounds: the first row of each episode, and the number of rows.

        Raises:
            DataError: if no episode is left.
        """
        episodes = []
        for first, end in pairwise(bounds.tolist()):
            last = end - (self.reached is None)
            if last > first:
                episodes.append(self._episode(first, end, last))
        if not episodes:
            count, remedy = len(self.observations), "an episode takes two rows at least"
            msg = (
                f"{place} has no episodes: {count} rows, none followed by another of the same "
                "episode"
            )
            raise DataError(msg, place=place, value=count, remedy=remedy)
        return episodes

    def _episode(self, first: int, end: int, last: int) -> Episode:
        observations = self.observations[first:end]
        if self.reached is not None:
            observations = np.concatenate([observations, self.reached[end - 1 : end]])
        rewards = None if self.rewards is None else self.rewards[first:last]
        terminated, truncated = (
            flags is not None and bool(flags[end - 1])
            for flags in (self.terminated, self.truncated)
        )
        if last < end:  # the action that ended it is dropped, so what is left is cut short
            terminated, truncated = False, terminated or truncated
        return Episode(observations, self.actions[first:last], rewards, terminated, truncated)


def as_numbers(place: str, array: Any) -> np.ndarray:
    """The same array as 64-bit floats, or a refusal if it does not hold real numbers.

    Args:
        place: of errors: the file and the field.
        array: anything; true and false become 1 and 0.
    """
    return numbers_of(place, array, may_be_bool=True)


def check_values(place: str, array: Shaped[np.ndarray, "row *entry"]) -> None:
    """Check that every value is finite and of a size that models can take.

    Args:
        place: of errors: the file and the field.
        array: environment units.

    Raises:
        DataError: names row, entry and value of the first that is not, and the remedy.
    """
    if not array.size or (array.max() <= LARGEST and array.min() >= -LARGEST):
        return
    at = tuple(np.argwhere(~(np.abs(array.astype(float)) <= LARGEST))[0].tolist())
    value = float(array[at])
    where = f"{place}, row {at[0]}" + "".join(f", entry {entry}" for entry in at[1:])
    if not np.isfinite(value):
        remedy = "every value must be finite: repair it or drop the episode"
    else:
        remedy = (
            f"more than {LARGEST:g} is taken for a mistake: drop the episode if it stands for a "
            "missing value, or choose another unit"
        )
    raise DataError(place=where, value=f"{value:g}", remedy=remedy)


def check_axes(place: str, array: np.ndarray, *axes: str) -> None:
    """Check that an array has the axes that it should have.

    Raises:
        DataError: if it has not.
    """
    if array.ndim != len(axes):
        msg = f"{place} has shape {array.shape}"
        remedy = f"reshape it to the axes ({', '.join(axes)})"
        raise DataError(msg, place=place, value=array.shape, remedy=remedy)


def check_count(place: str, array: np.ndarray, rows: int) -> None:
    """Check that a field has as many rows as the observations.

    Raises:
        DataError: if it has not.
    """
    if (count := len(array)) != rows:
        remedy = f"'observations' have {rows}, and all need as many: cut them to the same steps"
        raise DataError(f"{place} has {count} rows", place=place, value=count, remedy=remedy)


def bounds_of(ended: Bool[np.ndarray, "row"]) -> Int[np.ndarray, "bound"]:
    """Where episodes begin, and the number of rows, from the rows that end one.

    The last row ends one in any case.
    """
    ends = np.flatnonzero(ended) + 1
    return np.unique(np.concatenate([[0], ends, [len(ended)]]))


def changes(ids: Shaped[np.ndarray, "row"]) -> Bool[np.ndarray, "row"]:
    """Which rows end an episode: those whose successor has another id, and the last one."""
    ended = np.ones(len(ids), bool)
    ended[:-1] = ids[1:] != ids[:-1]
    return ended


def named_columns(place: str, observations: Sequence[str], actions: Sequence[str]) -> Columns:
    """Columns of these names; ``x (m)`` and ``x [m]`` are ``x``, in metres.

    Args:
        place: of errors: the file.
        observations: a name for each entry, or none.
        actions: the same.

    Raises:
        DataError: if two entries have the same name.
    """
    split = [[split_unit(name) for name in names] for names in (observations, actions)]
    bare = (tuple(name for name, _ in names) for names in split)
    units = {name: unit for names in split for name, unit in names if unit}
    try:
        return Columns(*bare, units=units)
    except DataError as error:
        raise error.within(place) from None


def split_unit(name: str) -> tuple[str, str | None]:
    """The name and the unit of a column called ``x (m)`` or ``x [m]``; a number is no unit."""
    found = _UNIT.match(name)
    unit = found and (found[2] or found[3]).strip()
    if not found or not unit or unit.isdigit():
        return name, None
    return found[1], unit
