"""Recorded episodes, the names of their entries, and checks of arrays in environment units."""

import hashlib
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from trailward.errors import DataError

LARGEST = 1e18
"""The largest value: the square of a larger one does not fit into models' 32-bit floats."""


MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Columns:
    """What the entries of observations and actions are called, and their units.

    Attributes:
        observations: a name for each entry; none if they have no names.
        actions: the same of actions.
        units: the unit of each name that has one.
        choices: of discrete actions, which are one-hot here, what each entry stands for.
        angles: of angles, which are sine and cosine here, the entry that was recorded, where the
            sine is now, and its period (:mod:`trailward.data.angles`). The cosines come last.

    Raises:
        DataError: if a name stands twice among observations or among actions.
    """

    observations: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    choices: tuple[int, ...] = ()
    angles: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        for what in ("observations", "actions"):
            names = getattr(self, what)
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                msg = f"two entries of {what} are called '{twice[0]}'"
                remedy = "give each a name of its own"
                raise DataError(msg, place=what, value=twice[0], remedy=remedy)

    def observation_labels(self, count: int) -> list[str]:
        """The name and unit of each of ``count`` entries, or its number; for people."""
        names = self.observations or [f"observation {entry}" for entry in range(count)]
        return [f"{name} ({self.units[name]})" if name in self.units else name for name in names]

    def to_config(self) -> dict[str, Any]:
        """Constructor arguments, as JSON values."""
        return {
            "observations": list(self.observations),
            "actions": list(self.actions),
            "units": dict(self.units),
            "choices": list(self.choices),
            "angles": [list(each) for each in self.angles],
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | None) -> "Columns":
        """The inverse of :meth:`to_config`; no names if there is none."""
        if config is None:
            return cls()
        return cls(
            tuple(config["observations"]),
            tuple(config["actions"]),
            dict(config["units"]),
            tuple(config.get("choices", ())),
            tuple((int(entry), float(period)) for entry, period in config.get("angles", ())),
        )


@dataclass(frozen=True)
class Episode:
    """One recorded run, in environment units: T + 1 observations, T actions.

    Whatever ``np.asarray`` takes is taken, such as lists and DataFrames, and kept as float64.

    Attributes:
        observations: shape (T + 1, observation), finite.
        actions: shape (T, action), finite; (T, 0) where none were recorded, or left out.
        rewards: shape (T,), true rewards if they were recorded. Learning never reads them.
        terminated: whether the environment ended it: nothing could have followed.
        truncated: whether it was cut short, such as by a time limit: more could have followed.
            Both are False if that was not recorded.

    Raises:
        DataError: if a shape, a count or a value is not as above.
    """

    observations: Float[np.ndarray, "time1 observation"]
    actions: Float[np.ndarray, "time action"] = None  # pyright: ignore[reportAssignmentType]
    rewards: Float[np.ndarray, "time"] | None = None
    terminated: bool = False
    truncated: bool = False

    def __post_init__(self) -> None:
        observations = as_numbers("observations", self.observations)
        steps = max(len(observations) - 1, 0) if observations.ndim else 0
        actions = np.zeros((steps, 0)) if self.actions is None else self.actions
        found = {"observations": observations, "actions": as_numbers("actions", actions)}
        for name, array in found.items():
            if array.ndim != 2:
                msg = f"{name} have shape {array.shape}"
                remedy = f"give them two axes, (time, {name[:-1]})"
                raise DataError(msg, place=name, value=array.shape, remedy=remedy)
            check_finite(name, array, "drop the episode or repair it")
        if len(observations) != len(found["actions"]) + 1:
            counts = len(observations), len(found["actions"])
            msg = f"there are {counts[0]} observations and {counts[1]} actions"
            remedy = "an episode has one observation more than actions (the last one included)"
            raise DataError(msg, place="observations and actions", value=counts, remedy=remedy)
        if self.rewards is not None:
            rewards = found["rewards"] = as_numbers("rewards", self.rewards, may_be_bool=True)
            check_finite("rewards", rewards, "drop the episode or repair it")
            if rewards.shape != (len(found["actions"]),):
                msg = f"rewards have shape {rewards.shape}"
                remedy = f"give one for each action: ({len(found['actions'])},)"
                raise DataError(msg, place="rewards", value=rewards.shape, remedy=remedy)
        for name, array in found.items():
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        """The number of environment steps T."""
        return len(self.actions)

    @property
    def fingerprint(self) -> str:
        """A hash of the observations: the same track, the same fingerprint."""
        values = np.ascontiguousarray(self.observations, np.float64)
        return hashlib.sha256(values.tobytes()).hexdigest()[:16]

    @property
    def transitions(
        self,
    ) -> tuple[
        Float[np.ndarray, "time observation"],
        Float[np.ndarray, "time action"],
        Float[np.ndarray, "time observation"],
    ]:
        """What was observed before each of the T steps, what was done, and where it led."""
        return self.observations[:-1], self.actions, self.observations[1:]


