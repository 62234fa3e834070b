"""Read NumPy's ``.npz`` files: named arrays with a row a step, or with an axis of episodes."""

import os
import zipfile
from pathlib import Path

import numpy as np

from trailward.data.formats.arrays import USED, recording_of_arrays
from trailward.data.formats.guard import check_size, readable
from trailward.data.formats.rows import Recording
from trailward.errors import DataError

_SUFFIXES = (".npz",)


def recognises(path: Path) -> bool:
    """Whether the name is that of such a file."""
    return path.suffix.lower() in _SUFFIXES


def read_npz(path: str | os.PathLike[str]) -> Recording:
    """The episodes of an ``.npz`` file.

    ``observations`` have a row a step, and where episodes end is told by the first there is of

    - ``episode_ends``: the number of rows up to the end of each, as Diffusion Policy writes it;
    - ``lengths``: the number of rows of each;
    - ``episode``: for each row the number or the name of its episode;
    - ``episode_starts``, ``terminals``, ``timeouts``, ``terminated``, ``truncated``, ``dones`` and
      their like, together: for each row whether it is a first or a last one.

    Or they have three axes, (episode, step, entry), with ``lengths`` or ``mask`` if shorter ones
    are padded. ``actions``, ``rewards``, ``next_observations``, ``observation_names`` and
    ``action_names`` may be left out.

    Args:
        path: as ``np.savez`` writes it. Arrays of Python objects are never loaded.

    Raises:
        DataError: names the file, the field and the value that is wrong, and the remedy.
    """
    path = Path(path)
    remedy = "write the .npz file again with np.savez"
    found: dict[str, np.ndarray] = {}
    with readable(path, "whole", remedy):
        _check_sizes(path)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            for name in stored.files:
                found[name] = _array(path, stored, name) if name in USED else np.empty(0)
    return recording_of_arrays(path, found)


def _check_sizes(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            if file.read(1) == b"\x80":  # as pickles begin
                raise _pickled(path)
        return
    with zipfile.ZipFile(path) as archive:
        names = {f"{name}.npy" for name in USED}
        for entry in archive.infolist():
            if entry.filename in names:
                check_size(f"{path}: '{entry.filename[:-4]}'", entry.file_size, path)


def _array(path: Path, stored: "np.lib.npyio.NpzFile", name: str) -> np.ndarray:
    place = f"{path}: '{name}'"
    with readable(place, "whole", "write the .npz file again with np.savez"):
        try:
            return stored[name]
        except ValueError as error:
            if "allow_pickle" in str(error):
                raise _pickled(place) from None
            raise


def _pickled(place: object) -> DataError:
    remedy = (
        "save arrays of numbers; episodes of unequal length as rows: np.savez(file, "
        "observations=np.concatenate(list), episode_ends=np.cumsum([len(e) for e in list]))"
    )
    value = "pickled Python objects"
    msg = f"{place} holds {value}, which could run code and are never loaded"
    return DataError(msg, place=str(place), value=value, remedy=remedy)
