"""What long work says on a terminal and in a log file."""

import time

import pytest

from trailward.progress import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_log_file_gets_a_line_every_ten_seconds_and_the_last(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("training", 100) as report:
        for step in range(0, 31):
            clock[0] = step
            report(step, loss=1 / (1 + step))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "training 10/100 after 0:00:10, about 0:01:30 left  loss 0.09091",
        "training 20/100 after 0:00:20, about 0:01:20 left  loss 0.04762",
        "training 30/100 after 0:00:30, about 0:01:10 left  loss 0.03226",
    ]


def test_short_work_says_how_it_ended_and_why(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("learning", 250) as report:
        report(200, loss=0.5)
        report(200, ended="patience ran out: the best was step 100")
    assert capsys.readouterr().err == (
        "learning 200/250 after 0:00:00  patience ran out: the best was step 100\n"
    )


def test_work_of_days_says_so_once(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress("training", 10_000_000) as report:
        for step in range(0, 9):
            clock[0] = step
            report(step)
    said = capsys.readouterr().err
    assert said.count("training: at this speed it takes about 115.7 days more for 9,999,995") == 1
