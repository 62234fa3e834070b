"""Named arrays of others: ends by other names, padding, contradictions, choices, hostile files."""

import io
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from refusals import refused
from trailward.data.choices import decode, encode
from trailward.data.dataset import Dataset, read_dataset
from trailward.data.episode import Episode
from trailward.data.formats import FORMATS, Format
from trailward.data.formats.rows import Recording

ROWS = np.random.default_rng(0).standard_normal((12, 2))
ENDS = np.isin(np.arange(12), [5, 11])
NOWHERE = np.zeros(12, bool)


def write(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "play.npz", **arrays)
    return folder / "play.npz"


def lengths(data: Dataset) -> list[int]:
    return [len(episode) for episode in data.episodes]


@pytest.mark.parametrize(
    "marks",
    [
        {name: ENDS}
        for name in (
            "terminals", "terminal", "terminated", "timeouts", "timeout", "truncated", "done",
            "dones", "is_last", "is_terminal", "TimeLimit.truncated",
        )
    ]
    + [
        {"terminals": NOWHERE, "truncated": ENDS},
        {"dones": NOWHERE, "timeout": ENDS},
        {"terminated": NOWHERE, "truncated": ENDS[:, None]},
        {"is_first": np.roll(ENDS, 1)},
        {"is_first": np.roll(ENDS, 1), "is_last": ENDS, "is_terminal": NOWHERE},
        {"lengths": np.array([6, 6])},
        {"episode_ends": np.array([6, 12])},
    ],
    ids=lambda marks: "+".join(marks),
)  # fmt: skip
def test_ends_are_known_by_any_of_their_names(marks: dict[str, Any], tmp_path: Path) -> None:
    data = read_dataset(write(tmp_path, observations=ROWS, actions=ROWS, **marks))
    assert lengths(data) == [5, 5]
    assert "left_out" not in data.provenance


def test_arrays_that_are_not_read_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, observations=ROWS, done=ENDS, goal=ROWS, info=ROWS)
    assert read_dataset(path).provenance["left_out"] == ["goal", "info"]


def test_how_episodes_ended_is_kept(tmp_path: Path) -> None:
    first, last = np.arange(12) == 5, np.arange(12) == 11
    path = write(
        tmp_path, observations=ROWS, next_observations=np.roll(ROWS, -1, 0),
        terminated=first, truncated=last,
    )  # fmt: skip
    ends = [(e.terminated, e.truncated) for e in read_dataset(path).episodes]
    assert ends == [(True, False), (False, True)]


GRID = np.random.default_rng(1).standard_normal((4, 10, 2))
LONG = np.array([10, 7, 10, 5])
VALID = np.arange(10) < LONG[:, None]


@pytest.mark.parametrize(
    "marks",
    [
        {"lengths": LONG},
        {"episode_lengths": LONG},
        {"mask": VALID},
        {"valid": VALID.astype(float)},
        {"is_pad": ~VALID},
        {"dones": np.arange(10) == LONG[:, None] - 1},
        {"terminated": np.arange(1, 10) == LONG[:, None] - 1},
    ],
    ids=lambda marks: "+".join(marks),
)
@pytest.mark.parametrize("fill", [0.0, np.nan])
def test_padding_is_not_read_as_recorded(marks: dict, fill: float, tmp_path: Path) -> None:
    padded = np.where(VALID[..., None], GRID, fill)
    data = read_dataset(write(tmp_path, observations=padded, actions=padded[:, :9], **marks))
    assert lengths(data) == [9, 6, 9, 4]
    np.testing.assert_array_equal(data.episodes[1].observations, GRID[1, :7])
    np.testing.assert_array_equal(data.episodes[1].actions, GRID[1, :6])


def test_padding_without_a_mark_is_placed_by_episode_and_step(tmp_path: Path) -> None:
    padded = np.where(VALID[..., None], GRID, np.nan)
    path = write(tmp_path, observations=padded)
    place = f"{path}: 'observations', episode 1, row 7, entry 0"
    with refused(place=place, value="nan", remedy="add 'lengths'"):
        read_dataset(path)


def test_padding_in_front_is_refused(tmp_path: Path) -> None:
    path, mask = tmp_path / "play.npz", VALID[:, ::-1]
    with refused(place=f"{path}: 'mask', episode 1", value=mask[1].tolist(), remedy="rows first"):
        read_dataset(write(tmp_path, observations=GRID, mask=mask))


def test_a_ragged_array_is_refused_with_what_works(tmp_path: Path) -> None:
    ragged = np.empty(2, object)
    ragged[:] = [ROWS[:5], ROWS[5:]]
    remedy = "observations=np.concatenate(list), episode_ends=np.cumsum([len(e) for e in list])"
    place, value = f"{tmp_path / 'play.npz'}: 'observations'", "pickled Python objects"
    with refused(place=place, value=value, remedy=remedy):
        read_dataset(write(tmp_path, observations=ragged))


