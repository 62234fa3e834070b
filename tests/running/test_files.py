"""Files are whole or as they were, whatever ends the writing of them."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import tiny
from processes import run_python
from trailward.data.dataset import write_dataset
from trailward.running.files import (
    StorageError,
    clear_staging,
    new_folder,
    size_in_words,
    staging_name,
    write_arrays,
    write_file,
    write_json,
)


@contextmanager
def files_up_to(num_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_gets_its_folder_and_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "deep/er/facts.json"
    assert write_json(path, {"a": 1}) == path
    write_json(path, {"a": 2})
    assert path.read_text() == '{\n  "a": 2\n}\n'
    assert names(path.parent) == {"facts.json"}


def test_above_the_limit_of_a_file_the_one_before_stays(tmp_path: Path) -> None:
    path = write_arrays(tmp_path / "a.npz", {"x": np.zeros(3)})
    before = path.read_bytes()
    noise = np.random.default_rng(0).standard_normal(10_000)
    words = r"a\.npz could not be written: it is above the limit on the size of a file; it takes "
    with (
        files_up_to(2000),
        pytest.raises(StorageError, match=words + r"7\d\.\d kB, .* are free, .* raise it \(ulim"),
    ):
        write_arrays(path, {"x": noise})
    assert path.read_bytes() == before
    assert names(tmp_path) == {"a.npz"}


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "there is no space left; it takes 5 bytes, .* make room there and run"),
        (errno.EROFS, "the disk may only be read.* choose a folder that may be written"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_full_or_read_only_disk_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    path = write_file(tmp_path / "a.txt", "before")

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=words) as told:
        write_file(path, "after")
    assert "\n" not in str(told.value)
    assert str(told.value).startswith(f"{path} could not be written")
    assert told.value.errno == number
    assert path.read_text() == "before"
    assert names(tmp_path) == {"a.txt"}


def test_a_file_in_the_way_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(StorageError, match="a file stands where a folder should be"):
        write_file(tmp_path / "a/b", "")


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def fill(*, fails: bool) -> None:
        with new_folder(tmp_path / "made", 1000) as staging:
            (staging / "made").mkdir()
            (staging / "made/one").write_text("1")
            assert not (tmp_path / "made").exists()
            if fails:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(fails=True)
    assert names(tmp_path) == set()
    fill(fails=False)
    assert names(tmp_path) == {"made"}
    assert names(tmp_path / "made") == {"one"}


def test_a_dataset_is_not_begun_where_it_has_no_room(tmp_path: Path) -> None:
    with files_up_to(50_000), pytest.raises(StorageError, match=r"walks-v0 could not be .* MB"):
        write_dataset(tiny.random_walks(), tmp_path / "walks")
    assert names(tmp_path) == set()


def test_what_killed_processes_staged_is_cleared_away(tmp_path: Path) -> None:
    kept = [tmp_path / "a.txt", tmp_path / ".hidden", tmp_path / "sub/writing"]
    left = [
        staging_name(tmp_path / "a.txt"),
        staging_name(tmp_path / "sub/b.txt"),
        tmp_path / ".training.safetensors.writing",  # of version 0.1
    ]
    for path in [*kept, *left]:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    staging_name(tmp_path / "c").mkdir()
    clear_staging(tmp_path)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(kept)


def test_clearing_by_name_leaves_what_others_are_writing(tmp_path: Path) -> None:
    mine, other = staging_name(tmp_path / "a"), staging_name(tmp_path / "b")
    mine.touch()
    other.touch()
    clear_staging(tmp_path, "a")
    assert names(tmp_path) == {other.name}


def test_a_process_killed_in_writing_leaves_the_file_before(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from trailward.running.files import write_file
write_file(sys.argv[1], "before")
os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
write_file(sys.argv[1], "after")
"""
    run_python(code, tmp_path / "a.txt", expect=-9)
    assert (tmp_path / "a.txt").read_text() == "before"
    assert len(names(tmp_path)) == 2
    clear_staging(tmp_path)
    assert names(tmp_path) == {"a.txt"}


@pytest.mark.parametrize(
    ("num_bytes", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (3.2e9, "3.2 GB"), (4e15, "4e+06 GB")],
)
def test_sizes_in_words(num_bytes: float, words: str) -> None:
    assert size_in_words(num_bytes) == words
