"""What demonstrations cannot tell, and what a few answers settle: tables, then one JSON object.

For each task and seed a reward is learnt from nine demonstrations, with the same settings for all
tasks of a maze. Everything is judged on 100 play episodes that nothing learnt from, by ERC distance
(0 is best). ``shapes`` takes no learning: it is the ERC distance of ready-made shapes around the
true place. A simulated teacher answers questions by the true reward (``equal`` where two pieces
differ by less than a tenth of its deviation); one that errs gives one of the two other answers.
``other_meaning`` has a teacher who means what the task does not: a place where the true reward is
a slope, a slope where it is a place; it shows that answers, not the default, decide. A run that
is interrupted goes on where it was (``--out``).

    .venv/bin/python benchmarks/readings.py                   # the full thing, about 90 minutes
    .venv/bin/python benchmarks/readings.py --quick           # shows that it runs
    .venv/bin/python benchmarks/readings.py --seeds 0 1 --tasks umaze/corner large/goal:5,4
"""

import heapq
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from trailward.cli.presets import PRESETS, Settings
from trailward.data.dataset import Dataset, Windows, read_dataset
from trailward.diffusion.diffuser import Diffuser
from trailward.environments.pointmaze.maze import Maze, make_env, parse_maze
from trailward.environments.pointmaze.recipes import collect_demonstrations, run_seeds
from trailward.environments.pointmaze.tasks import GoalTask, MazeTask, best_position, parse_task
from trailward.judging.behaviour import return_fraction
from trailward.judging.erc import episode_return_correlation
from trailward.learning.answers import CHOICES, Inquiry, Question
from trailward.learning.learn_reward import learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.pretrained import model_folder
from trailward.randomness import numpy_generator
from trailward_benchmark.jobs import collected, kept, spread

TASKS = (
    "umaze/corner",
    "umaze/goal:3,1",
    "large/corner",
    "large/goal:3,2",
    "large/goal:5,4",
    "large/goal:5,8",
)
ANSWERS = (0, 5, 10, 20)
ALIKE = 0.1
"""Deviations of the true return by which pieces may differ and still be called alike."""
WRONG = 0.1
_NUM_JUDGED, _PLAY_SEED = 100, 77
_PIXELS = 10


@dataclass(frozen=True)
class Benchmark:
    """Readings and answers, over tasks and seeds."""

    out: Path = Path("runs/benchmark-readings")
    """Folder of everything made; finished parts are kept."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Each of demonstrations, learning, answers and roll-outs."""
    tasks: tuple[str, ...] = TASKS
    """MAZE/TASK."""
    num_teachers: int = 3
    """Teachers a seed, who are asked other questions; ERC distances are means over them."""
    quick: bool = False
    """One seed and one teacher, next to no learning."""


def main(benchmark: Benchmark) -> None:
    """Run every cell and print what they show."""
    console = Console(width=150)
    out = benchmark.out / ("quick" if benchmark.quick else "full")
    seeds = benchmark.seeds
    if benchmark.quick:
        shutil.rmtree(out, ignore_errors=True)
        seeds = seeds[:1]
        benchmark = replace(benchmark, num_teachers=1)
    shapes = {name: shape_distances(name, judged(name, out, benchmark)) for name in benchmark.tasks}
    console.print(_shapes_table(shapes))
    cells: dict[str, list[dict[str, Any]]] = {}
    for seed in seeds:
        for name in benchmark.tasks:
            cells.setdefault(name, []).append(_cell(name, seed, out, benchmark))
            console.print(f"{name}, seed {seed}: {json.dumps(cells[name][-1])}")
    console.print(_cells_table(cells))
    tasks = {name: _mean(found) for name, found in cells.items()}
    print(json.dumps({"shapes": shapes, "tasks": tasks, "seeds": list(seeds)}))


def settings_of(name: str, *, quick: bool = False) -> Settings:
    """The preset of a task's maze, whatever the task."""
    settings = PRESETS[name.partition("/")[0]]
    return settings.quick() if quick else settings


