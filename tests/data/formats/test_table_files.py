"""What pyarrow, pandas and csv write is read as the same windows."""

import csv
import sys
from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rows import (
    ACTIONS,
    EPISODE,
    FRAME,
    OBSERVATIONS,
    REWARDS,
    WALKS,
    assert_same,
    assert_same_rewards,
)

from refusals import refused
from trailward.data.dataset import read_dataset
from trailward.data.episode import Columns
from trailward.data.formats.table import TableLayout
from trailward.data.statistics import told_by
from trailward.optional import MissingExtraError

COLUMNS = {
    "episode": EPISODE,
    "frame": FRAME,
    "x (m)": OBSERVATIONS[:, 0],
    "y (m)": OBSERVATIONS[:, 1],
    "action_x": ACTIONS[:, 0],
    "action_y": ACTIONS[:, 1],
    "reward": REWARDS,
}
NAMES = Columns(("x", "y"), ("action_x", "action_y"), {"x": "m", "y": "m"})
WATCHED = {name: COLUMNS[name] for name in ("episode", "frame", "x (m)", "y (m)")}


def by_pyarrow(path: Path, columns: dict) -> None:
    pq.write_table(pa.table(columns), path)


def by_pandas(path: Path, columns: dict) -> None:
    pandas.DataFrame(columns).to_parquet(path, index=False)


def by_pandas_with_index(path: Path, columns: dict) -> None:
    pandas.DataFrame(columns).to_csv(path)


def by_csv(path: Path, columns: dict) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))


