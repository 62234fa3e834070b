"""The verb ``inspect``: what is in data, in text and as a picture."""

import io
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from trailward.checkpoint import provenance
from trailward.cli.flags import Say
from trailward.data.dataset import read_dataset
from trailward.data.entries import Entry
from trailward.data.formats.table import TableLayout
from trailward.data.statistics import DataFacts, Inspection, Support, inspect_data
from trailward.report.data_figures import entries_figure
from trailward.running.files import write_figure, write_json
from trailward.running.folders import own_folder

_WIDTH = 110


@dataclass(frozen=True)
class Inspect:
    """Tell what is in data: entries, ranges, leaps, and whether demonstrations lie within play."""

    data: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")]
    """Play data: a file or folder of a known format, or a Minari id."""
    demonstrations: str | None = None
    """Demonstrations, to compare with it."""
    out: Path | None = None
    """Folder that gets inspection.json and inspection.png."""
    table: TableLayout = field(default_factory=TableLayout)

    def run(self, say: Say) -> Inspection:
        """Tell what is in play data, and whether demonstrations lie within it.

        Raises:
            DataError: if the data cannot be read; names the place, the value and the remedy.
        """
        play = read_dataset(self.data, self.table)
        demonstrations = None
        if self.demonstrations is not None:
            demonstrations = read_dataset(self.demonstrations, self.table)
        found = inspect_data(play, demonstrations)
        say(writable(as_text(found), sys.stdout.encoding))
        if self.out is not None:
            asked = {"data": self.data, "demonstrations": self.demonstrations}
            with own_folder(self.out, "inspection", run=asked) as out:
                write_json(out / "inspection.json", asdict(found) | {"provenance": provenance()})
                picture = entries_figure(play, demonstrations, found.support)
                write_figure(out / "inspection.png", picture, dpi=130)
            say(f"picture -> {self.out / 'inspection.png'}")
        return found


def writable(text: str, encoding: str | None) -> str:
    """Text as a stream can write it: redirected output often is of few characters."""
    try:
        text.encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        plain = text.replace("\N{BOX DRAWINGS LIGHT HORIZONTAL}", "-")
        return plain.encode(encoding or "ascii", "replace").decode(encoding or "ascii")
    return text


def as_text(inspection: Inspection) -> str:
    """Tables of what was found, and the findings in words."""
    page = io.StringIO()
    console = Console(file=page, width=_WIDTH, highlight=False)
    _print_facts(console, "Play data", inspection.play, None)
    if inspection.demonstrations is not None:
        _print_facts(console, "Demonstrations", inspection.demonstrations, inspection.support)
    lines = [line.rstrip() for line in page.getvalue().splitlines()]
    return "\n".join([*lines, *(f"- {finding}" for finding in inspection.findings)])


def _print_facts(console: Console, title: str, facts: DataFacts, support: Support | None) -> None:
    shortest, median, longest = facts.lengths
    rewards = "with" if facts.has_rewards else "without"
    console.print(
        f"{title}: {facts.num_episodes} episodes, {facts.num_steps:,} environment steps "
        f"({shortest} to {longest} an episode, median {median:g}), {rewards} recorded rewards"
    )
    numbers = ["min", "5%", "median", "95%", "max", "mean", "std"]
    numbers += ["outside", "covers"] if support else []
    table = Table("entry", box=SIMPLE_HEAD, pad_edge=False)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    if support is None:
        table.add_column("note")
    shares = [()] * len(facts.observations)
    if support is not None:
        shares = zip(support.outside.values(), support.covered.values(), strict=True)
    for entry, cells in zip(facts.observations, shares, strict=True):
        table.add_row(*_row(entry), *([f"{share:.1%}" for share in cells] or [_note(entry)]))
    for entry in facts.actions:
        table.add_row(*_row(entry), *([] if support else [_note(entry)]))
    console.print(table, markup=False)


def _row(entry: Entry) -> list[str]:
    label = entry.name if entry.unit is None else f"{entry.name} ({entry.unit})"
    numbers = (
        entry.minimum, entry.low, entry.median, entry.high, entry.maximum, entry.mean,
        entry.deviation,
    )  # fmt: skip
    return [label, *(f"{number:.3g}" for number in numbers)]


def _note(entry: Entry) -> str:
    notes = (
        "constant" if entry.constant else "",
        f"same as {entry.same_as}" if entry.same_as else "",
        f"rate of {entry.rate_of}" if entry.rate_of else "",
    )
    return ", ".join(filter(None, notes))
