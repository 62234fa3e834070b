"""The figures on Large Maze: a table, then one JSON object as the last line.

From the packaged diffuser, for each task and seed: a reward learnt from nine demonstrations, judged
from 20 other starts by returns, ERC, best cell and dynamics error. The last task is one of whole
trajectories (one cell before another); beside it stands a reward of single observations learnt from
the same demonstrations. ``wall_fraction``, ``dynamics_error_16`` and the times are means over all
tasks (without the one beside) and seeds. Everything it reads it made itself; a run that is
interrupted goes on where it was (``--out``).

    .venv/bin/python benchmarks/large_maze.py            # the full thing, about 50 minutes
    .venv/bin/python benchmarks/large_maze.py --quick    # shows that it runs
"""

import json
import shutil
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from trailward.cli.presets import PRESETS, Settings
from trailward.rewards.additive import AdditiveSettings
from trailward_benchmark.jobs import Figures, Job, collected, kept, mean, spread_table

CORNER = "corner"
GOALS = ("goal:5,4", "goal:3,2", "goal:5,8")
"""The first lies in a dead end, behind a wall from most starts."""
ORDERED = "ordered:3,2-7,9"
PER_STEP = "per step"
"""The ordered task again, with a reward of single observations; for two of the seeds only."""
PER_STEP_SEEDS = (0, 1)


@dataclass(frozen=True)
class Benchmark:
    """Large Maze, over tasks and seeds."""

    out: Path = Path("runs/benchmark-large")
    """Folder of everything made; finished parts are kept."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Each of demonstrations, learning and evaluation."""
    quick: bool = False
    """One seed, few steps."""


def main(benchmark: Benchmark) -> None:
    """Run every cell and print what they show."""
    console = Console(width=120)
    out = benchmark.out / ("quick" if benchmark.quick else "full")
    if benchmark.quick:
        shutil.rmtree(out, ignore_errors=True)
    seeds = (0,) if benchmark.quick else benchmark.seeds
    settings = PRESETS["large"].quick() if benchmark.quick else PRESETS["large"]
    num_steps = min(400_000, vars(settings.play)["num_steps"])
    recipe = replace(settings.play, **{"num_steps": num_steps})
    play = collected(out / "play-v0", settings.environment, recipe, 77)
    of_one = {each.name: getattr(settings.reward, each.name) for each in fields(AdditiveSettings)}
    per_step = replace(settings, reward=AdditiveSettings(**of_one))
    cells: dict[str, list[dict[str, Any]]] = {}
    for seed in seeds:
        for task in (CORNER, *GOALS, ORDERED):
            cells.setdefault(task, []).append(_cell(settings, task, seed, play, out))
        if seed in PER_STEP_SEEDS:
            beside = _cell(per_step, ORDERED, seed, play, out, suffix="-per-step")
            cells.setdefault(PER_STEP, []).append(beside)
    console.print(spread_table("Large Maze", cells))
    corner, goals = cells[CORNER], [cell for goal in GOALS for cell in cells[goal]]
    ordered, every = cells[ORDERED], corner + goals + cells[ORDERED]
    result = {
        "erc_corner": mean(corner, "erc"),
        "best_cell_hits": sum(cell["best_cell_hit"] for cell in goals),
        "best_cell_runs": len(goals),
        "return_fraction_corner": mean(corner, "return_fraction"),
        "return_fraction_goals": mean(goals, "return_fraction"),
        "dynamics_error_16": mean(every, "dynamics_error_16"),
        "wall_fraction": mean(every, "wall_fraction"),
        "wall_fraction_unguided": mean(every, "wall_fraction_unguided"),
        "ordered_task_success": mean(ordered, "success"),
        "ordered_task_success_unguided": mean(ordered, "success_unguided"),
        "ordered_task_success_per_step": mean(cells.get(PER_STEP, ()), "success"),
        "ordered_task_success_demonstrator": mean(ordered, "success_demonstrator"),
        "learn_seconds": mean(every, "learn_seconds"),
        "decision_ms": mean(every, "decision_ms"),
    }
    print(json.dumps(result))


def _cell(
    settings: Settings, task: str, seed: int, play: Path, out: Path, *, suffix: str = ""
) -> Figures:
    """Learn and judge one reward; kept once done, done again if settings changed."""
    slug = task.replace(":", "-").replace(",", "-")
    folder, shown = out / f"{slug}-{seed}{suffix}", out / f"demonstrations-{slug}-{seed}-v0"
    recipe = replace(settings.demonstrations, **{"task": task})
    collected(shown, settings.environment, recipe, 1 + seed)
    job = Job(settings, "large", play, shown, folder, seed)
    return kept(folder / "cell.json", lambda: _figures(job.judge()), job.depends_on)


def _figures(evaluation: dict[str, Any]) -> dict[str, Any]:
    dynamics = evaluation["dynamics_error"]
    return {
        "erc": evaluation["erc_windows"]["distance"]["value"],
        **{
            name: (evaluation["success"] or {}).get(policy)
            for name, policy in (
                ("success", "learnt"),
                ("success_unguided", "unguided"),
                ("success_demonstrator", "demonstrator"),
            )
        },
        "best_cell_hit": evaluation["best_cell"]["hit"],
        "return_fraction": evaluation["return_fraction"]["value"],
        "return": evaluation["return"]["learnt"]["value"],
        "return_unguided": evaluation["return"]["unguided"]["value"],
        "return_demonstrator": evaluation["return"]["demonstrator"]["value"],
        "dynamics_error_16": dynamics["learnt"]["at_16"],
        "dynamics_error_16_unguided": dynamics["unguided"]["at_16"],
        "wall_fraction": evaluation["wall_fraction"]["learnt"],
        "wall_fraction_unguided": evaluation["wall_fraction"]["unguided"],
        "learn_seconds": evaluation["learnt"]["seconds"],
        "decision_ms": evaluation["decision_ms"],
    }


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
