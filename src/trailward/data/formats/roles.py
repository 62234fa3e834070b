"""Which columns of a table are what: told by their names, or by a layout."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from trailward.data.formats.rows import split_unit
from trailward.errors import DataError, SettingsError

EPISODE = (
    "episode_index", "episode", "episode_id", "track_id", "trackid", "trajectory_id",
    "trajectoryid", "individual_local_identifier", "animal_id", "individual_id", "agent_id",
    "ped_id", "pedestrian_id", "person_id", "object_id", "vehicle_id", "tag_local_identifier",
    "particle_id", "traj_id", "track", "trajectory", "particle", "traj", "id",
)  # fmt: skip
RECORDING = ("recording_id", "recordingid")
"""Beside an id of tracks, which are numbered anew in each recording."""

FRAME = (
    "frame_index", "frame", "frame_id", "frameid", "step", "time", "timestamp", "t", "time_s",
    "datetime", "date_time", "date",
)  # fmt: skip
TIME = ("timestamp", "time", "t", "time_s", "datetime", "date_time", "seconds")
REWARDS = ("reward", "rewards", "next.reward")
NEITHER = (
    "", "unnamed:_0", "__index_level_0__", "index", "task_index", "row", "row_id", "event_id",
    "visible", "sensor_type", "done", "dones", "terminal", "terminals", "terminated", "truncated",
    "timeout", "timeouts", "is_first", "is_last", "is_terminal", "discount", "success",
)  # fmt: skip
_PLAIN = tyro.conf.arg(prefix_name=False)
"""Flags of all data, not of tables alone: ``--gaps``, not ``--table.gaps``."""

_STATES = ("observation.state", "observation.environment_state")


@dataclass(frozen=True)
class TableLayout:
    """Which columns of a table are what; told by common names where nothing is said.

    Attributes:
        episode: columns that together tell episodes apart, such as recording and track; names such
            as episode, track_id, individual-local-identifier and id are known. Without any, each
            file is one episode.
        frame: the column that rises within an episode: a number, a time or a date; names such as
            frame, step, time, timestamp and t are known.
        observations: the columns observed; all that are left if not given, in the file's order.
        actions: the columns of actions; those whose names begin with action if not given.
        rewards: the column of true rewards; reward or rewards if not given and there is one.
        gaps: what is done at gaps in time: cut ends the episode, keep joins the rows, interpolate
            fills in the missing rows.
        resample: new distance of rows, in the frame column's unit (seconds, if it holds dates).
        format: the name of a format, or module:Name of one of your own, for the data that it
            recognises; other data is recognised by its path.

    Raises:
        SettingsError: if gaps or resample cannot be so.
    """

    episode: Sequence[str] = ()
    frame: str | None = None
    observations: Sequence[str] = ()
    actions: Sequence[str] = ()
    rewards: str | None = None
    gaps: Annotated[Literal["cut", "keep", "interpolate"], _PLAIN] = "cut"
    resample: Annotated[float | None, _PLAIN] = None
    format: Annotated[str | None, _PLAIN] = None

    def __post_init__(self) -> None:
        for name in ("episode", "observations", "actions"):
            given = getattr(self, name)
            whole = () if given is None else (given,) if isinstance(given, str) else tuple(given)
            object.__setattr__(self, name, whole)
        if self.gaps not in ("cut", "keep", "interpolate"):
            remedy = "it can be 'cut', 'keep' or 'interpolate'"
            raise SettingsError(place="gaps", value=self.gaps, remedy=remedy)
        if self.resample is not None and not 0 < self.resample < float("inf"):
            remedy = "give a time above 0"
            raise SettingsError(place="resample", value=self.resample, remedy=remedy)


@dataclass(frozen=True)
class Roles:
    """What the columns of a table are, by the names that they have in the file.

    Attributes:
        episode: the columns that tell episodes apart; none if each file is one.
        frame: the one that rises within an episode.
        observations: at least one.
        actions: may be none.
        rewards: None if none were recorded.
        time: another column of times, to tell the time step by.
        text_observed: columns of text that would be observed if they held numbers.
        entry_names: what the entries of a column of lists are called; else they are numbered.
    """

    episode: tuple[str, ...]
    frame: str
    observations: tuple[str, ...]
    actions: tuple[str, ...] = ()
    rewards: str | None = None
    time: str | None = None
    text_observed: tuple[str, ...] = ()
    entry_names: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def used(self) -> list[str]:
        """Every column that is read, once."""
        others = [name for name in (self.rewards, self.time) if name is not None]
        names = (*self.episode, self.frame, *self.observations, *self.actions, *others)
        return list(dict.fromkeys(names))


def find_roles(file: Path, names: Sequence[str], layout: TableLayout) -> Roles:
    """The roles of a file's columns.

    Raises:
        DataError: if there is no column of frames or of observations, or not one that was named.
    """
    table = _Names(file, names)
    episode = tuple(table.find("episode", name) for name in layout.episode) or table.ids()
    frame = table.find("frame", layout.frame, table.known(FRAME))
    rewards = table.known(REWARDS)
    if layout.rewards is not None:
        rewards = table.find("rewards", layout.rewards)
    time = table.known(TIME)
    roles = (*EPISODE, *RECORDING, *FRAME, *REWARDS, *NEITHER)
    taken = {*episode, frame, rewards, *table.all_known(roles)}
    others = [n for n in names if n not in taken and not n.startswith("next.")]
    acting = [name for name in others if name.lower().startswith("action")]
    actions = [table.find("actions", name) for name in layout.actions] or acting
    observations = [table.find("observations", name) for name in layout.observations]
    observations = observations or _observed([n for n in others if n not in (*acting, *actions)])
    if not observations:
        msg = f"{file} has no column of observations, only {', '.join(names)}"
        remedy = "add one, or name it with --table.observations"
        raise DataError(msg, place=str(file), value=list(names), remedy=remedy)
    is_apart = time is not None and time not in (frame, *observations, *actions)
    return Roles(
        episode, frame, tuple(observations), tuple(actions), rewards, time if is_apart else None
    )


def _observed(names: Sequence[str]) -> list[str]:
    """The columns observed: LeRobot's features of the state, or all other columns."""
    features = [name for name in names if name.startswith("observation.")]
    return [name for name in _STATES if name in names] or features or list(names)


