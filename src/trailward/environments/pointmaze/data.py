"""Play data and demonstrations of mazes, by a waypoint controller."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import gymnasium
import numpy as np

from trailward.acting.planner import Planner, Policy
from trailward.acting.rollout import rollout
from trailward.data.episode import DataError, Episode
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.environments.pointmaze.maze import (
    CornerTask,
    Maze,
    OrderedTask,
    Task,
    best_position,
    make_env,
    set_state,
)
from trailward.rewards.models import KnownReward
from trailward.typing import Actions, Observations

_REACHED = 0.3
_POSITION_GAIN, _VELOCITY_GAIN = 10.0, 1.0
_GOAL_SPREAD = 0.35


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
    """

    maze: Maze
    stops: np.ndarray

    def reset(self) -> None:
        """Back to the first stop."""
        self._stop, self._walker = None, None

    def __post_init__(self) -> None:
        self.reset()

    def __call__(self, observations: Observations) -> Actions:
        """Forces in [-1, 1], one row an environment."""
        if self._stop is None or self._walker is None or len(self._stop) != len(observations):
            self._stop = np.zeros(len(observations), int)
            self._walker = WaypointController(self.maze, self.stops[self._stop])
        offsets = self._walker.goals - observations[:, :2]
        self._stop += np.linalg.norm(offsets, axis=-1) < _REACHED
        self._stop = np.minimum(self._stop, len(self.stops) - 1)
        self._walker.goals = self.stops[self._stop]
        return self._walker(observations)


