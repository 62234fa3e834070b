"""Read the HDF5 files of D4RL: flat arrays, cut into episodes where their flags say so.

The format: Fu et al. 2020, arXiv 2004.07219.
"""

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from trailward.trajectory import DataError, Episode

SUFFIXES = (".hdf5", ".h5")
_AXES = {"observations": 2, "actions": 2, "rewards": 1, "terminals": 1, "timeouts": 1}
_NEXT = "next_observations"


def read_d4rl(path: str | os.PathLike[str]) -> list[Episode]:
    """The episodes of a D4RL file.

    An episode ends where ``terminals`` or ``timeouts`` is true, the last one at the end of the
    file. Its last observation is that of ``next_observations``; in a file without them it is not
    known what the last action led to, and that action is dropped.

    Args:
        path: with ``observations``, ``actions``, ``rewards``, ``terminals`` and ``timeouts``, a
            row an environment step; ``next_observations`` is optional, all else is not read.

    Raises:
        DataError: names the file, the field and the value that is wrong, and the remedy.
    """
    fields = _read_fields(Path(path))
    ended = fields["terminals"].astype(bool) | fields["timeouts"].astype(bool)
    ends = np.flatnonzero(ended) + 1
    bounds = np.unique(np.concatenate([[0], ends, [len(ended)]])).tolist()
    episodes = []
    for first, end in pairwise(bounds):
        try:
            episode = _episode(fields, first, end)
        except DataError as error:
            raise DataError(f"{path}, episode of rows {first} to {end - 1}: {error}") from None
        if len(episode) > 0:
            episodes.append(episode)
    return episodes


def _episode(fields: dict[str, np.ndarray], first: int, end: int) -> Episode:
    observations, last = fields["observations"][first:end], end - 1
    if _NEXT in fields:
        observations = np.concatenate([observations, fields[_NEXT][last:end]])
        last = end
    return Episode(observations, fields["actions"][first:last], fields["rewards"][first:last])


def _read_fields(path: Path) -> dict[str, np.ndarray]:
    try:
        with h5py.File(path, "r") as file:
            fields = {name: _array(file[name], name) for name in (*_AXES, _NEXT) if name in file}
            present = sorted(file)
    except OSError as error:
        msg = f"{path} is not a whole HDF5 file: {error}; check the name, or fetch it again"
        raise DataError(msg) from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    missing = [name for name in _AXES if name not in fields]
    if missing:
        msg = (
            f"{path} has no '{missing[0]}', only {present}; a D4RL file has "
            f"{', '.join(_AXES)}: use a later version of it (-v2), or add the field"
        )
        raise DataError(msg)
    _check_shapes(path, fields)
    return fields


def _array(found: Any, name: str) -> np.ndarray:
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "fiub":
        raise DataError(f"'{name}' holds no numbers; it must be an array of them")
    return found[()] if found.dtype.kind == "b" else np.asarray(found[()], dtype=np.float64)


def _check_shapes(path: Path, fields: dict[str, np.ndarray]) -> None:
    rows = len(fields["observations"]) if fields["observations"].ndim else 0
    for name, array in fields.items():
        axes = _AXES.get(name, 2)
        if array.ndim != axes:
            msg = f"{path}: '{name}' has shape {array.shape}; expected {axes} axes, a row a step"
            raise DataError(msg)
        if len(array) != rows:
            msg = (
                f"{path}: '{name}' has {len(array)} rows, 'observations' {rows}; "
                "all fields need as many: cut them to the same steps"
            )
            raise DataError(msg)
    if _NEXT in fields and fields[_NEXT].shape != fields["observations"].shape:
        msg = f"{path}: '{_NEXT}' has shape {fields[_NEXT].shape}, 'observations' another: "
        raise DataError(msg + f"{fields['observations'].shape}")
