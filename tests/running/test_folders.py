"""Whose a folder is: kinds, runs, locks, and what killed processes leave."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from refusals import refused
from trailward.running.files import staging_name
from trailward.running.folders import LOCK, MARK, FolderError, kind_of, own_file, own_folder, run_of

HOLD = """
import sys, time
from pathlib import Path
from trailward.running.folders import own_folder
with own_folder(sys.argv[1], "reward"):
    print("held", flush=True)
    sys.stdin.read()
"""


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_folder_is_marked_by_its_kind_and_version_and_the_lock_is_gone(tmp_path: Path) -> None:
    with own_folder(tmp_path / "deep/reward", "reward", run={"seed": 1}) as folder:
        assert contents(folder) == {MARK, LOCK}
        (folder / "weights").touch()
    assert contents(folder) == {MARK, "weights"}
    mark = json.loads((folder / MARK).read_text())
    assert mark["kind"] == kind_of(folder) == "reward"
    assert mark["trailward"].count(".") == 2
    assert run_of(folder) == {"seed": 1}


def test_nothing_is_left_of_a_run_that_wrote_nothing(tmp_path: Path) -> None:
    def run() -> None:
        with own_folder(tmp_path / "deep/reward", "reward"):
            raise KeyError("bad input")

    with pytest.raises(KeyError, match="bad input"):
        run()
    assert contents(tmp_path) == set()


@pytest.mark.parametrize(
    ("sign", "content", "kind"),
    [
        ("config.json", '{"kind": "diffuser"}', "diffuser"),
        ("config.json", '{"name": "somebody else\'s"}', "something else"),
        ("config.json", "[" * 100_000, "something else"),
        ("training.safetensors", "", "diffuser"),
        ("learning.safetensors", "", "reward"),
        ("demo.json", "{}", "demo"),
        ("evaluation.json", "{}", "evaluation"),
        ("index.html", "<html>", "report"),
        (MARK, '{"kind": "policies"}', "policies"),
    ],
)
def test_a_folder_of_another_kind_is_refused_and_stays_as_it_is(
    tmp_path: Path, sign: str, content: str, kind: str
) -> None:
    (tmp_path / sign).write_text(content)
    with refused(FolderError, place=str(tmp_path), value=kind, remedy="--out"):
        own_folder(tmp_path, "benchmark").__enter__()
    assert contents(tmp_path) == {sign}
    assert (tmp_path / sign).read_text() == content


def test_another_run_is_refused_and_the_same_is_not(tmp_path: Path) -> None:
    with own_folder(tmp_path, "evaluation", run={"task": "corner", "seeds": (1, 2)}):
        (tmp_path / "evaluation.json").touch()
    with own_folder(tmp_path, "evaluation", run={"task": "corner", "seeds": (1, 2)}):
        pass
    with refused(FolderError, place=f"{tmp_path}: task", value=("corner", "goal")):
        own_folder(tmp_path, "evaluation", run={"task": "goal", "seeds": (1, 2)}).__enter__()
    assert contents(tmp_path) == {MARK, "evaluation.json"}


def test_a_finished_model_without_its_checkpoint_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"kind": "reward"}')
    with refused(FolderError, place=str(tmp_path / "learning.safetensors"), remedy="--out"):
        own_folder(tmp_path, "reward", resumes_from="learning.safetensors").__enter__()
    (tmp_path / "learning.safetensors").touch()
    with own_folder(tmp_path, "reward", resumes_from="learning.safetensors"):
        pass


def test_a_folder_in_use_is_refused_by_whose_it_is_until_that_is_killed(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdin is not None
    assert other.stdout.readline() == b"held\n"
    with refused(FolderError, place=str(tmp_path), remedy="wait for it") as caught:
        own_folder(tmp_path, "reward").__enter__()
    holder = caught.value.value
    assert (holder["pid"], holder["host"]) == (other.pid, platform.node())
    assert f"in use by process {other.pid} on {platform.node()} since 20" in str(caught.value)
    staged = staging_name(tmp_path / "weights")
    staged.touch()
    other.kill()
    other.wait()
    other.stdin.close()
    other.stdout.close()
    assert contents(tmp_path) == {MARK, LOCK, staged.name}
    with own_folder(tmp_path, "reward"):
        assert not staged.exists()
    assert contents(tmp_path) == {MARK}


@pytest.mark.parametrize(
    ("holder", "is_stale"),
    [
        ({"pid": 2**22 + 1, "host": platform.node(), "started": 1}, True),
        ({"pid": os.getppid(), "host": platform.node(), "started": 1}, True),  # a number reused
        ({"pid": 1, "host": "elsewhere", "started": 1}, False),
        ({}, True),
    ],
)
def test_without_locks_of_the_kernel_a_stale_lock_is_told_by_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: dict, *, is_stale: bool
) -> None:
    monkeypatch.setattr("trailward.running.folders.fcntl", None)
    (tmp_path / LOCK).write_text(json.dumps(holder))
    if is_stale:
        with own_folder(tmp_path, "reward"):
            assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    else:
        with refused(FolderError, place=str(tmp_path), value=holder):
            own_folder(tmp_path, "reward").__enter__()


def test_a_file_is_written_by_one_process_at_a_time(tmp_path: Path) -> None:
    with own_file(tmp_path / "new/reward.pt2") as path:
        assert contents(path.parent) == {".reward.pt2.lock"}
        with refused(FolderError, place=str(path)) as caught:
            own_file(path).__enter__()
        assert caught.value.value["pid"] == os.getpid()
    assert contents(tmp_path) == set()
