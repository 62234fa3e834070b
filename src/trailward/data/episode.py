"""Recorded episodes, the names of their entries, and checks of arrays in environment units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float


class DataError(ValueError):
    """Recorded data that cannot be used; the message names the place, the value and the remedy."""


def at_least(limit: int, settings: object, *names: str) -> None:
    """Check numbers of a configuration.

    Raises:
        ValueError: names the first that is below the limit, or not a number.
    """
    for name in names:
        value = getattr(settings, name)
        if not value >= limit:
            raise ValueError(f"{name} is {value}; it must be at least {limit}")


@dataclass(frozen=True)
class Columns:
    """What the entries of observations and actions are called, and their units.

    Attributes:
        observations: a name for each entry; none if they have no names.
        actions: the same of actions.
        units: the unit of each name that has one.

    Raises:
        DataError: if a name stands twice among observations or among actions.
    """

    observations: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what in ("observations", "actions"):
            names = getattr(self, what)
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                msg = f"two entries of {what} are called '{twice[0]}'; give each a name of its own"
                raise DataError(msg)

    def observation_labels(self, count: int) -> list[str]:
        """For people: the name with its unit of each of ``count`` entries, or its number."""
        names = self.observations or [f"observation {entry}" for entry in range(count)]
        return [f"{name} ({self.units[name]})" if name in self.units else name for name in names]

    def to_config(self) -> dict[str, Any]:
        """Constructor arguments, as JSON values."""
        return {
            "observations": list(self.observations),
            "actions": list(self.actions),
            "units": dict(self.units),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | None) -> "Columns":
        """The inverse of :meth:`to_config`; no names if there is none."""
        if config is None:
            return cls()
        return cls(tuple(config["observations"]), tuple(config["actions"]), dict(config["units"]))


@dataclass(frozen=True)
class Episode:
    """One recorded run, in environment units: T + 1 observations, T actions.

    Attributes:
        observations: shape (T + 1, observation), finite.
        actions: shape (T, action), finite; (T, 0) where none were recorded.
        rewards: shape (T,), true rewards if they were recorded. Learning never reads them.
        terminated: whether the environment ended it: nothing could have followed.
        truncated: whether it was cut short, such as by a time limit: more could have followed.
            Both are False if that was not recorded.

    Raises:
        DataError: if a shape, a count or a value is not as above.
    """

    observations: Float[np.ndarray, "time1 observation"]
    actions: Float[np.ndarray, "time action"]
    rewards: Float[np.ndarray, "time"] | None = None
    terminated: bool = False
    truncated: bool = False

    def __post_init__(self) -> None:
        for name in ("observations", "actions"):
            array = getattr(self, name)
            if array.ndim != 2:
                msg = f"{name} have shape {array.shape}; expected two axes, (time, {name[:-1]})"
                raise DataError(msg)
            if not np.isfinite(array).all():
                time, entry = np.argwhere(~np.isfinite(array))[0]
                msg = (
                    f"{name}[{time}, {entry}] is {array[time, entry]}; "
                    "every value must be finite: drop the episode or repair it"
                )
                raise DataError(msg)
        if len(self.observations) != len(self.actions) + 1:
            msg = (
                f"{len(self.observations)} observations and {len(self.actions)} actions; an "
                "episode has one observation more than actions (the last one included)"
            )
            raise DataError(msg)
        if self.rewards is not None and not np.isfinite(self.rewards).all():
            time = int(np.argmin(np.isfinite(self.rewards)))
            raise DataError(f"rewards[{time}] is {self.rewards[time]}; every value must be finite")
        if self.rewards is not None and self.rewards.shape != (len(self.actions),):
            msg = f"rewards have shape {self.rewards.shape}; expected ({len(self.actions)},)"
            raise DataError(msg)

    def __len__(self) -> int:
        """The number of environment steps T."""
        return len(self.actions)

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


def check_array(what: str, given: np.ndarray, entries: int) -> np.ndarray:
    """Finite numbers, float64, whose last axis has as many entries as the reward was learnt on.

    Raises:
        DataError: if they are not; names the shape, or the place and the value.
    """
    array = np.asarray(given, dtype=np.float64)
    if array.shape[-1:] != (entries,):
        msg = (
            f"{what} have shape {array.shape}; the reward was learnt on {entries} entries, so the "
            f"last axis must have {entries}"
        )
        raise DataError(msg)
    if not np.isfinite(array).all():
        where = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
        raise DataError(f"{what}{list(where)} is {array[where]}; every value must be finite")
    return array


def check_alike(**given: np.ndarray | None) -> None:
    """Check that arrays, which may have different last axes, are otherwise of one shape.

    Raises:
        DataError: if they are not; names the shapes.
    """
    shapes = {what: np.shape(array) for what, array in given.items() if array is not None}
    if len({shape[:-1] for shape in shapes.values()}) > 1:
        told = ", ".join(f"{what} have shape {shape}" for what, shape in shapes.items())
        raise DataError(f"{told}; but for the last axis they must be alike")
