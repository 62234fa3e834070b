"""When long work is kept: after so many steps, every minute, and when it is interrupted."""

import ctypes
import os
import signal
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Any

_PR_SET_PDEATHSIG = 1
_SECONDS = 60.0
_PATIENCE = 0.7


def end_with(parent: int) -> None:
    """End this process when its parent ends, however that ends; Ctrl-C is left to the parent.

    Args:
        parent: the process number of the one that started this one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError, AttributeError):  # Linux alone has it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


class Checkpoints:
    """Tells when a checkpoint is due; a context in which signals wait for the end of a step.

    Ctrl-C, and SIGTERM where it interrupts as Ctrl-C does, are held back until the step that runs
    is done and kept; a step that takes longer than a moment, and a second signal, end at once.

    Args:
        every: steps between checkpoints.
        total: the last step.
    """

    def __init__(self, every: int, total: int) -> None:
        self._every, self._total, self._kept = every, total, time.monotonic()
        self._asked, self._before = False, dict[int, Any]()

    def due(self, done: int) -> bool:
        """Whether to write one now that so many steps are done."""
        late = time.monotonic() - self._kept > _SECONDS
        if done % self._every == 0 or done >= self._total or late or self._asked:
            self._kept = time.monotonic()
            if self._asked:
                signal.setitimer(signal.ITIMER_REAL, 0)
            return True
        return False

    def stop_if_asked(self) -> None:
        """End here, now that all is kept, if a signal asked for it.

        Raises:
            KeyboardInterrupt: if so.
        """
        if self._asked:
            raise KeyboardInterrupt

    def __enter__(self) -> "Checkpoints":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is signal.default_int_handler:
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        if self._asked and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked or not hasattr(signal, "setitimer"):
            raise KeyboardInterrupt
        self._asked = True
        self._before.setdefault(signal.SIGALRM, signal.getsignal(signal.SIGALRM))
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE)
