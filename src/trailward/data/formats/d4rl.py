"""Read the HDF5 files of D4RL: flat arrays, cut into episodes where their flags say so.

The format: Fu et al. 2020, arXiv 2004.07219.
"""

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from trailward.data.formats.guard import check_hdf5, readable
from trailward.data.formats.hdf5_episodes import (
    array_of,
    read_d3rlpy,
    read_robomimic,
    shown,
)
from trailward.data.formats.rows import (
    Recording,
    Rows,
    bounds_of,
    check_axes,
    check_count,
    check_values,
)
from trailward.errors import DataError

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
    """The episodes of an HDF5 file: of D4RL, of robomimic or of d3rlpy.

    In a file of D4RL an episode ends where ``terminals`` or ``timeouts`` is true, the last one at
    the end of the file. Its last observation is that of ``next_observations``; in a file without
    them it is not known what the last action led to, and that action is dropped. The others have
    arrays an episode: ``data/demo_0/obs`` in robomimic, ``observations_0`` in d3rlpy.

    Args:
        path: of D4RL with ``observations``, ``actions``, ``rewards``, ``terminals`` and
            ``timeouts``, a row an environment step; ``next_observations`` is optional, all else is
            not read.

    Raises:
        DataError: names the file, the field and the value that is wrong, and the remedy.
    """
    path = Path(path)
    with (
        readable(path, "a whole HDF5 file", "check the name, or fetch it again"),
        h5py.File(path, "r") as file,
    ):
        check_hdf5(path, file)
        if "data" in file and isinstance(file["data"], h5py.Group):
            return read_robomimic(path, file["data"])
        if "observations_0" in file:
            return read_d3rlpy(path, file)
        if "episode_0" in file:
            remedy = "give the folder that holds 'data/main_data.hdf5'"
            raise DataError(place=str(path), value="one file of a Minari dataset", remedy=remedy)
        fields = _read_fields(path, file)
    _check_shapes(path, fields)
    for name, array in fields.items():
        check_values(f"{path}: '{name}'", array)
    terminated, truncated = fields["terminals"] != 0, fields["timeouts"] != 0
    rows = Rows(
        fields["observations"],
        fields["actions"],
        fields["rewards"],
        fields.get(_NEXT),
        terminated,
        truncated,
    )
    bounds = bounds_of(terminated | truncated)
    bounds, cuts = rows.cut_where_they_contradict(str(path), bounds)
    facts = {"file": path.name} | ({"cuts": cuts} if cuts else {})
    return Recording(rows.cut(str(path), bounds), provenance=facts)


def _read_fields(path: Path, file: h5py.File) -> dict[str, Any]:
    present = sorted(map(shown, file))
    fields: dict[str, Any] = {
        name: array_of(f"{path}: '{name}'", file[name]) for name in (*_AXES, _NEXT) if name in file
    }
    missing = [name for name in _AXES if name not in fields]
    if missing:
        msg = f"{path} has no '{missing[0]}', only {present}; a D4RL file has {', '.join(_AXES)}"
        remedy = "use a later version of it (-v2), or add the field"
        raise DataError(msg, place=f"{path}: '{missing[0]}'", value=present, remedy=remedy)
    return fields


def _check_shapes(path: Path, fields: dict[str, np.ndarray]) -> None:
    for name, array in fields.items():
        place = f"{path}: '{name}'"
        check_axes(place, array, *_AXES.get(name, ("step", "entry")))
        check_count(place, array, len(fields["observations"]))
    expected = fields["observations"].shape
    if _NEXT in fields and (shape := fields[_NEXT].shape) != expected:
        place = f"{path}: '{_NEXT}'"
        remedy = f"'observations' have {expected}: write both with the same entries"
        raise DataError(f"{place} has shape {shape}", place=place, value=shape, remedy=remedy)
