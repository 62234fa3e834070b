"""The main job's figures on U-Maze: a table, then one JSON object as the last line.

From the packaged diffuser, task ``corner``: for each objective and seed, a reward learnt from nine
demonstrations and judged by returns, ERC and dynamics error. Then the thesis's settings as
published, with an honest budget. Everything it reads it made itself; a run that is interrupted
goes on where it was (``--out``).

    .venv/bin/python benchmarks/umaze.py            # the full thing
    .venv/bin/python benchmarks/umaze.py --quick    # shows that it runs
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from trailward.commands import collect, evaluate, learn_command, train, train_command
from trailward.config import PRESETS, Collect, Demo, Evaluate, Learn, Settings
from trailward.dataset import read_dataset
from trailward.diffuser import Diffuser
from trailward.pretrained import model_folder
from trailward.progress import progress
from trailward.reward_learning import learn_reward

OBJECTIVES = ("mse", "mmd_gaussian", "mmd_matern")


@dataclass(frozen=True)
class Benchmark:
    """The main job on U-Maze, over objectives and seeds."""

    out: Path = Path("runs/benchmark-umaze")
    """Folder of everything made; finished parts are kept."""
    num_seeds: int = 5
    """Seeds of demonstrations, learning and evaluation."""
    quick: bool = False
    """One seed, few steps."""
    thesis: bool = True
    """Whether to run the thesis's settings too."""


def main(benchmark: Benchmark) -> None:
    """Run every cell and print what they show."""
    console = Console(width=110)
    out = benchmark.out / ("quick" if benchmark.quick else "full")
    seeds = range(1 if benchmark.quick else benchmark.num_seeds)
    ours = PRESETS["umaze"].quick() if benchmark.quick else PRESETS["umaze"]
    play = _collected(Collect("play", out / "play", num_steps=ours.num_play_steps // 2, seed=77))
    cells = {
        objective: [cell(ours, "umaze", objective, seed, play, out) for seed in seeds]
        for objective in OBJECTIVES
    }
    result: dict[str, Any] = {
        key: {objective: _mean(found, key) for objective, found in cells.items()}
        for key in cells["mse"][0]
    }
    console.print(_table(cells))
    if benchmark.thesis:
        result["thesis_umaze"] = _thesis(benchmark, play, out)
        console.print("thesis-umaze:", result["thesis_umaze"])
    print(json.dumps(result))


def cell(
    settings: Settings, diffuser: str, objective: str, seed: int, play: Path, out: Path
) -> dict[str, float]:
    """Learn and judge one reward; kept as JSON once done."""
    folder = out / f"{Path(diffuser).name}-{objective}-{seed}"
    kept = folder / "cell.json"
    if kept.exists():
        return json.loads(kept.read_text())
    demonstrations = _collected(
        Collect("demonstrations", out / f"demonstrations-{seed}", seed=1 + seed)
    )
    job = Demo(objective=objective, seed=seed)
    learn = learn_command(settings, job, str(demonstrations), diffuser, folder / "reward")
    seconds, num_steps = _timed_learning(learn)
    judged = replace(settings.evaluation, seed=settings.evaluation.seed + 1000 * seed)
    figures = evaluate(
        Evaluate(
            folder / "reward", str(play), str(demonstrations), folder, diffuser, evaluation=judged
        ),
        _silent,
    )
    found = {
        "erc": figures["erc_windows"]["distance"]["value"],
        "erc_episodes": figures["erc_episodes"]["distance"]["value"],
        "learn_seconds": seconds,
        "seconds_per_gradient_step": seconds / num_steps,
        "return_fraction": figures["return_fraction"]["value"],
        "dynamics_error_16": figures["dynamics_error"]["learnt"]["at_16"],
        "dynamics_error_16_unguided": figures["dynamics_error"]["unguided"]["at_16"],
        "wall_fraction": figures["dynamics_error"]["learnt"]["wall_fraction"],
        "best_cell_hit": float(figures["best_cell"]["hit"]),
        "return": figures["return"]["learnt"]["value"],
        "return_unguided": figures["return"]["unguided"]["value"],
        "return_demonstrator": figures["return"]["demonstrator"]["value"],
    }
    kept.write_text(json.dumps(found))
    return found


def _timed_learning(command: Learn) -> tuple[float, int]:
    """Seconds of learning alone (no imports, no data), and the gradient steps taken."""
    diffuser = Diffuser.load(model_folder(command.diffuser))
    demonstrations = read_dataset(command.demonstrations)
    done = 1

    def report(step: int, **figures: float) -> None:
        nonlocal done
        done = max(done, step) if figures else done
        shown(step, **figures)

    began = time.perf_counter()
    with progress(f"{command.out.parent.name}", command.learning.num_steps) as shown:
        learn_reward(
            diffuser,
            demonstrations,
            command.out,
            reward_config=command.reward,
            sampling=command.sampling,
            config=command.learning,
            report=report,
        )
    return time.perf_counter() - began, done


def _thesis(benchmark: Benchmark, play: Path, out: Path) -> dict[str, Any]:
    settings = PRESETS["thesis-umaze"]
    settings = settings.quick() if benchmark.quick else settings
    train(train_command(settings, str(play), out / "thesis-diffuser", seed=0), _silent)
    found = cell(settings, str(out / "thesis-diffuser"), "mmd_gaussian", 0, play, out)
    budget = {
        "denoiser_steps": settings.training.num_steps,
        "reward_steps": settings.learning.num_steps,
    }
    return found | budget


def _collected(command: Collect) -> Path:
    folder = command.out.with_name(f"{command.out.name}-v0")
    if not folder.exists():
        collect(command, _silent)
    return folder


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
