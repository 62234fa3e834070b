"""Give ``trailward train`` and ``learn`` malformed data of every format, and judge what they say.

    .venv/bin/python benchmarks/bad_inputs.py

An error is clear if the exit code is 2 and the message names the file, the field or place, the
value and the remedy, in the words that its case below asks for. Neither verb may leave a file
behind. The last line is JSON.
"""

import io
import json
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trailward.cli.main import main
from trailward.data.dataset import Dataset, read_dataset, write_dataset
from trailward.data.episode import Episode
from trailward.data.formats.table import TableLayout
from trailward.errors import DataError

ROWS, ENTRIES = 12, 2
NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class Case:
    """A malformed input.

    Attributes:
        title: what is wrong with it.
        make: writes it into an empty folder; returns what is given to the command.
        words: the message must hold all: field or place, value, remedy. The file's name is added.
        flags: more of the command line.
    """

    title: str
    make: Callable[[Path], Path]
    words: tuple[str, ...]
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What a command did with a case."""

    message: str
    missing: tuple[str, ...]
    left: tuple[str, ...]

    @property
    def is_clear(self) -> bool:
        """Whether the message has all that it takes."""
        return not self.missing


def judge(case: Case, folder: Path, verb: str) -> Verdict:
    """Run a verb on a case, in an empty folder."""
    path, out = case.make(folder), folder / "out"
    before = set(folder.rglob("*"))
    data = {
        "train": ["train", f"--play={path}"],
        "learn": ["learn", f"--demonstrations={path}", "--diffuser=umaze"],
    }[verb]
    told = io.StringIO()
    with redirect_stderr(told):
        code = main([*data, f"--out={out}", *case.flags])
    message = " ".join(told.getvalue().split())
    wanted = (path.name, *case.words)
    missing = [word for word in wanted if word not in message]
    missing += [] if code == 2 else [f"exit code {code}"]
    left = sorted(str(each) for each in set(folder.rglob("*")) - before)
    return Verdict(message, tuple(missing), tuple(left))


def judge_reader(case: Case, folder: Path) -> Verdict:
    """As :func:`judge`, but of ``read_dataset`` alone, which is what either verb calls first."""
    path = case.make(folder)
    before = set(folder.rglob("*"))
    message, missing = "", ["a DataError"]
    flags = case.flags[1:] if case.flags[:1] == ("--table.observations",) else ()
    try:
        read_dataset(path, TableLayout(observations=flags))
    except DataError as error:
        message = " ".join(str(error).split())
        missing = [word for word in (path.name, *case.words) if word not in message]
    left = sorted(str(each) for each in set(folder.rglob("*")) - before)
    return Verdict(message, tuple(missing), tuple(left))


def values(seed: int = 0) -> np.ndarray:
    """Rows of observations."""
    return np.random.default_rng(seed).standard_normal((ROWS, ENTRIES))


def hdf5(name: str = "play.hdf5", **changes: Any) -> Callable[[Path], Path]:
    """A D4RL file; a field that is None is left out."""

    def make(folder: Path) -> Path:
        fields = {
            "observations": values(),
            "actions": values(1),
            "rewards": values()[:, 0],
            "terminals": np.zeros(ROWS, bool),
            "timeouts": np.arange(ROWS) % 6 == 5,
        }
        with h5py.File(folder / name, "w") as file:
            for field, array in (fields | changes).items():
                if array is not None:
                    file[field] = array
        return folder / name

    return make


def hdf5_with_bytes_for_a_name(folder: Path) -> Path:
    """A field whose name is not UTF-8, in the place of the observations."""
    path = hdf5(observations=None)(folder)
    with h5py.File(path, "r+") as file:
        identifier = h5py.h5d.create(file.id, b"observation\xff", h5py.h5t.IEEE_F64LE,
                                     h5py.h5s.create_simple((ROWS, ENTRIES)))  # fmt: skip
        identifier.close()
    return path


def npz(name: str = "play.npz", **changes: Any) -> Callable[[Path], Path]:
    """An ``.npz`` file of two episodes; a field that is None is left out."""

    def make(folder: Path) -> Path:
        fields = {"observations": values(), "episode_ends": np.array([6, ROWS])} | changes
        np.savez(folder / name, **{field: a for field, a in fields.items() if a is not None})
        return folder / name

    return make


def columns(**changes: Any) -> dict[str, Any]:
    """Of a table of two episodes; a column that is None is left out."""
    found = {
        "episode": np.arange(ROWS) // 6,
        "frame": np.arange(ROWS) % 6,
        "x": values()[:, 0],
        "y": values()[:, 1],
    } | changes
    return {name: column for name, column in found.items() if column is not None}


def parquet(name: str = "tracks.parquet", **changes: Any) -> Callable[[Path], Path]:
    """A Parquet table."""

    def make(folder: Path) -> Path:
        pq.write_table(pa.table(columns(**changes)), folder / name)
        return folder / name

    return make


def parquet_with_bytes_for_a_name(folder: Path) -> Path:
    """A column whose name is not UTF-8."""
    found = columns()
    fields = [pa.field(b"x\xff" if name == "x" else name, pa.float64()) for name in found]
    arrays = [pa.array(np.asarray(column, float)) for column in found.values()]
    pq.write_table(pa.table(arrays, schema=pa.schema(fields)), folder / "tracks.parquet")
    return folder / "tracks.parquet"


def csv(text: str | bytes, name: str = "tracks.csv") -> Callable[[Path], Path]:
    """A CSV file."""
    return raw(name, text.encode() if isinstance(text, str) else text)


def raw(name: str, content: bytes) -> Callable[[Path], Path]:
    """A file of these bytes."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def cut_short(make: Callable[[Path], Path], share: float = 0.6) -> Callable[[Path], Path]:
    """The first part of a file."""

    def cut(folder: Path) -> Path:
        path = make(folder)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return path

    return cut


