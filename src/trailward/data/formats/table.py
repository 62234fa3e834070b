"""Read tables with a row a frame: columns of episodes, of frames and of numbers."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from trailward.data.choices import Choices, one_hot
from trailward.data.episode import Columns
from trailward.data.formats import time
from trailward.data.formats.arrow import ArrowFile, column_names, pyarrow, text_columns
from trailward.data.formats.dialect import is_text_table
from trailward.data.formats.roles import Roles, TableLayout, find_roles
from trailward.data.formats.rows import (
    Recording,
    Rows,
    bounds_of,
    changes,
    named_columns,
    split_unit,
)
from trailward.errors import DataError

__all__ = ["Roles", "TableLayout", "read_files", "read_table", "recognises"]


def recognises(path: Path) -> bool:
    """Whether it is a table, or a folder with tables right in it, or in folders ``name=value``."""
    if path.is_dir():
        return bool(_files_of(path))
    return path.suffix.lower() == ".parquet" or is_text_table(path)


def _files_of(folder: Path) -> list[Path]:
    """The Parquet files right in a folder, else its tables of text, else those of its parts."""
    found = sorted(folder.glob("*.parquet"))
    found = found or sorted(path for path in folder.iterdir() if is_text_table(path))
    return found or sorted(path for path in folder.rglob("*.parquet") if "=" in path.parent.name)


def read_table(path: str | os.PathLike[str], layout: TableLayout = TableLayout()) -> Recording:
    """The episodes of a Parquet or text file, or of all such files in a folder.

    A row is an observation and the action taken there; what an episode's last action led to is
    not known, and that action is dropped. Frames rise within an episode; rows of several episodes
    may alternate, as where a camera follows many at once. Without a column of ids each file is one
    episode, or several if its frames fall back to where they began. An id that comes again after a
    gap, or in another file from the beginning, is another track.

    Args:
        path: a file, or a folder whose files have the same columns.
        layout: which column is what.

    Raises:
        DataError: names the file, the column, the row (counted from 0, without the header) and
            the value that is wrong, and the remedy.
        MissingExtraError: if pyarrow is not installed.
    """
    path = Path(path)
    files = _files_of(path) if path.is_dir() else [path]
    names = column_names(files[0])
    roles = find_roles(files[0], names, layout)
    text = [name for name in text_columns(files[0]) if name not in _asked(roles, layout)]
    observed = tuple(name for name in roles.observations if name not in text)
    doubtful = tuple(name for name in roles.observations if name in text)
    roles = replace(roles, observations=observed or roles.observations, text_observed=doubtful)
    recording = read_files(files, roles, layout, [n for n in text if n not in roles.used])
    left_out = [n for n in names if n not in roles.used and n not in recording.attributes]
    provenance = {"file": path.name, **recording.provenance}
    if left_out:
        provenance["left_out"] = left_out
    return replace(recording, provenance=provenance)


def _asked(roles: Roles, layout: TableLayout) -> set[str]:
    """Columns that are no attributes, even if they are text."""
    kept = {*roles.episode, roles.frame, *roles.actions, roles.rewards, roles.time}
    return {name for name in kept if name} | (set(roles.observations) & set(layout.observations))


def read_files(
    files: Sequence[Path],
    roles: Roles,
    layout: TableLayout = TableLayout(),
    attributes: Sequence[str] = (),
) -> Recording:
    """The episodes of files with the same columns, their rows one after the other.

    Args:
        files: at least one.
        roles: what their columns are.
        layout: what becomes of gaps in time.
        attributes: columns of text, which are kept if they are the same in all of an episode.

    Raises:
        DataError: as :func:`read_table`.
        MissingExtraError: if pyarrow is not installed.
    """
    used = list(dict.fromkeys([*roles.used, *attributes]))
    tables = (ArrowFile.read(file, used) for file in files)
    blocks = [_Block.of(table, roles, attributes) for table in tables if table.rows]
    if not blocks:
        msg, remedy = f"{files[0]} has no episodes: 0 rows", "an episode takes two rows at least"
        raise DataError(msg, place=str(files[0]), value=0, remedy=remedy)
    _check_alike(blocks)
    columns, choices = blocks[0].columns, _choices(blocks, roles)
    order, frames, bounds, anew = _ordered(blocks, roles)
    gaps = time.gaps_of(frames, bounds)
    facts = {"column": roles.frame, **time.describe_time(frames, bounds, gaps, layout)}
    if anew:
        facts["anew"] = anew
    if layout.gaps == "cut":
        bounds = np.union1d(bounds, np.flatnonzero(gaps) + 1)
    observations, actions, rewards = (
        _stack([getattr(block, name) for block in blocks], order)
        for name in ("observations", "actions", "rewards")
    )
    if choices is not None:
        actions, columns = choices.encoded[order], choices.named(columns)
    starts, first = bounds, order[bounds[:-1]]
    rows = Rows(observations, actions, rewards[:, 0] if roles.rewards else None)
    seconds, step = _time_step(blocks, roles, facts["step"], order, bounds)
    rows, frames, bounds = time.regular(rows, frames, bounds, layout)
    if differing := time.differing_steps(frames, bounds):
        facts["steps"] = differing
    kept = np.flatnonzero(np.diff(bounds) > 1)
    provenance: dict[str, Any] = {"frame": facts}
    if seconds is not None:
        step = step if layout.resample is None else seconds * layout.resample
        provenance["time_step"] = time.rounded(step)
    told = _attributes(blocks, roles, order, starts)
    told = {name: tuple(values[first[kept]].tolist()) for name, values in told.items()}
    try:
        episodes = rows.cut(str(files[0]), bounds)
    except DataError as error:
        ids = ", ".join(roles.episode) or "each file"
        msg = f"{error}; '{ids}' was taken for the episode"
        remedy = "name another with --table.episode"
        raise DataError(msg, place=str(files[0]), value=ids, remedy=remedy) from None
    return Recording(episodes, columns, provenance, told)


@dataclass(frozen=True)
class _Block:
    """What one file holds."""

    table: ArrowFile
    columns: Columns
    episodes: tuple[Any, ...]
    frames: np.ndarray
    times: np.ndarray | None
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    attributes: Mapping[str, np.ndarray]

    @property
    def file(self) -> Path:
        return self.table.path

    @classmethod
    def of(cls, table: ArrowFile, roles: Roles, attributes: Sequence[str]) -> "_Block":
        return cls(
            table,
            _columns(table, roles),
            tuple(table.episodes(name) for name in roles.episode),
            table.frames(roles.frame),
            None if roles.time is None else table.frames(roles.time),
            table.numbers(roles.observations),
            table.numbers(roles.actions),
            table.numbers([roles.rewards] if roles.rewards else []),
            {name: table.text(name) for name in attributes},
        )


def _check_alike(blocks: Sequence[_Block]) -> None:
    first = blocks[0]
    for block in blocks:
        if block.columns != first.columns:
            msg = f"{block.file} has columns {_shown(block)}, {first.file.name} {_shown(first)}"
            remedy = "every file needs the same: split the data by kind"
            raise DataError(msg, place=str(block.file), value=_shown(block), remedy=remedy)


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


def _choices(blocks: Sequence[_Block], roles: Roles) -> Choices | None:
    """One-hot actions, if a single column of whole numbers holds choices."""
    if len(roles.actions) != 1 or not all(b.table.is_whole(roles.actions[0]) for b in blocks):
        return None
    actions = np.concatenate([block.actions for block in blocks]).astype(np.int64)
    return one_hot(f"{blocks[0].file}: '{roles.actions[0]}'", actions)


def _ordered(
    blocks: Sequence[_Block], roles: Roles
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """How to bring the rows of an episode together, their frames, and where episodes begin.

    The number at the end tells how often frames began anew inside a file whose rows have no ids.
    """
    file = np.repeat(np.arange(len(blocks)), [len(block.frames) for block in blocks])
    frames = np.concatenate([block.frames for block in blocks])
    codes = _codes(blocks, roles) if roles.episode else file
    ended, order = changes(codes), np.arange(len(codes))
    if np.count_nonzero(ended) > len(np.unique(codes)):
        order = np.argsort(codes, kind="stable")
        frames, file, ended = frames[order], file[order], changes(codes[order])
    falls = ~ended[:-1] & (np.diff(frames) <= 0)
    elsewhere = file[1:] != file[:-1]
    ended[:-1] |= falls & elsewhere  # an id that begins anew in another file is another track
    anew = np.zeros(len(falls), bool)
    if all(block.table.told.issuperset(roles.episode) for block in blocks):
        begins = np.concatenate([[0], np.flatnonzero(ended[:-1]) + 1])
        first = np.repeat(frames[begins], np.diff([*begins, len(frames)]))
        anew = falls & ~elsewhere & (np.diff(frames) < 0) & (frames[1:] <= first[1:])
        ended[:-1] |= anew
    wrong = np.flatnonzero(falls & ~elsewhere & ~anew)
    if len(wrong):
        _refuse_frame(blocks, roles, int(order[wrong[0] + 1]), int(order[wrong[0]]))
    return order, frames, bounds_of(ended), int(anew.sum())


def _codes(blocks: Sequence[_Block], roles: Roles) -> np.ndarray:
    """A number for each row, the same for rows with the same ids."""
    columns = []
    for number in range(len(roles.episode)):
        parts = [block.episodes[number] for block in blocks]
        if len({part.type for part in parts}) > 1:
            parts = [part.cast(pyarrow().string()) for part in parts]
        ids = pyarrow().chunked_array([chunk for part in parts for chunk in part.chunks])
        columns.append(ids.combine_chunks().dictionary_encode().indices.to_numpy())
    if len(columns) == 1:
        return columns[0]
    return np.unique(np.stack(columns, 1), axis=0, return_inverse=True)[1].reshape(-1)


def _time_step(
    blocks: Sequence[_Block], roles: Roles, step: float, order: np.ndarray, bounds: np.ndarray
) -> tuple[float | None, float | None]:
    """Seconds of a unit of frames, and from row to row; None if neither is known."""
    table = blocks[0].table
    seconds = time.seconds_of(
        roles.frame, table.units.get(roles.frame), is_date=table.is_time(roles.frame)
    )
    if seconds is not None:
        return seconds, seconds * step
    if roles.time is None:
        return None, None
    unit = time.seconds_of(
        roles.time, table.units.get(roles.time), is_date=table.is_time(roles.time)
    )
    times = _stack([block.times for block in blocks if block.times is not None], order)
    steps = np.delete(np.diff(times), bounds[1:-1] - 1)
    if unit is None or not len(steps) or not step:
        return None, None
    row = unit * float(np.median(steps))
    return row / step, row


def _attributes(
    blocks: Sequence[_Block], roles: Roles, order: np.ndarray, bounds: np.ndarray
) -> dict[str, np.ndarray]:
    """Text that is the same in all of an episode, by column, for each row; and ids, or files.

    Raises:
        DataError: if other text is among the columns to be observed: it may be a typing error.
    """
    found = {}
    for name in blocks[0].attributes:
        values = np.concatenate([block.attributes[name] for block in blocks])
        changed = changes(values[order])
        changed[bounds[1:] - 1] = False
        is_told = all(name in block.table.told for block in blocks)
        if not changed.any() and (is_told or not any(map(_is_number, np.unique(values)))):
            found[name] = values
        elif name in roles.text_observed:
            for block in blocks:
                block.table.numbers([name])
    for number, name in enumerate(roles.episode):
        parts = [block.episodes[number].to_numpy() for block in blocks]
        found[name] = np.concatenate([np.asarray(part).astype(str) for part in parts])
    if not roles.episode and len(blocks) > 1:
        names = [block.file.stem for block in blocks]
        found["file"] = np.repeat(names, [len(block.frames) for block in blocks])
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _refuse_frame(blocks: Sequence[_Block], roles: Roles, row: int, before: int) -> NoReturn:
    block, row = _located(blocks, row)
    other, before = _located(blocks, before)
    file = block.file
    values = [block.table.shown(roles.frame, row), other.table.shown(roles.frame, before)]
    ids = [str(column[row]) for column in block.episodes]
    named = " ".join(f"{n} {i}" for n, i in zip(roles.episode, ids, strict=True))
    twice = values[0] == values[1]
    fault = "is there twice" if twice else f"comes after {values[1]}"
    remedy = "keep one row a frame" if twice else f"sort the rows by '{roles.frame}'"
    remedy += ", and if it is of another episode, give that one an id of its own"
    if blocks[0].table.is_time(roles.frame) and not twice:
        remedy += "; if the clock was set back, as at the end of summer time, write times in UTC"
        if block.table.is_time_of_day(roles.frame):
            remedy += "; if a day ended, give the date too"
    place = f"{file}: column '{roles.frame}', row {row}"
    msg = f"{place}: {values[0]}{f' of {named}' if named else ''} {fault}"
    raise DataError(msg, place=place, value=values[0], remedy=remedy)


def _located(blocks: Sequence[_Block], row: int) -> tuple[_Block, int]:
    """The file of a row, and its number there."""
    ends = np.cumsum([len(block.frames) for block in blocks])
    number = int(np.searchsorted(ends, row, side="right"))
    return blocks[number], row - int(ends[number] - len(blocks[number].frames))


def _stack(arrays: Sequence[np.ndarray], order: np.ndarray) -> np.ndarray:
    return (arrays[0] if len(arrays) == 1 else np.concatenate(arrays))[order]


def _shown(block: _Block) -> str:
    return ", ".join((*block.columns.observations, *block.columns.actions))