def task_of(name: str) -> MazeTask:
    """A task by ``MAZE/TASK``."""
    maze, _, task = name.partition("/")
    return parse_task(task, parse_maze(maze))


@cache
def _play(maze: str, out: Path, num_episodes: int) -> Dataset:
    settings = PRESETS[maze]
    recipe = replace(settings.play, **{"num_steps": 1000 * num_episodes})
    place = out / f"play-{maze}-v0"
    return read_dataset(collected(place, settings.environment, recipe, _PLAY_SEED))


def learnt_from(name: str, out: Path, benchmark: Benchmark) -> Dataset:
    """Play data that rewards are learnt from and questions are made of."""
    count = _NUM_JUDGED // 10 if benchmark.quick else _NUM_JUDGED
    return Dataset(_play(name.partition("/")[0], out, 3 * count).episodes[: 2 * count])


def judged(name: str, out: Path, benchmark: Benchmark) -> Dataset:
    """Play data that nothing learns from."""
    count = _NUM_JUDGED // 10 if benchmark.quick else _NUM_JUDGED
    return Dataset(_play(name.partition("/")[0], out, 3 * count).episodes[2 * count :])


def shape_distances(name: str, play: Dataset) -> dict[str, float]:
    """ERC distance of ready-made shapes around the true place."""
    task = task_of(name)
    place = best_position(task)
    way = ways_to(task.maze, place)
    positions = np.stack([episode.observations[1:, :2] for episode in play.episodes])
    apart = np.linalg.norm(positions - place, axis=-1)
    shapes = {"minus distance": -apart, "minus way to go": -way(positions)}
    for width in (1.6, 0.8, 0.4, 0.2):
        shapes[f"bump {width} m"] = np.exp(-(apart**2) / (2 * width**2))
    shapes["disc 0.2 m"] = (apart <= 0.2).astype(float)
    true = _true_returns(task, play)
    return {shape: _erc(rewards.mean(1), true) for shape, rewards in shapes.items()}


