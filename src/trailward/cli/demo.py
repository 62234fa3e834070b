"""The verb ``demo``: the whole job in one environment."""

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trailward.checkpoint import CheckpointError, read_json
from trailward.cli.flags import Preset, Say
from trailward.cli.presets import PRESETS, Settings, evaluate_command, learn_command, train_command
from trailward.cli.report import Report
from trailward.data.episode import DataError
from trailward.environments.pointmaze.maze import parse_maze, parse_task
from trailward.files import write_json
from trailward.folders import own_folder


@dataclass(frozen=True)
class Demo:
    """The whole job in one environment: data, diffuser, reward, evaluation, report."""

    out: Path = Path("runs/demo")
    """Folder of everything made; run again, it goes on where it was."""
    preset: Preset = "umaze"
    """Which settings are used."""
    task: str = "corner"
    """The true reward that is demonstrated and judged by: corner, goal:ROW,COLUMN, ordered:...;
    HalfCheetah has one of its own."""
    objective: str = "mmd_gaussian"
    """mse, mmd_gaussian, mmd_matern, mmd_matern32, mmd_matern52 or energy; or, without sampling
    plans, dlsm, logit or relative_reward."""
    from_scratch: bool = False
    """Train the diffuser too, rather than use the packaged one."""
    quick: bool = False
    """Next to no training: shows that everything runs, not how well."""
    seed: int = 0
    """Of everything random."""

    def run(self, say: Say) -> dict[str, Any]:
        """The whole job. Data is kept, training and learning go on; judging is done again.

        Raises:
            DataError: if the folder holds a demo with other settings.
        """
        settings = PRESETS[self.preset]
        settings = settings.quick() if self.quick else settings
        out = self.out
        trains = self.from_scratch or settings.packaged is None
        replace(settings.learning, objective=self.objective)  # refuses one that is unknown
        in_maze = settings.play.environment == "maze"
        if in_maze:
            parse_task(self.task, parse_maze(settings.play.maze))
        with own_folder(out, "demo"):
            return self._run(say, settings, trains=trains, in_maze=in_maze)

    def _run(self, say: Say, settings: Settings, *, trains: bool, in_maze: bool) -> dict[str, Any]:
        out, seed = self.out, self.seed
        _claim(out, {"preset": self.preset, "quick": self.quick, "seed": seed, "trains": trains})
        slug = self.task.replace(":", "-").replace(",", "-") if in_maze else "running"
        play, demonstrations = out / "play-v0", out / f"demonstrations-{slug}-v0"
        if not play.exists():
            asked = settings.play.num_steps or 200_000
            job = replace(settings.play, num_steps=asked if trains else min(200_000, asked))
            play_seed = seed if trains else seed + 100  # not what the packaged diffuser has seen
            replace(job, out=play, seed=play_seed).run(say)
        if not demonstrations.exists():
            job = replace(settings.demonstrations, out=demonstrations, task=self.task)
            replace(job, seed=seed + 1).run(say)
        diffuser = str(out / "diffuser") if trains else str(settings.packaged)
        if trains:
            train_command(settings, str(play), Path(diffuser), seed=seed).run(say)
        reward = out / f"reward-{slug}-{self.objective}"
        job = learn_command(
            settings,
            str(demonstrations),
            diffuser,
            reward,
            play=str(play),
            objective=self.objective,
            seed=seed,
        )
        job.run(say)
        evaluation = evaluate_command(
            settings,
            reward,
            out / f"evaluation-{slug}-{self.objective}",
            diffuser,
            play=str(play),
            demonstrations=str(demonstrations),
        )
        figures = evaluation.run(say)
        Report(evaluation.out, out / "report", reward).run(say)
        return figures


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Mark a folder as a demo's, and refuse one that was made with other settings."""
    mark = folder / "demo.json"
    found = None
    if mark.exists():
        with contextlib.suppress(CheckpointError):  # one that was cut off claims nothing
            found = read_json(mark)
    if found is not None and found != settings:
        msg = f"{folder} holds a demo with settings {found}; choose another --out, or remove it"
        raise DataError(msg)
    if found is None:
        write_json(mark, settings)