def paths_of(episodes: Sequence[Episode]) -> Float[np.ndarray, "episode time observation"]:
    """Observations of episodes in one array, NaN after the end of shorter ones."""
    longest = max(len(e.observations) for e in episodes)
    paths = np.full((len(episodes), longest, episodes[0].observations.shape[1]), np.nan)
    for path, episode in zip(paths, episodes, strict=True):
        path[: len(episode.observations)] = episode.observations
    return paths


def as_numbers(place: str, given: Any, *, may_be_bool: bool = False) -> np.ndarray:
    """The same as an array of 64-bit floats, if it holds real numbers.

    Args:
        place: of errors: the argument, or the file and the field.
        given: whatever ``np.asarray`` takes.
        may_be_bool: whether false and true become 0 and 1.

    Raises:
        DataError: if it holds text, dates, complex numbers, true and false, or is ragged.
    """
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        msg, count = f"{place} has masked values", int(np.ma.count_masked(given))
        remedy = "drop the masked rows, or fill them in"
        raise DataError(msg, place=place, value=count, remedy=remedy)
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        remedy = "give an array of real numbers, with as many entries in every row"
        msg = f"{place} is no array ({error})"
        raise DataError(msg, place=place, value=type(given).__name__, remedy=remedy) from None
    if array.dtype.kind == "O":
        return _of_objects(place, array, may_be_bool=may_be_bool)
    if array.dtype.kind not in "fiu" + "b" * may_be_bool:
        hint = _HINTS.get(array.dtype.kind)
        remedy = "it must be an array of real numbers" + (f": {hint}" if hint else "")
        msg = f"{place} holds no numbers but {array.dtype}"
        raise DataError(msg, place=place, value=str(array.dtype), remedy=remedy)
    return array.astype(np.float64, copy=False)


_HINTS = {
    "b": "write true and false as 1 and 0 (array.astype(float)), or leave it out",
    "c": "give real and imaginary part as two entries",
    "M": "give seconds instead of dates",
    "m": "give seconds instead of durations",
}


def _of_objects(place: str, array: np.ndarray, *, may_be_bool: bool) -> np.ndarray:
    for index, value in np.ndenumerate(array):
        is_number = isinstance(value, numbers.Real | Decimal)
        if not is_number or (isinstance(value, bool | np.bool_) and not may_be_bool):
            remedy = "every entry must be a real number, and every row needs as many"
            where = f"{place}{list(index)}" if index else place
            shown = repr(value)[:60]
            msg = f"{where} is {shown}, no number"
            raise DataError(msg, place=where, value=shown, remedy=remedy)
    return array.astype(np.float64)


def check_finite(place: str, array: Shaped[np.ndarray, "*axes"], remedy: str = "") -> None:
    """Check that every value is finite and of a size that models can take.

    Args:
        place: of errors: what the array is.
        array: float64, environment units.
        remedy: what to do about a value that is not finite.

    Raises:
        DataError: names the first that is not.
    """
    if not array.size or (array.max() <= LARGEST and array.min() >= -LARGEST):
        return
    index = tuple(np.argwhere(~(np.abs(array) <= LARGEST))[0].tolist())
    where, value = f"{place}{list(index)}", float(array[index])
    if np.isfinite(value):
        cure = f"values may not be larger than {LARGEST:g}: choose another unit"
    else:
        cure = "every value must be finite" + (f": {remedy}" if remedy else "")
    raise DataError(place=where, value=value, remedy=cure)


def check_array(what: str, given: np.ndarray, entries: int) -> np.ndarray:
    """Finite numbers, float64, whose last axis has as many entries as the reward was learnt on.

    Raises:
        DataError: if they are not; names the shape, or the place and the value.
    """
    array = as_numbers(what, given)
    if array.shape[-1:] != (entries,):
        remedy = f"the last axis must have {entries} entries, on which the reward was learnt"
        msg = f"{what} have shape {array.shape}"
        raise DataError(msg, place=what, value=array.shape, remedy=remedy)
    check_finite(what, array)
    return np.require(array, requirements=["C", "W"])  # as PyTorch takes them


def check_alike(**given: np.ndarray | None) -> None:
    """Check that arrays, which may have different last axes, are otherwise of one shape.

    Raises:
        DataError: if they are not; names the shapes.
    """
    shapes = {what: np.shape(array) for what, array in given.items() if array is not None}
    if len({shape[:-1] for shape in shapes.values()}) > 1:
        told = ", ".join(f"{what} have shape {shape}" for what, shape in shapes.items())
        place, remedy = ", ".join(shapes), "but for the last axis they must be alike"
        raise DataError(told, place=place, value=tuple(shapes.values()), remedy=remedy)