def collect_play(
    maze: Maze,
    *,
    num_steps: int,
    seed: int,
    episode_steps: int = 1000,
    action_noise: float = 0.5,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Episode]:
    """Aimless wandering from goal to random goal: noisy actions, pauses of up to 100 steps.

    Args:
        maze: the map.
        num_steps: environment steps in all, rounded up to whole episodes.
        seed: of everything random.
        episode_steps: environment steps of an episode.
        action_noise: standard deviation of the Gaussian noise on each action entry.
        progress: told the environment steps done so far.
    """
    num_episodes = -(-num_steps // episode_steps)
    generator = np.random.default_rng(seed)
    envs = [make_env(maze) for _ in range(min(num_episodes, _ENVS_AT_ONCE))]
    episodes: list[Episode] = []
    while len(episodes) < num_episodes:
        count = min(num_episodes - len(episodes), _ENVS_AT_ONCE)
        policy = _Wanderer(maze, count, generator, action_noise)
        seeds = _episode_seeds(seed, len(episodes), count)
        recorded = rollout(envs[:count], policy, seeds=seeds, num_steps=episode_steps)
        episodes += [Episode(e.observations, e.actions) for e in recorded]
        progress(len(episodes) * episode_steps)
    return episodes


def waypoint_expert(task: Task) -> TourController:
    """The demonstrator: the shortest way to the task's best position, then it stays there.

    On an ordered task it goes to the first cell before that.
    """
    stops = [best_position(task)]
    if isinstance(task, OrderedTask):
        stops.insert(0, task.maze.center(task.first))
    return TourController(task.maze, np.array(stops))


def guided_expert(task: Task, diffuser: Diffuser, *, seed: int = 0) -> Planner:
    """The thesis's demonstrator: plans of the play data guided by the true reward.

    Args:
        task: with a reward that has a slope.
        diffuser: of play data of the maze.
        seed: of the plans' noise.

    Raises:
        DataError: if the task is sparse: its gradient is zero almost everywhere.
    """
    if not isinstance(task, CornerTask):
        msg = f"'{task.name}' is sparse and cannot guide plans; use the waypoint demonstrator"
        raise DataError(msg)
    known = KnownReward(task.step_rewards, diffuser.normalizer, diffuser.spec)
    return Planner(diffuser, SamplingConfig(scale=_GUIDED_SCALE), known, seed=seed)


def collect_demonstrations(
    task: Task,
    *,
    num_episodes: int,
    seed: int,
    episode_steps: int = 300,
    expert: Policy | None = None,
) -> list[Episode]:
    """Episodes of an expert from random starts, with the task's true rewards.

    Args:
        task: what is demonstrated.
        num_episodes: how many.
        seed: of the starts.
        episode_steps: environment steps of an episode.
        expert: the demonstrator; the waypoint expert if None.

    An episode that does not do an ordered task (its start, or the way to the first cell, touches
    the other) is no demonstration, and another start is taken.

    Raises:
        DataError: if the expert fails from nine starts of ten.
    """
    expert = expert or waypoint_expert(task)
    envs = [make_env(task.maze) for _ in range(num_episodes)]
    found: list[Episode] = []
    for first in range(0, 10 * num_episodes, num_episodes):
        seeds = _episode_seeds(seed, first, num_episodes)
        tried = run_seeds(envs, task, expert, seeds, episode_steps)
        found += [
            episode
            for episode in tried
            if not isinstance(task, OrderedTask) or task.success(episode.observations)
        ]
        if len(found) >= num_episodes:
            return found[:num_episodes]
    msg = (
        f"only {len(found)} of {10 * num_episodes} episodes of {episode_steps} steps do "
        f"'{task.name}'; give longer episodes or other cells"
    )
    raise DataError(msg)


def with_rewards(episode: Episode, task: Task) -> Episode:
    """The same episode with the task's true rewards of the observations reached."""
    rewards = task.step_rewards(episode.observations)[1:]
    return Episode(episode.observations, episode.actions, rewards)


_ENVS_AT_ONCE, _MAX_PAUSE, _GUIDED_SCALE = 50, 100, 1.0


def run_from(
    envs: Sequence[gymnasium.Env], policy: Policy, starts: np.ndarray, num_steps: int
) -> list[Episode]:
    """Run a policy from given observations, shape (episode, 4), environment units.

    Args:
        envs: at least as many as starts; making one takes long, so they are reused.
        policy: acts in all of them at once.
        starts: one an episode.
        num_steps: environment steps.
    """

    def start(env: gymnasium.Env, index: int) -> np.ndarray:
        env.reset(seed=0)
        set_state(env, starts[index])
        return starts[index]

    seeds = [0] * len(starts)
    return rollout(envs[: len(starts)], policy, seeds=seeds, num_steps=num_steps, start=start)


def run_seeds(
    envs: Sequence[gymnasium.Env],
    task: Task,
    policy: Policy,
    seeds: Sequence[int],
    num_steps: int,
) -> list[Episode]:
    """Run a policy from the starts that seeds stand for, with the task's true rewards.

    Args:
        envs: of the task's maze, at least as many as seeds.
        task: gives the rewards.
        policy: acts in all of them at once.
        seeds: one an episode.
        num_steps: environment steps.
    """
    recorded = rollout(envs[: len(seeds)], policy, seeds=seeds, num_steps=num_steps)
    return [with_rewards(episode, task) for episode in recorded]


class _Wanderer:
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
        self.controller.reset()

    def __call__(self, observations: Observations) -> Actions:
        goals = self.controller.goals
        self.pause = self.pause - (np.linalg.norm(goals - observations[:, :2], axis=-1) < _REACHED)
        over = np.flatnonzero(self.pause < 0)
        goals[over] = _random_positions(self.controller.maze, len(over), self.generator)
        self.pause[over] = self.generator.integers(0, _MAX_PAUSE + 1, len(over))
        noise = self.generator.standard_normal(goals.shape)
        return np.clip(self.controller(observations) + self.action_noise * noise, -1.0, 1.0)


def _episode_seeds(seed: int, first: int, count: int) -> list[int]:
    return [seed * 1_000_003 + index for index in range(first, first + count)]


def _random_positions(maze: Maze, count: int, generator: np.random.Generator) -> np.ndarray:
    cells = generator.integers(0, len(maze.free_cells), count)
    offsets = generator.uniform(-_GOAL_SPREAD, _GOAL_SPREAD, (count, 2))
    return maze.center(np.array(maze.free_cells)[cells].reshape(-1, 2)) + offsets
