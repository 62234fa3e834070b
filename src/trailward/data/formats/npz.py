"""Read NumPy's ``.npz`` files: named arrays with a row a step, or with an axis of episodes."""

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from trailward.data.episode import Columns, DataError, Episode
from trailward.data.formats.rows import (
    Recording,
    Rows,
    as_numbers,
    bounds_of,
    changes,
    check_axes,
    check_count,
    check_values,
    named_columns,
)

_SUFFIXES = (".npz",)
_FIELDS = {
    "observations": ("observations", "obs", "states", "state"),
    "actions": ("actions", "action", "acts"),
    "rewards": ("rewards", "reward", "rews"),
    "next_observations": ("next_observations", "next_obs"),
}
"""What arrays are called here, and by others: D4RL, imitation, Diffusion Policy."""

_ENDS, _STARTS = "episode_ends", "episode_starts"
_IDS = ("episode", "episode_index", "episode_id", "episodes")
_TERMINATED, _TRUNCATED = ("terminals", "terminations"), ("timeouts", "truncations")
_FLAGS = (*_TERMINATED, *_TRUNCATED, "dones")
_MARKS = (_ENDS, *_IDS, _STARTS, *_FLAGS)
_UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    RuntimeError,
    MemoryError,
    TypeError,
    zipfile.BadZipFile,
    zlib.error,
)


def recognises(path: Path) -> bool:
    """Whether the name is that of such a file."""
    return path.suffix.lower() in _SUFFIXES


def read_npz(path: str | os.PathLike[str]) -> Recording:
    """The episodes of an ``.npz`` file.

    ``observations`` have a row a step, and where episodes end is told by the first there is of

    - ``episode_ends``: the number of rows up to the end of each, as Diffusion Policy writes it;
    - ``episode``: for each row the number or the name of its episode;
    - ``episode_starts``: for each row whether it is a first one, as Stable-Baselines writes it;
    - ``terminals``, ``timeouts``, ``dones``: for each row whether it is a last one, as in D4RL.

    Or they have three axes, (episode, step, entry). ``actions``, ``rewards``,
    ``next_observations``, ``observation_names`` and ``action_names`` may be left out.

    Args:
        path: as ``np.savez`` writes it. Arrays of Python objects are never loaded.

    Raises:
        DataError: names the file, the field and the value that is wrong, and the remedy.
    """
    path = Path(path)
    arrays = _read_arrays(path)
    fields: dict[str, np.ndarray] = {}
    for field, names in _FIELDS.items():
        name = next((name for name in names if name in arrays), None)
        if name is not None:
            fields[field] = as_numbers(f"{path}: '{name}'", arrays[name])
            check_values(f"{path}: '{name}'", fields[field])
    if "observations" not in fields:
        msg = (
            f"{path} has no 'observations', only {sorted(arrays)}; call the array of them so, or "
            f"one of {', '.join(_FIELDS['observations'])}"
        )
        raise DataError(msg)
    cut = _cut_grid if fields["observations"].ndim == 3 else _cut_rows
    return Recording(cut(path, fields, arrays), _columns(path, arrays), {"file": path.name})


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    wanted = {name for names in _FIELDS.values() for name in names}
    wanted |= {*_MARKS, "observation_names", "action_names"}
    found, place = {}, str(path)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            for name in stored.files:
                place = f"{path}: '{name}'"
                found[name] = stored[name] if name in wanted else np.empty(0)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the name") from None
    except _UNREADABLE as error:
        if "allow_pickle" in str(error):
            msg = (
                f"{place} holds pickled Python objects, which could run code and are never "
                "loaded; save arrays of numbers: np.savez(file, observations=array.astype(float))"
            )
            raise DataError(msg) from None
        msg = f"{place} is not whole: {error}; write the .npz file again with np.savez"
        raise DataError(msg) from None
    return found


def _cut_rows(
    path: Path, fields: dict[str, np.ndarray], arrays: dict[str, np.ndarray]
) -> list[Episode]:
    observations = fields["observations"]
    for field, array in fields.items():
        axes = ("step",) if field == "rewards" else ("step", "entry")
        check_axes(f"{path}: '{field}'", array, *axes)
        check_count(f"{path}: '{field}'", array, len(observations))
    reached = fields.get("next_observations")
    if reached is not None and reached.shape != observations.shape:
        msg = (
            f"{path}: 'next_observations' have shape {reached.shape}, 'observations' "
            f"{observations.shape}; write both with the same entries"
        )
        raise DataError(msg)
    actions = fields.get("actions", np.zeros((len(observations), 0)))
    bounds = _bounds(path, arrays, len(observations))
    ends = [_flags(path, arrays, names, len(observations)) for names in (_TERMINATED, _TRUNCATED)]
    return Rows(observations, actions, fields.get("rewards"), reached, *ends).cut(str(path), bounds)


