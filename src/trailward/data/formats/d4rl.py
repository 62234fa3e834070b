"""Read the HDF5 files of D4RL: flat arrays, cut into episodes where their flags say so.

The format: Fu et al. 2020, arXiv 2004.07219.
"""

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from trailward.data.episode import DataError
from trailward.data.formats.rows import (
    Recording,
    Rows,
    as_numbers,
    bounds_of,
    check_axes,
    check_count,
    check_values,
)

_SUFFIXES = (".hdf5", ".h5")
_AXES = {
    "observations": ("step", "entry"),
    "actions": ("step", "entry"),
    "rewards": ("step",),
    "terminals": ("step",),
    "timeouts": ("step",),
}
_NEXT = "next_observations"


def recognises(path: Path) -> bool:
    """Whether the name is that of such a file."""
    return path.suffix.lower() in _SUFFIXES


def read_d4rl(path: str | os.PathLike[str]) -> Recording:
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
    path = Path(path)
    fields = _read_fields(path)
    _check_shapes(path, fields)
    for name, array in fields.items():
        check_values(f"{path}: '{name}'", array)
    terminated, truncated = fields["terminals"] != 0, fields["timeouts"] != 0
    recorded = (fields["observations"], fields["actions"], fields["rewards"], fields.get(_NEXT))
    rows = Rows(*recorded, terminated, truncated)
    bounds = bounds_of(terminated | truncated)
    return Recording(rows.cut(str(path), bounds), provenance={"file": path.name})


def _read_fields(path: Path) -> dict[str, np.ndarray]:
    try:
        with h5py.File(path, "r") as file:
            present = sorted(map(_shown, file))
            fields = {
                name: _array(f"{path}: '{name}'", file[name])
                for name in (*_AXES, _NEXT)
                if name in file
            }
    except (OSError, RuntimeError, KeyError) as error:
        msg = f"{path} is not a whole HDF5 file: {error}; check the name, or fetch it again"
        raise DataError(msg) from None
    missing = [name for name in _AXES if name not in fields]
    if missing:
        msg = (
            f"{path} has no '{missing[0]}', only {present}; a D4RL file has "
            f"{', '.join(_AXES)}: use a later version of it (-v2), or add the field"
        )
        raise DataError(msg)
    return fields


def _shown(name: str | bytes) -> str:
    """Of a field: h5py gives bytes where a name is not UTF-8."""
    return name if isinstance(name, str) else name.decode("utf-8", "backslashreplace")


def _array(place: str, found: Any) -> np.ndarray:
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{place} holds no numbers but a group; it must be an array of them")
    return as_numbers(place, found[()])


def _check_shapes(path: Path, fields: dict[str, np.ndarray]) -> None:
    for name, array in fields.items():
        place = f"{path}: '{name}'"
        check_axes(place, array, *_AXES.get(name, ("step", "entry")))
        check_count(place, array, len(fields["observations"]))
    if _NEXT in fields and fields[_NEXT].shape != fields["observations"].shape:
        msg = f"{path}: '{_NEXT}' has shape {fields[_NEXT].shape}, 'observations' another: "
        raise DataError(msg + f"{fields['observations'].shape}; write both with the same entries")
