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
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from trailward.cli.collect import Collect
from trailward.cli.evaluate import Evaluate
from trailward.cli.presets import PRESETS, Settings, learn_command
from trailward.diffusion.diffuser import Diffuser
from trailward.pretrained import model_folder
from trailward.rewards.additive import AdditiveSettings

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
    play = out / "play-v0"
    if not play.exists():
        num_steps = min(400_000, vars(settings.play)["num_steps"])
        recipe = replace(settings.play, **{"num_steps": num_steps})
        Collect(play, settings.environment, recipe, 77).run(_silent)
    of_one = {each.name: getattr(settings.reward, each.name) for each in fields(AdditiveSettings)}
    per_step = replace(settings, reward=AdditiveSettings(**of_one))
    cells: dict[str, list[dict[str, Any]]] = {}
    for seed in seeds:
        for task in (CORNER, *GOALS, ORDERED):
            cells.setdefault(task, []).append(_cell(settings, task, seed, play, out))
        if seed in PER_STEP_SEEDS:
            beside = _cell(per_step, ORDERED, seed, play, out, suffix="-per-step")
            cells.setdefault(PER_STEP, []).append(beside)
    console.print(_table(cells))
    corner, goals = cells[CORNER], [cell for goal in GOALS for cell in cells[goal]]
    ordered, every = cells[ORDERED], corner + goals + cells[ORDERED]
    result = {
        "erc_corner": _mean(corner, "erc"),
        "best_cell_hits": sum(cell["best_cell_hit"] for cell in goals),
        "best_cell_runs": len(goals),
        "return_fraction_corner": _mean(corner, "return_fraction"),
        "return_fraction_goals": _mean(goals, "return_fraction"),
        "dynamics_error_16": _mean(every, "dynamics_error_16"),
        "wall_fraction": _mean(every, "wall_fraction"),
        "wall_fraction_unguided": _mean(every, "wall_fraction_unguided"),
        "ordered_task_success": _mean(ordered, "success"),
        "ordered_task_success_unguided": _mean(ordered, "success_unguided"),
        "ordered_task_success_per_step": _mean(cells.get(PER_STEP, ()), "success"),
        "ordered_task_success_demonstrator": _mean(ordered, "success_demonstrator"),
        "learn_seconds": _mean(every, "learn_seconds"),
        "decision_ms": _mean(every, "decision_ms"),
    }
    print(json.dumps(result))


def _cell(
    settings: Settings, task: str, seed: int, play: Path, out: Path, *, suffix: str = ""
) -> dict[str, Any]:
    """Learn and judge one reward; kept as JSON once done, and again what settings changed of."""
    slug = task.replace(":", "-").replace(",", "-")
    folder = out / f"{slug}-{seed}{suffix}"
    kept = folder / "cell.json"
    now = {
        name: asdict(getattr(settings, name))
        for name in ("reward", "sampling", "learning", "evaluation")
    } | {"diffuser": Diffuser.load(model_folder("large")).fingerprint}
    now = json.loads(json.dumps(now))
    if kept.exists():
        before = json.loads(kept.read_text(encoding="utf-8"))
        if before["settings"] == now:
            return before["figures"]
        if any(before["settings"][name] != now[name] for name in now if name != "evaluation"):
            shutil.rmtree(folder)
    demonstrations = out / f"demonstrations-{slug}-{seed}-v0"
    if not demonstrations.exists():
        recipe = replace(settings.demonstrations, **{"task": task})
        Collect(demonstrations, settings.environment, recipe, 1 + seed).run(_silent)
    job = learn_command(
        settings,
        str(demonstrations),
        "large",
        folder / "reward",
        play=str(play),
        objective=settings.objective,
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
        "large",
        task,
        evaluation=judged,
    )
    found = _figures(job.run(_silent))
    kept.write_text(json.dumps({"settings": now, "figures": found}), encoding="utf-8")
    return found


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


def _mean(cells: Sequence[dict[str, Any]], key: str) -> float | None:
    if not cells:
        return None
    return float(np.mean([cell[key] for cell in cells]))


def _table(cells: dict[str, list[dict[str, Any]]]) -> Table:
    table = Table("mean over seeds (lowest to highest)", *cells, title="Large Maze")
    for key in next(iter(cells.values()))[0]:
        row = []
        for found in cells.values():
            values = [float(each[key]) for each in found if each[key] is not None]
            if not values:
                row.append("")
                continue
            row.append(f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")
        table.add_row(key, *row)
    return table


def _silent(line: str) -> None:
    """Say nothing: the table says it all."""


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