def _cut_grid(
    path: Path, fields: dict[str, np.ndarray], arrays: dict[str, np.ndarray]
) -> list[Episode]:
    observations = fields["observations"]
    marks = [mark for mark in _MARKS if mark in arrays]
    if marks:
        msg = (
            f"{path}: '{marks[0]}' stands beside 'observations' of shape {observations.shape}, "
            "whose first axis are the episodes already; leave it out, or write two axes, a row a "
            "step"
        )
        raise DataError(msg)
    count, length, _ = observations.shape
    if length < 2 or not count:
        msg = (
            f"{path}: 'observations' have shape {observations.shape}; expected (episode, step, "
            "entry) with an episode and two steps at least"
        )
        raise DataError(msg)
    for field in ("actions", "rewards"):
        array = fields.get(field, np.empty((count, length)))
        if array.shape[:2] not in ((count, length), (count, length - 1)):
            msg = (
                f"{path}: '{field}' have shape {array.shape}, 'observations' {observations.shape}; "
                "expected as many episodes, and as many steps or one fewer"
            )
            raise DataError(msg)
    actions = fields.get("actions", np.zeros((count, length, 0)))[:, : length - 1]
    check_axes(f"{path}: 'actions'", actions, "episode", "step", "entry")
    rewards = fields.get("rewards")
    if rewards is not None:
        check_axes(f"{path}: 'rewards'", rewards, "episode", "step")
    return [
        Episode(
            observations[index],
            actions[index],
            None if rewards is None else rewards[index, : length - 1],
        )
        for index in range(count)
    ]


def _bounds(path: Path, arrays: dict[str, np.ndarray], rows: int) -> np.ndarray:
    mark = next((mark for mark in _MARKS if mark in arrays), None)
    if mark is None:
        msg = (
            f"{path} does not tell where episodes end; add '{_ENDS}' (np.cumsum of their lengths) "
            f"or, a value a row, one of {', '.join(_MARKS[1:])}"
        )
        raise DataError(msg)
    place, found = f"{path}: '{mark}'", arrays[mark]
    check_axes(place, found, "episode" if mark == _ENDS else "step")
    if mark == _ENDS:
        return _bounds_of_ends(place, found, rows)
    check_count(place, found, rows)
    if mark in _IDS:
        return _bounds_of_ids(place, found)
    if mark == _STARTS:
        return bounds_of(np.append(as_numbers(place, found)[1:] != 0, True))
    return bounds_of(_flags(path, arrays, _FLAGS, rows))


def _flags(
    path: Path, arrays: dict[str, np.ndarray], names: tuple[str, ...], rows: int
) -> np.ndarray:
    """For each row whether a flag of any of these names is set."""
    found = np.zeros(rows, bool)
    for name in names:
        if name in arrays:
            check_count(f"{path}: '{name}'", arrays[name], rows)
            found |= as_numbers(f"{path}: '{name}'", arrays[name]) != 0
    return found


def _bounds_of_ends(place: str, ends: np.ndarray, rows: int) -> np.ndarray:
    if ends.dtype.kind not in "iu":
        msg = f"{place} holds {ends.dtype}; it must be whole numbers: np.cumsum of the lengths"
        raise DataError(msg)
    bounds = np.concatenate([[0], ends.astype(np.int64)])
    if (np.diff(bounds) <= 0).any():
        index = int(np.argmax(np.diff(bounds) <= 0))
        msg = (
            f"{place}, episode {index} ends at row {bounds[index + 1]}, and begins at "
            f"{bounds[index]}; each must be larger than the one before: np.cumsum of the lengths"
        )
        raise DataError(msg)
    if bounds[-1] != rows:
        msg = (
            f"{place} ends at row {bounds[-1]}, 'observations' have {rows} rows; the last end "
            "must be their number: cut the rows, or add the missing ends"
        )
        raise DataError(msg)
    return bounds


def _bounds_of_ids(place: str, ids: np.ndarray) -> np.ndarray:
    if ids.dtype.kind not in "iuUS":
        msg = f"{place} holds {ids.dtype}; ids are whole numbers or names: ids.astype(int)"
        raise DataError(msg)
    bounds = bounds_of(changes(ids))
    seen: set[object] = set()
    for first in bounds[:-1].tolist():
        if (name := ids[first].item()) in seen:
            msg = (
                f"{place}, row {first} is {name}, which an earlier episode is called already; keep "
                "an episode's rows together, and give each an id of its own"
            )
            raise DataError(msg)
        seen.add(name)
    return bounds


def _columns(path: Path, arrays: dict[str, np.ndarray]) -> Columns:
    names = (_names(path, arrays, f"{kind}_names") for kind in ("observation", "action"))
    return named_columns(str(path), *names)


def _names(path: Path, arrays: dict[str, np.ndarray], field: str) -> list[str]:
    found = arrays.get(field, np.empty(0, str))
    check_axes(f"{path}: '{field}'", found, "entry")
    if found.dtype.kind not in "US":
        msg = f"{path}: '{field}' holds {found.dtype}; it must be text: np.array(['x', 'y'])"
        raise DataError(msg)
    try:
        return [each.decode() if isinstance(each, bytes) else each for each in found.tolist()]
    except UnicodeDecodeError as error:
        msg = f"{path}: '{field}' is not UTF-8: {error}; write the names as np.array(['x', 'y'])"
        raise DataError(msg) from None
