"""The command line: ``trailward VERB --help`` tells each verb's flags.

Only the verb that is asked for is imported and gets a parser, so that ``--help`` is quick.
"""

import contextlib
import difflib
import importlib
import importlib.util
import itertools
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import partial
from typing import Annotated, Any, get_type_hints

from trailward.errors import SettingsError

VERBS = {
    "demo": "The whole job in one environment: data, diffuser, reward, evaluation, report.",
    "fit": "From recordings to a judged reward: everything is chosen, said and shown.",
    "collect": "Record episodes in an environment and write them as a Minari dataset.",
    "inspect": "Tell what is in data: entries, ranges, leaps, and whether demonstrations fit.",
    "train": "Train a diffuser on play data; run again on the same folder, it resumes exactly.",
    "learn": "Learn a reward from demonstrations; run again, it resumes exactly.",
    "ask": "Ask which of two recorded pieces is meant; a few answers settle what is open.",
    "plan": "Sample guided plans from an observation and print them as JSON.",
    "evaluate": "Judge a learnt reward and its planner, by the true reward where there is one.",
    "report": "Turn an evaluation into one HTML page and its pictures.",
    "export": "Write a learnt reward as one file that PyTorch runs without trailward.",
    "serve": "Open the page: draw demonstrations, watch the reward appear, ask it questions.",
    "policies": "Train a ladder of policies to record play data with (in a clone only).",
    "benchmark": "Run every method on every problem with every seed (in a clone only).",
}
"""What each verb does, for the first page of help. A verb is a class in a module of its name."""

_ELSEWHERE = {"policies": "trailward_benchmark.verbs", "benchmark": "trailward_benchmark.verbs"}
_GO_ON = ("fit", "policies", "train", "learn", "benchmark", "demo")
_BY_ENVIRONMENT = ("collect", "demo", "evaluate", "fit", "plan", "policies", "report")
"""Verbs with flags that depend on --env."""
_SPEAKS = ("plan", "inspect", "ask")
"""Verbs whose lines are what was asked for, so that they go to the standard output."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0, 2 for bad input, 130 when interrupted, 141 if unread.

    SIGTERM, which schedulers of clusters send, interrupts as Ctrl-C does.
    """
    arguments_given = arguments
    arguments = [_at_home(each) for each in (sys.argv[1:] if arguments is None else arguments)]
    verb = arguments[0] if arguments else "--help"
    if verb in ("--help", "-h", "help"):
        sys.stdout.write(_first_page())
        return 0
    if verb == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"trailward {version('trailward')}\n")
        return 0
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, 1)
        meant = f"did you mean '{near[0]}'? " if near else ""
        sys.stderr.write(f"trailward: there is no verb '{verb}'; {meant}See trailward --help\n")
        return 2
    is_program = arguments_given is None
    try:
        with _interruptible():
            return _run(verb, arguments[1:], at_once=is_program)
    except KeyboardInterrupt:
        _say_interrupted(verb)
        if is_program:
            os._exit(130)  # all is kept, and what is left to take down takes seconds
        return 130


def _at_home(argument: str) -> str:
    """An argument with ``~`` for what it stands for, which shells do not after ``=``."""
    flag, equals, value = argument.partition("=")
    if equals and flag.startswith("--") and value.startswith("~"):
        return f"{flag}={os.path.expanduser(value)}"
    return os.path.expanduser(argument) if argument.startswith("~") else argument


def _say_interrupted(verb: str) -> None:
    """What becomes of what was done, in one line."""
    told = "run it again, and it goes on" if verb in _GO_ON else "nothing was written"
    sys.stderr.write(f"trailward: {verb} was interrupted; {told}\n")
    sys.stderr.flush()


def _run(verb: str, arguments: list[str], *, at_once: bool) -> int:
    """Import a verb, read its flags, and run it; bad input is told in one line.

    Args:
        verb: its name.
        arguments: its flags.
        at_once: whether an interruption may end the process while modules are being imported, some
            of which would answer it by pages of their own.
    """
    try:
        with _ended_by_signals(verb) if at_once else contextlib.nullcontext():
            command = _parse(verb, arguments)
        from rich.console import Console

        console = Console(stderr=verb not in _SPEAKS, soft_wrap=True, highlight=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="minari|gymnasium.*")
            command.run(partial(console.print, markup=False))
    except SystemExit:  # help was asked for, or flags are wrong
        raise
    except BrokenPipeError:  # who reads the output, such as head, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # as shells say of one that SIGPIPE ends
    except _expected() as error:
        from rich.console import Console

        Console(stderr=True, soft_wrap=True).print(f"trailward: {error}", style="red", markup=False)
        return 2
    return 0


