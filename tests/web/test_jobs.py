"""Jobs are done one after another, and whatever becomes of one, the next is done."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from refusals import refused
from trailward.errors import SettingsError
from trailward.web.jobs import LOST, NOTE, BusyError, Job, JobError, Jobs, Limits

HERE = Path(__file__).parent
Scene = Callable[[Jobs], Awaitable[Any]]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a scene with the queue of odd jobs; nothing may be left running."""
    found = os.pathsep.join([str(HERE), str(HERE.parents[1] / "src")])
    monkeypatch.setenv("PYTHONPATH", found)

    def run(scene: Scene, **limits: Any) -> Any:
        async def whole() -> Any:
            jobs = Jobs(tmp_path, Limits(**limits), module="odd_work")
            await jobs.open()
            try:
                return await asyncio.wait_for(scene(jobs), 120)
            finally:
                await jobs.close()

        before = children()
        answer = asyncio.run(whole())
        assert children() == before
        return answer

    return run


def children() -> set[str]:
    """Processes that this one has started and that still run."""
    folder = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    return set(folder.read_text().split()) if folder.exists() else set()


async def ended(jobs: Jobs, verb: str, **arguments: Any) -> Job:
    job = jobs.add("board", verb, arguments)
    await job.ended.wait()
    return job


def test_jobs_are_answered_in_turn_by_one_process(play: Callable[..., Any]) -> None:
    async def scene(jobs: Jobs) -> list[Job]:
        first = jobs.add("board", "echo", {"value": [1, None]})
        return [await ended(jobs, "echo", value="two"), first]

    second, first = play(scene)
    assert (first.state, first.answer["value"]) == ("done", [1, None])
    assert second.answer == {"value": "two", "process": first.answer["process"]}


def test_quick_jobs_are_answered_while_a_long_one_runs(play: Callable[..., Any]) -> None:
    async def scene(jobs: Jobs) -> tuple[Any, str]:
        long = jobs.add("board", "count", {"total": 1000})
        answer = await jobs.ask("board", "echo", {"value": 5})
        return answer["value"], long.state

    assert play(scene) in [(5, "running"), (5, "waiting")]


def test_progress_is_told_and_a_job_that_is_stopped_keeps_what_it_has(
    play: Callable[..., Any],
) -> None:
    async def scene(jobs: Jobs) -> tuple[Job, list[Any]]:
        told: list[dict[str, Any]] = []
        with jobs.listen(told.append):
            job = jobs.add("board", "count", {"total": 1000})
            while job.shown.get("done", 0) < 3:
                await asyncio.sleep(0.01)
            await jobs.stop(job)
        return job, told

    job, told = play(scene)
    assert job.state == "done"
    assert 3 <= job.answer["counted"] < 1000
    assert told[0]["state"] == "waiting"
    assert told[-1]["state"] == "done"
    assert any(each["shown"].get("stage") == "Counting" for each in told)


def test_a_job_that_has_heard_gets_the_time_to_keep_what_it_has(
    play: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trailward.web.jobs._STOPPING", 0.2)

    async def scene(jobs: Jobs) -> Job:
        job = jobs.add("board", "finish", {})
        while not job.shown:
            await asyncio.sleep(0.01)
        await jobs.stop(job)
        await job.ended.wait()
        return job

    job = play(scene)
    assert (job.state, job.answer) == ("done", "kept")
    assert job.shown["stopping"] is True


def test_what_a_server_was_doing_when_it_ended_is_told_by_the_next(
    play: Callable[..., Any], tmp_path: Path
) -> None:
    async def ends(jobs: Jobs) -> None:
        await ended(jobs, "echo", value=1)
        job = jobs.add("board", "count", {"total": 1000})
        while not job.shown:
            await asyncio.sleep(0.01)

    async def begins(jobs: Jobs) -> tuple[list[Job], list[Job]]:
        lost = jobs.of("board")
        again = jobs.add("board", "count", {"total": 1})
        await again.ended.wait()
        return lost, jobs.of("board")

    play(ends)
    (lost,), (again,) = play(begins)
    assert (lost.verb, lost.state, lost.why) == ("count", "failed", LOST)
    assert (again.state, again.answer) == ("done", {"counted": 1})
    assert json.loads((tmp_path / NOTE).read_text()) == []


def test_a_job_that_waits_can_be_stopped(play: Callable[..., Any]) -> None:
    async def scene(jobs: Jobs) -> tuple[Job, Job]:
        first = jobs.add("board", "count", {"total": 20})
        second = jobs.add("board", "echo", {})
        await jobs.stop(second)
        await first.ended.wait()
        return first, second

    first, second = play(scene)
    assert first.state == "done"
    assert (second.state, second.why) == ("stopped", "it was stopped before it began")


@pytest.mark.parametrize(
    ("verb", "limits", "why"),
    [
        ("refuse", {}, "the value is 3; it must be 2"),
        ("stumble", {}, "this is a bug of trailward: KeyError: 'oh'"),
        ("die", {}, "the process that did it died: SIGKILL"),
        ("leave", {}, "the process that did it died: exit code 7"),
        ("sleep", {"long_seconds": 1}, "it took longer than the 1 seconds that are allowed"),
        ("eat", {"memory_mb": 200}, "MB of memory; 200 are allowed"),
    ],
)
def test_a_job_that_fails_says_why_and_the_next_one_is_done(
    play: Callable[..., Any], verb: str, limits: dict[str, Any], why: str
) -> None:
    async def scene(jobs: Jobs) -> tuple[Job, Job]:
        return await ended(jobs, verb), await ended(jobs, "echo", value=1)

    failed, after = play(scene, **limits)
    assert failed.state == "failed"
    assert why in failed.why
    assert (after.state, after.answer["value"]) == ("done", 1)


def test_a_job_that_does_not_stop_is_killed(
    play: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trailward.web.jobs._STOPPING", 0.2)

    async def scene(jobs: Jobs) -> tuple[Job, Job]:
        job = jobs.add("board", "sleep", {})
        while job.state == "waiting":
            await asyncio.sleep(0.01)
        await jobs.stop(job)
        await job.ended.wait()
        return job, await ended(jobs, "echo", value=1)

    stopped, after = play(scene)
    assert (stopped.state, after.state) == ("stopped", "done")


def test_a_quick_job_that_fails_raises_what_it_says(play: Callable[..., Any]) -> None:
    async def scene(jobs: Jobs) -> None:
        await jobs.ask("board", "refuse", {})

    with pytest.raises(JobError, match="the value is 3"):
        play(scene)


def test_there_are_no_more_jobs_than_there_may_be(play: Callable[..., Any]) -> None:
    async def scene(jobs: Jobs) -> None:
        for _ in range(3):
            jobs.add("board", "count", {"total": 100})

    with pytest.raises(BusyError, match="2 jobs wait already; stop one of them"):
        play(scene, max_jobs=2)


def test_what_a_library_prints_is_no_answer(play: Callable[..., Any]) -> None:
    async def scene(jobs: Jobs) -> Job:
        return await ended(jobs, "say")

    assert play(scene).answer == "heard"


def test_limits_below_one_are_refused() -> None:
    with refused(SettingsError, place="max_jobs", value=0, remedy="at least 1"):
        Limits(max_jobs=0)
