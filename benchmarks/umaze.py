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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from trailward.cli.collect import Collect
from trailward.cli.evaluate import Evaluate
from trailward.cli.presets import PRESETS, Settings, learn_command, train_command
from trailward.diffusion.diffuser import Diffuser
from trailward.environments import Recipe
from trailward.pretrained import model_folder

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
    play = _collected(Collect(out / "play-v0", ours.environment, _half_of(ours.play), 77))
    cells = {
        objective: [cell(ours, "umaze", objective, seed, play, out) for seed in seeds]
        for objective in OBJECTIVES
    }
    result: dict[str, Any] = {
        key: {objective: _mean(found, key) for objective, found in cells.items()}
        for key in cells["mse"][0]
    }
    by_objective = result.pop("dynamics_error_16")
    result["dynamics_error_16_by_objective"] = by_objective
    result["dynamics_error_16"] = max(by_objective.values())
    console.print(_table(cells))
    if benchmark.thesis:
        result["thesis_umaze"] = _thesis(benchmark, play, out)
        console.print("thesis-umaze:", result["thesis_umaze"])
    print(json.dumps(result))


def cell(
    settings: Settings, diffuser: str, objective: str, seed: int, play: Path, out: Path
) -> dict[str, float]:
    """Learn and judge one reward; kept as JSON once done, done again if settings changed."""
    folder = out / f"{Path(diffuser).name}-{objective}-{seed}"
    kept = folder / "cell.json"
    settings_now = json.loads(
        json.dumps(
            {
                "learning": asdict(settings.learning),
                "reward": asdict(settings.reward),
                "sampling": asdict(settings.sampling),
                "evaluation": asdict(settings.evaluation),
                "diffuser": Diffuser.load(model_folder(diffuser)).fingerprint,
            }
        )
    )
    if kept.exists():
        before = json.loads(kept.read_text())
        if before["settings"] == settings_now:
            return before["figures"]
        shutil.rmtree(folder)
    demonstrations = _collected(
        Collect(
            out / f"demonstrations-{seed}-v0",
            settings.environment,
            settings.demonstrations,
            1 + seed,
        )
    )
    job = learn_command(
        settings,
        str(demonstrations),
        diffuser,
        folder / "reward",
        play=str(play),
        objective=objective,
        seed=seed,
    )
    job.run(_silent)
    judged = settings.evaluation.with_seed(seed)
    job = Evaluate(
        folder / "reward",
        str(play),
        str(demonstrations),
        folder,
        settings.environment,
        diffuser,
        evaluation=judged,
    )
    found = _figures(job.run(_silent))
    kept.write_text(json.dumps({"settings": settings_now, "figures": found}))
    return found


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
        settings = replace(settings, evaluation=replace(settings.evaluation, episode_steps=30))
    train_command(settings, str(play), out / "thesis-diffuser", seed=0).run(_silent)
    found = cell(settings, str(out / "thesis-diffuser"), "mmd_gaussian", 0, play, out)
    budget = {
        "denoiser_steps": settings.training.num_steps,
        "reward_steps": settings.learning.num_steps,
    }
    return found | budget


def _collected(command: Collect) -> Path:
    return command.out if command.out.exists() else command.run(_silent)


def _mean(cells: list[dict[str, float]], key: str) -> float:
    return float(np.mean([found[key] for found in cells]))


def _table(cells: Mapping[str, list[dict[str, float]]]) -> Table:
    table = Table("mean over seeds (lowest to highest)", *cells, title="U-Maze, task corner")
    for key in next(iter(cells.values()))[0]:
        row = []
        for found in cells.values():
            values = [each[key] for each in found]
            row.append(f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")
        table.add_row(key, *row)
    return table


def _silent(line: str) -> None:
    """Say nothing: the table says it all."""


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
