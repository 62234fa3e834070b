"""The main job's figures on U-Maze: a table, then one JSON object as the last line.

From the packaged diffuser, task ``corner``: for each objective and seed, a reward learnt from nine
demonstrations and judged by returns, ERC and dynamics error. Then the thesis's settings as
published, with the budget in the last line. Everything it reads it made itself; a run that is
interrupted goes on where it was (``--out``). ``dynamics_error_16`` is the worst of the objectives'.

    .venv/bin/python benchmarks/umaze.py            # the full thing
    .venv/bin/python benchmarks/umaze.py --quick    # shows that it runs
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from trailward.cli.presets import PRESETS, Settings, train_command
from trailward.environments import Recipe
from trailward_benchmark.jobs import Figures, Job, collected, kept, mean, silent, spread_table

OBJECTIVES = ("mse", "mmd_gaussian", "mmd_matern")


@dataclass(frozen=True)
class Benchmark:
    """The main job on U-Maze, over objectives and seeds."""

    out: Path = Path("runs/benchmark-umaze")
    """Folder of everything made; finished parts are kept."""
    num_seeds: int = 5
    """How many seeds, each of demonstrations, learning and evaluation."""
    quick: bool = False
    """One seed, few steps."""
    thesis: bool = True
    """Whether to run the thesis's settings too."""


def main(benchmark: Benchmark) -> None:
    """Run every cell and print what they show."""
    console = Console(width=110)
    out = benchmark.out / ("quick" if benchmark.quick else "full")
    if benchmark.quick:
        shutil.rmtree(out, ignore_errors=True)
    seeds = range(1 if benchmark.quick else benchmark.num_seeds)
    ours = PRESETS["umaze"].quick() if benchmark.quick else PRESETS["umaze"]
    play = collected(out / "play-v0", ours.environment, _half_of(ours.play), 77)
    cells = {
        objective: [cell(ours, "umaze", objective, seed, play, out) for seed in seeds]
        for objective in OBJECTIVES
    }
    result: dict[str, Any] = {
        key: {objective: mean(found, key) for objective, found in cells.items()}
        for key in cells["mse"][0]
    }
    by_objective = result.pop("dynamics_error_16")
    result["dynamics_error_16_by_objective"] = by_objective
    result["dynamics_error_16"] = max(by_objective.values())
    console.print(spread_table("U-Maze, task corner", cells))
    if benchmark.thesis:
        result["thesis_umaze"] = _thesis(benchmark, play, out)
        console.print("thesis-umaze:", result["thesis_umaze"])
    print(json.dumps(result))


def cell(
    settings: Settings, diffuser: str, objective: str, seed: int, play: Path, out: Path
) -> Figures:
    """Learn and judge one reward; kept once done, done again if settings changed."""
    folder = out / f"{Path(diffuser).name}-{objective}-{seed}"
    shown = out / f"demonstrations-{seed}-v0"
    collected(shown, settings.environment, settings.demonstrations, 1 + seed)
    job = Job(settings, diffuser, play, shown, folder, seed, objective)
    return kept(folder / "cell.json", lambda: _figures(job.judge()), job.depends_on)


def _half_of(play: Recipe) -> Recipe:
    """Half as many steps: the packaged diffuser was trained on others."""
    return replace(play, **{"num_steps": vars(play)["num_steps"] // 2})


def _figures(evaluation: Mapping[str, Any]) -> dict[str, float]:
    learnt, dynamics = evaluation["learnt"], evaluation["dynamics_error"]
    return {
        "erc": evaluation["erc_windows"]["distance"]["value"],
        "erc_episodes": evaluation["erc_episodes"]["distance"]["value"],
        "learn_seconds": learnt["seconds"],
        "seconds_per_gradient_step": learnt["seconds"] / learnt["step"],
        "return_fraction": evaluation["return_fraction"]["value"],
        "dynamics_error_16": dynamics["learnt"]["at_16"],
        "dynamics_error_16_unguided": dynamics["unguided"]["at_16"],
        "wall_fraction": evaluation["wall_fraction"]["learnt"],
        "best_cell_hit": float(evaluation["best_cell"]["hit"]),
        "return": evaluation["return"]["learnt"]["value"],
        "return_unguided": evaluation["return"]["unguided"]["value"],
        "return_demonstrator": evaluation["return"]["demonstrator"]["value"],
    }


def _thesis(benchmark: Benchmark, play: Path, out: Path) -> dict[str, Any]:
    settings = PRESETS["thesis-umaze"]
    if benchmark.quick:
        settings = settings.quick()
        settings = replace(
            settings,
            evaluation=replace(settings.evaluation, episode_steps=30),
            denoiser=replace(settings.denoiser, width=8),
        )
    train_command(settings, str(play), out / "thesis-diffuser", seed=0).run(silent)
    found = cell(settings, str(out / "thesis-diffuser"), "mmd_gaussian", 0, play, out)
    budget = {
        "denoiser_steps": settings.training.num_steps,
        "reward_steps": settings.learning.num_steps,
    }
    return found | budget


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
