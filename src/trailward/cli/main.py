"""The command line: ``trailward VERB --help`` tells each verb's flags."""

import contextlib
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from functools import partial, reduce
from operator import or_
from typing import Annotated, Any

import tyro
from rich.console import Console

from trailward.checkpoint import CheckpointError
from trailward.cli import collect, commands, inspect
from trailward.cli.config import (
    Benchmark,
    Collect,
    Demo,
    Evaluate,
    Export,
    Inspect,
    Learn,
    Plan,
    Policies,
    Report,
    Train,
)
from trailward.cli.presets import PRESETS
from trailward.data.episode import DataError
from trailward.data.formats.table import TableLayout
from trailward.diffusion.training import DivergedError
from trailward.optional import MissingExtraError

_RUN = {
    Collect: collect.collect,
    Inspect: inspect.inspect,
    Policies: commands.policies,
    Train: commands.train,
    Learn: commands.learn,
    Plan: commands.plan,
    Evaluate: commands.evaluate,
    Report: commands.report,
    Export: commands.export,
    Benchmark: commands.benchmark,
    Demo: commands.demo,
}
_TRAIN = ("horizon", "stride", "with_actions", "denoiser", "training")
_LEARN = ("reward", "sampling", "learning")
_EXPECTED = (
    DataError,
    CheckpointError,
    DivergedError,
    MissingExtraError,
    ValueError,
    OSError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0, 2 for bad input, 130 when interrupted.

    SIGTERM, which schedulers of clusters send, interrupts as Ctrl-C does.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        command = tyro.cli(
            _verbs(_preset(arguments)),
            args=arguments,
            prog="trailward",
            description="Learn rewards from trails: inverse reinforcement learning, fully offline.",
        )
        is_asked = isinstance(command, Plan | Inspect)  # what they say is what was asked for
        console = Console(stderr=not is_asked, soft_wrap=True, highlight=False)
        with warnings.catch_warnings(), _interrupted_by_sigterm():
            warnings.filterwarnings("ignore", module="minari|gymnasium.*")
            _RUN[type(command)](command, partial(console.print, markup=False))
    except _EXPECTED as error:
        Console(stderr=True, soft_wrap=True).print(f"trailward: {error}", style="red", markup=False)
        return 2
    except KeyboardInterrupt:
        Console(stderr=True).print(
            "interrupted; policies, train, learn, benchmark and demo go on when run again"
        )
        return 130
    return 0


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only there are signals handled
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _verbs(preset: str | None) -> Any:
    """The union of all verbs, with a preset's settings as the flags' defaults."""
    settings = PRESETS.get(preset or "")
    defaults: dict[type, dict[str, Any]] = {}
    if settings is not None:
        defaults[Train] = {name: getattr(settings, name) for name in _TRAIN}
        defaults[Learn] = {name: getattr(settings, name) for name in _LEARN}
        defaults[Evaluate] = {
            "evaluation": settings.evaluation,
            "environment": settings.play.environment,
            "maze": settings.play.maze,
        }
        if settings.packaged is not None:
            for kind in (Learn, Evaluate):
                defaults[kind]["diffuser"] = settings.packaged
    for given in defaults.values():
        given["table"] = TableLayout()
    verbs = [
        Annotated[
            partial(kind, **defaults[kind]) if kind in defaults else kind,
            tyro.conf.subcommand(kind.__name__.lower()),
        ]
        for kind in _RUN
    ]
    return reduce(or_, verbs)


def _preset(arguments: Sequence[str]) -> str | None:
    for flag, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if flag == "--preset":
            return value
        if flag.startswith("--preset="):
            return flag.partition("=")[2]
    return None


if __name__ == "__main__":
    sys.exit(main())
