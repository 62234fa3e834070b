"""Read tables with a row a frame: an episode and a frame column, and columns of numbers."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from trailward.data.episode import Columns, DataError
from trailward.data.formats.arrow import ArrowFile, column_names, pyarrow
from trailward.data.formats.rows import (
    Recording,
    Rows,
    bounds_of,
    changes,
    named_columns,
    split_unit,
)

_SUFFIXES = (".parquet", ".csv")
_EPISODE = ("episode_index", "episode", "episode_id", "id", "track_id", "trajectory_id")
_FRAME = ("frame_index", "frame", "step", "time", "timestamp", "t")
_REWARDS = ("reward", "rewards")
_NEITHER = (
    "",
    "unnamed: 0",
    "__index_level_0__",
    "index",
    "task_index",
    "done",
    "terminal",
    "terminated",
    "truncated",
    "timeout",
)
_GAP = 1.5


@dataclass(frozen=True)
class TableLayout:
    """Which columns of a table are what; told by common names where nothing is said.

    Attributes:
        episode: the column that tells episodes apart; episode, episode_index, episode_id, id,
            track_id or trajectory_id if not given.
        frame: the column that rises within an episode; frame, frame_index, step, time, timestamp
            or t if not given.
        observations: the columns observed; all that are left if not given, in the file's order.
        actions: the columns of actions; those whose names begin with action if not given.
        rewards: the column of true rewards; reward or rewards if not given and there is one.
    """

    episode: str | None = None
    frame: str | None = None
    observations: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    rewards: str | None = None


@dataclass(frozen=True)
class Roles:
    """What the columns of a table are, by the names that they have in the file.

    Attributes:
        episode: the column that tells episodes apart.
        frame: the one that rises within an episode.
        observations: at least one.
        actions: may be none.
        rewards: None if none were recorded.
        entry_names: what the entries of a column of lists are called; else they are numbered.
    """

    episode: str
    frame: str
    observations: tuple[str, ...]
    actions: tuple[str, ...] = ()
    rewards: str | None = None
    entry_names: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def used(self) -> list[str]:
        """Every column that is read, once."""
        rewards = () if self.rewards is None else (self.rewards,)
        names = (self.episode, self.frame, *self.observations, *self.actions, *rewards)
        return list(dict.fromkeys(names))


def recognises(path: Path) -> bool:
    """Whether it is a table, or a folder with Parquet files right in it."""
    return path.suffix.lower() in _SUFFIXES or (path.is_dir() and any(path.glob("*.parquet")))


def read_table(path: str | os.PathLike[str], layout: TableLayout = TableLayout()) -> Recording:
    """The episodes of a Parquet or CSV file, or of all Parquet files in a folder.

    A row is an observation and the action taken there; what an episode's last action led to is
    not known, and that action is dropped. Frames rise within an episode; rows of several episodes
    may alternate, as where a camera follows many at once.

    Args:
        path: a file, or a folder whose Parquet files have the same columns.
        layout: which column is what.

    Raises:
        DataError: names the file, the column, the row (counted from 0, without the header) and
            the value that is wrong, and the remedy.
        MissingExtraError: if pyarrow is not installed.
    """
    path = Path(path)
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    names = column_names(files[0])
    roles = _find_roles(files[0], names, layout)
    left_out = [name for name in names if name not in roles.used]
    recording = read_files(files, roles)
    provenance = {"file": path.name, **recording.provenance}
    if left_out:
        provenance["left_out"] = left_out
    return replace(recording, provenance=provenance)


def read_files(files: Sequence[Path], roles: Roles) -> Recording:
    """The episodes of files with the same columns, their rows one after the other.

    Args:
        files: at least one.
        roles: what their columns are.

    Raises:
        DataError: as :func:`read_table`.
        MissingExtraError: if pyarrow is not installed.
    """
    tables = (ArrowFile.read(file, roles.used) for file in files)
    blocks = [_Block.of(table, roles) for table in tables if table.rows]
    if not blocks:
        raise DataError(f"{files[0]} has no episodes: 0 rows; an episode takes two rows at least")
    for block in blocks:
        if block.columns != blocks[0].columns:
            first = blocks[0]
            msg = (
                f"{block.file} has columns {_shown(block)}, {first.file.name} {_shown(first)}; "
                "every file needs the same: split the data by kind"
            )
            raise DataError(msg)
    order, ended, facts = _order(blocks, roles)
    observations, actions, rewards = (
        _stack([getattr(block, name) for block in blocks], order)
        for name in ("observations", "actions", "rewards")
    )
    rows = Rows(observations, actions, rewards[:, 0] if roles.rewards else None)
    episodes = rows.cut(str(files[0]), bounds_of(ended))
    return Recording(episodes, blocks[0].columns, {"frame": facts})


def _find_roles(file: Path, names: Sequence[str], layout: TableLayout) -> Roles:
    bare = {split_unit(name)[0].lower(): name for name in reversed(names)}
    find = partial(_find, file, names)
    episode = find("episode", layout.episode, _known(bare, _EPISODE))
    frame = find("frame", layout.frame, _known(bare, _FRAME))
    rewards = _known(bare, _REWARDS)
    if layout.rewards is not None:
        rewards = find("rewards", layout.rewards)
    roles = (*_EPISODE, *_FRAME, *_REWARDS, *_NEITHER)
    taken = {episode, frame, rewards, *(bare.get(name) for name in roles)}
    others = [name for name in names if name not in taken]
    acting = [name for name in others if name.lower().startswith("action")]
    actions = [find("actions", name) for name in layout.actions] or acting
    observations = [find("observations", name) for name in layout.observations]
    observations = observations or [n for n in others if n not in (*acting, *actions)]
    if not observations:
        msg = (
            f"{file} has no column of observations, only {', '.join(names)}; add one, or name it "
            "with --table.observations"
        )
        raise DataError(msg)
    return Roles(episode, frame, tuple(observations), tuple(actions), rewards)


def _known(bare: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((bare[name] for name in names if name in bare), None)


def _find(
    file: Path, names: Sequence[str], role: str, given: str | None, guess: str | None = None
) -> str:
    wanted = guess if given is None else given
    found = [name for name in names if wanted in (name, split_unit(name)[0])]
    if not found:
        missing = f"{role} column" if given is None else f"column '{given}'"
        msg = (
            f"{file} has no {missing}, only {', '.join(names)}; name the right one with "
            f"--table.{role}"
        )
        raise DataError(msg)
    return found[0]


@dataclass(frozen=True)
class _Block:
    """What one file holds."""

    file: Path
    columns: Columns
    episodes: Any
    frames: np.ndarray
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray

    @classmethod
    def of(cls, table: ArrowFile, roles: Roles) -> "_Block":
        return cls(
            table.path,
            _columns(table, roles),
            table.episodes(roles.episode),
            table.frames(roles.frame),
            table.numbers(roles.observations),
            table.numbers(roles.actions),
            table.numbers([roles.rewards] if roles.rewards else []),
        )


def _columns(table: ArrowFile, roles: Roles) -> Columns:
    entries = {
        name: _entries(table, name, roles, alone=len(names) == 1)
        for names in (roles.observations, roles.actions)
        for name in names
    }
    observations, actions = (
        [entry for name in names for entry in entries[name]]
        for names in (roles.observations, roles.actions)
    )
    told = {
        split_unit(entry)[0]: unit
        for name, unit in table.units.items()
        for entry in entries.get(name, ())
    }
    found = named_columns(str(table.path), observations, actions)
    return replace(found, units={**found.units, **told})


def _entries(table: ArrowFile, name: str, roles: Roles, *, alone: bool) -> list[str]:
    width = table.width(name)
    given = roles.entry_names.get(name, ())
    if len(given) == width:
        return list(given) if alone else [f"{name}.{entry}" for entry in given]
    return [name] if width == 1 else [f"{name}.{entry}" for entry in range(width)]


def _order(
    blocks: Sequence[_Block], roles: Roles
) -> tuple[np.ndarray | None, np.ndarray, dict[str, Any]]:
    """How to bring the rows of an episode together, which then end one, and how frames go on."""
    chunks = [chunk for block in blocks for chunk in block.episodes.chunks]
    ids = pyarrow().chunked_array(chunks, blocks[0].episodes.type).combine_chunks()
    coded = ids.dictionary_encode()
    codes = coded.indices.to_numpy()
    frames = np.concatenate([block.frames for block in blocks])
    order, ended = None, changes(codes)
    if np.count_nonzero(ended) > len(coded.dictionary):
        order = np.argsort(codes, kind="stable")
        frames, ended = frames[order], changes(codes[order])
    steps, inside = np.diff(frames), ~ended[:-1]
    wrong = np.flatnonzero(inside & (steps <= 0))
    if len(wrong):
        before = int(wrong[0])
        row = before + 1 if order is None else int(order[before + 1])
        _refuse_frame(blocks, roles, row, ids[row], *frames[before : before + 2])
    steps = steps[inside]
    usual = float(np.median(steps)) if len(steps) else 0.0
    gaps = int(np.count_nonzero(steps > _GAP * usual))
    facts = {"column": roles.frame, "count": len(frames), "step": usual, "gaps": gaps}
    return order, ended, facts


def _refuse_frame(
    blocks: Sequence[_Block], roles: Roles, row: int, episode: Any, before: Any, value: Any
) -> NoReturn:
    file = blocks[0].file
    for block in blocks:
        file = block.file
        if row < len(block.frames):
            break
        row -= len(block.frames)
    twice = value == before
    fault = "is there twice" if twice else f"comes after {before}"
    remedy = "keep one row a frame" if twice else f"sort the rows by '{roles.frame}'"
    msg = (
        f"{file}: column '{roles.frame}', row {row}: {value} of {roles.episode} {episode} {fault}; "
        f"{remedy}, and if it is of another episode, give that one an id of its own"
    )
    raise DataError(msg)


def _stack(arrays: Sequence[np.ndarray], order: np.ndarray | None) -> np.ndarray:
    stacked = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return stacked if order is None else stacked[order]


def _shown(block: _Block) -> str:
    return ", ".join((*block.columns.observations, *block.columns.actions))
