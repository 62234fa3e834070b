"""Jobs that do odd things, for the queue's tests; loads nothing heavy."""

import os
import signal
import time
from typing import Any

from trailward.web.worker import Control

EXPECTED = (ValueError,)


def echo(control: Control, board: str, value: Any = None) -> Any:
    return {"value": value, "process": os.getpid()}


def count(control: Control, board: str, total: int) -> dict[str, int]:
    for done in range(total):
        control.progress("Counting", done, total, seen=[done])
        if control.stopped:
            return {"counted": done}
        time.sleep(0.02)
    return {"counted": total}


def finish(control: Control, board: str) -> str:
    control.progress("Working", 0, 1)
    while not control.stopped:
        time.sleep(0.02)
    time.sleep(0.5)
    return "kept"


def sleep(control: Control, board: str) -> None:
    time.sleep(60)


def refuse(control: Control, board: str) -> None:
    raise ValueError("the value is 3; it must be 2")


def stumble(control: Control, board: str) -> None:
    raise KeyError("oh")


def die(control: Control, board: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave(control: Control, board: str) -> None:
    os._exit(7)


def eat(control: Control, board: str) -> None:
    eaten = []
    for _ in range(60):
        eaten.append(bytearray(os.urandom(1024)) * (20 * 1024))
        time.sleep(0.05)


def say(control: Control, board: str) -> str:
    os.write(1, b"noise of a library\n")
    return "heard"


VERBS = {f.__name__: f for f in (echo, count, finish, sleep, refuse, stumble, die, leave, eat, say)}


def warm_up() -> None:
    pass
