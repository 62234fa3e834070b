"""Recordings as tracks: rows that know their track and time, derived rates, and held ends."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from trailward.data.dataset import Dataset
from trailward.data.entries import entry_names, rates_of_change
from trailward.data.episode import Columns, Episode

PARTS = ("whole", "first half")
"""What part of its track a score is of."""

_LEAST_ROWS, _RATE = 3, "rate of "


@dataclass(frozen=True)
class TrackRows:
    """Rows of tracks, one after the other.

    Attributes:
        values: what is known at each row, environment units.
        track: the number of the track that each row is from.
        time: rows of the recording since the track began.
        lengths: rows of each track in the recording.
        num_known: tracks that may be learnt from; those after them are only judged.
    """

    values: Float[np.ndarray, "row entry"]
    track: Int[np.ndarray, "row"]
    time: Int[np.ndarray, "row"]
    lengths: Int[np.ndarray, "track"]
    num_known: int

    @classmethod
    def of(
        cls, dataset: Dataset, *, num_known: int | None = None, most: int = 20_000
    ) -> "TrackRows":
        """Every row, or evenly spread ones if there are more than ``most``.

        Args:
            dataset: a track an episode.
            num_known: tracks, the first ones, that may be learnt from; all if None.
            most: rows, about; every track keeps its last one, and as many as are needed to tell
                its halves apart.
        """
        lengths = np.array([len(episode) + 1 for episode in dataset.episodes])
        every = max(1, -(-int(lengths.sum()) // most))
        times = [_spread(int(length), every) for length in lengths]
        parts = zip(dataset.episodes, times, strict=True)
        return cls(
            np.concatenate([episode.observations[time] for episode, time in parts]),
            np.repeat(np.arange(len(lengths)), [len(time) for time in times]),
            np.concatenate(times),
            lengths,
            len(lengths) if num_known is None else num_known,
        )

    @cached_property
    def known(self) -> Bool[np.ndarray, "row"]:
        """Whether a row is of a track that may be learnt from."""
        return self.track < self.num_known

    @cached_property
    def path_lengths(self) -> Float[np.ndarray, "row"]:
        """How far each row is from the one before in its track; 0 at the first."""
        steps = np.linalg.norm(np.diff(self.values, axis=0, prepend=self.values[:1]), axis=1)
        begins = np.diff(self.track, prepend=-1) != 0
        return np.where(begins, 0.0, steps)

    @cached_property
    def track_weights(self) -> Float[np.ndarray, "row"]:
        """Weights of rows with which every track weighs 1."""
        return 1 / np.bincount(self.track, minlength=len(self.lengths))[self.track]

    def means(
        self,
        values: Float[np.ndarray, "row"],
        weights: Float[np.ndarray, "row"] | None = None,
        *,
        part: str = "whole",
        reach: int = 0,
    ) -> Float[np.ndarray, "track"]:
        """The weighted mean of each track's rows.

        Args:
            values: of each row.
            weights: of rows; alike if None.
            part: ``whole`` or ``first half`` of each track.
            reach: rows of the recording after each row that its value knows of. Rows from which
                they reach beyond the part do not count, but for each track's first one.
        """
        ends = self.lengths if part == "whole" else np.maximum(_LEAST_ROWS, self.lengths // 2)
        kept = (self.time + reach < ends[self.track]) | (self.time == 0)
        weights = np.ones(len(self.track)) if weights is None else weights + 1e-12
        total = np.bincount(self.track[kept], weights[kept], len(self.lengths))
        sums = np.bincount(self.track[kept], (values * weights)[kept], len(self.lengths))
        return sums / total


def _spread(length: int, every: int) -> Int[np.ndarray, "row"]:
    count = min(length, max(2 * _LEAST_ROWS, -(-length // every)))
    return np.linspace(0, length - 1, count).round().astype(int)


def with_rates(dataset: Dataset, time_step: float = 1.0) -> Dataset:
    """The same recordings, with the rate of change of each entry as an entry beside it.

    The rate of a row is the change since the row before it, over the time step; that of the first
    row is that of the second. Entries whose rate is among the entries already get none, and rates
    get none.

    Args:
        dataset: environment units.
        time_step: from one row to the next; the rates are for a unit of it.
    """
    known, names = rates_of_change(dataset), entry_names(dataset)
    moving = [
        entry
        for entry, name in enumerate(names)
        if known[entry] is None and entry not in known
        if not name.startswith(_RATE) and _RATE + name not in names
    ]
    if not moving:
        return dataset
    units = dict(dataset.columns.units)
    rates = [_RATE + names[entry] for entry in moving]
    units |= {_RATE + name: f"{unit}/s" for name, unit in units.items() if _RATE + name in rates}
    columns = Columns((*names, *rates), dataset.columns.actions, units, dataset.columns.choices)
    episodes = [
        replace(episode, observations=_with_rates(episode.observations, moving, time_step))
        for episode in dataset.episodes
    ]
    return replace(dataset, episodes=episodes, columns=columns)


def added_rates(columns: Columns) -> list[str]:
    """Names of the entries that :func:`with_rates` added; they are the last ones."""
    return [name for name in columns.observations if name.startswith(_RATE)]


def with_rates_like(dataset: Dataset, columns: Columns, time_step: float | None = None) -> Dataset:
    """The same recordings with the rates that other data has, where they were added to it.

    Args:
        dataset: environment units; left as it is if it has these rates, or lacks an entry that one
            is of.
        columns: of the other data, rates being the entries that are called so.
        time_step: of the other data; what counts is the recording's own, if it tells one.
    """
    rates = added_rates(columns)
    names = list(columns.observations[: len(columns.observations) - len(rates)])
    known = list(dataset.columns.observations) or names
    wanted = [name.removeprefix(_RATE) for name in rates]
    if not rates or dataset.observation_dim != len(names) or not set(wanted) <= set(known):
        return dataset
    step = dataset.time_step or time_step or 1.0
    units = {**columns.units, **dataset.columns.units}
    moving = [known.index(name) for name in wanted]
    episodes = [
        replace(episode, observations=_with_rates(episode.observations, moving, step))
        for episode in dataset.episodes
    ]
    named = Columns((*known, *rates), dataset.columns.actions, units, dataset.columns.choices)
    return replace(dataset, episodes=episodes, columns=named)


def _with_rates(
    rows: Float[np.ndarray, "time entry"], moving: Sequence[int], time_step: float
) -> Float[np.ndarray, "time more"]:
    if len(rows) < 2:
        return np.concatenate([rows, np.zeros((len(rows), len(moving)))], 1)
    change = np.diff(rows[:, list(moving)], axis=0) / time_step
    return np.concatenate([rows, np.concatenate([change[:1], change])], 1)


def hold_ends(dataset: Dataset, count: int, still: Sequence[int]) -> Dataset:
    """The same recordings, each held at its last row: who has left stays where they left.

    Args:
        dataset: environment units.
        count: rows that are added to each.
        still: entries that are 0 in the rows added: the rates.
    """
    episodes = []
    for episode in dataset.episodes:
        tail = np.repeat(episode.observations[-1:], count, axis=0)
        tail[:, list(still)] = 0.0
        observations = np.concatenate([episode.observations, tail])
        idle = np.zeros((count, episode.actions.shape[1]))
        episodes.append(Episode(observations, np.concatenate([episode.actions, idle])))
    return replace(dataset, episodes=episodes)


def rate_entries(dataset: Dataset) -> list[int]:
    """Entries that are rates of change: those that are called so, or follow another's change."""
    named = [name.startswith(_RATE) for name in entry_names(dataset)]
    known = rates_of_change(dataset)
    return [entry for entry, rate in enumerate(named) if rate or known[entry] is not None]
