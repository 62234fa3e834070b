"""A maze on the page: a drawn line becomes what the ball does that follows it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import gymnasium
import numpy as np

from trailward.acting.planner import Policy
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.environments.page import Followed, Ground, Places, levels_of
from trailward.environments.pointmaze.controllers import TourController
from trailward.environments.pointmaze.environment import PointMaze, standing_states
from trailward.environments.pointmaze.maze import Maze, make_env
from trailward.environments.pointmaze.recipes import Demonstrations, Play, run_from
from trailward.errors import DataError
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.standing import standing_rewards
from trailward.pretrained import packaged

_MOST_CELLS, _MOST_LETTERS, _PIXELS = 24, 1000, 10
_SPACING, _LEAST_LENGTH, _REACHED = 0.2, 0.5, 0.35
_EPISODE_STEPS = {"umaze": 300, "large": 600}


@dataclass(frozen=True)
class MazeGround(Ground):
    """A maze to draw in.

    Raises:
        DataError: if the maze is unknown or too large for the page.
    """

    environment: PointMaze
    figures: ClassVar[Sequence[str]] = ("best_cell",)

    def __post_init__(self) -> None:
        spelt = self.environment.maze
        if len(spelt) > _MOST_LETTERS or max(np.shape(self.maze.grid)) > _MOST_CELLS:
            rows, remedy = spelt.split("/"), f"give at most {_MOST_CELLS} by {_MOST_CELLS} cells"
            size = (len(rows), len(rows[0]))
            raise DataError("the maze is too large", place="maze", value=size, remedy=remedy)

    @property
    def maze(self) -> Maze:
        """The map."""
        return self.environment.map

    @property
    def model(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The packaged diffuser of this maze."""
        return self.maze.name if self.maze.name in packaged() else None

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of a known maze, or ``maze``."""
        return self.model or "maze"

    @property
    def episode_steps(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The longer the more cells there are."""
        return _EPISODE_STEPS.get(self.maze.name, 100 + 12 * len(self.maze.free_cells))

    @property
    def facts(self) -> Mapping[str, Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Name and cells."""
        return {"maze": self.maze.name, "grid": [list(row) for row in self.maze.grid]}

    def follow(self, line: Places) -> Followed:
        """Let the ball follow a drawn line, up to the first wall."""
        path, why = _up_to_wall(self.maze, line)
        length = float(np.linalg.norm(np.diff(path, axis=0), axis=-1).sum())
        if length < _LEAST_LENGTH:
            msg, remedy = "the line is too short to follow", "draw at least half a cell"
            if why is not None:
                msg, remedy = "the line runs into a wall at once", "begin farther from the wall"
            raise DataError(msg, place="line", value=length, remedy=remedy)
        episode = self.run(TourController(self.maze, path), _still(path[0]))
        apart = float(np.linalg.norm(episode.observations[-1, :2] - path[-1]))
        if apart >= _REACHED and why is None:
            steps = self.episode_steps
            why = f"the ball did not get to the end of the line in {steps} steps"
        return Followed(episode, why, None if why is None else path[-1].tolist())

    def start(self, place: Places) -> np.ndarray:
        """The ball at rest."""
        if (np.abs(place) > self.maze.half_extent).any() or self.maze.in_wall(place):
            msg, remedy = "plans cannot start inside a wall", "click a free place"
            raise DataError(msg, place="place", value=tuple(place.tolist()), remedy=remedy)
        return _still(place)

    def say_where(self, place: Places) -> str:
        """The cell."""
        row, column = self.maze.cell(place).tolist()
        return f"row {row}, column {column}"

    def touches(self, paths: np.ndarray) -> np.ndarray:
        """Which paths run through a wall."""
        between = np.linspace(0, 1, 8)[:, None]
        dense = paths[:, :-1, None] * (1 - between) + paths[:, 1:, None] * between
        return np.atleast_1d(self.maze.in_wall(dense.reshape(len(paths), -1, 2)).any(-1))

    def picture(self, learnt: LearntReward) -> dict[str, Any]:
        """The reward of standing still, and the best cell; walls are drawn over it."""
        states, wall = standing_states(self.maze, _PIXELS)
        values = standing_rewards(learnt, states.reshape(-1, states.shape[-1])).reshape(wall.shape)
        cells = self.maze.free_cells
        centers = standing_rewards(learnt, _still(self.maze.center(cells)))
        across, up = self.maze.half_extent
        shown = np.clip(values, values[~wall].min(), values[~wall].max())
        best = {"best_cell": list(cells[int(np.argmax(centers))])}
        return levels_of(shown, (-across, across, -up, up)) | best

    def play(self, progress: Callable[[int], None], *, num_steps: int) -> Dataset:
        """Aimless wandering."""
        return Play(num_steps=num_steps).record(self.environment, seed=100, progress=progress)

    def expert(self, task: str, *, num_episodes: int, seed: int) -> Dataset:
        """Whoever knows the way."""
        recipe = Demonstrations(
            task=task, num_episodes=num_episodes, episode_steps=self.episode_steps
        )
        return recipe.record(self.environment, seed=seed)

    def run(self, policy: Policy, start: np.ndarray) -> Episode:
        """Let a policy move the ball."""
        return run_from([_env(self.maze.grid)], policy, start[None], self.episode_steps)[0]


@lru_cache(maxsize=4)
def _env(grid: tuple[tuple[int, ...], ...]) -> gymnasium.Env:
    return make_env(Maze("maze", grid))  # making one takes long


def _still(places: np.ndarray) -> np.ndarray:
    return np.concatenate([places, np.zeros_like(places)], -1)


def _up_to_wall(maze: Maze, points: np.ndarray) -> tuple[np.ndarray, str | None]:
    """The line in even steps, up to the first wall, and what is said of that."""
    path = _evenly(points, _SPACING / 4)
    blocked = maze.in_wall(path) | (np.abs(path) > maze.half_extent).any(-1)
    if blocked[0]:
        msg, begin = "the line begins inside a wall", tuple(path[0].tolist())
        raise DataError(msg, place="line", value=begin, remedy="begin at a free place")
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