def ways_to(maze: Maze, place: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The length of the shortest way to a place from each position, on a grid of 0.1 m."""
    half_width, half_height = maze.half_extent
    rows, columns = np.array(maze.grid).shape
    xs = (np.arange(columns * _PIXELS) + 0.5) / _PIXELS - half_width
    ys = half_height - (np.arange(rows * _PIXELS) + 0.5) / _PIXELS
    free = ~maze.in_wall(np.stack(np.meshgrid(xs, ys), -1))
    found = np.full(free.shape, np.inf)

    def pixel(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        column = ((positions[..., 0] + half_width) * _PIXELS).astype(int)
        row = ((half_height - positions[..., 1]) * _PIXELS).astype(int)
        return np.clip(row, 0, free.shape[0] - 1), np.clip(column, 0, free.shape[1] - 1)

    start = tuple(int(each) for each in pixel(place))
    found[start], queue = 0.0, [(0.0, start)]
    moves = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if r or c]
    while queue:
        length, (row, column) = heapq.heappop(queue)
        if length > found[row, column]:
            continue
        for down, right in moves:
            there = (row + down, column + right)
            longer = length + np.hypot(down, right) / _PIXELS
            corners = free[there] and free[row, there[1]] and free[there[0], column]
            if corners and longer < found[there]:
                found[there] = longer
                heapq.heappush(queue, (longer, there))
    reached = np.where(np.isfinite(found), found, found[np.isfinite(found)].max())
    return lambda positions: reached[pixel(positions)]


def _cell(name: str, seed: int, out: Path, benchmark: Benchmark) -> dict[str, Any]:
    """Learn, ask, plan; kept as JSON once done."""
    folder = out / f"{name}-{seed}".replace("/", "-").replace(":", "-").replace(",", "-")
    return kept(folder / "cell.json", lambda: _figures(name, seed, out, benchmark, folder))


def _figures(name: str, seed: int, out: Path, benchmark: Benchmark, folder: Path) -> dict[str, Any]:
    settings, task = settings_of(name, quick=benchmark.quick), task_of(name)
    steps = int(vars(settings.demonstrations)["episode_steps"])
    shown = collect_demonstrations(task, num_episodes=9, seed=1 + seed, episode_steps=steps)
    diffuser = Diffuser.load(model_folder(str(settings.packaged)))
    play = learnt_from(name, out, benchmark)
    learnt = learn_reward(
        diffuser,
        Dataset(shown),
        folder / "reward",
        play=play,
        reward=settings.reward,
        sampling=settings.sampling,
        config=replace(settings.learning, seed=seed),
    )
    figures = {"learn_seconds": learnt.provenance["learnt"]["seconds"]}
    figures |= reading_figures(learnt, task, play, judged(name, out, benchmark), benchmark, seed)
    return figures | planning_figures(learnt, diffuser, task, settings, seed)


def reading_figures(
    learnt: LearntReward,
    task: MazeTask,
    play: Dataset,
    fresh: Dataset,
    benchmark: Benchmark,
    seed: int,
) -> dict[str, Any]:
    """ERC distance of each reading, and after answers."""
    readings, true = learnt.readings, _true_returns(task, fresh)
    of_readings = {
        name: _erc(returns(learnt.with_reading(name), fresh), true) for name in readings.names
    }
    windows = Windows(play, learnt.spec)
    found: dict[str, Any] = {
        "default": readings.options.default,
        "erc_before": of_readings["as-is"],
        "erc_default": of_readings[readings.options.default],
        "erc_best_reading": min(of_readings.values()),
        "erc_readings": of_readings,
    }
    seconds: list[float] = []
    for key, teacher, meant, wrong in (
        ("erc_after_answers", task, true, 0.0),
        ("erc_after_answers_10_percent_wrong", task, true, WRONG),
        ("erc_other_meaning", *_other_meaning(task, fresh), 0.0),
    ):
        each = [
            _asked(learnt, teacher, meant, windows, fresh, wrong, (seed, number), seconds)
            for number in range(benchmark.num_teachers)
        ]
        found[key] = {str(count): float(np.mean([one[count] for one in each])) for count in ANSWERS}
    return found | {"seconds_to_answer": float(np.mean(seconds))}


class _Nearness:
    """Minus the distance to a place: a slope from everywhere."""

    def __init__(self, place: np.ndarray) -> None:
        self.place = place

    def observation_rewards(self, observations: np.ndarray) -> np.ndarray:
        """Of each observation, environment units."""
        return -np.linalg.norm(observations[..., :2] - self.place, axis=-1)


def _other_meaning(task: MazeTask, fresh: Dataset) -> tuple[Any, np.ndarray]:
    """A place where the task is a slope, a slope where it is a place; and its true returns."""
    place = best_position(task)
    other: Any = _Nearness(place)
    if not isinstance(task, GoalTask):
        other = GoalTask(task.maze, tuple(task.maze.cell(place).tolist()))
    return other, _true_returns(other, fresh)


def _asked(
    learnt: LearntReward,
    task: Any,
    true: np.ndarray,
    windows: Windows,
    fresh: Dataset,
    wrong: float,
    place: tuple[int, int],
    seconds: list[float],
) -> dict[int, float]:
    """ERC distance after so many answers of one teacher."""
    draw = numpy_generator(place[0], "readings benchmark: teacher", place[1])
    began = time.perf_counter()
    inquiry = Inquiry(
        readings=learnt.readings,
        normalizer=learnt.normalizer,
        play=windows,
        seed=1000 * place[0] + place[1],
    )
    preparing = time.perf_counter() - began
    pieces, _ = windows.gather(torch.arange(0, len(windows), windows.spec.num_observations))
    deviation = _mean_true(task, pieces, learnt).std()
    found = {0: _erc(returns(learnt, fresh), true)}
    for number in range(1, max(ANSWERS) + 1):
        began = time.perf_counter()
        question = inquiry.next_question()
        seconds.append(time.perf_counter() - began + (preparing if number == 1 else 0.0))
        choice = _teach(question, task, learnt, ALIKE * deviation)
        if draw.random() < wrong:
            choice = str(draw.choice([each for each in CHOICES if each != choice]))
        inquiry.tell(question, choice)
        if number in ANSWERS:
            answered = learnt.with_answers(inquiry.answers)
            found[number] = _erc(returns(answered, fresh), true)
    return found


def _teach(question: Question, task: Any, learnt: LearntReward, alike: float) -> str:
    """What somebody answers who means the task."""
    pair = torch.stack([question.first, question.second])
    first, second = _mean_true(task, pair, learnt)
    return "equal" if abs(first - second) <= alike else CHOICES[int(second > first)]


def _mean_true(task: Any, pieces: torch.Tensor, learnt: LearntReward) -> np.ndarray:
    observations = learnt.spec.split(pieces)[0].numpy().astype(np.float64)
    return task.observation_rewards(observations).mean(-1)


def planning_figures(
    learnt: LearntReward, diffuser: Diffuser, task: MazeTask, settings: Settings, seed: int
) -> dict[str, Any]:
    """The return of the planner, 0 being that of the unguided one and 1 the demonstrator's."""
    config = settings.evaluation.with_seed(seed)
    steps = config.steps_in(settings.environment)
    envs = [make_env(task.maze) for _ in config.starts]
    policies = {
        "learnt": config.planner(diffuser, learnt, guided=True),
        "unguided": config.planner(diffuser, learnt, guided=False),
        "demonstrator": task.demonstrator(),
    }
    found = {}
    for name, policy in policies.items():
        episodes = run_seeds(envs, task, policy, config.starts, steps)
        found[name] = Dataset(episodes).returns
    share = return_fraction(found["learnt"], found["unguided"], found["demonstrator"])
    return {"return_fraction": share.value}


def returns(learnt: LearntReward, play: Dataset) -> np.ndarray:
    """The mean learnt reward of each episode, but for its first observation."""
    paths = np.stack([episode.observations[1:] for episode in play.episodes])
    return learnt.step_rewards(paths).mean(1)


def _true_returns(task: Any, play: Dataset) -> np.ndarray:
    return np.array([task.observation_rewards(e.observations)[1:].mean() for e in play.episodes])


def _erc(learnt: np.ndarray, true: np.ndarray) -> float:
    return round(episode_return_correlation(learnt, true).distance.value, 4)


def _mean(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over seeds of each figure; of others the list."""
    merged: dict[str, Any] = {}
    for key, first in found[0].items():
        values = [each[key] for each in found]
        if isinstance(first, dict):
            shared = [name for name in first if all(name in each for each in values)]
            merged[key] = {name: float(np.mean([v[name] for v in values])) for name in shared}
        elif isinstance(first, float):
            merged[key] = float(np.mean(values))
        else:
            merged[key] = values
    merged["return_fractions"] = [each["return_fraction"] for each in found]
    return merged


def _shapes_table(shapes: dict[str, dict[str, float]]) -> Table:
    table = Table("ERC distance of ready-made shapes", *next(iter(shapes.values())))
    for name, found in shapes.items():
        table.add_row(name, *(f"{value:.2f}" for value in found.values()))
    return table


def _cells_table(cells: dict[str, list[dict[str, Any]]]) -> Table:
    table = Table("mean over seeds (lowest to highest)", *cells)
    rows: dict[str, Callable[[dict[str, Any]], float]] = {
        "reward as it is": lambda each: each["erc_before"],
        "default reading": lambda each: each["erc_default"],
        "best reading": lambda each: each["erc_best_reading"],
    }
    for key, label in (
        ("erc_after_answers", "answers"),
        ("erc_after_answers_10_percent_wrong", "answers, 10% wrong"),
        ("erc_other_meaning", "answers of another meaning"),
    ):
        for count in ANSWERS:
            rows[f"{count} {label}"] = lambda each, k=key, c=count: each[k][str(c)]
    rows |= {
        "return fraction": lambda each: each["return_fraction"],
        "seconds a question": lambda each: each["seconds_to_answer"],
        "seconds to learn": lambda each: each["learn_seconds"],
    }
    for label, value in rows.items():
        row = []
        for found in cells.values():
            row.append(spread([value(each) for each in found]))
        table.add_row(label, *row)
    return table


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