@dataclass(frozen=True)
class _Names:
    """The names of a file's columns, and what they are in common spelling."""

    file: Path
    names: Sequence[str]

    def all_known(self, known: Iterable[str]) -> list[str]:
        return [name for name in self.names if spelt(name) in known]

    def known(self, known: Sequence[str]) -> str | None:
        """The first name that is known, in the order of those known."""
        found = {spelt(name): name for name in reversed(self.names)}
        return next((found[name] for name in known if name in found), None)

    def ids(self) -> tuple[str, ...]:
        episode, recording = self.known(EPISODE), self.known(RECORDING)
        return tuple(name for name in (recording, episode) if name is not None)

    def find(self, role: str, given: str | None, guess: str | None = None) -> str:
        wanted = guess if given is None else given
        found = [name for name in self.names if wanted in (name, split_unit(name)[0])]
        if not found:
            missing = f"{role} column" if given is None else f"column '{given}'"
            msg = f"{self.file} has no {missing}, only {', '.join(self.names)}"
            place, remedy = f"{self.file}: {missing}", f"name the right one with --table.{role}"
            raise DataError(msg, place=place, value=list(self.names), remedy=remedy)
        return found[0]


def spelt(name: str) -> str:
    """A column's name without its unit, in lower case, with ``_`` for spaces and hyphens."""
    return re.sub(r"[\s-]+", "_", split_unit(name)[0].strip().lower())
