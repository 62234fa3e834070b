"""Named arrays, as files of NumPy hold them: which is what, where episodes end, what is padding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Shaped

from trailward.data.choices import one_hot
from trailward.data.episode import Episode
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
from trailward.errors import DataError

Arrays = Mapping[str, Shaped[np.ndarray, "..."]]

FIELDS = {
    "observations": ("observations", "observation", "obs", "states", "state"),
    "actions": ("actions", "action", "acts", "act"),
    "rewards": ("rewards", "reward", "rews"),
    "next_observations": ("next_observations", "next_obs", "next_observation", "next_states"),
}
"""What arrays are called here, and by others: D4RL, imitation, Diffusion Policy."""

_ENDS = ("episode_ends", "traj_ends")
_LENGTHS = ("lengths", "episode_lengths", "length", "seq_lens", "traj_lengths", "num_steps")
_IDS = ("episode", "episode_index", "episode_id", "episodes", "episode_ids", "traj_id")
_STARTS = ("episode_starts", "is_first", "starts", "first")
TERMINATED = ("terminals", "terminal", "terminated", "terminations", "is_terminal")
TRUNCATED = ("timeouts", "timeout", "truncated", "truncations", "truncateds", "TimeLimit.truncated")
_DONE = ("dones", "done", "is_last", "last", "episode_done")
FLAGS = (*TERMINATED, *TRUNCATED, *_DONE)
_VALID = ("mask", "masks", "valid", "is_valid", "valid_mask")
_PADDED = ("is_pad", "pad", "padding", "padding_mask")
_MARKS = (*_ENDS, *_LENGTHS, *_IDS, *_STARTS, *FLAGS)
_NAMES = ("observation_names", "action_names")
USED = (*(name for names in FIELDS.values() for name in names), *_MARKS, *_VALID, *_PADDED, *_NAMES)
"""All that is ever read."""


def recording_of_arrays(path: Path, arrays: Arrays) -> Recording:
    """The episodes of named arrays with a row a step, or with an axis of episodes.

    Args:
        path: of errors: the file.
        arrays: by name; what no name tells is left out, and the provenance says so.

    Raises:
        DataError: names the field and the value that is wrong, and the remedy.
    """
    found: dict[str, np.ndarray] = {}
    names: dict[str, str] = {}
    for field, known in FIELDS.items():
        name = next((name for name in known if name in arrays), None)
        if name is not None:
            names[field], found[field] = name, arrays[name]
    if "observations" not in found:
        msg = f"{path} has no 'observations', only {sorted(arrays)}"
        remedy = f"call the array of them one of {', '.join(FIELDS['observations'])}"
        place = f"{path}: 'observations'"
        raise DataError(msg, place=place, value=sorted(arrays), remedy=remedy)
    choices = one_hot(
        f"{path}: '{names.get('actions')}'",
        found.get("actions"),
        num_axes=max(found["observations"].ndim - 1, 1),
    )
    if choices is not None:
        found["actions"] = choices.encoded
    fields = {
        field: as_numbers(f"{path}: '{names[field]}'", array) for field, array in found.items()
    }
    given = _Given(path, names, fields, arrays)
    episodes, cuts = given.grid() if fields["observations"].ndim == 3 else given.rows()
    columns = named_columns(str(path), *(_entry_names(path, arrays, name) for name in _NAMES))
    if choices is not None:
        columns = choices.named(columns)
    left_out = sorted(set(arrays) - set(names.values()) - set(USED[-2:]) - given.read)
    provenance = {"file": path.name}
    provenance |= {"left_out": left_out} if left_out else {}
    provenance |= {"cuts": cuts} if cuts else {}
    return Recording(episodes, columns, provenance)


@dataclass(frozen=True)
class _Given:
    """Fields of numbers, and all arrays beside them."""

    path: Path
    names: Mapping[str, str]
    fields: Mapping[str, np.ndarray]
    arrays: Arrays

    def place(self, field: str) -> str:
        return f"{self.path}: '{self.names.get(field, field)}'"

    @property
    def read(self) -> set[str]:
        """The marks that are looked at."""
        is_grid = self.fields["observations"].ndim == 3
        present = [mark for mark in _MARKS if mark in self.arrays]
        kinds = (_LENGTHS, _VALID, _PADDED, FLAGS) if is_grid else (_ENDS, _LENGTHS, _IDS)
        for kind in kinds:
            first = [name for name in kind if name in self.arrays]
            if first:
                flags = [name for name in FLAGS if name in present]
                return {first[0], *flags}
        return set(present)

    def flag(self, names: Sequence[str], shape: tuple[int, ...]) -> Bool[np.ndarray, "..."]:
        """Where one of these flags is set."""
        found = np.zeros(shape, bool)
        for name in names:
            if name in self.arrays:
                place, flags = f"{self.path}: '{name}'", self.arrays[name]
                if flags.shape == (*shape, 1):
                    flags = flags[..., 0]
                if flags.ndim == 1 and len(shape) == 1:
                    check_count(place, flags, shape[0])
                if flags.shape != shape:
                    msg = f"{place} has shape {flags.shape}"
                    remedy = f"'observations' have {shape} steps: give a value a step"
                    raise DataError(msg, place=place, value=flags.shape, remedy=remedy)
                found |= as_numbers(place, flags) != 0
        return found

    def rows(self) -> tuple[list[Episode], int]:
        """Episodes of arrays with a row a step, and how often they were cut besides."""
        observations = self.fields["observations"]
        for field, array in self.fields.items():
            axes = ("step",) if field == "rewards" else ("step", "entry")
            check_axes(self.place(field), array, *axes)
            check_count(self.place(field), array, len(observations))
            check_values(self.place(field), array)
        reached = self.fields.get("next_observations")
        if reached is not None and reached.shape != observations.shape:
            place = self.place("next_observations")
            msg = f"{place} have shape {reached.shape}"
            remedy = f"'observations' have {observations.shape}: write both with the same entries"
            raise DataError(msg, place=place, value=reached.shape, remedy=remedy)
        count = len(observations)
        actions = self.fields.get("actions", np.zeros((count, 0)))
        bounds = _bounds(self, count)
        ends = (self.flag(names, (count,)) for names in (TERMINATED, TRUNCATED))
        rows = Rows(observations, actions, self.fields.get("rewards"), reached, *ends)
        bounds, cuts = rows.cut_where_they_contradict(str(self.path), bounds)
        return rows.cut(str(self.path), bounds), cuts

    def grid(self) -> tuple[list[Episode], int]:
        """Episodes of arrays with an axis of them; 0: they are not cut besides."""
        observations = self.fields["observations"]
        marks = [mark for mark in (*_ENDS, *_IDS, *_STARTS) if mark in self.arrays]
        if marks:
            place, shape = f"{self.path}: '{marks[0]}'", observations.shape
            msg = (
                f"{place} stands beside 'observations' of shape {shape}, whose first axis are the "
                "episodes already"
            )
            remedy = "leave it out, or write two axes, a row a step"
            raise DataError(msg, place=place, value=shape, remedy=remedy)
        count, length, _ = observations.shape
        if length < 2 or not count:
            place, shape = self.place("observations"), observations.shape
            remedy = "give (episode, step, entry) with an episode and two steps at least"
            raise DataError(f"{place} have shape {shape}", place=place, value=shape, remedy=remedy)
        for field in ("actions", "rewards", "next_observations"):
            array = self.fields.get(field, np.empty((count, length)))
            if array.shape[:2] not in ((count, length), (count, length - 1)):
                place, shape = self.place(field), array.shape
                msg = f"{place} have shape {shape}, 'observations' {observations.shape}"
                remedy = "give as many episodes, and as many steps or one fewer"
                raise DataError(msg, place=place, value=shape, remedy=remedy)
            if field in self.fields:
                axes = ("episode", "step", "entry")
                check_axes(self.place(field), array, *axes[: 2 if field == "rewards" else 3])
        lengths = _lengths(self, count, length)
        episodes = [self._of_grid(index, rows) for index, rows in enumerate(lengths) if rows > 1]
        if not episodes:
            msg = f"{self.path} has no episodes: none has two steps"
            raise DataError(msg, place=str(self.path), value=lengths, remedy="check the lengths")
        return episodes, 0

    def _of_grid(self, index: int, rows: int) -> Episode:
        part = {
            field: array[index, : rows - (field != "observations")]
            for field, array in self.fields.items()
        }
        for field, array in part.items():
            try:
                check_values(f"{self.place(field)}, episode {index}", array)
            except DataError as error:
                remedy = (
                    f"{error.remedy}; if shorter episodes are padded, add 'lengths' (rows of each) "
                    "or 'mask' (a value a step)"
                )
                raise DataError(place=error.place, value=error.value, remedy=remedy) from None
        ends = (bool(self.flagged_in_grid(n)[index, rows - 1]) for n in (TERMINATED, TRUNCATED))
        actions = part.get("actions", np.zeros((rows - 1, 0)))
        return Episode(part["observations"], actions, part.get("rewards"), *ends)

    def flagged_in_grid(self, names: Sequence[str]) -> Bool[np.ndarray, "episode step"]:
        """Where one of these flags is set, for each observation of a grid.

        Flags that are given for each action stand at the observation that it led to.
        """
        count, length = self.fields["observations"].shape[:2]
        shapes = [self.arrays[name].shape[:2] for name in names if name in self.arrays]
        if shapes and shapes[0] == (count, length - 1):
            return np.pad(self.flag(names, (count, length - 1)), ((0, 0), (1, 0)))
        return self.flag(names, (count, length))


def _lengths(given: _Given, count: int, length: int) -> list[int]:
    """Rows of each episode that are not padding."""
    name = next((name for name in _LENGTHS if name in given.arrays), None)
    if name is not None:
        place, found = f"{given.path}: '{name}'", given.arrays[name]
        _check_whole(place, found)
        if found.shape != (count,) or found.min() < 0 or found.max() > length:
            remedy = (
                f"it must be the number of rows of each of the {count} episodes, at most {length}"
            )
            raise DataError(place=place, value=found.ravel()[:8].tolist(), remedy=remedy)
        return [int(rows) for rows in found]
    for names, padded in ((_VALID, False), (_PADDED, True)):
        if any(name in given.arrays for name in names):
            valid = given.flag(names, (count, length)) != padded
            rows = valid.sum(1)
            wrong = np.flatnonzero((valid != (np.arange(length) < rows[:, None])).any(1))
            if len(wrong):
                name = next(name for name in names if name in given.arrays)
                place = f"{given.path}: '{name}', episode {wrong[0]}"
                msg = f"{place} has padding before or between its rows"
                remedy = "put its rows first, or write it as two episodes"
                raise DataError(msg, place=place, value=valid[wrong[0]].tolist(), remedy=remedy)
            return rows.tolist()
    ended = given.flagged_in_grid(FLAGS)
    ended[:, -1] = True
    return (ended.argmax(1) + 1).tolist()


def _bounds(given: _Given, rows: int) -> Int[np.ndarray, "bound"]:
    arrays = given.arrays
    mark = next((mark for mark in _MARKS if mark in arrays), None)
    if mark is None:
        msg = f"{given.path} does not tell where episodes end"
        remedy = (
            f"add '{_ENDS[0]}' (np.cumsum of their lengths) or, a value a row, one of "
            f"{', '.join((*_IDS, *_STARTS, *FLAGS))}"
        )
        raise DataError(msg, place=str(given.path), value=sorted(arrays), remedy=remedy)
    place, found = f"{given.path}: '{mark}'", arrays[mark]
    if mark not in FLAGS:
        check_axes(place, found, "episode" if mark in (*_ENDS, *_LENGTHS) else "step")
    if mark in _ENDS:
        return _bounds_of_ends(place, found, rows)
    if mark in _LENGTHS:
        _check_whole(place, found)
        return _bounds_of_ends(place, np.cumsum(found), rows)
    if mark in _IDS:
        check_count(place, found, rows)
        return _bounds_of_ids(place, found)
    ended = given.flag(FLAGS, (rows,))
    begins = given.flag(_STARTS, (rows,))
    ended[:-1] |= begins[1:]
    return bounds_of(ended)


def _check_whole(place: str, found: np.ndarray) -> None:
    if found.dtype.kind not in "iu":
        kind, remedy = str(found.dtype), "it must be whole numbers: np.cumsum of the lengths"
        raise DataError(f"{place} holds {kind}", place=place, value=kind, remedy=remedy)


def _bounds_of_ends(place: str, ends: np.ndarray, rows: int) -> Int[np.ndarray, "bound"]:
    _check_whole(place, ends)
    bounds = np.concatenate([[0], ends.astype(np.int64)])
    if (np.diff(bounds) <= 0).any():
        index = int(np.argmax(np.diff(bounds) <= 0))
        begin, end = bounds[index : index + 2].tolist()
        place = f"{place}, episode {index}"
        msg = f"{place} ends at row {end}, and begins at {begin}"
        remedy = "each must be larger than the one before: np.cumsum of the lengths"
        raise DataError(msg, place=place, value=end, remedy=remedy)
    if bounds[-1] != rows:
        msg = f"{place} ends at row {bounds[-1]}, 'observations' have {rows} rows"
        remedy = "the last end must be their number: cut the rows, or add the missing ends"
        raise DataError(msg, place=place, value=int(bounds[-1]), remedy=remedy)
    return bounds


def _bounds_of_ids(place: str, ids: np.ndarray) -> Int[np.ndarray, "bound"]:
    if ids.dtype.kind not in "iuUS":
        kind, remedy = str(ids.dtype), "ids are whole numbers or names: ids.astype(int)"
        raise DataError(f"{place} holds {kind}", place=place, value=kind, remedy=remedy)
    bounds = bounds_of(changes(ids))
    seen: set[object] = set()
    for first in bounds[:-1].tolist():
        if (name := ids[first].item()) in seen:
            remedy = (
                "an earlier episode is called so already: keep an episode's rows together, and "
                "give each an id of its own"
            )
            raise DataError(place=f"{place}, row {first}", value=name, remedy=remedy)
        seen.add(name)
    return bounds


def _entry_names(path: Path, arrays: Arrays, field: str) -> list[str]:
    place, found = f"{path}: '{field}'", arrays.get(field, np.empty(0, str))
    check_axes(place, found, "entry")
    if found.dtype.kind not in "US":
        kind, remedy = str(found.dtype), "it must be text: np.array(['x', 'y'])"
        raise DataError(f"{place} holds {kind}", place=place, value=kind, remedy=remedy)
    try:
        return [each.decode() if isinstance(each, bytes) else each for each in found.tolist()]
    except UnicodeDecodeError as error:
        msg, remedy = f"{place} is not UTF-8: {error}", "write the names as np.array(['x', 'y'])"
        raise DataError(msg, place=place, value=str(error), remedy=remedy) from None
