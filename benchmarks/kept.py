"""What demonstrators avoid and the pace they keep: tables, then one JSON object.

``avoid``: 12 demonstrations go to a goal and round one cell on the shortest way. The reward should
be lower there than in both neighbours on the way, and plans should go round too. ``speed``: 9
demonstrations stay below 1.5 m/s, and play data drives at up to 5. The settings are those of the
preset ``large``. ``medium`` needs a diffuser (``trailward train``), since none is packaged.

    .venv/bin/python benchmarks/kept.py                       # Large Maze, about 40 minutes
    .venv/bin/python benchmarks/kept.py --medium runs/medium  # and Medium
    .venv/bin/python benchmarks/kept.py --quick               # shows that it runs
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from trailward.acting.planner import Planner
from trailward.cli.presets import PRESETS
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.diffusion.diffuser import Diffuser
from trailward.environments.pointmaze.controllers import TourController
from trailward.environments.pointmaze.maze import Maze, make_env, parse_maze
from trailward.environments.pointmaze.recipes import collect_play, run_from
from trailward.environments.pointmaze.tasks import GOAL_RADIUS
from trailward.learning.learn_reward import learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.pretrained import model_folder
from trailward.randomness import numpy_generator
from trailward_benchmark.jobs import kept

Cell = tuple[int, int]

AVOID: dict[str, tuple[tuple[Cell, Cell], ...]] = {
    "large": (((3, 6), (3, 3)), ((3, 8), (2, 8))),
    "medium": (((3, 4), (3, 3)), ((6, 2), (6, 1))),
}
"""Pairs of a goal and the cell that is avoided, by maze."""
SPEED: dict[str, tuple[Cell, ...]] = {"large": ((3, 6), (5, 8)), "medium": ((3, 4), (6, 2))}
"""Goals that are approached slowly, by maze."""
TOP_SPEED = 1.5
_SPREAD, _PLAY_SEED = 0.3, 77


@dataclass(frozen=True)
class Benchmark:
    """Avoided cells and a pace, over mazes and seeds."""

    out: Path = Path("runs/benchmark-kept")
    """Folder of everything made; finished parts are kept."""
    medium: Path | None = None
    """A diffuser of the Medium maze; without it Large alone is run."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Each of demonstrations, learning and roll-outs."""
    num_episodes: int = 10
    """Roll-outs a seed."""
    quick: bool = False
    """One seed, next to no learning."""


def main(benchmark: Benchmark) -> None:
    """Run every cell and print what they show."""
    seeds = benchmark.seeds[:1] if benchmark.quick else benchmark.seeds
    if benchmark.quick:
        shutil.rmtree(benchmark.out / "quick", ignore_errors=True)
    mazes = ("large",) if benchmark.medium is None else ("large", "medium")
    found: dict[str, dict[str, list[dict[str, Any]]]] = {"avoid": {}, "speed": {}}
    for seed in seeds:
        for maze in mazes:
            for goal, cell in AVOID[maze][: 1 if benchmark.quick else None]:
                name = f"{maze}/goal:{goal[0]},{goal[1]} without {cell[0]},{cell[1]}"
                found["avoid"].setdefault(name, []).append(_run(benchmark, maze, goal, cell, seed))
            for goal in SPEED[maze][: 1 if benchmark.quick else None]:
                name = f"{maze}/goal:{goal[0]},{goal[1]}"
                found["speed"].setdefault(name, []).append(_run(benchmark, maze, goal, None, seed))
    means = {key: {n: _mean(each) for n, each in cells.items()} for key, cells in found.items()}
    for key, cells in means.items():
        Console(width=130).print(_table(key, cells))
    print(json.dumps({**means, "seeds": list(seeds)}))


def _run(
    benchmark: Benchmark, name: str, goal: Cell, cell: Cell | None, seed: int
) -> dict[str, Any]:
    """Demonstrate, learn, plan; kept as JSON once done."""
    out = benchmark.out / ("quick" if benchmark.quick else "full")
    told = f"{name}-{goal}-{cell}-{seed}".replace(" ", "").replace("(", "").replace(")", "")
    file = out / f"{told.replace(',', '-')}.json"
    return kept(file, lambda: _walked(benchmark, name, goal, cell, seed))


