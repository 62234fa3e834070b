"""Jobs of the maze tab: draw, learn, plan, run and judge."""

import base64
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trailward.acting.planner import Policy
from trailward.checkpoint import provenance
from trailward.data.dataset import Dataset, read_dataset, write_dataset
from trailward.data.episode import DataError, Episode
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import DenoiserConfig, Diffuser, SamplingConfig
from trailward.diffusion.training import TrainingConfig, train_diffuser
from trailward.environments.pointmaze.controllers import TourController
from trailward.environments.pointmaze.environment import PointMaze
from trailward.environments.pointmaze.maze import COLUMNS, Maze, make_env, parse_maze
from trailward.environments.pointmaze.recipes import collect_demonstrations, collect_play, run_from
from trailward.environments.pointmaze.tasks import parse_task
from trailward.judging.config import EvaluationConfig
from trailward.judging.dynamics import plan_observations
from trailward.judging.evaluate import evaluate
from trailward.learning.learn_reward import LearningState, learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.standing import standing_rewards
from trailward.pretrained import model_folder, packaged
from trailward.web.boards import board_folder, new_board, read_board, write_board
from trailward.web.learning import EVERY, LEARNING, REWARD, SAMPLING, planner, told
from trailward.web.worker import Control

MOST_DRAWINGS, MOST_POINTS, LEAST_LENGTH = 9, 2000, 0.5
_PIXELS, _SPACING, _STUCK, _EPISODE = 10, 0.2, 60, {"umaze": 300, "large": 600}
_PART = 10
"""Steps between two parts of a roll-out."""