def test_rows_are_cut_where_an_action_led_elsewhere(tmp_path: Path) -> None:
    led_to = np.concatenate([ROWS[1:], ROWS[:1] + 1])
    led_to[5] = 7.0
    path = write(tmp_path, observations=ROWS, next_observations=led_to, terminals=NOWHERE)
    data = read_dataset(path)
    assert lengths(data) == [6, 6]
    assert data.provenance["cuts"] == 1
    np.testing.assert_array_equal(data.episodes[0].observations[-1], [7, 7])
    with h5py.File(tmp_path / "play.hdf5", "w") as file:
        for name, array in {
            "observations": ROWS, "next_observations": led_to, "actions": ROWS,
            "rewards": ROWS[:, 0], "terminals": NOWHERE, "timeouts": NOWHERE,
        }.items():  # fmt: skip
            file[name] = array
    assert lengths(read_dataset(tmp_path / "play.hdf5")) == [6, 6]


@pytest.mark.parametrize(("kind", "wrong"), [("shuffled", 58), ("two environments alternate", 59)])
def test_rows_in_another_order_are_refused(kind: str, wrong: int, tmp_path: Path) -> None:
    walk = np.random.default_rng(2).standard_normal((61, 2)).cumsum(0)
    here, led_to = walk[:-1], walk[1:]
    if kind == "shuffled":
        order = np.random.default_rng(3).permutation(60)
    else:
        order = np.arange(60).reshape(2, 30).T.ravel()
    path = write(
        tmp_path, observations=here[order], next_observations=led_to[order], dones=np.zeros(60)
    )
    with refused(place=f"{path}: 'next_observations', row 0", value=wrong, remedy="sort them"):
        read_dataset(path)


def test_rounding_is_no_contradiction(tmp_path: Path) -> None:
    far = ROWS + 1e4
    led_to = np.concatenate([far[1:], far[:1]]).astype("f4")
    path = write(tmp_path, observations=far, next_observations=led_to, dones=ENDS)
    assert lengths(read_dataset(path)) == [6, 6]


@pytest.mark.parametrize("shape", [(12,), (12, 1)])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_choices_are_one_hot_inside_and_whole_numbers_outside(
    shape: tuple[int, ...], dtype: type, tmp_path: Path
) -> None:
    made = np.array([2, 2, 1, 2, 2, 1, 1, 0, 1, 2, 1, 2], dtype)
    data = read_dataset(write(tmp_path, observations=ROWS, actions=made.reshape(shape), dones=ENDS))
    assert data.columns.actions == ("action=0", "action=1", "action=2")
    assert data.columns.choices == (0, 1, 2)
    np.testing.assert_array_equal(data.episodes[0].actions, np.eye(3)[made[:5]])
    back = [decode(data.columns, episode.actions) for episode in data.episodes]
    np.testing.assert_array_equal(np.concatenate(back), made[[0, 1, 2, 3, 4, 6, 7, 8, 9, 10]])
    np.testing.assert_array_equal(encode(data.columns, [2, 0]), [[0, 0, 1], [1, 0, 0]])
    with refused(place="actions", value=3, remedy="0, 1, 2"):
        encode(data.columns, [3])


@pytest.mark.parametrize("made", [np.linspace(0, 1, 12), np.arange(12) - 1, np.arange(12) * 100])
def test_actions_of_one_axis_that_are_no_choices_are_refused(
    made: np.ndarray, tmp_path: Path
) -> None:
    place = f"{tmp_path / 'play.npz'}: 'actions'"
    with refused(place=place, value=(12,), remedy="actions[:, None]"):
        read_dataset(write(tmp_path, observations=ROWS, actions=made, dones=ENDS))


def test_choices_in_a_grid(tmp_path: Path) -> None:
    made = np.arange(40).reshape(4, 10) % 3
    data = read_dataset(write(tmp_path, observations=GRID, actions=made))
    np.testing.assert_array_equal(decode(data.columns, data.episodes[1].actions), made[1, :9])


def test_robomimic_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "lift.hdf5", "w") as file:
        for demo in range(11):
            group = file.create_group(f"data/demo_{demo}")
            group["obs/object"] = ROWS[:6] + demo
            group["obs/eef"] = ROWS[6:, :1]
            group["obs/image"] = np.zeros((6, 4, 4, 3), np.uint8)
            group["actions"] = ROWS[:6] * 2
            group["rewards"], group["dones"] = np.arange(6.0), np.arange(6) == 5
    data = read_dataset(tmp_path / "lift.hdf5")
    assert lengths(data) == [5] * 11
    assert data.columns.observations == ("eef", "object.0", "object.1")
    np.testing.assert_array_equal(data.episodes[10].observations[:, 1:], ROWS[:6] + 10)
    np.testing.assert_array_equal(data.episodes[2].actions, ROWS[:5] * 2)
    assert data.provenance["left_out"] == ["image"]


