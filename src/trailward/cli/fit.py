"""The verb ``fit``: from recordings to a judged reward, with everything chosen and said."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from trailward.cli.flags import Say, flag_value, with_environment
from trailward.data.dataset import read_dataset
from trailward.data.formats.table import TableLayout
from trailward.environments import Environment
from trailward.fitting.fit import Fitted, fit
from trailward.fitting.roll_outs import RollOuts
from trailward.judging.place_map import read_walls
from trailward.progress import progress
from trailward.running.files import write_file
from trailward.running.folders import own_folder

LOG = "fit.log"


@tyro.conf.configure(tyro.conf.OmitArgPrefixes)
@dataclass(frozen=True)
class Chosen:
    """What is chosen by looking at the data, where it is not given here."""

    time_step: float | None = None
    """Time from one row to the next; the recordings' clock if not given."""
    horizon: int | None = None
    """Number of plan steps; chosen if not given, as are all these."""
    stride: int | None = None
    """Rows from one plan step to the next."""
    add_rates: bool | None = None
    """Whether rates of change are added as entries."""
    hold_ends: bool | None = None
    """Whether who has left is held where they left; not for tracks that are cut anywhere."""
    unmoved: tuple[int, ...] | None = None
    """Entries that nobody moves, by number from 0, such as the weather; found if not given. None of
    them if no number follows."""
    way: Literal["guide", "imitate", "choose", "alike"] | None = None
    """How a planner is made: by guided plans of observations, or by fine-tuning a diffuser with
    actions in one of three ways. If not given: guide, where demonstrators come to rest at one
    place; else what does best when tried."""
    most_steps: int | None = None
    """Gradient steps of the diffuser, at most."""
    weigh_by: Literal["track", "time"] | None = None
    """Whether every track weighs alike, as chosen if not given, or every row."""
    num_plans: int | None = None
    """Plans from each row that the forecast is the mean of."""


@dataclass(frozen=True)
class Fit:
    """From recordings to a judged reward: everything is chosen, said, learnt, judged and shown."""

    play: str
    """Recordings of everybody: a file or folder of a known format, or a Minari id."""
    demonstrations: str
    """Recordings of those whose aim is asked for; they may be in the play data too."""
    out: Path
    """Folder of everything made; run again, it goes on where it was."""
    minutes: float = 10.0
    """Minutes that it may take, about."""
    test: str | None = None
    """Further recordings of those, to judge by; never learnt from."""
    animal: str | None = None
    """The column that tells who made a demonstration: all of an animal are left out together. The
    one called animal, individual or subject, or the file, if not given."""
    group_by: str | None = None
    """A column of text, such as sex: each group of demonstrations gets a reward of its own."""
    environment: Annotated[Environment | None, tyro.conf.arg(name="env")] = None
    """Where the planner is rolled out once it is made; nowhere if not given."""
    task: str | None = None
    """Its true reward, to judge by; the task that demonstrations name, or the usual one, if not
    given."""
    walls: Path | None = None
    """A CSV file of walls, a row x0,y0,x1,y1 each: drawn, and plans that cross them are counted;
    the map ends at them."""
    place: tuple[str, str] | None = None
    """The two entries of the map, by name; those that look like a place if not given."""
    pixels: int = 100
    """Pixels along the longer side of the map."""
    near: float | None = None
    """The map is drawn where somebody was within this distance; two pixels if not given."""
    y_down: bool = False
    """Whether the second entry of the map grows downwards, as in pictures."""
    seed: int = 0
    """Seed for all randomness."""
    choices: Chosen = field(default_factory=Chosen)
    table: TableLayout = field(default_factory=TableLayout)

    def run(self, say: Say) -> Fitted:
        """Fit, or go on fitting."""
        with own_folder(self.out, "fit", resumes_from="diffuser/training.safetensors"):
            return self._run(say)

    def _run(self, say: Say) -> Fitted:
        began = time.monotonic()
        more = {"seed": self.seed, "animal": self.animal, "group_by": self.group_by}
        log = self.out / LOG
        lines = log.read_text().splitlines(keepends=True) if log.exists() else []

        def tell(text: str) -> None:
            say(text)
            lines.append(f"{time.monotonic() - began:7.1f} s  {text}\n")
            write_file(log, "".join(lines))

        shown, where = read_dataset(self.demonstrations, self.table), None
        if self.environment is not None:
            where = RollOuts(self.environment, self.task or shown.provenance.get("task"))
        return fit(
            read_dataset(self.play, self.table),
            shown,
            self.out,
            roll_outs=where,
            minutes=self.minutes,
            test=None if self.test is None else read_dataset(self.test, self.table),
            walls=None if self.walls is None else read_walls(self.walls),
            overrides=vars(self.choices) | more,
            place=self.place,
            pixels=self.pixels,
            near=self.near,
            y_down=self.y_down,
            say=tell,
            watch=progress,
        )


def kind_for(
    kind: type[Fit], arguments: Sequence[str], given: Mapping[str, Any]
) -> tuple[type[Any], dict[str, Any]]:
    """The verb with the flags of the environment that the arguments name, if they name one."""
    name = flag_value(arguments, "--env", "--environment")
    return with_environment(kind, name or "none", given)
