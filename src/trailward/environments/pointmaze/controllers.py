"""Controllers that walk through a maze: to a goal, on a tour, or about without an aim."""

from dataclasses import dataclass, field

import numpy as np

from trailward.environments.pointmaze.maze import Maze
from trailward.typing import Actions, Observations

_REACHED = 0.3
_POSITION_GAIN, _VELOCITY_GAIN = 10.0, 1.0
_APPROACH, _BRAKE, _BELOW_TOP = 4.0, 5.0, 0.85
_GOAL_SPREAD, _MAX_PAUSE = 0.35, 100


@dataclass
class WaypointController:
    """Walks each environment to its goal, through cell centres, by proportional-derivative force.

    Args:
        maze: the map.
        goals: shape (batch, 2), x and y in metres.
        top_speed: it goes no faster, metres per second; as fast as it can if None.
    """

    maze: Maze
    goals: np.ndarray
    top_speed: float | None = None
    _waypoint: list[tuple[int, int]] = field(default_factory=list)

    def reset(self) -> None:
        """Forget the way walked so far."""
        self._waypoint = []

    def __call__(self, observations: Observations) -> Actions:
        """Forces in [-1, 1], one row an environment."""
        offsets = self._targets(observations[:, :2]) - observations[:, :2]
        if self.top_speed is not None:
            wanted, most = _APPROACH * offsets, _BELOW_TOP * self.top_speed
            speed = np.linalg.norm(wanted, axis=-1, keepdims=True)
            wanted *= np.minimum(1, most / np.maximum(speed, 1e-9))
            return np.clip(_BRAKE * (wanted - observations[:, 2:4]), -1.0, 1.0)
        force = _POSITION_GAIN * offsets
        return np.clip(force - _VELOCITY_GAIN * observations[:, 2:4], -1.0, 1.0)

    def _targets(self, positions: np.ndarray) -> np.ndarray:
        cells = [(row, column) for row, column in self.maze.cell(positions).tolist()]
        goal_cells = [(row, column) for row, column in self.maze.cell(self.goals).tolist()]
        if len(self._waypoint) != len(cells):
            self._waypoint = cells
        centers = self.maze.center(self._waypoint)
        reached = np.linalg.norm(centers - positions, axis=-1) < _REACHED
        for index, (cell, goal) in enumerate(zip(cells, goal_cells, strict=True)):
            waypoint = self._waypoint[index]
            if reached[index] or abs(cell[0] - waypoint[0]) + abs(cell[1] - waypoint[1]) > 1:
                here = cell if cell in self.maze.free_cells else waypoint
                self._waypoint[index] = self.maze.next_cell(here, goal)
        near = np.array([w == g for w, g in zip(self._waypoint, goal_cells, strict=True)])
        return np.where(near[:, None], self.goals, self.maze.center(self._waypoint))


@dataclass
class TourController:
    """Walks each environment to one position after another, and stays at the last.

    Args:
        maze: the map.
        stops: shape (stop, 2), x and y in metres.
        top_speed: it goes no faster, metres per second; as fast as it can if None.
    """

    maze: Maze
    stops: np.ndarray
    top_speed: float | None = None

    def reset(self) -> None:
        """Back to the first stop."""
        self._stop, self._walker = None, None

    def __post_init__(self) -> None:
        self.reset()

    def __call__(self, observations: Observations) -> Actions:
        """Forces in [-1, 1], one row an environment."""
        if self._stop is None or self._walker is None or len(self._stop) != len(observations):
            self._stop = np.zeros(len(observations), int)
            goals = self.stops[self._stop]
            self._walker = WaypointController(self.maze, goals, self.top_speed)
        offsets = self._walker.goals - observations[:, :2]
        self._stop += np.linalg.norm(offsets, axis=-1) < _REACHED
        self._stop = np.minimum(self._stop, len(self.stops) - 1)
        self._walker.goals = self.stops[self._stop]
        return self._walker(observations)


class Wanderer:
    """Wanders from goal to random goal: noisy actions, pauses of up to 100 steps.

    Args:
        maze: the map.
        count: environments side by side.
        generator: of goals, pauses and noise.
        action_noise: standard deviation of the Gaussian noise on each action entry.
    """

    def __init__(
        self,
        maze: Maze,
        count: int,
        generator: np.random.Generator,
        action_noise: float,
    ) -> None:
        self.generator, self.action_noise = generator, action_noise
        self.controller = WaypointController(maze, _random_positions(maze, count, generator))
        self.pause = generator.integers(0, _MAX_PAUSE + 1, count)

    def reset(self) -> None:
        """Forget the way; goals stay."""
        self.controller.reset()

    def __call__(self, observations: Observations) -> Actions:
        """Forces in [-1, 1], one row an environment."""
        goals = self.controller.goals
        self.pause = self.pause - (np.linalg.norm(goals - observations[:, :2], axis=-1) < _REACHED)
        over = np.flatnonzero(self.pause < 0)
        goals[over] = _random_positions(self.controller.maze, len(over), self.generator)
        self.pause[over] = self.generator.integers(0, _MAX_PAUSE + 1, len(over))
        noise = self.generator.standard_normal(goals.shape)
        return np.clip(self.controller(observations) + self.action_noise * noise, -1.0, 1.0)


def _random_positions(maze: Maze, count: int, generator: np.random.Generator) -> np.ndarray:
    cells = generator.integers(0, len(maze.free_cells), count)
    offsets = generator.uniform(-_GOAL_SPREAD, _GOAL_SPREAD, (count, 2))
    return maze.center(np.array(maze.free_cells)[cells].reshape(-1, 2)) + offsets
