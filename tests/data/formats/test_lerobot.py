"""A folder as LeRobot 3 writes it is read as the same windows.

LeRobot asks for Python 3.12, so the folder is made here: by ``datasets``, with the features and
the layout of ``lerobot/datasets/dataset_writer.py`` and ``feature_utils.py``.
"""

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from rows import ACTIONS, EPISODE, FRAME, OBSERVATIONS, REWARDS, WALKS, assert_same

from refusals import refused
from trailward.data.dataset import Dataset, read_dataset
from trailward.data.episode import Columns, Episode
from trailward.data.formats.table import TableLayout

FEATURES: dict[str, dict[str, Any]] = {
    "observation.state": {"dtype": "float32", "shape": [2], "names": {"motors": ["hip", "knee"]}},
    "observation.images.top": {
        "dtype": "video",
        "shape": [480, 640, 3],
        "names": ["height", "width", "channels"],
    },
    "observation.effort": {"dtype": "float32", "shape": [1], "names": ["hip"]},
    "action": {"dtype": "float32", "shape": [2], "names": ["hip.pos", "knee.pos"]},
    "next.reward": {"dtype": "float32", "shape": [1], "names": None},
    "next.done": {"dtype": "bool", "shape": [1], "names": None},
    "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    "frame_index": {"dtype": "int64", "shape": [1], "names": None},
    "episode_index": {"dtype": "int64", "shape": [1], "names": None},
    "index": {"dtype": "int64", "shape": [1], "names": None},
    "task_index": {"dtype": "int64", "shape": [1], "names": None},
}
VALUES: dict[str, np.ndarray] = {
    "observation.state": OBSERVATIONS,
    "observation.effort": OBSERVATIONS[:, 0] * 3,
    "action": ACTIONS,
    "next.reward": REWARDS,
    "next.done": np.append(FRAME[1:] == 0, True),
    "timestamp": FRAME / 30,
    "frame_index": FRAME,
    "episode_index": EPISODE,
    "index": np.arange(len(FRAME)),
    "task_index": np.zeros(len(FRAME), int),
}
AS_FLOAT32 = Dataset(
    [
        Episode(
            *(array.astype("f4").astype("f8") for array in (e.observations, e.actions, e.rewards))
        )
        for e in WALKS.episodes
    ]
)


def hf_features(names: list[str]) -> datasets.Features:
    """As LeRobot's function of that name: scalars for shape (1,), else sequences."""
    found = {}
    for name in names:
        value = datasets.Value(FEATURES[name]["dtype"])
        (length,) = FEATURES[name]["shape"]
        found[name] = value if length == 1 else datasets.Sequence(value, length=length)
    return datasets.Features(found)


def write_folder(folder: Path, *, cuts: tuple[int, ...] = (12, 34), **info: Any) -> Path:
    """Episodes up to each cut in a file of their own, below ``data/chunk-000``."""
    (folder / "meta").mkdir(parents=True)
    told = {
        "codebase_version": "v3.0",
        "robot_type": "so101",
        "fps": 30,
        "total_episodes": 4,
        "total_frames": 34,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "features": FEATURES,
    }
    (folder / "meta/info.json").write_text(json.dumps(told | info))
    begin = 0
    for number, end in enumerate(cuts):
        columns = {name: array[begin:end].tolist() for name, array in VALUES.items()}
        path = folder / f"data/chunk-000/file-{number:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(columns, features=hf_features(list(columns))).to_parquet(path)
        begin = end
    (folder / "meta/episodes/chunk-000").mkdir(parents=True)
    (folder / "meta/episodes/chunk-000/file-000.parquet").write_bytes(b"not for us")
    return folder


@pytest.mark.parametrize("cuts", [(34,), (12, 34), (5, 20, 34)])
def test_a_folder_gives_the_same_windows(cuts: tuple[int, ...], tmp_path: Path) -> None:
    found = read_dataset(write_folder(tmp_path / "pick", cuts=cuts))
    assert_same(found, AS_FLOAT32)
    np.testing.assert_array_equal(found.returns, AS_FLOAT32.returns)
    assert found.columns == Columns(("hip", "knee"), ("hip.pos", "knee.pos"))
    assert found.provenance["fps"] == 30
    assert found.provenance["left_out"] == [
        "index", "next.done", "observation.effort", "observation.images.top", "task_index",
        "timestamp",
    ]  # fmt: skip


def test_other_features_can_be_asked_for(tmp_path: Path) -> None:
    layout = TableLayout(observations=("observation.effort", "observation.state"))
    found = read_dataset(write_folder(tmp_path / "pick"), layout)
    names = ("observation.effort.hip", "observation.state.hip", "observation.state.knee")
    assert found.columns.observations == names
    np.testing.assert_array_equal(
        found.episodes[0].observations[:, 0], VALUES["observation.effort"][:10].astype("f4")
    )


def test_without_actions_plans_are_over_states(tmp_path: Path) -> None:
    features = {name: told for name, told in FEATURES.items() if name != "action"}
    found = read_dataset(write_folder(tmp_path / "watched", features=features))
    assert_same(found, AS_FLOAT32, with_actions=False)


def test_without_a_state_all_observed_numbers_are_taken(tmp_path: Path) -> None:
    features = {name: told for name, told in FEATURES.items() if name != "observation.state"}
    found = read_dataset(write_folder(tmp_path / "pick", features=features))
    assert found.columns.observations == ("hip",)
    assert "observation.images.top" in found.provenance["left_out"]


@pytest.mark.parametrize(
    ("info", "field", "value", "remedy"),
    [
        ({"codebase_version": "v4.1"}, "'codebase_version'", "v4.1", "convert"),
        ({"total_frames": 50}, "'total_frames'", 50, "'data' has 34 rows: fetch"),
        ({"features": []}, "'features'", [], "fetch"),
        (
            {"features": {**FEATURES, "action": {"dtype": "float32", "shape": [7]}}},
            "'shape' of action",
            7,
            "'data' has 2",
        ),
    ],
)
def test_a_description_that_is_not_kept_is_named(
    info: dict[str, Any], field: str, value: object, remedy: str, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "pick", **info)
    with refused(place=f"{folder / 'meta/info.json'}: {field}", value=value, remedy=remedy):
        read_dataset(folder)