def lerobot(info: dict[str, Any] | str | None, **changes: Any) -> Callable[[Path], Path]:
    """A LeRobot folder; no description if it is None."""

    def make(folder: Path) -> Path:
        state = pa.array(values().tolist(), pa.list_(pa.float32(), ENTRIES))
        found = {"observation.state": state, "frame_index": np.arange(ROWS) % 6}
        found |= {"episode_index": np.arange(ROWS) // 6} | changes
        data = folder / "pick/data/chunk-000"
        data.mkdir(parents=True)
        pq.write_table(
            pa.table({n: c for n, c in found.items() if c is not None}), data / "file-000.parquet"
        )
        (folder / "pick/meta").mkdir()
        if info is not None:
            text = info if isinstance(info, str) else json.dumps(INFO | info)
            (folder / "pick/meta/info.json").write_text(text, encoding="utf-8")
        return folder / "pick"

    return make


INFO = {
    "codebase_version": "v3.0",
    "fps": 30,
    "total_frames": ROWS,
    "features": {
        "observation.state": {"dtype": "float32", "shape": [ENTRIES], "names": ["x", "y"]},
        "frame_index": {"dtype": "int64", "shape": [1], "names": None},
        "episode_index": {"dtype": "int64", "shape": [1], "names": None},
    },
}


def minari(damage: Callable[[Path], object]) -> Callable[[Path], Path]:
    """A Minari folder, damaged."""

    def make(folder: Path) -> Path:
        episodes = [Episode(values(seed), values(seed)[1:]) for seed in range(2)]
        path = write_dataset(Dataset(episodes), folder / "walks-v0")
        damage(path / "data")
        return path

    return make


def in_episode(field: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Damage to a field of the second episode."""

    def damage(data: Path) -> None:
        with h5py.File(data / "main_data.hdf5", "r+") as file:
            array = change(file[f"episode_1/{field}"][()])
            del file[f"episode_1/{field}"]
            if array is not None:
                file[f"episode_1/{field}"] = array

    return damage


def with_value(array: np.ndarray, value: float, *at: int) -> np.ndarray:
    """The same but for one value."""
    changed = np.array(array, dtype=float)
    changed[at] = value
    return changed


def swapped(array: np.ndarray, one: int, other: int) -> np.ndarray:
    """The same with two rows exchanged."""
    changed = np.array(array)
    changed[[one, other]] = changed[[other, one]]
    return changed


FRAME = np.arange(ROWS) % 6
TEXT = np.array(["left"] * ROWS, dtype="S4")
OBJECTS = np.array([None] * ROWS, dtype=object)

CASES = (
    Case("HDF5 cut short", cut_short(hdf5()), ("not a whole HDF5 file", "truncated", "fetch")),
    Case("text called .hdf5", raw("play.hdf5", b"not HDF5"), ("HDF5", "signature", "check")),
    Case("HDF5 of no bytes", raw("play.h5", b""), ("not a whole HDF5 file", "fetch it again")),
    Case("HDF5 without a field", hdf5(timeouts=None), ("'timeouts'", "'actions'", "add the field")),
    Case("HDF5 with a group", hdf5(actions=None, **{"actions/left": values()}),
         ("'actions'", "group", "must be an array")),
    Case("HDF5 with text", hdf5(rewards=TEXT), ("'rewards'", "|S4", "must be an array of real")),
    Case("HDF5 of other lengths", hdf5(actions=values()[:9]), ("'actions'", "9 rows", "cut them")),
    Case("HDF5 with NaN", hdf5(actions=with_value(values(), NAN, 7, 1)),
         ("'actions', row 7, entry 1", "nan", "repair it or drop")),
    Case("HDF5 without rows", hdf5(**{name: np.empty((0, 2)[:axes]) for name, axes in (
        ("observations", 2), ("actions", 2), ("rewards", 1), ("terminals", 1), ("timeouts", 1))}),
         ("no episodes", "0 rows", "takes two rows at least")),
    Case("HDF5 with flat observations", hdf5(observations=values().ravel()),
         ("'observations'", "(24,)", "reshape it")),
    Case("HDF5 with bytes for a name", hdf5_with_bytes_for_a_name,
         ("'observations'", "observation\\\\xff", "add the field")),
    Case(".npz cut short", cut_short(npz()), ("not whole", "np.savez")),
    Case("pickle called .npz", raw("play.npz", pickle.dumps({"observations": [1, 2]})),
         ("pickled Python objects", "never loaded", "save arrays of numbers")),
    Case("pickle inside .npz", npz(observations=OBJECTS),
         ("'observations'", "pickled Python objects", "save arrays of numbers")),
    Case(".npz without observations", npz(observations=None, poses=values()),
         ("'observations'", "'poses'", "call the array")),
    Case(".npz without episodes", npz(episode_ends=None), ("episodes end", "add 'episode_ends'")),
    Case(".npz with ends that fall", npz(episode_ends=np.array([6, 4, 12])),
         ("'episode_ends', episode 1", "row 4", "np.cumsum")),
    Case(".npz with ends beyond it", npz(episode_ends=np.array([6, 15])),
         ("'episode_ends'", "15", "12 rows", "cut the rows")),
    Case(".npz with an id twice", npz(episode_ends=None, episode=np.repeat([4, 7, 4], 4)),
         ("'episode', row 8", "is 4", "an id of its own")),
    Case(".npz with infinity", npz(observations=with_value(values(), -INF, 3, 0)),
         ("'observations', row 3, entry 0", "-inf", "repair it or drop")),
    Case(".npz with a fill value", npz(observations=with_value(values(), 9.96921e36, 5, 1)),
         ("'observations', row 5, entry 1", "9.96921e+36", "choose another unit")),
    Case(".npz of complex numbers", npz(observations=values() + 1j),
         ("'observations'", "complex128", "real numbers")),
    Case(".npz of mixed dimensions", npz(next_observations=values()[:, :1]),
         ("'next_observations'", "(12, 1)", "same entries")),
    Case(".npz with names of bytes", npz(observation_names=np.array([b"x", b"\xff"])),
         ("'observation_names'", "0xff", "np.array(['x', 'y'])")),
    Case(".npz with too few names", npz(observation_names=np.array(["x"])),
         ("observations", "2 entries and 1 names: x", "give every entry one")),
    Case(".npz with a name twice", npz(observation_names=np.array(["x (m)", "x (km)"])),
         ("observations", "called 'x'", "a name of its own")),
    Case(".npz of single rows", npz(episode_ends=np.arange(1, ROWS + 1)),
         ("no episodes", "12 rows", "takes two rows at least")),
    Case("Parquet cut short", cut_short(parquet()), ("not a whole Parquet file", "write it again")),
    Case("Parquet without episodes", parquet(episode=None, frame=FRAME + np.repeat([0, 2], 6)),
         ("column 'frame', row 6", "2 comes after 5", "an id of its own")),
    Case("Parquet without frames", parquet(frame=None),
         ("no frame column", "episode, x, y", "--table.frame")),
    Case("Parquet without observations", parquet(x=None, y=None),
         ("no column of observations", "episode, frame", "--table.observations")),
    Case("Parquet without a named column", parquet(),
         ("no column 'z'", "episode, frame, x, y", "--table.observations"),
         ("--table.observations", "x", "z")),
    Case("Parquet with NaN", parquet(x=with_value(values()[:, 0], NAN, 4)),
         ("column 'x', row 4", "nan", "repair it or drop")),
    Case("Parquet with NaN for a frame", parquet(frame=with_value(FRAME, NAN, 4)),
         ("column 'frame', row 4", "nan", "repair it or drop")),
    Case("Parquet with text for a frame", parquet(frame=TEXT.astype(str)),
         ("column 'frame', row 0", "'left'", "correct it")),
    Case("Parquet with text", parquet(y=["left", *["back"] * 11]),
         ("column 'y', row 0", "'left'", "--table.observations")),
    Case("Parquet with an empty id", parquet(episode=pa.array([None, *range(11)])),
         ("column 'episode', row 0", "empty", "drop the row")),
    Case("Parquet with dates for ids", parquet(episode=np.arange(ROWS).astype("datetime64[s]")),
         ("column 'episode'", "timestamp[ms]", "--table.episode")),
    Case("Parquet out of order", parquet(frame=swapped(FRAME, 3, 4)),
         ("column 'frame', row 4", "3 of episode 0", "comes after 4", "sort the rows")),
    Case("Parquet with a frame twice", parquet(frame=with_value(FRAME, 7, 8).clip(0, 2)),
         ("column 'frame', row 3", "2.0 of episode 0 is there twice", "keep one row a frame")),
    Case("Parquet with an id twice",
         parquet(episode=np.repeat([0, 1, 0], 4), frame=np.arange(ROWS) % 4),
         ("column 'frame', row 8", "0 of episode 0 comes after 3", "an id of its own")),
    Case("Parquet of mixed dimensions", parquet(x=[[1.0, 2.0]] * 7 + [[1.0]] + [[1.0, 2.0]] * 4),
         ("column 'x', row 7", "1 entries", "split the data")),
    Case("Parquet with empty lists", parquet(x=pa.array([[]] * ROWS, pa.list_(pa.float64()))),
         ("column 'x'", "without entries", "leave it out")),
    Case("Parquet with bytes for a name", parquet_with_bytes_for_a_name,
         ("names a column", "0xff", "write it as UTF-8")),
    Case("CSV of no bytes", csv(""), ("not a whole CSV file", "Empty CSV file", "write it again")),
    Case("CSV of a header alone", csv("episode,frame,x\n"), ("no episodes", "0 rows", "two rows")),
    Case("CSV with an empty value", csv("episode,frame,x\n0,0,1.5\n0,1,\n0,2,3\n"),
         ("column 'x', row 1", "empty", "fill in the value")),
    Case("CSV with text", csv("episode,frame,x\n0,0,1.5\n0,1,2.5\n0,2,n/a\n"),
         ("column 'x', row 2", "'n/a'", "correct it")),
    Case("CSV with a name twice", csv("episode,frame,x,x\n0,0,1,2\n0,1,1,2\n"),
         ("two columns called 'x'", "a name of its own")),
    Case("CSV of uneven rows", csv("episode,frame,x\n0,0,1\n0,1,2,3\n"),
         ("not a whole CSV file", "0,1,2,3", "write it again")),
    Case("CSV with bytes for a name", csv(b"episode,frame,x\xff\n0,0,1\n0,1,2\n"),
         ("names a column", "0xff", "write it as UTF-8")),
    Case("CSV with day and month swapped", csv("id,time,x\na,31/05/2021,1\na,01/06/2021,2\n"),
         ("column 'time', row 0", "'31/05/2021'", "write dates as 2021-05-31")),
    Case("CSV with huge numbers", csv("episode,frame,x\n0,0,1\n0,1,1e300\n"),
         ("column 'x', row 1", "1e+300", "choose another unit")),
    Case("LeRobot without description", lerobot(None), ("info.json", "does not exist", "fetch")),
    Case("LeRobot with broken JSON", lerobot('{"codebase_version"'),
         ("info.json", "delimiter", "fetch")),
    Case("LeRobot of another version", lerobot({"codebase_version": "v7.0"}),
         ("'codebase_version'", "v7.0", "convert")),
    Case("LeRobot with rows missing", lerobot({"total_frames": 40}),
         ("'total_frames'", "40", "12 rows", "fetch the files")),
    Case("LeRobot with a feature missing", lerobot({}, frame_index=None),
         ("file-000.parquet", "'frame_index'", "observation.state, episode_index", "add it")),
    Case("LeRobot with NaN", lerobot({}, **{"observation.state": [[NAN, 1.0]] * ROWS}),
         ("column 'observation.state', row 0, entry 0", "nan", "repair it")),
    Case("Minari with broken JSON", minari(lambda data: (data / "metadata.json").write_text("{")),
         ("not a readable Minari dataset", "property name", "fetch it again")),
    Case("Minari cut short",
         minari(lambda data: cut_short(lambda _: data / "main_data.hdf5")(data)),
         ("main_data.hdf5", "truncated", "download the dataset again")),
    Case("Minari without a field", minari(in_episode("actions", lambda _: None)),
         ("episode 1", "actions", "download the dataset again")),
    Case("Minari with NaN", minari(in_episode("observations", lambda a: with_value(a, NAN, 4, 1))),
         ("episode 1: observations, row 4, entry 1", "nan", "repair it or drop")),
    Case("Minari of mixed dimensions", minari(in_episode("observations", lambda a: a[:, :1])),
         ("episode 1: observations", "1 entries", "split it")),
    Case("unknown format", raw("play.mat", b"MATLAB"), ("no known format", "'.mat'", "convert it")),
    Case("no such thing", lambda folder: folder / "nothing",
         ("neither a folder", "'minari list local'")),
    Case("empty folder", lambda folder: (folder / "empty").mkdir() or folder / "empty",
         ("neither a folder", "'trailward collect'")),
)  # fmt: skip


def verdicts(verb: str) -> Iterator[tuple[Case, Verdict]]:
    """Every case, each in an empty folder."""
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            yield case, judge(case, Path(folder), verb)


def run() -> dict[str, int]:
    """Print what each case got, and count."""
    clear, left = 0, 0
    learnt = dict(verdicts("learn"))
    for case, trained in verdicts("train"):
        both = (trained, learnt[case])
        clear += all(verdict.is_clear for verdict in both)
        left += sum(len(verdict.left) for verdict in both)
        print(f"{case.title}\n    {trained.message}")
        for verdict in both:
            if verdict.missing:
                print(f"    UNCLEAR, without {verdict.missing}: {verdict.message}")
    return {"cases": len(CASES), "clear_errors": clear, "files_left": left}


if __name__ == "__main__":
    figures = run()
    print(json.dumps(figures))
    sys.exit(figures["clear_errors"] < figures["cases"] or figures["files_left"] > 0)