def _walked(
    benchmark: Benchmark, name: str, goal: Cell, cell: Cell | None, seed: int
) -> dict[str, Any]:
    maze, play = parse_maze(name), _play(name, quick=benchmark.quick)
    shown = demonstrations(maze, goal, cell, seed=seed)
    settings = PRESETS["large"].quick() if benchmark.quick else PRESETS["large"]
    folder = model_folder("large") if name == "large" else benchmark.medium
    diffuser = Diffuser.load(str(folder))
    learnt = learn_reward(
        diffuser,
        Dataset(shown),
        play=play,
        reward=settings.reward,
        sampling=settings.sampling,
        config=replace(settings.learning, seed=seed),
    )
    count = 2 if benchmark.quick else benchmark.num_episodes
    starts = _starts(maze, goal, cell, count, seed=seed, what="roll-outs")
    planner = Planner.for_reward(learnt, diffuser, seed=seed)
    steps = 60 if benchmark.quick else 1000 if cell else 1500
    walked = run_from([make_env(maze) for _ in starts], planner, starts, steps)
    return _figures(maze, learnt, walked, goal, cell)


def demonstrations(maze: Maze, goal: Cell, cell: Cell | None, *, seed: int) -> list[Episode]:
    """Ways to a goal: round a cell, or slowly if there is none."""
    count, steps = (12, 900) if cell else (9, 1500)
    starts = _starts(maze, goal, cell, count, seed=seed, what="demonstrations")
    around = maze if cell is None else _closed(maze, cell)
    stops = np.array([maze.center(goal)])
    walker = TourController(around, stops, None if cell else TOP_SPEED)
    return run_from([make_env(maze) for _ in starts], walker, starts, steps)


def _closed(maze: Maze, cell: Cell) -> Maze:
    grid = [list(row) for row in maze.grid]
    grid[cell[0]][cell[1]] = 1
    return Maze("custom", tuple(tuple(row) for row in grid))


def _way(maze: Maze, start: Cell, goal: Cell) -> list[Cell]:
    """The cells of a shortest way, the goal among them."""
    way = []
    while start != goal:
        start = maze.next_cell(start, goal)
        way.append(start)
    return way


def _starts(
    maze: Maze, goal: Cell, cell: Cell | None, count: int, *, seed: int, what: str
) -> np.ndarray:
    """Random starts, at rest; if a cell is avoided, those whose shortest way leads through it."""
    cells = [each for each in maze.free_cells if each not in (goal, cell)]
    if cell is not None:
        around = _closed(maze, cell)
        cells = [
            each
            for each in cells
            if cell in (way := _way(maze, each, goal)) and len(_way(around, each, goal)) > len(way)
        ]
    draw = numpy_generator(seed, f"kept benchmark: {what}")
    picks = np.array(cells)[draw.integers(0, len(cells), count)]
    places = maze.center(picks) + draw.uniform(-_SPREAD, _SPREAD, (count, 2))
    return np.concatenate([places, np.zeros((count, 2))], -1)


def _play(maze: str, *, quick: bool) -> Dataset:
    steps = 20_000 if quick else 200_000
    return Dataset(collect_play(parse_maze(maze), num_steps=steps, seed=_PLAY_SEED))


def _figures(
    maze: Maze, learnt: LearntReward, walked: Sequence[Episode], goal: Cell, cell: Cell | None
) -> dict[str, Any]:
    ends = np.stack([episode.observations[-1, :2] for episode in walked])
    away = np.linalg.norm(ends - maze.center(goal), axis=-1)
    figures: dict[str, Any] = {"arrive": float((away <= GOAL_RADIUS).mean())}
    if cell is None:
        paths = np.concatenate([episode.observations for episode in walked])
        speeds = np.linalg.norm(paths[:, 2:], axis=-1)
        return figures | {
            "too_fast": float((speeds > TOP_SPEED).mean()),
            "fastest": float(speeds.max()),
        }
    inside = [(maze.cell(e.observations[:, :2]) == cell).all(-1).any() for e in walked]
    before = [each for each in maze.free_cells if abs(np.subtract(each, cell)).sum() == 1]
    rewards = {each: _cell_reward(maze, learnt, each) for each in (cell, *before)}
    return figures | {
        "through": float(np.mean(inside)),
        "dip": float(rewards.pop(cell) < min(rewards.values())),
    }


def _cell_reward(maze: Maze, learnt: LearntReward, cell: Cell) -> float:
    """The mean learnt reward of standing in a cell."""
    offsets = np.stack(np.meshgrid(*2 * [np.linspace(-0.3, 0.3, 5)]), -1).reshape(-1, 2)
    places = maze.center(cell) + offsets
    return float(learnt.step_rewards(np.concatenate([places, np.zeros_like(places)], -1)).mean())


def _mean(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean over seeds of each figure."""
    return {key: float(np.mean([each[key] for each in found])) for key in found[0]}


def _table(key: str, cells: dict[str, dict[str, Any]]) -> Table:
    table = Table(key, *next(iter(cells.values())))
    for name, figures in cells.items():
        table.add_row(name, *(f"{value:.3f}" for value in figures.values()))
    return table


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
