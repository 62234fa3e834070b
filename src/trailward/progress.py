"""Progress of long work: a bar with the time left on a terminal, its last state elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
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


@runtime_checkable
class Report(Protocol):
    """Told how much is done, and a few figures to show beside it."""

    def __call__(self, done: int, **figures: float) -> None:
        """``done`` counts from 0 to the total."""
        ...


@contextmanager
def progress(title: str, total: int) -> Iterator[Report]:
    """A progress bar on standard error for as long as the context lasts."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, figures="")

        def report(done: int, **figures: float) -> None:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            bar.update(task, completed=done, figures=shown)

        yield report
