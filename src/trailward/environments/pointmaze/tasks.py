"""Tasks in a maze: true rewards, to demonstrate and to judge by."""

import itertools
import re
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from trailward.acting.planner import Policy
from trailward.data.episode import Episode
from trailward.environments import RewardFunction, Task
from trailward.environments.pointmaze.controllers import TourController
from trailward.environments.pointmaze.maze import Maze
from trailward.errors import DataError
from trailward.typing import Actions, Observations

_Array = TypeVar("_Array", np.ndarray, Tensor)

GOAL_RADIUS = 0.45
"""Metres within which gymnasium-robotics counts a goal as reached."""


class MazeTask(Task):
    """A task whose reward observations tell.

    Attributes:
        maze: the map.
    """

    maze: Maze

    @abstractmethod
    def observation_rewards(self, observations: Any) -> Any:
        """True reward of each observation, environment units."""

    def step_rewards(self, episode: Episode) -> Float[np.ndarray, "time"]:
        """The true reward of the observation that each step arrives at."""
        return self.observation_rewards(episode.observations)[1:]

    @property
    def transition_rewards(self) -> RewardFunction | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The reward of where a transition arrives."""
        return self._of_arrival

    def demonstrator(self) -> Policy:
        """The shortest way to the best position, where it stays."""
        return TourController(self.maze, np.array([best_position(self)]))

    def when_standing(self) -> "MazeTask":
        """The task by which standing still somewhere is judged."""
        return self

    def _of_arrival(
        self, observations: Observations, actions: Actions, next_observations: Observations
    ) -> Float[np.ndarray, "batch"]:
        return self.observation_rewards(next_observations)


@dataclass(frozen=True)
class CornerTask(MazeTask):
    """The thesis's task: ``x + y``, each divided by half the map's extent, at every step."""

    maze: Maze
    name: str = "corner"

    def observation_rewards(self, observations: _Array) -> _Array:
        """True reward of each observation, (..., 4) in environment units, in [-2, 2].

        Arrays and tensors alike; differentiable.
        """
        half_width, half_height = self.maze.half_extent
        return observations[..., 0] / half_width + observations[..., 1] / half_height


@dataclass(frozen=True)
class GoalTask(MazeTask):
    """1 within 0.45 m of a cell's centre, else 0."""

    maze: Maze
    goal: tuple[int, int]

    def __post_init__(self) -> None:
        if self.goal not in self.maze.free_cells:
            msg = f"goal {self.goal} is not a free cell"
            remedy = f"choose one of {self.maze.free_cells}"
            raise DataError(msg, place="goal", value=self.goal, remedy=remedy)

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How :func:`parse_task` spells this task."""
        return f"goal:{self.goal[0]},{self.goal[1]}"

    def observation_rewards(
        self, observations: Float[np.ndarray, "*axes observation"]
    ) -> Float[np.ndarray, "*axes"]:
        """True reward of each observation (environment units), 0 or 1."""
        offset = observations[..., :2] - self.maze.center(self.goal)
        return (np.linalg.norm(offset, axis=-1) <= GOAL_RADIUS).astype(np.float64)


@dataclass(frozen=True)
class OrderedTask(MazeTask):
    """Go to one cell before another: a task of whole trajectories.

    What an observation is worth depends on those before it: 1 within 0.45 m of the centre of
    ``then``, provided that the trajectory was within 0.45 m of the centre of ``first`` earlier
    than it was ever at ``then``; else 0. No reward of single observations expresses that.
    """

    maze: Maze
    first: tuple[int, int]
    then: tuple[int, int]

    def __post_init__(self) -> None:
        for cell in (self.first, self.then):
            GoalTask(self.maze, cell)  # refuses cells that are not free
        if self.first == self.then:
            msg = f"both cells of an ordered task are {self.first}"
            raise DataError(msg, place="then", value=self.then, remedy="give two that differ")

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How :func:`parse_task` spells this task."""
        return "ordered:{},{}-{},{}".format(*self.first, *self.then)

    def observation_rewards(
        self, observations: Float[np.ndarray, "*axes time observation"]
    ) -> Float[np.ndarray, "*axes time"]:
        """True reward of each observation, given those before it on the time axis; 0 or 1."""
        at_first, at_then = (
            GoalTask(self.maze, cell).observation_rewards(observations) > 0
            for cell in (self.first, self.then)
        )
        early = np.maximum.accumulate(at_first, -1) & ~np.maximum.accumulate(at_then, -1)
        return (np.maximum.accumulate(early, -1) & at_then).astype(np.float64)

    @property
    def transition_rewards(self) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """None: what an observation is worth depends on those before it."""
        return

    def demonstrator(self) -> Policy:
        """The shortest way to the first cell, from there to the other, where it stays."""
        stops = [self.maze.center(self.first), best_position(self)]
        return TourController(self.maze, np.array(stops))

    def when_standing(self) -> MazeTask:
        """The goal is the second cell, once the first one has been visited."""
        return GoalTask(self.maze, self.then)

    def succeeded(self, episode: Episode) -> bool:
        """Whether it did one before the other."""
        return bool(self.success(episode.observations))

    def success(
        self, observations: Float[np.ndarray, "*axes time observation"]
    ) -> Bool[np.ndarray, "*axes"]:
        """Whether each trajectory did one before the other."""
        return np.asarray(self.observation_rewards(observations).any(-1))


_CELL = r"(\d+),(\d+)"


def parse_task(name: str, maze: Maze) -> MazeTask:
    """A task by name: ``corner``, ``goal:ROW,COLUMN`` or ``ordered:ROW,COLUMN-ROW,COLUMN``.

    Raises:
        DataError: if the name is none of these or a cell is not free.
    """
    if name == "corner":
        return CornerTask(maze)
    if found := re.fullmatch(f"goal:{_CELL}", name):
        return GoalTask(maze, (int(found[1]), int(found[2])))
    if found := re.fullmatch(f"ordered:{_CELL}-{_CELL}", name):
        return OrderedTask(maze, (int(found[1]), int(found[2])), (int(found[3]), int(found[4])))
    remedy = "choose 'corner', 'goal:ROW,COLUMN' or 'ordered:ROW,COLUMN-ROW,COLUMN'"
    raise DataError(f"task '{name}' is unknown", place="task", value=name, remedy=remedy)


def best_position(task: MazeTask, *, margin: float = 0.25) -> np.ndarray:
    """The position of highest true reward at least ``margin`` metres off every cell border.

    For an ordered task, the one to end at.
    """
    task = task.when_standing()
    offsets = np.array(
        list(itertools.product(np.linspace(margin - 0.5, 0.5 - margin, 11), repeat=2))
    )
    positions = (task.maze.center(task.maze.free_cells)[:, None] + offsets).reshape(-1, 2)
    rewards = task.observation_rewards(np.concatenate([positions, np.zeros_like(positions)], -1))
    best = positions[rewards >= rewards.max() - 1e-9]
    return best[np.argmin(((best - best.mean(0)) ** 2).sum(-1))]
