"""PointMaze as an environment: its map, its tasks, and what only a maze can show of a reward."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from trailward.data.dataset import Dataset
from trailward.data.entries import observations_of
from trailward.data.episode import paths_of
from trailward.environments import Caption, Environment, Evaluation, Recipe, Row, Trial
from trailward.environments.pointmaze.maze import COLUMNS, Maze, make_env, parse_maze, set_state
from trailward.environments.pointmaze.recipes import Demonstrations, Play
from trailward.environments.pointmaze.tasks import MazeTask, parse_task
from trailward.environments.recipes import OnePolicy
from trailward.learning.disagreement import can_disagree, disagreement
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.standing import standing_rewards, standing_values

if TYPE_CHECKING:
    from trailward.environments.page import Ground

_MAP_CELLS, _NUM_PATHS = 20, 30


@dataclass(frozen=True)
class PointMaze(Environment):
    """PointMaze of gymnasium-robotics, with any map; the task is ours, not its own.

    Raises:
        DataError: if the maze is unknown or cannot be used.
    """

    maze: str = "umaze"
    """umaze, medium, large, open, or rows of 0 and 1 joined by '/'."""

    columns = COLUMNS
    position = (0, 1)
    recipes: ClassVar[Mapping[str, type[Recipe]]] = {
        "play": Play,
        "demonstrations": Demonstrations,
        "policy": OnePolicy,
    }

    @property
    def name(self) -> str:
        """That of all mazes: which one it is, is a setting."""
        return "maze"

    @cached_property
    def episode_steps(self) -> int:
        """Episodes never end by themselves; 300 are enough in U-Maze."""
        return 300

    @cached_property
    def map(self) -> Maze:
        """The walls and their geometry."""
        return parse_maze(self.maze)

    def make(
        self, *, episode_steps: int | None = None, render_size: tuple[int, int] | None = None
    ) -> gymnasium.Env:
        """A new simulator; its episodes never end by themselves."""
        options: dict[str, Any] = {}
        if render_size is not None:
            height, width = render_size
            options = {"render_mode": "rgb_array", "height": height, "width": width}
        return make_env(self.map, episode_steps=episode_steps, **options)

    def task(self, name: str | None = None) -> MazeTask:
        """``corner`` (the usual one), ``goal:ROW,COLUMN`` or ``ordered:ROW,COLUMN-ROW,COLUMN``."""
        return parse_task(name or "corner", self.map)

    def set_state(self, env: gymnasium.Env, observation: np.ndarray) -> None:
        """Put a simulator into the state of an observation."""
        set_state(env, observation)

    def measure(self, trial: Trial) -> Evaluation:
        """The best cell, maps of reward, value and disagreement, and plans that cross walls.

        Figures: ``maze`` (its name or rows), ``best_cell``, ``wall_fraction``. Arrays: ``maze``, 1
        for a wall; ``play`` (30 episodes), ``demonstrations``, ``executed_POLICY``;
        ``plans_unguided``, ``plans_learnt`` from the roll-outs' starts; ``reward_map``,
        ``true_reward_map``, ``value_map``, ``disagreement_map``, of standing still, NaN in walls;
        ``first_reward_map``, ``first_value_map``, the same before the place of a staged reward was
        visited, where the others are of after.
        """
        maze, task = self.map, trial.task
        if not isinstance(task, MazeTask):
            raise TypeError(f"'{task.name}' is no task of a maze")
        figures = {
            "maze": self.map.spelling,
            "best_cell": best_cell(trial.learnt, task),
            "wall_fraction": {
                name: float(maze.in_wall(planned[..., :2]).mean())
                for name, planned in trial.followed.items()
            },
        }
        arrays = {
            "maze": np.array(maze.grid),
            "play": paths_of(trial.play.episodes[:_NUM_PATHS]),
            "demonstrations": paths_of(trial.demonstrations.episodes),
        }
        arrays |= {f"executed_{name}": paths_of(found) for name, found in trial.episodes.items()}
        arrays |= {f"plans_{name}": plans for name, plans in trial.plans.items()}
        return Evaluation(figures, arrays | _maps(trial.learnt, task, trial.play))

    def rows(self, figures: Mapping[str, Any]) -> Sequence[Row]:
        """The best cell, and plans that cross walls."""
        best, walls = figures["best_cell"], figures["wall_fraction"]
        hit = "the true one" if best["hit"] else f"the true one is {tuple(best['true'])}"
        inside = {name: f"{100 * share:.1f} %" for name, share in walls.items()}
        about = f"unguided {inside['unguided']}"
        return (
            Row("Best cell of the learnt reward", str(tuple(best["learnt"])), hit),
            Row("Plan points inside a wall, guided", inside["learnt"], about),
        )

    def panels(self, evaluation: Evaluation) -> Mapping[str, tuple[Caption, Figure]]:
        """Maps of the reward, paths and plans over the maze, and where plans are hard to follow."""
        from trailward.environments.pointmaze import pictures

        return pictures.panels(evaluation.arrays)

    def ground(self) -> "Ground":
        """The maze, to draw in."""
        from trailward.environments.pointmaze.page import MazeGround

        return MazeGround(self)


def best_cell(learnt: LearntReward, task: MazeTask) -> dict[str, Any]:
    """The cell in whose centre standing still is worth most, to the learnt and the true reward."""
    cells = task.maze.free_cells
    centers = task.maze.center(cells)
    states = np.concatenate([centers, np.zeros_like(centers)], -1)
    rewards = {
        "learnt": standing_rewards(learnt, states),
        "true": task.when_standing().observation_rewards(states),
    }
    best = {name: cells[int(np.argmax(each))] for name, each in rewards.items()}
    return best | {"hit": best["learnt"] == best["true"]}


def reward_map(
    learnt: LearntReward, maze: Maze, *, cells: int = _MAP_CELLS, stage: int | None = None
) -> Float[np.ndarray, "row column"]:
    """Learnt reward of standing still, over the pixels of the maze; NaN in walls.

    Args:
        learnt: the reward.
        maze: the map.
        cells: pixels along a cell's side.
        stage: of a reward with stages; the last one if None.
    """
    states, wall = standing_states(maze, cells)
    return _drawn(standing_rewards(learnt, states.reshape(-1, 4), stage=stage), wall)


def true_reward_map(task: MazeTask, *, cells: int = _MAP_CELLS) -> Float[np.ndarray, "row column"]:
    """True reward of standing still, over the pixels of the maze; NaN in walls."""
    states, wall = standing_states(task.maze, cells)
    return _drawn(task.when_standing().observation_rewards(states), wall)


def value_map(
    learnt: LearntReward, maze: Maze, *, cells: int = _MAP_CELLS, stage: int | None = None
) -> Float[np.ndarray, "row column"]:
    """The value of standing still, over the pixels of the maze; NaN in walls.

    Args:
        learnt: the reward with its value.
        maze: the map.
        cells: pixels along a cell's side.
        stage: of a reward with stages; the last one if None.

    Raises:
        DataError: if no value was fitted.
    """
    states, wall = standing_states(maze, cells)
    return _drawn(standing_values(learnt, states.reshape(-1, 4), stage=stage), wall)


def disagreement_map(
    learnt: LearntReward, maze: Maze, play: Dataset, *, cells: int = _MAP_CELLS
) -> Float[np.ndarray, "row column"]:
    """How far an ensemble's members are apart about standing still, over the pixels of the maze.

    NaN in walls; in deviations of their rewards over the play data
    (:func:`~trailward.learning.disagreement.disagreement`).

    Args:
        learnt: the ensemble.
        maze: the map.
        play: what its members are standardised over.
        cells: pixels along a cell's side.
    """
    states, wall = standing_states(maze, cells)
    return _drawn(disagreement(learnt, states, reference=observations_of(play)), wall)


def standing_states(maze: Maze, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Observations of standing still at every pixel, and whether each is in a wall."""
    rows, columns = np.array(maze.grid).shape
    half_width, half_height = maze.half_extent
    xs = (np.arange(columns * cells) + 0.5) / cells - half_width
    ys = half_height - (np.arange(rows * cells) + 0.5) / cells
    positions = np.stack(np.meshgrid(xs, ys), -1)
    states = np.concatenate([positions, np.zeros_like(positions)], -1)
    return states, maze.in_wall(positions)


def _drawn(values: np.ndarray, wall: np.ndarray) -> np.ndarray:
    return np.where(wall, np.nan, values.reshape(wall.shape))


def _maps(learnt: LearntReward, task: MazeTask, play: Dataset) -> dict[str, np.ndarray]:
    maze = task.maze
    maps = {"reward_map": reward_map(learnt, maze), "true_reward_map": true_reward_map(task)}
    if learnt.value is not None:
        maps["value_map"] = value_map(learnt, maze)
    if learnt.num_stages > 1:
        maps["first_reward_map"] = reward_map(learnt, maze, stage=0)
        if learnt.value is not None:
            maps["first_value_map"] = value_map(learnt, maze, stage=0)
    if can_disagree(learnt):
        maps["disagreement_map"] = disagreement_map(learnt, maze, play)
    return maps
