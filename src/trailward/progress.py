"""Progress of long work: a bar with the time left on a terminal, now and then a line elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_BETWEEN_LINES = 10.0
_MEASURED = 5.0
_LONG = 24 * 3600.0


@runtime_checkable
class Report(Protocol):
    """Told how much is done, and a few figures to show beside it."""

    def __call__(self, done: int, **figures: float | str) -> None:
        """``done`` counts from 0 to the total; a figure may be a word on why it ends early."""
        ...


Watch = Callable[[str, int], AbstractContextManager[Report]]
"""Given a title and a total, a context in which work is told of: :func:`progress`, or not."""


@contextmanager
def unwatched(title: str, total: int) -> Iterator[Report]:
    """No progress at all."""
    yield lambda done, **figures: None


@contextmanager
def progress(title: str, total: int) -> Iterator[Report]:
    """Progress on standard error for as long as the context lasts.

    On a terminal it is a bar; in a file a line every ten seconds, and one at the end. Work that
    would take more than a day says so once its speed has been measured.
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    pace = _Pace(title, total)

    def warn(done: int) -> None:
        warning = pace.warning(done)
        if warning:
            console.print(warning, markup=False)

    if not console.is_terminal:
        lines = _Lines(pace, console)

        def tell(done: int, **figures: float | str) -> None:
            warn(done)
            lines(done, **figures)

        try:
            yield tell
        finally:
            lines.end()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total, figures="")

        def report(done: int, **figures: float | str) -> None:
            warn(done)
            bar.update(task, completed=done, figures=_in_words(figures))

        yield report


class _Pace:
    """How fast work goes, from the first report on."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.began = title, total, time.monotonic()
        self._first: tuple[int, float] | None = None
        self._has_warned = False

    def left(self, done: int) -> float | None:
        """Seconds left at the speed so far; None if it is not known yet."""
        now = time.monotonic()
        if self._first is None:
            self._first = done, now
        first, since = self._first
        if done <= first or now - since < _MEASURED:
            return None
        return (self.total - done) * (now - since) / (done - first)

    def warning(self, done: int) -> str | None:
        """A sentence on work that takes days, once."""
        left = self.left(done)
        if self._has_warned or left is None or left < _LONG:
            return None
        self._has_warned = True
        return (
            f"{self.title}: at this speed it takes about {left / 86400:.1f} days more for "
            f"{self.total - done:,} of {self.total:,}; lower that number, or let it run"
        )


class _Lines:
    """Lines for a log file."""

    def __init__(self, pace: _Pace, console: Console) -> None:
        self._pace, self._console = pace, console
        self._said, self._last = pace.began, ""

    def __call__(self, done: int, **figures: float | str) -> None:
        pace, now = self._pace, time.monotonic()
        left = pace.left(done)
        time_left = "" if left is None else f", about {_duration(left)} left"
        self._last = (
            f"{pace.title} {done}/{pace.total} after {_duration(now - pace.began)}{time_left}  "
            f"{_in_words(figures)}"
        ).rstrip()
        if now - self._said >= _BETWEEN_LINES:
            self.end()
            self._said = now

    def end(self) -> None:
        """Say what was last reported, if it has not been said."""
        if self._last:
            self._console.print(self._last, markup=False)
        self._last = ""


def _in_words(figures: dict[str, float | str]) -> str:
    return "  ".join(
        value if isinstance(value, str) else f"{name} {value:.4g}"
        for name, value in figures.items()
    )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
