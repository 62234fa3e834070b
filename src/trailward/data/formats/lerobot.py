"""Read the folders of LeRobot: Parquet files with a row a frame, described by ``meta/info.json``.

The format: huggingface/lerobot, docs/source/lerobot-dataset-v3.mdx. Pictures are not read.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trailward.data.formats.guard import readable
from trailward.data.formats.roles import Roles, TableLayout
from trailward.data.formats.rows import Recording
from trailward.data.formats.table import read_files
from trailward.errors import DataError

_INFO = "meta/info.json"
_VERSIONS = ("v2", "v3")
_STATES = ("observation.state", "observation.environment_state")
_NUMBERS = ("float", "int", "uint", "bool")


def recognises(path: Path) -> bool:
    """Whether a folder has the description, or at least its data."""
    return (path / _INFO).exists() or any(path.glob("data/**/*.parquet"))


def read_lerobot(path: str | os.PathLike[str], layout: TableLayout = TableLayout()) -> Recording:
    """The episodes of a LeRobot dataset.

    Observations are ``observation.state`` and ``observation.environment_state``, or all features
    of numbers whose names begin with ``observation.`` where there is neither; actions are
    ``action``, or all that begin with ``action.``; rewards are ``next.reward``.

    Args:
        path: a folder with ``meta/info.json`` and ``data/**/*.parquet``, version 2 or 3.
        layout: which features are to be what instead.

    Raises:
        DataError: names the file, the feature and the value that is wrong, and the remedy.
        MissingExtraError: if pyarrow is not installed.
    """
    path = Path(path)
    info = _read_info(path / _INFO)
    features = {name: told for name, told in info["features"].items() if _is_vector(told)}
    files = sorted(path.glob("data/**/*.parquet"))
    if not files:
        msg = f"{path} has no Parquet file in 'data'"
        raise DataError(msg, place=str(path), remedy="fetch the dataset again, with its data")
    roles = _roles(path / _INFO, features, layout)
    recording = read_files(files, roles, layout)
    _check_promises(path / _INFO, info, roles, recording)
    left_out = sorted(set(info["features"]) - set(roles.used))
    facts = {name: info.get(name) for name in ("codebase_version", "fps", "robot_type")}
    facts = {"file": path.name, **facts, **recording.provenance, "left_out": left_out}
    if type(info.get("fps")) in (int, float) and info["fps"] > 0 and layout.resample is None:
        facts["time_step"] = 1 / info["fps"]
    return replace(recording, provenance=facts)


def _read_info(file: Path) -> dict[str, Any]:
    if not file.exists():
        msg = f"{file} does not exist, so the folder tells no features"
        remedy = "fetch the dataset again, or name one of its Parquet files"
        raise DataError(msg, place=str(file), remedy=remedy)
    with readable(file, "readable JSON", "fetch the dataset again"):
        info = json.loads(file.read_text(encoding="utf-8"))
    version = info.get("codebase_version") if isinstance(info, dict) else None
    if not str(version).startswith(_VERSIONS):
        place = f"{file}: 'codebase_version'"
        remedy = f"convert the dataset with LeRobot to version {' or '.join(_VERSIONS)}"
        raise DataError(place=place, value=version, remedy=remedy)
    features = info.get("features")
    if not isinstance(features, dict) or not all(isinstance(f, dict) for f in features.values()):
        msg, place = f"{file} has no 'features' with a description each", f"{file}: 'features'"
        raise DataError(msg, place=place, value=features, remedy="fetch the dataset again")
    return info


def _is_vector(feature: Mapping[str, Any]) -> bool:
    shape = feature.get("shape")
    is_number = str(feature.get("dtype")).startswith(_NUMBERS)
    return is_number and isinstance(shape, list) and [type(size) for size in shape] == [int]


def _roles(file: Path, features: Mapping[str, Mapping[str, Any]], layout: TableLayout) -> Roles:
    states = [name for name in _STATES if name in features]
    observations = states or [name for name in features if name.startswith("observation.")]
    actions = [name for name in ("action",) if name in features]
    actions = actions or [name for name in features if name.startswith("action.")]
    rewards = "next.reward" if "next.reward" in features else None
    roles = Roles(
        tuple(layout.episode) or ("episode_index",),
        layout.frame or "frame_index",
        tuple(layout.observations or observations),
        tuple(layout.actions or actions),
        layout.rewards or rewards,
        entry_names={name: _names(told.get("names")) for name, told in features.items()},
    )
    missing = [name for name in roles.used if name not in features]
    if missing or not roles.observations:
        wanted = missing[0] if missing else "observation.state"
        place = f"{file}: 'features'"
        remedy = "name features with --table.observations and its like"
        msg = f"{place} have no numbers called '{wanted}', only {', '.join(features)}"
        raise DataError(msg, place=place, value=list(features), remedy=remedy)
    return roles


def _names(told: Any) -> list[str]:
    """Names of entries: a list, ``{"motors": list}`` or ``{name: place}``."""
    if isinstance(told, dict):
        lists = [names for names in told.values() if isinstance(names, list)]
        told = [name for names in lists for name in names] if lists else list(told)
    return [str(name) for name in told] if isinstance(told, list) else []


def _check_promises(file: Path, info: Mapping[str, Any], roles: Roles, found: Recording) -> None:
    promised = info.get("total_frames")
    count = found.provenance["frame"]["count"]
    if isinstance(promised, int) and promised != count:
        remedy = f"'data' has {count} rows: fetch the files that are missing"
        raise DataError(place=f"{file}: 'total_frames'", value=promised, remedy=remedy)
    for names, columns in (
        (roles.observations, found.columns.observations),
        (roles.actions, found.columns.actions),
    ):
        entries = sum(info["features"][name]["shape"][0] for name in names)
        if entries != len(columns):
            place = f"{file}: 'shape' of {', '.join(names)}"
            remedy = f"'data' has {len(columns)}: correct it, or fetch the dataset again"
            msg = f"{place} promises {entries} entries"
            raise DataError(msg, place=place, value=entries, remedy=remedy)
