"""Signals wait for the end of a step, and no process outlives the one that started it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trailward.cli.main import main
from trailward.running.interruption import Checkpoints

PARENT = """
import multiprocessing, os, sys, time
from trailward.running.interruption import end_with

def work(parent):
    end_with(parent)
    print(os.getpid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    process = multiprocessing.get_context("fork").Process(target=work, args=(os.getpid(),))
    process.start()
    process.join()
"""


def test_a_checkpoint_is_due_by_steps_at_the_end_and_every_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    due = Checkpoints(every=10, total=25)
    assert [step for step in range(1, 26) if due.due(step)] == [10, 20, 25]
    now[0] = 61.0
    assert due.due(3)
    assert not due.due(4)


def steps(done: list[int], number: signal.Signals) -> None:
    with Checkpoints(every=1000, total=5000) as due:
        for step in range(1, 5001):
            if step == 7:
                os.kill(os.getpid(), number)
                time.sleep(0.01)
            done.append(step)
            if due.due(step):
                due.stop_if_asked()


def one_long_step() -> None:
    with Checkpoints(every=1000, total=5000):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_step_end_and_be_kept(number: signal.Signals) -> None:
    before = signal.signal(number, signal.default_int_handler)
    done = []
    try:
        with pytest.raises(KeyboardInterrupt):
            steps(done, number)
        assert done == list(range(1, 8))
        assert signal.getsignal(number) is signal.default_int_handler
        assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    finally:
        signal.signal(number, before)


def test_a_step_that_takes_long_is_not_waited_for() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            one_long_step()
        assert 0.5 < time.monotonic() - began < 5
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_of_somebody_else_is_left_alone() -> None:
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    try:
        with Checkpoints(every=1, total=1):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        assert heard == [1]
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    ends = time.monotonic() + 3
    while Path(f"/proc/{worker}").exists() and time.monotonic() < ends:
        state = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0]
        if state == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{worker}").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_at_the_start_is_told_in_one_line(
    tmp_path: Path, number: signal.Signals
) -> None:
    code = "from trailward.cli import run; print('go', flush=True); run()"
    command = [sys.executable, "-c", code, "train", "--play=x", f"--out={tmp_path}/new"]
    for wait in (0.0, 0.1, 0.4):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        time.sleep(wait + 0.02)
        process.send_signal(number)
        said, _ = process.communicate()
        assert process.returncode == 130, said
        assert re.fullmatch(r"trailward: (train was )?interrupted; .*\n", said)
        assert not (tmp_path / "new").exists()


def test_a_signal_that_comes_in_a_destructor_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Gone:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def work(*_: object, **__: object) -> int:
        Gone()
        time.sleep(20)
        return 0

    monkeypatch.setattr("trailward.cli.main._run", work)
    began = time.monotonic()
    assert main(["inspect"]) == 130
    assert time.monotonic() - began < 10
    assert "interrupted" in capsys.readouterr().err