@pytest.mark.parametrize(
    ("write", "suffix"),
    [
        (by_pyarrow, "parquet"),
        (by_pandas, "parquet"),
        (by_pandas_with_index, "csv"),
        (by_csv, "csv"),
        (by_csv, "CSV"),
    ],
)
def test_each_writer_gives_the_same_windows(write, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"walks.{suffix}"
    write(path, COLUMNS)
    found = read_dataset(path)
    assert_same(found, WALKS)
    assert_same_rewards(found, WALKS)
    assert found.columns == NAMES
    assert found.provenance["frame"] == {"column": "frame", "count": 34, "step": 1.0, "gaps": 0}


def test_columns_of_lists_and_units_in_their_metadata(tmp_path: Path) -> None:
    state = pa.array(OBSERVATIONS.tolist(), pa.list_(pa.float64(), 2))
    fields = [
        pa.field("episode_index", pa.int64()),
        pa.field("frame_index", pa.int64()),
        pa.field("height", pa.float64(), metadata={"unit": "m"}),
        pa.field("state", state.type, metadata={"unit": "rad"}),
        pa.field("action", pa.list_(pa.float64())),
    ]
    height = np.arange(len(EPISODE)) / 7
    columns = [EPISODE, FRAME, height, state, ACTIONS.tolist()]
    pq.write_table(pa.table(columns, schema=pa.schema(fields)), tmp_path / "lists.parquet")
    found = read_dataset(tmp_path / "lists.parquet")
    expected = ("height", "state.0", "state.1")
    units = {"height": "m", "state.0": "rad", "state.1": "rad"}
    assert found.columns == Columns(expected, ("action.0", "action.1"), units)
    np.testing.assert_array_equal(found.episodes[2].observations[:, 0], height[12:27])
    np.testing.assert_array_equal(
        found.episodes[2].observations[:, 1:], WALKS.episodes[2].observations
    )


def test_rows_of_several_episodes_may_alternate(tmp_path: Path) -> None:
    """As where a camera follows many: sorted by frame, with the ids of those it sees."""
    order = np.lexsort((EPISODE, FRAME))
    by_pyarrow(tmp_path / "tracks.parquet", {n: c[order] for n, c in COLUMNS.items()})
    found = read_dataset(tmp_path / "tracks.parquet")
    assert_same(found, WALKS)
    assert_same_rewards(found, WALKS)


def test_ids_may_be_names_or_categories(tmp_path: Path) -> None:
    names = np.array(["wren", "owl", "jay", "rook"])[EPISODE]
    unused = pandas.Categorical(names, categories=["owl", "auk", "wren", "rook", "jay"])
    order = np.lexsort((EPISODE, FRAME))
    for column in (names, unused):
        table = pandas.DataFrame({**COLUMNS, "episode": column}).iloc[order]
        table.to_parquet(tmp_path / "birds.parquet", index=False)
        assert_same(read_dataset(tmp_path / "birds.parquet"), WALKS)


def test_frames_may_be_dates_and_gaps_are_told(tmp_path: Path) -> None:
    minutes = np.where(FRAME > 5, FRAME + 3, FRAME)
    dates = np.datetime64("2024-03-01T06:00:00") + minutes * np.timedelta64(60, "s")
    zoned = pandas.DatetimeIndex(dates, tz="Europe/London")
    for name, write, time in (
        ("dates.parquet", by_pandas, dates),
        ("zoned.parquet", by_pandas, zoned),
        ("dates.csv", by_pandas_with_index, dates),
        ("zoned.csv", by_pandas_with_index, zoned),
    ):
        path = tmp_path / name
        columns = {"id": EPISODE, "timestamp": time}
        write(path, columns | {n: c for n, c in COLUMNS.items() if n not in ("episode", "frame")})
        found = read_dataset(path, TableLayout(gaps="keep"))
        assert_same(found, WALKS)
        expected = {"column": "timestamp", "count": 34, "step": 60.0, "gaps": 3}
        assert found.provenance["frame"] == expected | {"gaps_were": "kept"}
        assert found.time_step == 60


def test_the_layout_says_what_no_name_tells(tmp_path: Path) -> None:
    columns = {
        "bird": EPISODE,
        "clock": FRAME / 10,
        "lon [deg]": OBSERVATIONS[:, 0],
        "sex": np.array(["f"] * len(EPISODE)),
        "lat [deg]": OBSERVATIONS[:, 1],
        "turn": ACTIONS[:, 0],
        "flap": ACTIONS[:, 1],
        "food": REWARDS,
    }
    by_pyarrow(tmp_path / "birds.parquet", columns)
    layout = TableLayout("bird", "clock", ("lon", "lat"), ("turn", "flap"), "food")
    found = read_dataset(tmp_path / "birds.parquet", layout)
    assert_same(found, WALKS)
    assert_same_rewards(found, WALKS)
    assert found.columns == Columns(("lon", "lat"), ("turn", "flap"), {"lon": "deg", "lat": "deg"})
    assert found.attributes["sex"] == ("f",) * 4
    assert found.attributes["bird"] == ("0", "1", "2", "3")
    swapped = read_dataset(
        tmp_path / "birds.parquet", TableLayout("bird", "clock", ("lat [deg]", "lon [deg]"))
    )
    np.testing.assert_array_equal(
        swapped.episodes[0].observations, WALKS.episodes[0].observations[:, ::-1]
    )


def test_without_actions_plans_are_over_states(tmp_path: Path) -> None:
    by_csv(tmp_path / "watched.csv", WATCHED)
    assert_same(read_dataset(tmp_path / "watched.csv"), WALKS, with_actions=False)


def test_a_folder_of_files_is_one_table(tmp_path: Path) -> None:
    """The cut goes through an episode; an empty file adds nothing."""
    for number, rows in enumerate((slice(0, 18), slice(18, 18), slice(18, None))):
        part = {name: column[rows] for name, column in COLUMNS.items()}
        by_pyarrow(tmp_path / f"part-{number}.parquet", part)
    found = read_dataset(tmp_path)
    assert_same(found, WALKS)
    assert found.columns == NAMES


@pytest.mark.parametrize(
    ("name", "days"),
    [
        ("{}.parquet", None),
        ("day={}/a.parquet", ("0", "0", "1", "1")),
        ("day=mon/episode_index={}/a.parquet", 4 * ("mon",)),
    ],
)
def test_frames_that_begin_anew_in_a_file_without_ids_begin_an_episode(
    name: str, days: tuple[str, ...] | None, tmp_path: Path
) -> None:
    """Four walks in two files, whose rows have no ids; a folder's name tells one for each file."""
    for number, among in enumerate((EPISODE < 2, EPISODE >= 2)):
        path = tmp_path / name.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        by_pyarrow(path, {n: c[among] for n, c in WATCHED.items() if n != "episode"})
    found = read_dataset(tmp_path)
    assert_same(found, WALKS, with_actions=False)
    assert found.attributes.get("day") == days
    assert found.provenance["frame"]["anew"] == 2
    assert "frames began anew 2 times" in told_by(found.provenance)[0]


@pytest.mark.parametrize(
    ("frames", "row"), [([0, 1, 2, 1, 3], 3), ([0, 0, 1, 1, 2], 1), ([4, 5, 6, 5, 7], 3)]
)
def test_frames_without_ids_that_are_out_of_order_are_refused(
    frames: list[int], row: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    by_pyarrow(path, {"frame": frames, "x": np.arange(5.0)})
    with refused(place=f"{path}: column 'frame', row {row}", value=str(frames[row])):
        read_dataset(tmp_path)


def test_a_fault_in_a_later_file_is_placed_there(tmp_path: Path) -> None:
    by_pyarrow(tmp_path / "a.parquet", {n: c[:18] for n, c in WATCHED.items()})
    part = {name: column[18:].copy() for name, column in WATCHED.items()}
    part["frame"][3] = 2
    path = tmp_path / "b.parquet"
    by_pyarrow(path, part)
    with refused(place=f"{path}: column 'frame', row 3", value="2", remedy="sort") as found:
        read_dataset(tmp_path)
    assert "after 8" in str(found.value)
    part["z"] = part["x (m)"]
    by_pyarrow(tmp_path / "c.parquet", part)
    by_pyarrow(path, {n: c for n, c in part.items() if n != "x (m)"})
    names = ["episode", "frame", "y (m)", "z"]
    with refused(place=f"{path}: column 'x (m)'", value=names, remedy="add it"):
        read_dataset(tmp_path)


def test_a_fault_among_rows_that_alternate_is_placed_in_the_file(tmp_path: Path) -> None:
    order = np.lexsort((EPISODE, FRAME))
    columns = {name: column[order] for name, column in WATCHED.items()}
    row = int(np.flatnonzero((columns["episode"] == 2) & (columns["frame"] == 9))[0])
    columns["frame"] = columns["frame"].copy()
    columns["frame"][row] = 8
    path = tmp_path / "tracks.parquet"
    by_pyarrow(path, columns)
    place = f"{path}: column 'frame', row {row}"
    with refused(place=place, value="8", remedy="keep one row a frame") as found:
        read_dataset(path)
    assert "8 of episode 2" in str(found.value)


@pytest.mark.parametrize("name", ["tracks.parquet", "tracks.csv"])
def test_without_pyarrow_the_command_that_installs_it_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("pyarrow", "pyarrow.parquet", "pyarrow.csv"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'trailward\[table\]'"):
        read_dataset(tmp_path / name)


def test_what_is_guessed_is_not_observed_when_another_column_is_named(tmp_path: Path) -> None:
    columns = COLUMNS | {"food": REWARDS * 2, "turn": ACTIONS[:, 0]}
    by_pyarrow(tmp_path / "birds.parquet", columns)
    layout = TableLayout(actions=("turn",), rewards="food")
    found = read_dataset(tmp_path / "birds.parquet", layout)
    assert found.columns.observations == ("x", "y")
    assert found.columns.actions == ("turn",)
    np.testing.assert_array_equal(found.episodes[0].rewards, 2 * WALKS.episodes[0].rewards)
    assert found.provenance["left_out"] == ["action_x", "action_y", "reward"]