@dataclass(frozen=True)
class Board:
    """A maze of the page: its folder, and what is in it."""

    root: Path
    name: str

    @property
    def folder(self) -> Path:
        """Where it is."""
        return board_folder(self.root, self.name)

    @property
    def facts(self) -> dict[str, Any]:
        """As the page is told of it."""
        return read_board(self.root, self.name)

    def keep(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Write the facts; returns them."""
        write_board(self.root, self.name, facts)
        return facts

    @property
    def maze(self) -> Maze:
        """Its map."""
        facts = self.facts
        return Maze(facts["maze"], tuple(tuple(row) for row in facts["grid"]))

    @property
    def diffuser(self) -> Diffuser:
        """The packaged one of the maze, or its own."""
        name = self.facts["maze"]
        if name in packaged():
            return _diffuser(str(model_folder(name)))
        if not (self.folder / "diffuser" / "config.json").exists():
            raise DataError("this maze has no diffuser yet: prepare it first")
        return _diffuser(str(self.folder / "diffuser"))

    @property
    def reward(self) -> LearntReward | None:
        """As last learnt; None if none was."""
        config = self.folder / "reward" / "config.json"
        if not config.exists():
            return None
        return _reward(str(config.parent), config.stat().st_mtime_ns)

    @property
    def episode_steps(self) -> int:
        """Environment steps of a demonstration and of a roll-out."""
        return _EPISODE.get(self.facts["maze"], 100 + 12 * len(self.maze.free_cells))

    def play(self, control: Control) -> Dataset:
        """Play data of the maze, recorded when it is first needed."""
        shared = self.facts["maze"] in packaged()
        home = self.root / "play" / self.facts["maze"] if shared else self.folder
        folder = home / "play-v0"
        if not folder.exists():
            total = 30_000
            episodes = collect_play(
                self.maze,
                num_steps=total,
                seed=100,
                progress=lambda done: control.progress("Recording aimless play", done, total),
            )
            facts = provenance(100, maze=_maze_name(self.maze), what="play")
            partial = home / f"playing{time.time_ns()}-v0"
            write_dataset(Dataset(episodes, facts, COLUMNS), partial)
            if not folder.exists():
                partial.replace(folder)
        return read_dataset(folder)


@lru_cache(maxsize=4)
def _diffuser(folder: str) -> Diffuser:
    return Diffuser.load(folder)


@lru_cache(maxsize=8)
def _reward(folder: str, written: int) -> LearntReward:
    return LearntReward.load(folder)


@lru_cache(maxsize=4)
def _env(grid: tuple[tuple[int, ...], ...]) -> Any:
    return make_env(Maze("maze", grid))


def warm_up() -> None:
    """Load what the first board needs."""
    diffuser = _diffuser(str(model_folder("umaze")))
    first = torch.zeros(2, diffuser.spec.observation_dim)
    diffuser.sample_plans(first, SamplingConfig(), generator=torch.Generator())
    _env(parse_maze("umaze").grid)


def new_maze(control: Control, board: str, maze: str) -> dict[str, Any]:
    """A board for a maze.

    Args:
        control: of the job.
        board: plays no part.
        maze: a name, or rows of 0 and 1 joined by ``/``.
    """
    if len(maze) > 1000:
        raise DataError("the maze is too large; at most 24 by 24 cells")
    found = parse_maze(maze)
    if max(len(found.grid), len(found.grid[0])) > 24:
        raise DataError("the maze is too large; at most 24 by 24 cells")
    known = found.name in packaged()
    facts = {
        "kind": "maze",
        "maze": found.name,
        "grid": [list(row) for row in found.grid],
        "drawings": [],
        "next": 1,
        "ready": known,
    }
    name = new_board(control.root, found.name if known else "maze", facts)
    return {"board": name}


def example(control: Control, board: str) -> dict[str, Any]:
    """A board of what somebody drew and the page learnt, to look at."""
    source = Path(str(files("trailward.web"))) / "example"
    facts = json.loads((source / "board.json").read_text(encoding="utf-8"))
    name = new_board(control.root, "example", facts)
    for part in ("drawings", "reward"):
        shutil.copytree(source / part, control.root / name / part)
    return {"board": name}


def draw(control: Control, board: str, line: list[list[float]]) -> dict[str, Any]:
    """Let the ball follow a drawn line; what it does becomes a demonstration.

    Args:
        control: of the job.
        board: gets the demonstration.
        line: x and y of its points, metres.

    Returns:
        The board's facts. The new drawing says where it ends, and why if that is not where the
        line does.

    Raises:
        DataError: if the line cannot be followed at all.
    """
    mine = Board(control.root, board)
    facts, maze = mine.facts, mine.maze
    if len(facts["drawings"]) >= MOST_DRAWINGS:
        raise DataError(f"there are {MOST_DRAWINGS} demonstrations already; delete one first")
    points = np.asarray(line, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not 2 <= len(points) <= MOST_POINTS:
        raise DataError(f"a line has 2 to {MOST_POINTS} points of two numbers")
    if not np.isfinite(points).all():
        raise DataError("the line has a point that is no number")
    path, why = _up_to_wall(maze, points)
    if _length(path) < LEAST_LENGTH:
        raise DataError(why or "the line is too short to follow; draw at least half a cell")
    episode, reached, stuck = _follow(maze, path, mine.episode_steps)
    facts["drawings"].append(
        {
            "number": facts["next"],
            "source": "drawn",
            "line": points.round(3).tolist(),
            "path": _thinned(episode),
            "end": episode.observations[-1, :2].round(3).tolist(),
            "why": why or (None if reached else stuck),
            "at": None if reached and not why else path[-1].round(3).tolist(),
        }
    )
    _keep_episode(mine, facts["next"], episode)
    facts["next"] += 1
    return mine.keep(facts)


def expert(control: Control, board: str, task: str, count: int) -> dict[str, Any]:
    """Replace the demonstrations by an expert's, which walks to a place from random starts."""
    mine = Board(control.root, board)
    facts = mine.facts
    if not 1 <= count <= MOST_DRAWINGS:
        raise DataError(f"count is {count}; choose 1 to {MOST_DRAWINGS}")
    episodes = collect_demonstrations(
        parse_task(task, mine.maze),
        num_episodes=count,
        seed=facts["next"],
        episode_steps=mine.episode_steps,
    )
    facts["drawings"] = []
    for episode in episodes:
        facts["drawings"].append(
            {
                "number": facts["next"],
                "source": "expert",
                "path": _thinned(episode),
                "end": episode.observations[-1, :2].round(3).tolist(),
                "why": None,
            }
        )
        _keep_episode(mine, facts["next"], episode)
        facts["next"] += 1
    return mine.keep(facts)


def remove(control: Control, board: str, number: int | None = None) -> dict[str, Any]:
    """Delete a demonstration, or all of them."""
    mine = Board(control.root, board)
    facts = mine.facts
    gone = [d for d in facts["drawings"] if number is None or d["number"] == number]
    facts["drawings"] = [d for d in facts["drawings"] if d not in gone]
    mine.keep(facts)
    for drawing in gone:
        _episode_file(mine, drawing["number"]).unlink(missing_ok=True)
    return facts


def prepare(control: Control, board: str, num_steps: int = 6000) -> dict[str, Any]:
    """Record play data in a painted maze and train a small diffuser on it."""
    mine = Board(control.root, board)
    play = mine.play(control)
    spec = PlanSpec(16, 8, play.observation_dim, play.action_dim, with_actions=False)
    config = TrainingConfig(
        num_steps=num_steps, batch_size=64, optimizer="adam", checkpoint_every=1000
    )
    train_diffuser(
        play,
        spec,
        mine.folder / "diffuser",
        denoiser_config=DenoiserConfig(width=64),
        config=config,
        report=told(control, "Learning how the ball moves here", num_steps),
        provenance=provenance(0, play=play.provenance),
    )
    return mine.keep(mine.facts | {"ready": True})


def record(control: Control, board: str) -> dict[str, Any]:
    """Record play data before anybody waits for it."""
    Board(control.root, board).play(control)
    return {}


def learn(control: Control, board: str, num_steps: int = 80) -> dict[str, Any]:
    """Learn a reward from the demonstrations, and show it as it takes shape."""
    mine = Board(control.root, board)
    episodes = _episodes(mine)
    if not episodes:
        raise DataError("draw at least one demonstration first")
    folder = mine.folder / "demonstrations-v0"
    shutil.rmtree(folder, ignore_errors=True)
    facts = provenance(0, maze=_maze_name(mine.maze), what="demonstrations")
    demonstrations = Dataset(episodes, facts, COLUMNS)
    write_dataset(demonstrations, folder)
    diffuser, play = mine.diffuser, mine.play(control)
    began, picture = time.monotonic(), Picture(mine.maze, diffuser, episodes)
    losses: list[float] = []
    last = 0.0

    def on_step(state: LearningState) -> bool:
        nonlocal last
        if state.loss is not None:
            losses.append(round(state.loss, 5))
        if time.monotonic() - last >= EVERY:
            shown = picture.of(state.reward())
            control.progress("Learning", state.step, num_steps, losses=losses, **shown)
            last = time.monotonic()
        return not control.stopped

    learnt = learn_reward(
        diffuser,
        demonstrations,
        play=play,
        reward=REWARD,
        sampling=SAMPLING,
        config=replace(LEARNING, num_steps=num_steps),
        on_step=on_step,
        provenance=facts,
    )
    return _finish(mine, learnt, picture.of(learnt) | {"losses": losses}, began)


def _finish(
    mine: Board, learnt: LearntReward, shown: dict[str, Any], began: float
) -> dict[str, Any]:
    """Put a reward in the place of the one before, with what the page shows of it."""
    shown["seconds"] = round(time.monotonic() - began, 1)
    partial = mine.folder / "learning"
    shutil.rmtree(partial, ignore_errors=True)
    learnt.save(partial)
    (partial / "page.json").write_text(json.dumps(shown, allow_nan=False), encoding="utf-8")
    shutil.rmtree(mine.folder / "reward", ignore_errors=True)
    partial.replace(mine.folder / "reward")
    return shown


@dataclass(frozen=True)
class Picture:
    """The map of a reward and a few plans, as the page draws them."""

    maze: Maze
    diffuser: Diffuser
    episodes: Sequence[Episode]

    def of(self, learnt: LearntReward) -> dict[str, Any]:
        """What there is to see of a reward."""
        policy = planner(self.diffuser, learnt, learnt.sampling, candidates=1)
        plans = plan_observations(self.diffuser, policy.plan(self._starts()))[..., :2]
        return {"map": reward_picture(learnt, self.maze), "plans": plans.round(3).tolist()}

    def _starts(self, count: int = 6) -> np.ndarray:
        firsts = np.stack([episode.observations[0] for episode in self.episodes])
        starts = firsts[np.arange(count) % len(firsts)].copy()
        starts[:, 2:] = 0.0
        return starts


def reward_picture(learnt: LearntReward, maze: Maze) -> dict[str, Any]:
    """The reward of staying at each pixel: bytes from lowest to highest, rows from the top."""
    rows, columns = np.array(maze.grid).shape
    half_width, half_height = maze.half_extent
    xs = (np.arange(columns * _PIXELS) + 0.5) / _PIXELS - half_width
    ys = half_height - (np.arange(rows * _PIXELS) + 0.5) / _PIXELS
    places = np.stack(np.meshgrid(xs, ys), -1)
    free = ~maze.in_wall(places)
    values = standing_rewards(learnt, _still(places.reshape(-1, 2))).reshape(free.shape)
    low, high = values[free].min(), values[free].max()
    span = max(high - low, 1e-9)
    levels = np.clip(255 * (values - low) / span, 0, 255).astype(np.uint8)
    centers = standing_rewards(learnt, _still(maze.center(maze.free_cells)))
    return {
        "levels": base64.b64encode(levels.tobytes()).decode(),
        "width": columns * _PIXELS,
        "height": rows * _PIXELS,
        "low": float(low),
        "high": float(high),
        "best_cell": list(maze.free_cells[int(np.argmax(centers))]),
    }


def plans(
    control: Control,
    board: str,
    start: list[float],
    scale: float = 1.0,
    candidates: int = 12,
    seed: int = 0,
) -> dict[str, Any]:
    """A fan of plans from a place, at every step from noise to plan, with and without the reward.

    Args:
        control: of the job.
        board: whose reward guides.
        start: x and y, metres.
        scale: of the guide, in units of the scale that the reward was learnt with.
        candidates: plans to sample.
        seed: of the noise.
    """
    mine = Board(control.root, board)
    maze, diffuser, learnt = mine.maze, mine.diffuser, mine.reward
    first = _first(maze, start)
    count = int(np.clip(candidates, 1, 32))
    sampling = learnt.sampling if learnt else SAMPLING
    found: dict[str, Any] = {"start": start, "stride": diffuser.spec.stride}
    for name in ("without", "with"):
        guide = learnt.guide_model if learnt and name == "with" and scale > 0 else None
        if name == "with" and learnt is None:
            continue
        guided = replace(sampling, scale=float(np.clip(scale, 0, 20)) * sampling.scale)
        steps: list[torch.Tensor] = []
        with torch.no_grad():
            kept = diffuser.sample_plans(
                diffuser.observation_normalizer.normalize(
                    torch.as_tensor(np.tile(first, (count, 1)), dtype=torch.float32)
                ),
                guided,
                generator=torch.Generator().manual_seed(seed),
                reward_model=guide,
                adjoint=_recording(steps),
            )
            merit = None if guide is None else guide(kept)
        paths = [plan_observations(diffuser, each)[..., :2] for each in steps]
        found[name] = {
            "steps": [each.round(2).tolist() for each in paths],
            "touches": _touches(maze, paths[-1]).tolist(),
            "chosen": -1 if merit is None else int(merit.argmax()),
        }
    return found


def run(
    control: Control,
    board: str,
    start: list[float],
    scale: float = 1.0,
    candidates: int = 1,
    seed: int = 0,
) -> dict[str, Any]:
    """Let the ball follow the planner in the simulator."""
    mine = Board(control.root, board)
    maze, learnt = mine.maze, mine.reward
    sampling = learnt.sampling if learnt else SAMPLING
    sampling = replace(sampling, scale=float(np.clip(scale, 0, 20)) * sampling.scale)
    count = int(np.clip(candidates, 1, 32))
    follower = planner(
        mine.diffuser, learnt if scale > 0 else None, sampling, candidates=count, seed=seed
    )
    first = _first(maze, start)
    told = 0

    def policy(observations: np.ndarray) -> np.ndarray:
        nonlocal told
        path.append(observations[0, :2].round(3).tolist())
        if len(path) - told >= _PART:
            control.emit({"path": path[told:]})
            told = len(path)
        return follower(observations)

    path: list[list[float]] = []
    env = _env(maze.grid)
    (episode,) = run_from([env], _Told(follower, policy), first[None], mine.episode_steps)
    last = episode.observations[-1, :2]
    return {"path": [*path[told:], last.round(3).tolist()], "cell": maze.cell(last).tolist()}


@dataclass(frozen=True)
class _Told:
    """A policy that is watched as it acts."""

    policy: Policy
    act: Callable[[np.ndarray], np.ndarray]

    def reset(self) -> None:
        self.policy.reset()

    def __call__(self, observations: np.ndarray) -> np.ndarray:
        return self.act(observations)


def judge(control: Control, board: str, task: str) -> dict[str, Any]:
    """How good the reward and the planner are, by a true task."""
    mine = Board(control.root, board)
    learnt = mine.reward
    if learnt is None:
        raise DataError("learn a reward first")
    config = EvaluationConfig(
        num_episodes=10, episode_steps=mine.episode_steps, num_plans=20, num_windows=1000
    )
    stages = ["roll-outs", "correlation with the true reward", "dynamics error"]
    environment = PointMaze(mine.maze.spelling)
    evaluation = evaluate(
        learnt,
        mine.diffuser,
        environment,
        environment.task(task),
        mine.play(control),
        Dataset(_episodes(mine), columns=COLUMNS),
        config,
        stage=lambda name: control.progress(
            f"Judging: {name}", stages.index(name) if name in stages else 0, len(stages)
        ),
    )
    wanted = ("task", "return", "return_fraction", "erc_windows", "best_cell")
    return {name: evaluation.figures[name] for name in wanted}


def _recording(steps: list[torch.Tensor]) -> Callable[..., Any]:
    """An adjoint that keeps the plans of every reverse step, from noise on."""

    def adjoint(advance: Callable[..., torch.Tensor], left: int) -> Callable[..., torch.Tensor]:
        def advanced(plan: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
            if not steps:
                steps.append(plan)
            steps.append(advance(plan, noise))
            return steps[-1]

        return advanced

    return adjoint


def _first(maze: Maze, start: Sequence[float]) -> np.ndarray:
    place = np.asarray(start, dtype=np.float64)
    if place.shape != (2,) or not np.isfinite(place).all():
        raise DataError("a start is two numbers: x and y")
    if (np.abs(place) > maze.half_extent).any() or maze.in_wall(place):
        raise DataError("plans cannot start inside a wall; click a free place")
    return _still(place)


def _still(places: np.ndarray) -> np.ndarray:
    return np.concatenate([places, np.zeros_like(places)], -1)


def _touches(maze: Maze, paths: np.ndarray) -> np.ndarray:
    between = np.linspace(0, 1, 8)[:, None]
    dense = paths[:, :-1, None] * (1 - between) + paths[:, 1:, None] * between
    return np.atleast_1d(maze.in_wall(dense.reshape(len(paths), -1, 2)).any(-1))


def _up_to_wall(maze: Maze, points: np.ndarray) -> tuple[np.ndarray, str | None]:
    """The line in even steps, up to the first wall, and what is said of that."""
    path = _evenly(points, _SPACING / 4)
    blocked = maze.in_wall(path) | (np.abs(path) > maze.half_extent).any(-1)
    if blocked[0]:
        return path[:1], "the line begins inside a wall; begin at a free place"
    if not blocked.any():
        return _evenly(points, _SPACING), None
    last = max(int(blocked.argmax()) - 2, 1)
    why = "the line runs into a wall here; the ball stops before it"
    return _evenly(path[:last], _SPACING), why


def _evenly(points: np.ndarray, spacing: float) -> np.ndarray:
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    along = np.concatenate([[0.0], lengths.cumsum()])
    count = max(2, int(along[-1] / spacing) + 1)
    at = np.linspace(0, along[-1], count)
    return np.stack([np.interp(at, along, points[:, axis]) for axis in (0, 1)], -1)


def _length(path: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(path, axis=0), axis=-1).sum())


def _follow(maze: Maze, path: np.ndarray, num_steps: int) -> tuple[Episode, bool, str | None]:
    """What the ball does that is led along a path, and whether it gets to its end."""
    env, begin = _env(maze.grid), _still(path[0])
    (episode,) = run_from([env], TourController(maze, path), begin[None], num_steps)
    apart = float(np.linalg.norm(episode.observations[-1, :2] - path[-1]))
    if apart < 0.35:
        return episode, True, None
    return episode, False, f"the ball did not get to the end of the line in {num_steps} steps"


def _thinned(episode: Episode) -> list[list[float]]:
    return episode.observations[::4, :2].round(3).tolist()


def _episode_file(board: Board, number: int) -> Path:
    return board.folder / "drawings" / f"{int(number)}.npz"


def _keep_episode(board: Board, number: int, episode: Episode) -> None:
    file = _episode_file(board, number)
    file.parent.mkdir(exist_ok=True)
    arrays = {"observations": episode.observations, "actions": episode.actions}
    np.savez_compressed(file, allow_pickle=False, **arrays)


def _episodes(board: Board) -> list[Episode]:
    found = []
    for drawing in board.facts["drawings"]:
        with np.load(_episode_file(board, drawing["number"]), allow_pickle=False) as arrays:
            found.append(Episode(arrays["observations"], arrays["actions"]))
    return found


def _maze_name(maze: Maze) -> str:
    if maze.name in packaged():
        return maze.name
    return "/".join("".join(str(cell) for cell in row) for row in maze.grid)