def test_d3rlpy_is_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "d3rlpy.h5", "w") as file:
        for episode in range(2):
            file[f"observations_{episode}"] = ROWS[:5] + episode
            file[f"actions_{episode}"] = ROWS[:5, :1]
            file[f"rewards_{episode}"] = np.arange(5.0)[:, None]
            file[f"terminated_{episode}"] = True
        file["total_size"] = 10
    data = read_dataset(tmp_path / "d3rlpy.h5")
    assert lengths(data) == [4, 4]
    np.testing.assert_array_equal(data.episodes[1].observations, ROWS[:5] + 1)
    np.testing.assert_array_equal(data.episodes[0].rewards, [0, 1, 2, 3])


def test_a_file_of_minari_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "main_data.hdf5"
    with h5py.File(path, "w") as file:
        file["episode_0/observations"] = ROWS
    with refused(place=str(path), value="one file of a Minari dataset", remedy="give the folder"):
        read_dataset(path)


@pytest.mark.parametrize(("rows", "dtype"), [(10**8, "f8"), (10**11, "f8"), (10**8, "?")])
def test_a_small_file_cannot_claim_much(rows: int, dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "sparse.hdf5"
    with h5py.File(path, "w") as file:
        for name in ("observations", "actions", "rewards", "terminals", "timeouts"):
            shape = (rows, 2) if name in ("observations", "actions") else (rows,)
            file.create_dataset(name, shape, dtype, chunks=True)
    with refused(place=f"{path}: 'actions'", value=16 * rows):
        read_dataset(path)


def damaged(head: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive whose 'observations' have this header."""
    page = io.BytesIO()
    with zipfile.ZipFile(page, "w", method) as archive:
        for name in ("observations", "episode_ends"):
            body = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(64)
            archive.writestr(f"{name}.npy", body)
    return page.getvalue()


HEAD = b"{'descr': '<f8', 'fortran_order': False, 'shape': (%s, 2), }\n"


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (damaged(HEAD % (b"9" * 40)), ": 'observations'"),
        (damaged(HEAD % b"-4"), ": 'observations'"),
        (damaged(HEAD % b"10000000000"), ": 'observations'"),
        (damaged(b"{'descr': '''<f8"), ": 'observations'"),
        (
            damaged(b"{'descr': '<M8[s]', 'fortran_order': False, 'shape': (4, 2), }\n"),
            ": 'observations'",
        ),
        (damaged(b"(" * 300), ": 'observations'"),
        (
            damaged(HEAD % b"4", zipfile.ZIP_LZMA).replace(bytes(8), b"\xff" * 8),
            ": 'observations'",
        ),
        (damaged(HEAD % b"4")[:-30], ""),
        (b"PK\x03\x04", ""),
        (b"", ""),
    ],
    ids=["overflow", "negative", "huge", "token", "dates", "deep", "lzma", "cut", "head", "empty"],
)
def test_a_damaged_archive_is_a_data_error(content: bytes, field: str, tmp_path: Path) -> None:
    path = tmp_path / "play.npz"
    path.write_bytes(content)
    with refused(place=f"{path}{field}"):
        read_dataset(path)


def test_a_format_of_others_is_read_by_its_name(tmp_path: Path) -> None:
    def read(path: Path, _layout: object) -> Recording:
        return Recording([Episode(np.loadtxt(path))])

    ours = Format("columns of text", lambda path: path.suffix == ".dat", read)
    np.savetxt(tmp_path / "walk.dat", ROWS)
    path = tmp_path / "walk.dat"
    with refused(place=str(path), value=".dat", remedy="convert it"):
        read_dataset(path)
    np.testing.assert_array_equal(
        read_dataset(tmp_path / "walk.dat", format=ours).episodes[0].observations, ROWS
    )
    globals()["OURS"] = ours
    found = read_dataset(tmp_path / "walk.dat", format=f"{__name__}:OURS")
    np.testing.assert_array_equal(found.episodes[0].observations, ROWS)
    FORMATS.register("dat")(ours)
    try:
        assert lengths(read_dataset(tmp_path / "walk.dat")) == [11]
        (tmp_path / "walk.dat").write_text("no numbers")
        with refused(place=str(path), remedy="check it") as found:
            read_dataset(path)
        assert "could not convert string 'no'" in found.value.value
    finally:
        FORMATS._parts.pop("dat")


@pytest.mark.parametrize("name", ["runs/plya-v0", "./plya-v0", "plya-v0", "nothing.csv", "a/b"])
def test_a_mistyped_path_never_goes_to_the_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "store"))
    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("minari.storage.hosting.download_dataset", refuse)
    with refused(place=name, value=None, remedy="check the"):
        read_dataset(name)
