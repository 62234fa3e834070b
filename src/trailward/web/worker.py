"""A process that does the jobs of the page: ``python -m trailward.web.worker FOLDER MODULE``.

Lines of JSON come in on standard input and go out on standard output::

    in   {"job": 3, "verb": "learn", "arguments": {...}}     do this
         {"stop": 3}                                         come to an end, keep what there is
    out  {"ready": true}                                     the library is loaded
         {"job": 3, "event": {...}}                          how far it is, and what to show
         {"job": 3, "done": {...}}                           the answer
         {"job": 3, "failed": "why", "expected": true}       bad input (expected), or a bug

When standard input ends the server is gone, and the process ends too, whatever it is doing.
"""

import importlib
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

EVERY = 0.1
"""Seconds between two looks at what is being learnt."""

Send = Callable[[dict[str, Any]], None]


class Control:
    """What a job is given to talk with the page.

    Attributes:
        root: the server's folder; nothing outside it is written.
        emit: sends an event: any JSON value.
    """

    def __init__(self, root: Path, emit: Send) -> None:
        self.root, self.emit = root, emit
        self._stop, self._heard = threading.Event(), False

    @property
    def stopped(self) -> bool:
        """Whether the job has been asked to come to an end; asking tells that it has heard."""
        if self._stop.is_set() and not self._heard:
            self._heard = True
            self.emit({"stopping": True})
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask the job to come to an end."""
        self._stop.set()

    def progress(self, what: str, done: float, total: float, **figures: Any) -> None:
        """Tell how far a stage of the job is.

        Args:
            what: is being done, for people.
            done: so much of ...
            total: ... so much.
            figures: further entries of the event.
        """
        self.emit({"stage": what, "done": done, "total": total, **figures})

    def training(self, what: str, total: int) -> Callable[..., None]:
        """A report of training, such as ``train_diffuser`` takes, that tells how far it is."""
        last = 0.0

        def report(done: int, **figures: Any) -> None:
            nonlocal last
            if time.monotonic() - last >= EVERY or done >= total:
                last = time.monotonic()
                self.progress(what, done, total)

        return report


def main(root: Path, module: str, lines: IO[str], write: Callable[[str], object]) -> None:
    """Do one job after another, until the lines end.

    Args:
        root: the server's folder.
        module: what jobs are, such as ``trailward.web.work``.
        lines: what comes in.
        write: takes what goes out.
    """
    lock = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        with lock:
            write(json.dumps(message, allow_nan=False) + "\n")

    jobs: queue.SimpleQueue[tuple[dict[str, Any], Control]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines, jobs, root, send), daemon=True).start()
    work = importlib.import_module(module)  # takes seconds: it loads PyTorch
    work.warm_up()
    send({"ready": True})
    while True:
        message, control = jobs.get()
        _do(work, message, control, send)


def _listen(lines: IO[str], jobs: queue.SimpleQueue, root: Path, send: Send) -> None:
    given: dict[int, Control] = {}
    for line in lines:
        message = json.loads(line)
        if "stop" in message:
            if message["stop"] in given:
                given[message["stop"]].stop()
            continue
        job = message["job"]
        given = {job: Control(root, lambda event, job=job: send({"job": job, "event": event}))}
        jobs.put((message, given[job]))
    os._exit(0)  # the server is gone; what runs in the other thread has nobody to tell


def _do(work: Any, message: dict[str, Any], control: Control, send: Send) -> None:
    job = message["job"]
    try:
        done = work.VERBS[message["verb"]](control, **message["arguments"])
        send({"job": job, "done": done})
    except work.EXPECTED as error:
        send({"job": job, "failed": str(error), "expected": True})
    except Exception as error:  # noqa: BLE001
        traceback.print_exc()
        why = f"{type(error).__name__}: {error}"
        send({"job": job, "failed": why, "expected": False})


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not get between the answers
    main(Path(sys.argv[1]), sys.argv[2], sys.stdin, answers.write)
