"""The verb ``demo``: the whole job in one environment."""

import contextlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from trailward.checkpoint import CheckpointError, read_json
from trailward.cli.collect import Collect
from trailward.cli.flags import Say
from trailward.cli.preset_names import DEFAULT_PRESET, Preset
from trailward.cli.presets import (
    PRESETS,
    Settings,
    evaluate_command,
    learn_command,
    train_command,
)
from trailward.cli.report import Report
from trailward.environments import Environment, Recipe, find_environment
from trailward.environments.recipes import ROLL_OUTS
from trailward.errors import DataError
from trailward.objectives import find_objective
from trailward.running.files import write_json
from trailward.running.folders import own_folder

_PLAY_STEPS = 200_000
"""Environment steps of play data that judging a packaged diffuser takes at most."""


@dataclass(frozen=True)
class Demo:
    """The whole job in one environment: data, diffuser, reward, evaluation, report."""

    out: Path = Path("runs/demo")
    """Folder of everything made; run again, it goes on where it was."""
    preset: Preset = DEFAULT_PRESET
    """Settings of every stage, by name."""
    task: str | None = None
    """The task whose true reward is demonstrated and judged by; the environment's usual one if not
    given."""
    environment: Annotated[str | None, tyro.conf.arg(name="env", aliases=["--environment"])] = None
    """Another environment than the preset's, in which its settings are used; the diffuser is
    trained too."""
    policies: Path | None = None
    """The ladder of policies that data is recorded with; the packaged one if not given."""
    objective: str = "mmd_gaussian"
    """What is minimised: mse, mmd_gaussian, mmd_matern, mmd_matern32, mmd_matern52 or energy;
    without sampling plans dlsm, logit or relative_reward; or one of your own, as module:Name."""
    from_scratch: bool = False
    """Train the diffuser too, rather than use the packaged one."""
    quick: bool = False
    """Next to no training: shows that everything runs, not how well."""
    seed: int = 0
    """Seed for all randomness."""

    def run(self, say: Say) -> dict[str, Any]:
        """The whole job. Data is kept, training and learning go on; judging is done again.

        Raises:
            DataError: if the folder holds a demo with other settings.
        """
        settings = self._settings()
        trains = self.from_scratch or settings.packaged is None
        find_objective(self.objective)  # refuses one that is unknown
        task = settings.environment.task(self.task)
        with own_folder(self.out, "demo"):
            return self._run(say, settings, task.name, trains=trains)

    def _run(self, say: Say, settings: Settings, task: str, *, trains: bool) -> dict[str, Any]:
        out, seed = self.out, self.seed
        claim = {"preset": self.preset, "quick": self.quick, "seed": seed, "trains": trains}
        _claim(out, claim | ({"environment": self.environment} if self.environment else {}))
        slug = re.sub(r"[^\w-]", "-", task)
        play, demonstrations = out / "play-v0", out / f"demonstrations-{slug}-v0"
        if not play.exists():
            play_seed = seed if trains else seed + 100  # not what the packaged diffuser has seen
            recipe = settings.play if trains else _at_most(settings.play, _PLAY_STEPS)
            Collect(play, settings.environment, recipe, play_seed).run(say)
        if not demonstrations.exists():
            recipe = settings.demonstrations
            if self.task is not None and "task" in vars(recipe):
                recipe = replace(recipe, **{"task": self.task})
            Collect(demonstrations, settings.environment, recipe, seed + 1).run(say)
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
        figures = replace(evaluation, policies=self.policies).run(say)
        Report(evaluation.out, out / "report", reward).run(say)
        return figures

    def _settings(self) -> Settings:
        """The preset's, in the environment and with the policies that are asked for."""
        settings = PRESETS[self.preset]
        settings = settings.quick() if self.quick else settings
        if self.environment is not None:
            environment = find_environment(self.environment)
            _check_recipes(self.preset, environment)
            settings = replace(settings, environment=environment, packaged=None)
        if self.policies is not None:
            settings = replace(
                settings,
                play=_with_policies(settings.play, self.policies),
                demonstrations=_with_policies(settings.demonstrations, self.policies),
            )
        return settings


def _check_recipes(preset: str, environment: Environment) -> None:
    """Refuse a preset that records in a way that the environment does not know."""
    offered = (*environment.recipes.values(), *ROLL_OUTS.values())
    fit = [
        name
        for name, each in PRESETS.items()
        if all(isinstance(recipe, offered) for recipe in (each.play, each.demonstrations))
    ]
    if preset not in fit:
        remedy = (
            f"choose one of {', '.join(fit)}" if fit else "run collect, train and learn one by one"
        )
        msg = f"preset '{preset}' does not know how to record in '{environment.name}'"
        raise DataError(msg, place="--preset", value=preset, remedy=remedy)


def _with_policies(recipe: Recipe, policies: Path) -> Recipe:
    if "policies" not in vars(recipe):
        msg = f"the preset's recipe '{type(recipe).__name__}' takes no policies"
        raise DataError(msg, place="--policies", value=str(policies), remedy="leave them out")
    return replace(recipe, **{"policies": policies})


def _at_most(recipe: Recipe, num_steps: int) -> Recipe:
    return replace(recipe, **{"num_steps": min(num_steps, vars(recipe)["num_steps"])})


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Mark a folder as a demo's, and refuse one that was made with other settings."""
    mark = folder / "demo.json"
    found = None
    if mark.exists():
        with contextlib.suppress(CheckpointError):  # one that was cut off claims nothing
            found = read_json(mark)
    if found is not None and found != settings:
        msg = f"{folder} holds a demo with settings {found}"
        remedy = "choose another --out, or remove it"
        raise DataError(msg, place=str(folder), value=found, remedy=remedy)
    if found is None:
        write_json(mark, settings)
