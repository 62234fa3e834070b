"""Play data and demonstrations of mazes, by a waypoint controller."""

from collections.abc import Callable
from dataclasses import dataclass, field

import gymnasium
import numpy as np

from trailward.environments.maze import Maze, Task, best_position, make_env
from trailward.trajectory import Episode
from trailward.typing import Actions, Observations

_REACHED = 0.3
_POSITION_GAIN, _VELOCITY_GAIN = 10.0, 1.0
_GOAL_SPREAD = 0.25


@dataclass
class WaypointController:
    """Walks each environment to its goal, through cell centres, by proportional-derivative force.

    Args:
        maze: the map.
        goals: shape (batch, 2), x and y in metres.
    """

    maze: Maze
    goals: np.ndarray
    _waypoint: list[tuple[int, int]] = field(default_factory=list)

    def reset(self) -> None:
        """Forget the way walked so far."""
        self._waypoint = []

    def __call__(self, observations: Observations) -> Actions:
        """Forces in [-1, 1], one row an environment."""
        targets = self._targets(observations[:, :2])
        force = _POSITION_GAIN * (targets - observations[:, :2])
        return np.clip(force - _VELOCITY_GAIN * observations[:, 2:4], -1.0, 1.0)

    def _targets(self, positions: np.ndarray) -> np.ndarray:
        cells = [tuple(cell) for cell in self.maze.cell(positions)]
        goal_cells = [tuple(cell) for cell in self.maze.cell(self.goals)]
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


def collect_play(  # noqa: PLR0913
    maze: Maze,
    *,
    num_steps: int,
    seed: int,
    episode_steps: int = 1000,
    action_noise: float = 0.5,
    max_pause: int = 100,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Episode]:
    """Aimless wandering: from goal to random goal, a pause at each, with noisy actions.

    Args:
        maze: the map.
        num_steps: environment steps in all, rounded up to whole episodes.
        seed: of everything random.
        episode_steps: environment steps of an episode.
        action_noise: standard deviation of the Gaussian noise on each action entry.
        max_pause: pauses are uniform in 0 to this many environment steps.
        progress: told the environment steps done so far.
    """
    generator = np.random.default_rng(seed)
    num_envs = -(-num_steps // episode_steps)
    controller = WaypointController(maze, _random_positions(maze, num_envs, generator))
    pause = generator.integers(0, max_pause + 1, num_envs)
    envs = [make_env(maze) for _ in range(min(num_envs, _ENVS_AT_ONCE))]
    episodes: list[Episode] = []
    for first in range(0, num_envs, _ENVS_AT_ONCE):
        block = slice(first, min(first + _ENVS_AT_ONCE, num_envs))
        policy = _Wanderer(
            WaypointController(maze, controller.goals[block]),
            pause[block],
            generator,
            action_noise,
            max_pause,
        )
        seeds = [seed * 1_000_003 + index for index in range(first, block.stop)]
        episodes += record(envs[: len(seeds)], policy, seeds, episode_steps)
        progress(len(episodes) * episode_steps)
    return episodes


def collect_demonstrations(
    task: Task, *, num_episodes: int, seed: int, episode_steps: int = 300, action_noise: float = 0.0
) -> list[Episode]:
    """The waypoint expert: from a random start the shortest way to the task's best position.

    Rewards are the task's true rewards of the observations reached.
    """
    goals = np.tile(best_position(task), (num_episodes, 1))
    generator = np.random.default_rng(seed)
    controller = WaypointController(task.maze, goals)

    def policy(observations: Observations) -> Actions:
        noise = action_noise * generator.standard_normal((num_episodes, 2))
        return np.clip(controller(observations) + noise, -1.0, 1.0)

    envs = [make_env(task.maze) for _ in range(num_episodes)]
    seeds = [seed * 1_000_003 + index for index in range(num_episodes)]
    return [with_rewards(e, task) for e in record(envs, policy, seeds, episode_steps)]


def with_rewards(episode: Episode, task: Task) -> Episode:
    """The same episode with the task's true rewards of the observations reached."""
    rewards = task.step_rewards(episode.observations[1:])
    return Episode(episode.observations, episode.actions, rewards)


def record(
    envs: list[gymnasium.Env],
    policy: Callable[[Observations], Actions],
    seeds: list[int],
    episode_steps: int,
) -> list[Episode]:
    """Run a policy in maze environments side by side, each from its seed."""
    now = np.stack([env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)])
    observations, actions = [now], []
    for _ in range(episode_steps):
        chosen = np.asarray(policy(now), dtype=np.float64)
        now = np.stack([env.step(a)[0] for env, a in zip(envs, chosen, strict=True)])
        observations.append(now)
        actions.append(chosen)
    seen, done = np.stack(observations, 1), np.stack(actions, 1)
    return [Episode(o, a) for o, a in zip(seen, done, strict=True)]


_ENVS_AT_ONCE = 50


@dataclass
class _Wanderer:
    controller: WaypointController
    pause: np.ndarray
    generator: np.random.Generator
    action_noise: float
    max_pause: int

    def __call__(self, observations: Observations) -> Actions:
        goals = self.controller.goals
        there = np.linalg.norm(goals - observations[:, :2], axis=-1) < _REACHED
        self.pause = self.pause - there
        over = np.flatnonzero(self.pause < 0)
        goals[over] = _random_positions(self.controller.maze, len(over), self.generator)
        self.pause[over] = self.generator.integers(0, self.max_pause + 1, len(over))
        noise = self.generator.standard_normal(goals.shape)
        return np.clip(self.controller(observations) + self.action_noise * noise, -1.0, 1.0)


def _random_positions(maze: Maze, count: int, generator: np.random.Generator) -> np.ndarray:
    cells = generator.integers(0, len(maze.free_cells), count)
    offsets = generator.uniform(-_GOAL_SPREAD, _GOAL_SPREAD, (count, 2))
    return maze.center(np.array(maze.free_cells)[cells].reshape(-1, 2)) + offsets
