"""What benchmarks share: data and cells that are made once and kept, and tables of them."""

import json
import shutil
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from trailward.cli.collect import Collect
from trailward.cli.presets import Settings, evaluate_command, learn_command
from trailward.diffusion.diffuser import Diffuser
from trailward.environments import Environment, Recipe
from trailward.learning.learnt_reward import LearntReward
from trailward.pretrained import model_folder

Figures = dict[str, Any]


def silent(line: str) -> None:
    """Say nothing: the table says it all."""


def collected(path: Path, environment: Environment, recipe: Recipe, seed: int) -> Path:
    """The dataset at the path, which ends in a version; recorded if it is not there."""
    return path if path.exists() else Collect(path, environment, recipe, seed).run(silent)


def kept(
    file: Path, make: Callable[[], Figures], settings: Mapping[str, Any] | None = None
) -> Figures:
    """A cell's figures: those that the file holds, or else made, and written to it.

    Args:
        file: JSON.
        make: gives JSON values.
        settings: that the figures depend on, if they may change: then the file's folder is the
            cell's, and is removed where it was made with others.
    """
    now = None if settings is None else json.loads(json.dumps(settings))
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        if now is None:
            return before
        if before.get("settings") == now and "figures" in before:
            return before["figures"]
        shutil.rmtree(file.parent)
    figures = make()
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = figures if now is None else {"settings": now, "figures": figures}
    file.write_text(json.dumps(whole), encoding="utf-8")
    return figures


@dataclass(frozen=True)
class Job:
    """A reward to be learnt and judged, as a preset's settings say.

    Attributes:
        settings: of every stage.
        diffuser: a folder, or a packaged one's name.
        play: a dataset.
        demonstrations: a dataset.
        folder: of the reward and the evaluation.
        seed: of learning and evaluation.
        objective: in place of the settings' one.
        policies: the ladder that holds the demonstrator, if not the packaged one.
    """

    settings: Settings
    diffuser: str
    play: Path
    demonstrations: Path
    folder: Path
    seed: int
    objective: str | None = None
    policies: Path | None = None

    @property
    def depends_on(self) -> Figures:
        """The settings that its figures depend on."""
        evaluation = self.settings.evaluation
        steps = evaluation.steps_in(self.settings.environment)
        found = {name: asdict(getattr(self.settings, name)) for name in ("reward", "sampling")}
        found["learning"] = asdict(self.settings.learning)
        found["evaluation"] = asdict(replace(evaluation, episode_steps=steps))
        return found | {"diffuser": Diffuser.load(model_folder(self.diffuser)).fingerprint}

    def learn(self) -> LearntReward:
        """Learn the reward, or go on."""
        return learn_command(
            self.settings,
            str(self.demonstrations),
            self.diffuser,
            self.folder / "reward",
            play=str(self.play),
            objective=self.objective or self.settings.objective,
            seed=self.seed,
        ).run(silent)

    def judge(self, play: Path | None = None) -> Figures:
        """What ``trailward evaluate`` finds of the learnt reward; on other play data if given."""
        self.learn()
        command = evaluate_command(
            self.settings,
            self.folder / "reward",
            self.folder,
            self.diffuser,
            play=str(play or self.play),
            demonstrations=str(self.demonstrations),
        )
        evaluation = command.evaluation.with_seed(self.seed)
        return replace(command, evaluation=evaluation, policies=self.policies).run(silent)


def mean(cells: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """The mean of a figure over cells; None if there are none."""
    return float(np.mean([cell[key] for cell in cells])) if cells else None


def spread(values: Sequence[float]) -> str:
    """Mean, and lowest to highest."""
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})" if values else ""


def spread_table(title: str, cells: Mapping[Hashable, Sequence[Mapping[str, Any]]]) -> Table:
    """A row for each figure, a column for each list of cells; what is None is left out."""
    table = Table("mean over seeds (lowest to highest)", *map(str, cells), title=title)
    for key in next(iter(cells.values()))[0]:
        row = [[float(c[key]) for c in found if c[key] is not None] for found in cells.values()]
        table.add_row(key, *map(spread, row))
    return table
