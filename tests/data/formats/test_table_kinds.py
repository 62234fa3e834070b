"""Tables as people have them: dialects, types, ids, gaps, several files, times, attributes."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from refusals import refused
from trailward.data.choices import decode
from trailward.data.dataset import Dataset, read_dataset, write_dataset
from trailward.data.formats.table import TableLayout
from trailward.errors import SettingsError

PLACES = np.random.default_rng(0).standard_normal((12, 2)).round(3)
IDS, FRAMES = np.repeat([0, 1], 6), np.tile(np.arange(6), 2)


def lengths(data: Dataset) -> list[int]:
    return [len(episode) for episode in data.episodes]


def text(separator: str = ",", *, decimal: str = ".", head: str = "", space: str = "") -> str:
    rows = ["id,frame,x,y".replace(",", separator + space)]
    for i, f, (x, y) in zip(IDS, FRAMES, PLACES, strict=True):
        cells = (str(i), str(f), f"{x:.3f}".replace(".", decimal), f"{y:.3f}".replace(".", decimal))
        rows.append((separator + space).join(cells))
    return head + "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("semicolon.csv", text(";").encode()),
        ("german.csv", text(";", decimal=",").encode()),
        ("german_tabs.tsv", text("\t", decimal=",").encode()),
        ("tabs.csv", text("\t").encode()),
        ("tabs.tsv", text("\t").encode()),
        ("bars.csv", text("|").encode()),
        ("spaces.csv", text(space=" ").encode()),
        ("spaces_and_semicolons.csv", text(";", space="  ").encode()),
        ("comment.csv", text(head="# tracker 1.2, 25 fps\n# second\n").encode()),
        ("percent.csv", text(head="% made by hand\n").encode()),
        ("packed.csv.gz", gzip.compress(text().encode())),
        ("packed.tsv.gz", gzip.compress(text("\t").encode())),
        ("excel_unicode.csv", text("\t").encode("utf-16")),
        ("unmarked_le.csv", text(",").encode("utf-16-le")),
        ("unmarked_be.csv", text(",").encode("utf-16-be")),
        ("excel_utf8.csv", text(";", decimal=",").encode("utf-8-sig")),
        ("windows.csv", text().replace("\n", "\r\n").encode()),
        ("excel_told.csv", b"sep=;\r\n" + text(";", decimal=",").encode()),
        ("excel_told_utf8.csv", b"\xef\xbb\xbfsep=,\n" + text().encode()),
        ("one_space.csv", text(" ").encode()),
        ("aligned.csv", text("    ", head="# px\n").encode()),
        ("quoted.csv", text().replace("id,frame,x,y", '"id","frame","x","y"').encode()),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_every_dialect_is_read_alike(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    data = read_dataset(tmp_path / name)
    assert lengths(data) == [5, 5]
    assert data.columns.observations == ("x", "y")
    np.testing.assert_array_equal(np.concatenate([e.observations for e in data.episodes]), PLACES)


def test_a_packed_file_may_not_unpack_to_much_more(tmp_path: Path) -> None:
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(gzip.compress(b"id,frame,x\n" + bytes(300 * 2**20), 9))
    with refused(place=str(path), value=1000 * path.stat().st_size, remedy="unpack it"):
        read_dataset(path)


def test_the_id_of_tracks_comes_before_that_of_rows(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"id": range(12), "track_id": IDS, "frame": FRAMES, "x": PLACES[:, 0]})
    frame.to_csv(tmp_path / "tracks.csv", index=False)
    data = read_dataset(tmp_path / "tracks.csv")
    assert lengths(data) == [5, 5]
    assert data.provenance["left_out"] == ["id"]
    frame.drop(columns="track_id").to_csv(tmp_path / "rows.csv", index=False)
    with refused(place=str(tmp_path / "rows.csv"), value="id", remedy="--table.episode"):
        read_dataset(tmp_path / "rows.csv")


@pytest.mark.parametrize("name", ["TRACK_ID", "track", "trajectory", "particle", "traj_id"])
def test_an_id_of_tracks_is_no_observation(name: str, tmp_path: Path) -> None:
    frame = pandas.DataFrame({name: IDS, "frame": FRAMES, "x": PLACES[:, 0]})
    frame.to_csv(tmp_path / "t.csv")  # with the number of the row in a column without a name
    data = read_dataset(tmp_path / "t.csv")
    assert lengths(data) == [5, 5]
    assert data.columns.observations == ("x",)
    assert data.attributes[name] == ("0", "1")


def bird(folder: Path, number: int, *, suffix: str = "csv", **more: Any) -> None:
    columns = {"frame": np.arange(6), "x": PLACES[:6, 0] + number, "y": PLACES[:6, 1], **more}
    frame = pandas.DataFrame(columns)
    path = folder / f"bird{number}.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path, index=False)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_without_ids_a_file_is_an_episode(suffix: str, tmp_path: Path) -> None:
    for number in range(3):
        bird(tmp_path, number, suffix=suffix)
    data = read_dataset(tmp_path)
    assert lengths(data) == [5, 5, 5]
    assert data.episodes[2].observations[0, 0] == PLACES[0, 0] + 2
    assert lengths(read_dataset(tmp_path / f"bird1.{suffix}")) == [5]


def test_several_files_can_be_given(tmp_path: Path) -> None:
    for number in range(3):
        bird(tmp_path, number)
    data = read_dataset([tmp_path / "bird0.csv", tmp_path / "bird2.csv"])
    assert lengths(data) == [5, 5]
    assert data.episodes[1].observations[0, 0] == PLACES[0, 0] + 2
    assert lengths(read_dataset(str(tmp_path / "bird[01].csv"))) == [5, 5]
    other = tmp_path / "other.csv"
    other.write_text("frame,z\n0,1\n1,2\n")
    with refused(place=f"the observations of {other}", value=("z",)):
        read_dataset([tmp_path / "bird0.csv", other])


def test_folders_may_tell_a_column(tmp_path: Path) -> None:
    for number in range(2):
        folder = tmp_path / f"animal_id={number}"
        folder.mkdir()
        bird(folder, number, suffix="parquet")
    data = read_dataset(tmp_path)
    assert lengths(data) == [5, 5]
    assert data.attributes["animal_id"] == ("0", "1")


def parts(folder: Path, *ids: Any) -> Path:
    """A file for each column of ids, with the frames and places of two episodes."""
    for number, column in enumerate(ids):
        table = pa.table({"id": column, "frame": FRAMES, "x": PLACES[:, 0], "y": PLACES[:, 1]})
        pq.write_table(table, folder / f"{number}.parquet")
    return folder


NAMES = ["a"] * 6 + ["b"] * 6


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.array(IDS, pa.int64()), pa.array(IDS + 2, pa.int32())),
        (pa.array(IDS, pa.int64()), pa.array(IDS + 2.0, pa.float64())),
        (pa.array(IDS, pa.uint8()), pa.array(IDS + 2.0, pa.float32())),
        (pa.array(NAMES, pa.string()), pa.array(["c"] * 6 + ["d"] * 6, pa.large_string())),
        (pa.array(NAMES).dictionary_encode(), pa.array(["c"] * 6 + ["d"] * 6)),
        (pa.array(IDS), pa.array(["c"] * 6 + ["d"] * 6)),
        (pa.array(NAMES, pa.string_view()), pa.array(["c"] * 6 + ["d"] * 6)),
        (pa.array([Decimal(int(i)) for i in IDS]), pa.array(IDS + 2, pa.uint64())),
    ],
)
def test_ids_may_be_of_other_types_in_other_files(first: Any, second: Any, tmp_path: Path) -> None:
    assert lengths(read_dataset(parts(tmp_path, first, second))) == [5, 5, 5, 5]


def test_an_id_of_another_type_may_still_be_the_same(tmp_path: Path) -> None:
    for number, (kind, rows) in enumerate([(pa.int64(), slice(4)), (pa.float64(), slice(4, None))]):
        ids = pa.array(IDS[rows].astype(float), pa.float64()).cast(kind)
        table = pa.table({"id": ids, "frame": FRAMES[rows], "x": PLACES[rows, 0]})
        pq.write_table(table, tmp_path / f"{number}.parquet")
    assert lengths(read_dataset(tmp_path)) == [5, 5]


def test_decimals_are_numbers(tmp_path: Path) -> None:
    exact = pa.array([Decimal(f"{x:.3f}") for x in PLACES[:, 0]])
    table = pa.table({"id": IDS, "frame": FRAMES, "x": exact, "y": PLACES[:, 1]})
    pq.write_table(table, tmp_path / "decimal.parquet")
    data = read_dataset(tmp_path / "decimal.parquet")
    np.testing.assert_allclose(np.concatenate([e.observations for e in data.episodes]), PLACES)


def test_the_same_ids_in_another_file_from_the_beginning_are_other_tracks(tmp_path: Path) -> None:
    assert lengths(read_dataset(parts(tmp_path, IDS, IDS))) == [5, 5, 5, 5]


def track(*times: Any, ids: Any = 0, **more: Any) -> pandas.DataFrame:
    when = np.concatenate([np.asarray(time, float) for time in times])
    x = np.arange(len(when)) * 1.0
    return pandas.DataFrame({"id": ids, "time": when, "x": x, "y": 2 * x, **more})


def test_an_id_that_comes_again_much_later_is_another_track(tmp_path: Path) -> None:
    track(np.arange(8) / 10, 300 + np.arange(6) / 10).to_csv(tmp_path / "t.csv", index=False)
    data = read_dataset(tmp_path / "t.csv")
    assert lengths(data) == [7, 5]
    assert data.provenance["frame"]["gaps"] == 1
    assert data.attributes["id"] == ("0", "0")
    assert lengths(read_dataset(tmp_path / "t.csv", TableLayout(gaps="keep"))) == [13]


def test_gaps_are_filled_in_if_asked(tmp_path: Path) -> None:
    track([0, 1, 2, 3, 7, 8, 9]).to_csv(tmp_path / "t.csv", index=False)
    data = read_dataset(tmp_path / "t.csv", TableLayout(gaps="interpolate"))
    (episode,) = data.episodes
    expected = [0, 1, 2, 3, 3.25, 3.5, 3.75, 4, 5, 6]
    np.testing.assert_allclose(episode.observations[:, 0], expected)
    assert data.provenance["frame"]["gaps_were"] == "filled"


def test_steps_that_vary_are_no_gaps(tmp_path: Path) -> None:
    times = np.cumsum(np.tile([60.0, 60, 100, 60, 110], 6))
    track(times).to_csv(tmp_path / "gps.csv", index=False)
    assert lengths(read_dataset(tmp_path / "gps.csv")) == [29]


def test_rows_can_be_brought_to_another_step(tmp_path: Path) -> None:
    track(np.arange(9) * 0.4, action=np.arange(9)).to_csv(tmp_path / "t.csv", index=False)
    data = read_dataset(tmp_path / "t.csv", TableLayout(resample=0.1, actions=("action",)))
    (episode,) = data.episodes
    assert data.time_step == 0.1
    np.testing.assert_allclose(episode.observations[:, 0], np.linspace(0, 8, 33), atol=1e-9)
    np.testing.assert_array_equal(decode(data.columns, episode.actions)[:8], [0] * 4 + [1] * 4)


def test_tracks_of_several_steps_are_told_apart_from_gaps(tmp_path: Path) -> None:
    fast, slow = track(np.arange(20) / 10), track(np.arange(9.0), ids=1)
    pandas.concat([fast, slow]).to_csv(tmp_path / "mixed.csv", index=False)
    data = read_dataset(tmp_path / "mixed.csv")
    assert lengths(data) == [19, 8]
    assert data.provenance["frame"]["gaps"] == 0
    assert data.provenance["frame"]["steps"] == {"0.1": [0], "1": [1]}


def test_ids_of_several_columns(tmp_path: Path) -> None:
    frame = pandas.DataFrame(
        {"recordingId": [0] * 6 + [1] * 6, "trackId": 7, "frame": FRAMES, "x": PLACES[:, 0]}
    )
    frame.to_csv(tmp_path / "known.csv", index=False)
    data = read_dataset(tmp_path / "known.csv")
    assert lengths(data) == [5, 5]
    assert dict(data.attributes) == {"recordingId": ("0", "1"), "trackId": ("7", "7")}
    frame.columns = ["day", "bird", "frame", "x"]
    frame.to_csv(tmp_path / "told.csv", index=False)
    assert lengths(read_dataset(tmp_path / "told.csv", TableLayout(("day", "bird")))) == [5, 5]


@pytest.mark.parametrize(
    ("column", "values", "seconds"),
    [
        ("time (s)", np.arange(6) * 0.4, 0.4),
        ("time [ms]", np.arange(6) * 40, 0.04),
        ("t", np.arange(6) * 0.25, 0.25),
        ("frame", np.arange(6), None),
        ("time (furlong)", np.arange(6), None),
        ("timestamp", pandas.date_range("2021-05-31", periods=6, freq="10s"), 10.0),
        ("timestamp", pandas.timedelta_range("0s", periods=6, freq="5s"), 5.0),
        ("time", pandas.date_range("2021-05-31", periods=6, freq="2s").time, 2.0),
    ],
)
def test_the_time_step_is_known(
    column: str, values: Any, seconds: float | None, tmp_path: Path
) -> None:
    frame = pandas.DataFrame({"id": 0, column: values, "x": PLACES[:6, 0]})
    frame.to_parquet(tmp_path / "t.parquet")
    data = read_dataset(tmp_path / "t.parquet")
    assert data.time_step == (None if seconds is None else pytest.approx(seconds))
    assert lengths(data) == [5]
    back = read_dataset(write_dataset(data, tmp_path / "written"))
    assert back.time_step == data.time_step
    assert back.attributes["id"] == ["0"]


def test_times_beside_frames_tell_the_time_step(tmp_path: Path) -> None:
    frame = pandas.DataFrame(
        {"id": IDS, "frame": FRAMES * 10, "timestamp": FRAMES * 0.4, "x": PLACES[:, 0]}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    data = read_dataset(tmp_path / "t.csv")
    assert data.time_step == pytest.approx(0.4)
    assert data.columns.observations == ("x",)


def test_times_in_errors_are_those_of_the_file(tmp_path: Path) -> None:
    minutes = ["01:30", "02:00", "02:30", "02:00", "02:30"]
    rows = [f"a,2021-10-31 {m}:00,{i}" for i, m in enumerate(minutes)]
    path = tmp_path / "set_back.csv"
    path.write_text("id,timestamp,x\n" + "\n".join(rows))
    place, value = f"{path}: column 'timestamp', row 3", "'2021-10-31 02:00:00'"
    with refused(place=place, value=value, remedy="summer time"):
        read_dataset(path)


@pytest.mark.parametrize(
    "date",
    [
        "31/05/2021 12:00", "31.05.2021", "5/31/21", "31-05-2021 12:00", "5/31/2021 1:00 PM",
        "2021/05/31 12:00", "31 May 2021 12:00", "31-May-21", "May 31, 2021",
    ],
)  # fmt: skip
def test_dates_in_another_form_are_refused_with_how_to_write_them(
    date: str, tmp_path: Path
) -> None:
    path = tmp_path / "day.csv"
    path.write_text(f'id,timestamp,x\na,"{date}",1\na,"{date}",2\n')
    place, remedy = f"{path}: column 'timestamp', row 0", "write dates as 2021-05-31 12:00"
    with refused(place=place, value=date, remedy=remedy):
        read_dataset(path)


@pytest.mark.parametrize("time", ["12:00:00.5", "1:30 PM", "0 days 00:00:05"])
def test_times_of_day_as_text_are_refused_with_how_to_write_them(time: str, tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_text(f"id,time,x\na,{time},1\na,{time},2\n")
    with refused(place=f"{path}: column 'time', row 0", value=time, remedy="date: 2021-05-31"):
        read_dataset(path)


def test_where_a_day_ends_times_need_their_date(tmp_path: Path) -> None:
    rows = "".join(f"a,{time},1\n" for time in ("23:59:59", "00:00:00", "00:00:01"))
    path = tmp_path / "night.csv"
    path.write_text("id,time,x\n" + rows)
    place = f"{path}: column 'time', row 1"
    with refused(place=place, value="'00:00:00'", remedy="give the date too"):
        read_dataset(path)


def test_text_that_stays_is_an_attribute_of_episodes(tmp_path: Path) -> None:
    frame = pandas.DataFrame(
        {"id": IDS, "frame": FRAMES, "x": PLACES[:, 0], "sex": np.where(IDS, "f", "m")}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    data = read_dataset(tmp_path / "t.csv")
    assert data.columns.observations == ("x",)
    assert data.attributes == {"sex": ("m", "f"), "id": ("0", "1")}
    frame.loc[3, "sex"] = "?"
    frame.to_csv(tmp_path / "t.csv", index=False)
    with refused(place=f"{tmp_path / 't.csv'}: column 'sex', row 0", value="m"):
        read_dataset(tmp_path / "t.csv")
    assert (
        "sex"
        in read_dataset(tmp_path / "t.csv", TableLayout(observations=("x",))).provenance["left_out"]
    )


def test_names_of_movebank_are_known(tmp_path: Path) -> None:
    frame = pandas.DataFrame(
        {
            "event-id": np.arange(12), "visible": True,
            "timestamp": pandas.date_range("2021-05-31", periods=12, freq="min"),
            "location-long": PLACES[:, 0], "location-lat": PLACES[:, 1], "sensor-type": "gps",
            "individual-local-identifier": np.where(IDS, "wren", "owl"), "study-name": "S",
        }
    )  # fmt: skip
    frame.to_csv(tmp_path / "movebank.csv", index=False)
    data = read_dataset(tmp_path / "movebank.csv")
    assert lengths(data) == [5, 5]
    assert data.columns.observations == ("location-long", "location-lat")
    assert data.attributes["individual-local-identifier"] == ("owl", "wren")
    assert data.time_step == 60


def test_a_single_file_of_lerobot_is_read_as_its_folder_would_be(tmp_path: Path) -> None:
    state = pa.array(PLACES.tolist(), pa.list_(pa.float64(), 2))
    columns = {
        "observation.state": state, "observation.effort": PLACES[:, 0], "action": state,
        "timestamp": FRAMES / 30, "frame_index": FRAMES, "episode_index": IDS,
        "index": np.arange(12), "task_index": np.zeros(12, int), "next.reward": PLACES[:, 1],
        "next.done": FRAMES == 5, "next.success": FRAMES == 5,
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "file-000.parquet")
    data = read_dataset(tmp_path / "file-000.parquet")
    assert data.columns.observations == ("observation.state.0", "observation.state.1")
    np.testing.assert_array_equal(data.episodes[0].rewards, PLACES[:5, 1])
    assert {"next.done", "next.success", "index"} <= set(data.provenance["left_out"])


def test_marks_of_ends_are_no_observations(tmp_path: Path) -> None:
    frame = pandas.DataFrame(
        {
            "episode_id": IDS, "step": FRAMES, "x": PLACES[:, 0], "is_first": FRAMES == 0,
            "is_last": FRAMES == 5, "is_terminal": 0, "discount": 1,
        }
    )  # fmt: skip
    frame.to_csv(tmp_path / "rlds.csv", index=False)
    assert read_dataset(tmp_path / "rlds.csv").columns.observations == ("x",)


def test_a_column_of_choices_is_one_hot_inside(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"id": IDS, "frame": FRAMES, "x": PLACES[:, 0], "action": FRAMES % 3})
    frame.to_csv(tmp_path / "t.csv", index=False)
    data = read_dataset(tmp_path / "t.csv")
    assert data.columns.actions == ("action=0", "action=1", "action=2")
    np.testing.assert_array_equal(decode(data.columns, data.episodes[1].actions), [0, 1, 2, 0, 1])


@pytest.mark.parametrize("shape", [[[[[[1]]]]], ["2"], [2.5], [], None, [True]])
def test_an_impossible_shape_of_lerobot_is_a_data_error(shape: Any, tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "data").mkdir()
    features = {"observation.state": {"dtype": "float32", "shape": shape}}
    told = {"codebase_version": "v3.0", "features": features}
    (tmp_path / "meta/info.json").write_text(json.dumps(told))
    table = pa.table({"observation.state": PLACES[:, 0], "frame_index": FRAMES})
    pq.write_table(table, tmp_path / "data/file.parquet")
    with refused(place=f"{tmp_path / 'meta/info.json'}: 'features'", value=[]):
        read_dataset(tmp_path)


def test_deep_json_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text("[" * 20_000)
    with refused(place=str(tmp_path / "meta/info.json"), value="it is nested too deeply"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("name", ["gaps", "resample"])
def test_settings_of_time_are_checked(name: str) -> None:
    with refused(SettingsError, place=name, value=-1):
        TableLayout(**{name: -1})


def test_tracks_of_a_folder_without_ids_know_their_file(tmp_path: Path) -> None:
    for name in ("wolf", "lion"):
        rows = [f"{0.5 * i},{i},{2 * i}" for i in (0, 1, 2, 3, 20, 21, 22)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["time (s),x,y", *rows]) + "\n")
    data = read_dataset(tmp_path)
    assert data.attributes == {"file": ("lion", "lion", "wolf", "wolf")}  # a gap cuts each
