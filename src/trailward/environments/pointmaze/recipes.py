"""Recipes of data in mazes: aimless play, and demonstrations of a task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import gymnasium
import numpy as np

from trailward.acting.planner import Planner, Policy
from trailward.acting.rollout import rollout
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.environments import Environment, Recipe
from trailward.environments.pointmaze.controllers import Wanderer
from trailward.environments.pointmaze.maze import COLUMNS, Maze, make_env, set_state
from trailward.environments.pointmaze.tasks import CornerTask, MazeTask, parse_task
from trailward.environments.recipes import silent
from trailward.errors import DataError, at_least
from trailward.pretrained import model_folder
from trailward.rewards.true_reward import TrueReward

_ENVS_AT_ONCE, _GUIDED_SCALE = 50, 1.0


@dataclass(frozen=True, kw_only=True)
class Play(Recipe):
    """Play data: aimless wandering from goal to random goal, with noise and pauses."""

    num_steps: int = 200_000
    """Environment steps in all, rounded up to whole episodes."""
    episode_steps: int = 1000
    """Environment steps of an episode."""
    action_noise: float = 0.5
    """Standard deviation of the noise on each entry of an action."""

    def __post_init__(self) -> None:
        at_least(1, self, "num_steps", "episode_steps")

    def record(
        self,
        environment: Environment,
        *,
        seed: int,
        progress: Callable[[int], None] = silent,
    ) -> Dataset:
        """Episodes of wandering."""
        maze = _maze_of(environment)
        episodes = collect_play(
            maze,
            num_steps=self.num_steps,
            seed=seed,
            episode_steps=self.episode_steps,
            action_noise=self.action_noise,
            progress=progress,
        )
        facts = {"maze": maze.spelling, "what": "play", "action_noise": self.action_noise}
        return Dataset(episodes, facts, COLUMNS)


@dataclass(frozen=True, kw_only=True)
class Demonstrations(Recipe):
    """Demonstrations of a task, with its true rewards."""

    task: str = "corner"
    """What is demonstrated: corner, goal:ROW,COLUMN or ordered:ROW,COLUMN-ROW,COLUMN."""
    num_episodes: int = 9
    """Number of episodes."""
    episode_steps: int = 300
    """Environment steps of an episode."""
    demonstrator: Literal["waypoint", "guided"] = "waypoint"
    """waypoint: the shortest way. guided: plans guided by the true reward, as in the thesis."""
    diffuser: str = "umaze"
    """Whose plans the guided demonstrator follows: a folder, or a packaged diffuser's name."""

    def __post_init__(self) -> None:
        at_least(1, self, "num_episodes", "episode_steps")

    def record(
        self,
        environment: Environment,
        *,
        seed: int,
        progress: Callable[[int], None] = silent,
    ) -> Dataset:
        """Episodes of the demonstrator."""
        maze = _maze_of(environment)
        task = parse_task(self.task, maze)
        expert = None
        if self.demonstrator == "guided":
            diffuser = Diffuser.load(model_folder(self.diffuser))
            made = diffuser.provenance.get("play", {}).get("maze", maze.spelling)
            if made != maze.spelling:
                msg = f"the diffuser is of maze '{made}', not '{maze.spelling}'"
                raise DataError(msg, place="diffuser", value=made, remedy="give another one")
            expert = guided_expert(task, diffuser, seed=seed)
        episodes = collect_demonstrations(
            task,
            num_episodes=self.num_episodes,
            seed=seed,
            episode_steps=self.episode_steps,
            expert=expert,
        )
        progress(sum(len(episode) for episode in episodes))
        facts = {"maze": maze.spelling, "what": "demonstrations", "task": task.name}
        return Dataset(episodes, facts | {"demonstrator": self.demonstrator}, COLUMNS)


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
        seed: for all randomness.
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
        policy = Wanderer(maze, count, generator, action_noise)
        seeds = _episode_seeds(seed, len(episodes), count)
        recorded = rollout(envs[:count], policy, seeds=seeds, num_steps=episode_steps)
        episodes += [replace(episode, rewards=None) for episode in recorded]
        progress(len(episodes) * episode_steps)
    return episodes


def guided_expert(task: MazeTask, diffuser: Diffuser, *, seed: int = 0) -> Planner:
    """The thesis's demonstrator: plans of the play data guided by the true reward.

    Args:
        task: with a reward that has a slope.
        diffuser: of play data of the maze.
        seed: for the plans' noise.

    Raises:
        DataError: if the task is sparse: its gradient is zero almost everywhere.
    """
    if not isinstance(task, CornerTask):
        msg = f"'{task.name}' is sparse and cannot guide plans"
        remedy = "use the waypoint demonstrator"
        raise DataError(msg, place="task", value=task.name, remedy=remedy)
    true = TrueReward(task.observation_rewards, diffuser.normalizer, diffuser.spec)
    return Planner(diffuser, SamplingConfig(scale=_GUIDED_SCALE), true, seed=seed)


def collect_demonstrations(
    task: MazeTask,
    *,
    num_episodes: int,
    seed: int,
    episode_steps: int = 300,
    expert: Policy | None = None,
) -> list[Episode]:
    """Episodes of an expert from random starts, with the task's true rewards.

    Args:
        task: what is demonstrated.
        num_episodes: number of episodes.
        seed: for the starts.
        episode_steps: environment steps of an episode.
        expert: the demonstrator; the task's own if None.

    An episode that does not do the task (such as an ordered one whose start touches the second
    cell) is no demonstration, and another start is taken.

    Raises:
        DataError: if the expert fails from nine starts of ten.
    """
    expert = expert or task.demonstrator()
    envs = [make_env(task.maze) for _ in range(num_episodes)]
    found: list[Episode] = []
    for first in range(0, 10 * num_episodes, num_episodes):
        seeds = _episode_seeds(seed, first, num_episodes)
        tried = run_seeds(envs, task, expert, seeds, episode_steps)
        found += [episode for episode in tried if task.succeeded(episode) is not False]
        if len(found) >= num_episodes:
            return found[:num_episodes]
    msg = (
        f"only {len(found)} of {10 * num_episodes} episodes of {episode_steps} steps do "
        f"'{task.name}'"
    )
    remedy = "give longer episodes or other cells"
    raise DataError(msg, place="episodes", value=len(found), remedy=remedy)


def with_rewards(episode: Episode, task: MazeTask) -> Episode:
    """The same episode with the task's true rewards of the observations reached."""
    return replace(episode, rewards=task.step_rewards(episode))


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
    task: MazeTask,
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


def _episode_seeds(seed: int, first: int, count: int) -> list[int]:
    return [seed * 1_000_003 + index for index in range(first, first + count)]


def _maze_of(environment: Environment) -> Maze:
    maze = getattr(environment, "map", None)
    if not isinstance(maze, Maze):
        msg, remedy = f"'{environment.name}' is no maze", "choose another recipe, or a maze"
        raise DataError(msg, place="environment", value=environment.name, remedy=remedy)
    return maze