def _expected() -> tuple[type[Exception], ...]:
    """Errors that say what is wrong with the input; any other is a mistake of ours."""
    from trailward.diffusion.fitting import DivergedError
    from trailward.optional import MissingExtraError

    return (DivergedError, MissingExtraError, ValueError, OSError)


def _parse(verb: str, arguments: list[str]) -> Any:
    """The verb's settings, as its flags say; a preset's are the flags' defaults."""
    import tyro

    asks = "--help-all" not in arguments and not {"--help", "-h"}.isdisjoint(arguments)
    if asks and verb not in _BY_ENVIRONMENT:
        from trailward.cli.short_help import print_short_help

        print_short_help(verb, _module(verb))
    kind = getattr(importlib.import_module(_module(verb)), verb.capitalize())
    preset = _preset(arguments)
    if preset is not None and any(field.name == "preset" for field in fields(kind)):
        from trailward.cli.presets import defaults

        given = defaults(verb, preset)
    else:
        given = {}
    kind_for = getattr(sys.modules[kind.__module__], "kind_for", None)
    if kind_for is not None:  # a verb whose flags depend on others, such as --env
        kind, given = kind_for(kind, arguments, given)
    description = kind.__doc__ or ""
    if "--help-all" in arguments:
        arguments = [*(flag for flag in arguments if flag != "--help-all"), "--help"]
    elif asks:
        kind, hidden = _essential(kind)
        if hidden:
            description += f"\n\nMore settings ({hidden}): trailward {verb} --help-all"
    return tyro.cli(
        kind,
        args=arguments,
        prog=f"trailward {verb}",
        description=description,
        default=_unfilled(kind, given),
        config=(tyro.conf.DisallowNone,),
    )


def _unfilled(kind: type[Any], given: Mapping[str, Any]) -> Any:
    """The verb before its flags are read: what is given, defaults, and what must be filled in."""
    import tyro

    command = object.__new__(kind)
    for each in fields(kind):
        value = given.get(each.name, each.default)
        if value is MISSING and each.default_factory is not MISSING:
            value = each.default_factory()
        object.__setattr__(command, each.name, tyro.MISSING if value is MISSING else value)
    return command


def _module(verb: str) -> str:
    """The module of the dataclass whose fields are the verb's flags.

    Raises:
        SettingsError: if the verb is of a package that is not installed.
    """
    module = _ELSEWHERE.get(verb, f"trailward.cli.{verb}")
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        msg = f"'trailward {verb}' is not part of the installed package"
        remedy = "run it in a clone of the repository, after pip install -e '.[dev]' there"
        raise SettingsError(msg, place="verb", value=verb, remedy=remedy)
    return module


def _essential(kind: type[Any]) -> tuple[type[Any], str]:
    """The verb without its groups of settings, for a short help, and what it leaves out."""
    import tyro

    hints = get_type_hints(kind, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    hidden = {name: Annotated[hint, tyro.conf.Suppress] for name, hint in groups.items()}
    space: dict[str, Any] = {"__annotations__": hidden, "__doc__": kind.__doc__}
    space |= {
        each.name: field(default_factory=each.default_factory)
        for each in fields(kind)
        if each.name in hidden
    }
    short = type(kind.__name__, (kind,), space)
    return dataclass(frozen=True)(short), ", ".join(hidden)


@contextlib.contextmanager
def _ended_by_signals(verb: str) -> Iterator[None]:
    def end(*_: object) -> None:
        _say_interrupted(verb)
        os._exit(130)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM interrupts as Ctrl-C does, and neither is lost where Python drops exceptions."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only there are signals handled
        return
    before, hook = signal.signal(signal.SIGTERM, signal.default_int_handler), sys.unraisablehook

    def again(dropped: "sys.UnraisableHookArgs") -> None:  # as in a destructor
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            hook(dropped)
            return
        threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGTERM)).start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGTERM, before)


def _preset(arguments: Sequence[str]) -> str | None:
    for flag, value in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        if flag == "--preset":
            return value
        if flag.startswith("--preset="):
            return flag.partition("=")[2]
    return None


def _first_page() -> str:
    """What ``trailward --help`` prints."""
    lines = [f"  {verb:<10} {does}" for verb, does in VERBS.items()]
    return "\n".join(
        [
            "Learn rewards from trails: inverse reinforcement learning, fully offline.",
            "",
            "usage: trailward VERB [flags]        trailward VERB --help        trailward --version",
            "",
            *lines,
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
