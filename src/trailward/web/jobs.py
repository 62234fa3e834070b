"""The queue of jobs and the worker processes that do them.

Two kinds of processes: ``long`` jobs (learn, train, evaluate) wait for their turn, ``quick`` ones
(a fan of plans, following a drawn line) have a process of their own, so that the page answers
while something is being learnt.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trailward.errors import at_least
from trailward.running.files import write_file

NOTE = "jobs.json"
"""File of the long jobs that wait or run, from which a server knows what the one before lost."""

LOST = "the server ended while it was at this; start it again, and what takes minutes goes on"
_POLL, _STOPPING, _FINISHING, _ANSWER_BYTES, _KEPT = 0.25, 5.0, 60.0, 64 * 2**20, 200

RUNNING = ("waiting", "running")
"""States of a job that has not come to an end; the others are done, stopped and failed."""


class BusyError(RuntimeError):
    """There are as many jobs as there may be."""


class JobError(RuntimeError):
    """A job failed; the message says why, for people."""


@dataclass(frozen=True)
class Limits:
    """What jobs may use.

    Attributes:
        long_workers: processes for long jobs.
        max_jobs: long jobs that wait or run at once; eight times as many quick ones may wait.
        memory_mb: resident memory of a process, megabytes.
        long_seconds: time for a long job.
        quick_seconds: time for a quick job.
    """

    long_workers: int = 1
    max_jobs: int = 8
    memory_mb: int = 4096
    long_seconds: float = 3600.0
    quick_seconds: float = 60.0

    def __post_init__(self) -> None:
        at_least(1, self, *vars(self))


@dataclass
class Job:
    """A job, and what is known of it.

    Attributes:
        number: counts from 1.
        board: whose it is.
        verb: what to do, a name in ``work.VERBS``.
        arguments: JSON values.
        state: ``waiting``, ``running``, ``done``, ``stopped`` or ``failed``.
        shown: the last value of each entry of its events.
        answer: when done.
        why: it failed.
        began: at this time of a monotonic clock.
        tell: is told what a quick job has to show.
        ended: is set when it has.
    """

    number: int
    board: str
    verb: str
    arguments: dict[str, Any]
    state: str = "waiting"
    shown: dict[str, Any] = field(default_factory=dict)
    answer: Any = None
    why: str | None = None
    began: float | None = None
    tell: "Tell | None" = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def told(self, *, whole: bool = True) -> dict[str, Any]:
        """As the page is told of it; without pictures and answer if not ``whole``."""
        shown = {k: v for k, v in self.shown.items() if whole or not isinstance(v, dict | list)}
        facts = {
            "job": self.number,
            "board": self.board,
            "verb": self.verb,
            "state": self.state,
            "why": self.why,
            "shown": shown,
            "seconds": None if self.began is None else round(time.monotonic() - self.began, 1),
        }
        return facts | ({"answer": self.answer} if whole else {})


Tell = Callable[[dict[str, Any]], None]


class Worker:
    """One process; started when it is first needed, and again after it has died."""

    def __init__(self, root: Path, memory_mb: int, module: str) -> None:
        self._memory_mb = memory_mb
        self._command = (sys.executable, "-m", "trailward.web.worker", str(root), module)
        self._process: asyncio.subprocess.Process | None = None
        self._job: Job | None = None
        self._killed_for: str | None = None

    async def start(self) -> asyncio.subprocess.Process:
        """The process, with the library loaded."""
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_ANSWER_BYTES,
        )  # fmt: skip
        if not await self._line(process):
            raise JobError(f"the worker did not start: {_how_it_ended(await process.wait())}")
        return process

    async def run(self, job: Job, seconds: float, event: Callable[[Job], None]) -> None:
        """Do a job; its state says how it ended.

        Args:
            job: that waits.
            seconds: after which it is killed.
            event: called when there is something new to show.
        """
        self._job, self._killed_for = job, None
        try:
            process = await self.start()
            if job.state != "waiting":  # cancelled while the process was starting
                return
            job.state, job.began = "running", time.monotonic()
            event(job)
            watch = asyncio.create_task(self._watch(process, job, seconds))
            try:
                facts = {"job": job.number, "verb": job.verb, "arguments": job.arguments}
                await self._write(facts)
                await self._follow(process, job, event)
            finally:
                watch.cancel()
        except (JobError, OSError) as error:
            job.state, job.why = "failed", str(error)
        finally:
            self._job = None

    async def stop(self, job: Job) -> None:
        """Ask a running job to come to an end; kill it if it does not within seconds.

        One that has heard gets longer: it keeps what it has made so far.
        """
        await self._write({"stop": job.number})
        for seconds in (_STOPPING, _FINISHING):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(job.ended.wait(), seconds)
            if job.ended.is_set() or "stopping" not in job.shown:
                break
        if self._job is job:
            self._kill("it was stopped")

    async def close(self) -> None:
        """End the process."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    @property
    def job(self) -> Job | None:
        """What it is doing."""
        return self._job

    @property
    def dead(self) -> bool:
        """Whether its process has ended."""
        return self._process is not None and self._process.returncode is not None

    async def _follow(
        self, process: asyncio.subprocess.Process, job: Job, event: Callable[[Job], None]
    ) -> None:
        while True:
            message = await self._line(process)
            if message is None:
                ended = _how_it_ended(await process.wait())
                job.state = "stopped" if self._killed_for == "it was stopped" else "failed"
                job.why = self._killed_for or f"the process that did it died: {ended}"
                return
            if "event" in message:
                job.shown = message["event"] | {
                    k: v for k, v in job.shown.items() if k not in message["event"]
                }
                event(job)
            elif "done" in message:
                job.state, job.answer = "done", message["done"]
                return
            elif "failed" in message:
                bug = "" if message["expected"] else "this is a bug of trailward: "
                job.state, job.why = "failed", bug + message["failed"]
                return

    async def _line(self, process: asyncio.subprocess.Process) -> dict[str, Any] | None:
        if process.stdout is None:
            raise JobError("the worker has no output")
        line = await process.stdout.readline()
        return json.loads(line) if line else None

    async def _write(self, message: dict[str, Any]) -> None:
        process = self._process
        if process is not None and process.stdin is not None and process.returncode is None:
            with contextlib.suppress(ConnectionError):
                process.stdin.write(json.dumps(message).encode() + b"\n")
                await process.stdin.drain()

    async def _watch(self, process: asyncio.subprocess.Process, job: Job, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while process.returncode is None:
            await asyncio.sleep(_POLL)
            used = resident_mb(process.pid)
            if used > self._memory_mb:
                self._kill(f"it used {used:,.0f} MB of memory; {self._memory_mb:,} are allowed")
            elif time.monotonic() > deadline:
                self._kill(f"it took longer than the {seconds:,.0f} seconds that are allowed")

    def _kill(self, why: str) -> None:
        if self._process is not None and self._process.returncode is None:
            self._killed_for = why
            self._process.kill()


class Jobs:
    """All jobs of a server.

    Args:
        root: the folder that workers write to.
        limits: what jobs may use.
        module: what jobs are: it has ``VERBS``, ``EXPECTED`` and ``warm_up``.
    """

    def __init__(
        self, root: Path, limits: Limits = Limits(), *, module: str = "trailward.web.work"
    ) -> None:
        self.limits = limits
        workers = [Worker(root, limits.memory_mb, module) for _ in range(limits.long_workers + 1)]
        self._quick, *self._long = workers
        self._note = root / NOTE
        self._waiting: dict[bool, asyncio.Queue[Job]] = {}
        self._jobs: dict[int, Job] = {}
        self._listeners: set[Tell] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._count = 0

    async def open(self) -> None:
        """Start the processes; they load the library before anything is asked of them."""
        self._waiting = {True: asyncio.Queue(), False: asyncio.Queue()}
        self._recall()
        self._loops = [asyncio.create_task(self._serve(w, quick=False)) for w in self._long]
        self._loops.append(asyncio.create_task(self._serve(self._quick, quick=True)))

    async def close(self) -> None:
        """End the processes; nothing is left running."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        for worker in (*self._long, self._quick):
            await worker.close()

    def add(self, board: str, verb: str, arguments: dict[str, Any], *, quick: bool = False) -> Job:
        """Queue a job.

        Raises:
            BusyError: if there are as many as there may be.
        """
        queue = self._waiting[quick]
        busy = sum(job.state in RUNNING for job in self._jobs.values())
        if (queue.qsize() // 8 if quick else busy) >= self.limits.max_jobs:
            msg = f"{self.limits.max_jobs} jobs wait already; stop one of them, or wait"
            raise BusyError(msg)
        self._count += 1
        job = Job(self._count, board, verb, {"board": board, **arguments})
        if not quick:
            self._jobs[job.number] = job
            for old in [n for n, j in self._jobs.items() if j.state not in RUNNING][:-_KEPT]:
                del self._jobs[old]
        queue.put_nowait(job)
        if not quick:
            for old in [j for j in self.of(board) if (j.verb, j.why) == (verb, LOST)]:
                del self._jobs[old.number]
            self._write_down()
            self._tell(job)
        return job

    async def ask(
        self, board: str, verb: str, arguments: dict[str, Any], tell: Tell = lambda shown: None
    ) -> Any:
        """The answer of a quick job.

        Args:
            board: whose it is.
            verb: what to do.
            arguments: JSON values.
            tell: is told what the job has to show before it is done.

        Raises:
            BusyError: if too many are waiting.
            JobError: if it fails.
        """
        job = self.add(board, verb, arguments, quick=True)
        job.tell = tell
        await job.ended.wait()
        if job.state != "done":
            raise JobError(job.why or "it was stopped")
        return job.answer

    def of(self, board: str) -> list[Job]:
        """The long jobs of a board, oldest first."""
        return [job for job in self._jobs.values() if job.board == board]

    def get(self, number: int) -> Job | None:
        """A long job by its number; None if there is none."""
        return self._jobs.get(number)

    async def stop(self, job: Job) -> None:
        """End a job. One that is learning keeps what it has learnt so far."""
        if job.state == "waiting":
            job.state, job.why = "stopped", "it was stopped before it began"
            self._end(job)
            return
        for worker in self._long:
            if worker.job is job:
                await worker.stop(job)

    @contextlib.contextmanager
    def listen(self, tell: Tell) -> Iterator[None]:
        """Be told of all that jobs have to show, for as long as the context lasts."""
        self._listeners.add(tell)
        try:
            yield
        finally:
            self._listeners.discard(tell)

    async def _serve(self, worker: Worker, *, quick: bool) -> None:
        with contextlib.suppress(JobError, OSError):
            await worker.start()
        seconds = self.limits.quick_seconds if quick else self.limits.long_seconds
        event = _tell_asker if quick else self._tell
        while True:
            job = await self._waiting[quick].get()
            if job.state == "waiting":
                await worker.run(job, seconds, event)
                self._end(job)
                if worker.dead:
                    with contextlib.suppress(JobError, OSError):
                        await worker.start()

    def _end(self, job: Job) -> None:
        job.ended.set()
        if job.number in self._jobs:
            self._write_down()
            self._tell(job)

    def _write_down(self) -> None:
        """Note the jobs that would be lost if the server ended now, or have been lost before."""
        told = [
            {"board": job.board, "verb": job.verb, "arguments": job.arguments}
            for job in self._jobs.values()
            if job.state in RUNNING or job.why == LOST
        ]
        write_file(self._note, json.dumps(told))

    def _recall(self) -> None:
        """Jobs that the server before this one has lost count as failed, and say why."""
        if not self._note.is_file():
            return
        with contextlib.suppress(ValueError, KeyError, TypeError):
            for lost in json.loads(self._note.read_text(encoding="utf-8")):
                self._count += 1
                job = Job(self._count, lost["board"], lost["verb"], lost["arguments"])
                job.state, job.why = "failed", LOST
                self._jobs[job.number] = job

    def _tell(self, job: Job) -> None:
        for tell in tuple(self._listeners):
            tell(job.told())


def _tell_asker(job: Job) -> None:
    if job.tell is not None and job.shown:
        job.tell(job.shown)


def resident_mb(process: int) -> float:
    """Resident memory of a process in megabytes; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    often = " (often the system's: too little memory)" if name == "SIGKILL" else ""
    return f"{name}{often}"
