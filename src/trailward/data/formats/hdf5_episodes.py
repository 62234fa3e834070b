"""Read HDF5 files that hold arrays for each episode, as robomimic and d3rlpy write them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from trailward.data.choices import one_hot
from trailward.data.episode import Columns, Episode
from trailward.data.formats.rows import (
    Recording,
    Rows,
    as_numbers,
    check_axes,
    check_count,
    check_values,
    named_columns,
)
from trailward.errors import DataError

_MOST_ENTRIES = 1_000
"""Most entries of an array of observations; with more it is pictures or clouds of points."""


def read_robomimic(path: Path, data: Any) -> Recording:
    """The episodes of robomimic: groups ``demo_0`` ..., each with ``obs``, ``actions``, ``dones``.

    All arrays of numbers below ``obs`` are observed, side by side in alphabetical order; pictures
    are left out, and the provenance says so.
    """
    demos = sorted((str(name) for name in data if str(name).startswith("demo")), key=_number)
    if not demos or "obs" not in data[demos[0]]:
        remedy = "record it with observations: robomimic's dataset_states_to_obs.py makes them"
        msg, place = f"{path} has no 'data/demo_0/obs'", f"{path}: 'data'"
        raise DataError(msg, place=place, value=demos, remedy=remedy)
    first = data[demos[0]]["obs"]
    keys = [str(key) for key in sorted(first) if _is_vector(first[key])]
    left_out = sorted(str(key) for key in first if str(key) not in keys)
    if not keys:
        place = f"{path}: 'data/{demos[0]}/obs'"
        msg = f"{place} has no vectors of numbers, only {left_out}"
        raise DataError(msg, place=place, value=left_out, remedy="add some")
    episodes = []
    for name in demos:
        demo = data[name]
        observed = [_checked(f"{path}: 'data/{name}/obs/{k}'", demo["obs"][k]) for k in keys]
        led_to = demo.get("next_obs")
        reached = None
        if led_to is not None and all(key in led_to for key in keys):
            reached = np.concatenate(
                [_checked(f"{path}: 'data/{name}/next_obs/{key}'", led_to[key]) for key in keys], 1
            )
        place = f"{path}: 'data/{name}'"
        episodes += _episode(place, np.concatenate(observed, 1), demo, reached)
    names = [
        key if width == 1 else f"{key}.{entry}"
        for key in keys
        for width in [first[key].shape[1]]
        for entry in range(width)
    ]
    facts = {"file": path.name} | ({"left_out": left_out} if left_out else {})
    return Recording(episodes, named_columns(str(path), names, ()), facts)


def read_d3rlpy(path: Path, file: Any) -> Recording:
    """The episodes of d3rlpy: arrays ``observations_0``, ``actions_0``, ``terminated_0`` ..."""
    names = sorted((str(n) for n in file if str(n).startswith("observations_")), key=_number)
    episodes, columns = [], Columns()
    for name in names:
        number = name.rpartition("_")[2]
        observed = _checked(f"{path}: '{name}'", file[name])
        given = {
            field: file[f"{field}_{number}"]
            for field in ("actions", "rewards", "terminated")
            if f"{field}_{number}" in file
        }
        episodes += _episode(f"{path}: episode {number}", observed, given, None)
    return Recording(episodes, columns, {"file": path.name})


def _episode(
    place: str, observations: np.ndarray, given: Mapping[str, Any], reached: np.ndarray | None
) -> list[Episode]:
    """The episode of some arrays; none, if it is of a single row."""
    count = len(observations)
    actions, rewards = np.zeros((count, 0)), None
    if "actions" in given:
        raw = np.asarray(given["actions"][()])
        where = f"{place}, 'actions'"
        if one_hot(where, raw) is not None:
            remedy = "write it as an .npz file, whose choices are read"
            msg = f"{where} are choices, which are not read from this format"
            raise DataError(msg, place=where, value=str(raw.dtype), remedy=remedy)
        actions = _checked(where, given["actions"])
        check_count(where, actions, count)
    if "rewards" in given:
        rewards = as_numbers(f"{place}, 'rewards'", given["rewards"][()]).reshape(-1)
        check_count(f"{place}, 'rewards'", rewards, count)
        check_values(f"{place}, 'rewards'", rewards)
    if reached is not None and reached.shape != observations.shape:
        where = f"{place}: 'next_obs'"
        remedy = f"'obs' has {observations.shape}: write both with the same entries"
        msg = f"{where} has shape {reached.shape}"
        raise DataError(msg, place=where, value=reached.shape, remedy=remedy)
    ended = np.zeros(count, bool)
    if count and "terminated" in given:
        ended[-1] = bool(np.asarray(given["terminated"][()]).any())
    if count < 2 - (reached is not None):
        return []
    rows = Rows(observations, actions, rewards, reached, terminated=ended)
    return rows.cut(place, np.array([0, count]))


def shown(name: str | bytes) -> str:
    """The name of a field; h5py gives bytes where it is not UTF-8."""
    return name if isinstance(name, str) else name.decode("utf-8", "backslashreplace")


def array_of(place: str, found: Any) -> np.ndarray:
    """The numbers of a field.

    Raises:
        DataError: if it is a group, or holds no numbers.
    """
    if not isinstance(found, h5py.Dataset):
        raise DataError(place=place, value="a group", remedy="it must be an array of numbers")
    return as_numbers(place, found[()])


def _checked(place: str, found: Any) -> np.ndarray:
    array = array_of(place, found)
    check_axes(place, array, "step", "entry")
    check_values(place, array)
    return array


def _is_vector(found: Any) -> bool:
    is_array = isinstance(found, h5py.Dataset) and found.ndim == 2 and found.dtype.kind in "fiub"
    return is_array and found.shape[1] <= _MOST_ENTRIES


def _number(name: str) -> tuple[int, str]:
    found = re.search(r"(\d+)$", name)
    return (int(found[1]) if found else 0, name)
