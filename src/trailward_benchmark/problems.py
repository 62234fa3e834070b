"""What methods are compared on: an environment, a task, data, and how behaviour is judged there."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from filelock import FileLock

from trailward.acting.network_policy import ladder_of, recorded_from
from trailward.acting.planner import Policy
from trailward.acting.rollout import rollout
from trailward.baselines.episode_reward import TransitionReward
from trailward.cli.collect import Collect
from trailward.cli.presets import PRESETS, Settings
from trailward.data.dataset import Dataset, dataset_folder, read_dataset
from trailward.data.episode import Episode
from trailward.diffusion.diffuser import Diffuser
from trailward.environments import Recipe, Task
from trailward.environments.halfcheetah.environment import FORWARD_VELOCITY
from trailward.environments.pointmaze.environment import PointMaze, standing_states
from trailward.environments.pointmaze.maze import parse_maze
from trailward.errors import DataError, SettingsError
from trailward.judging.config import EvaluationConfig
from trailward.judging.epic import draw_transitions
from trailward.pretrained import model_folder

Arrays = dict[str, np.ndarray]

_MAZES = ("umaze", "large")
_PLAY_STEPS, _PLAY_SEED = 200_000, 77
_NUM_JUDGED = 100
_UNSAID = {"maze": "umaze", "task": "corner", "demonstrator": "waypoint", "diffuser": "umaze"}
_ALWAYS = {
    "play": "num_steps",
    "mixture": "num_steps",
    "demonstrations": "episode_steps",
    "expert": "num_episodes",
}
_NUM_DRAWN, _MAP_CELLS, _NUM_PATHS = 2000, 8, 10


@dataclass(frozen=True)
class Problem:
    """A preset's environment and a task in it.

    Attributes:
        environment: ``umaze``, ``large`` or ``halfcheetah``.
        task: of a maze, ``corner`` or ``goal:ROW,COLUMN``; of HalfCheetah, ``mixture``.
        quick: whether everything is cut short, to show that it runs.
    """

    environment: str
    task: str
    quick: bool = False

    @property
    def name(self) -> str:
        """How :func:`parse_problem` spells it."""
        return f"{self.environment}/{self.task}"

    @cached_property
    def settings(self) -> Settings:
        """The preset's, for this task."""
        settings = PRESETS[self.environment].quick() if self.quick else PRESETS[self.environment]
        num_steps = min(_PLAY_STEPS, vars(settings.play)["num_steps"])
        demonstrations = settings.demonstrations
        if self.environment in _MAZES:
            demonstrations = replace(demonstrations, **{"task": self.task})
        play = replace(settings.play, **{"num_steps": num_steps})
        return replace(settings, play=play, demonstrations=demonstrations)

    @property
    def true_task(self) -> Task:
        """The true reward."""
        in_maze = self.environment in _MAZES
        return self.settings.environment.task(self.task if in_maze else None)


def parse_problem(name: str, *, quick: bool = False) -> Problem:
    """A problem by name, such as ``umaze/corner`` or ``halfcheetah/mixture``.

    Raises:
        SettingsError: if there is none of that name, or its true reward depends on what came
            before.
        DataError: if its maze has no such task.
    """
    environment, _, task = name.partition("/")
    if environment == "halfcheetah" and task == "mixture":
        return Problem(environment, task, quick)
    if environment in _MAZES and task:
        problem = Problem(environment, task, quick)
        if problem.true_task.transition_rewards is not None:
            return problem
        msg = f"problem '{name}': the true reward of an ordered task is not one of single steps"
        raise SettingsError(msg, place="problem", value=name)
    remedy = "choose umaze/TASK, large/TASK or halfcheetah/mixture"
    raise SettingsError(f"problem '{name}' is unknown", place="problem", value=name, remedy=remedy)


@dataclass(frozen=True)
class World:
    """A problem at hand, for one seed.

    Attributes:
        problem: which it is.
        seed: of demonstrations, learning and evaluation.
        diffuser: the packaged one.
        play: play data that the diffuser has not seen; if it has rewards, they are for judging.
        judged: those episodes of it that rewards are compared on.
        demonstrations: what methods learn from.
        demonstrator: who made them.
    """

    problem: Problem
    seed: int
    diffuser: Diffuser
    play: Dataset
    demonstrations: Dataset
    demonstrator: Policy

    @property
    def settings(self) -> Settings:
        """The problem's."""
        return self.problem.settings

    @property
    def evaluation(self) -> EvaluationConfig:
        """The problem's, from this seed's starts."""
        return self.settings.evaluation.with_seed(self.seed)

    @property
    def judged(self) -> Dataset:
        """The episodes of play data that rewards are compared on."""
        return Dataset(self.play.episodes[:_NUM_JUDGED])

    @cached_property
    def task(self) -> Task:
        """The true reward."""
        return self.problem.true_task

    @property
    def episode_steps(self) -> int:
        """Environment steps of a roll-out."""
        return self.evaluation.steps_in(self.settings.environment)

    def make_env(self) -> gymnasium.Env:
        """A new simulator, whose episodes are as long as the evaluation's."""
        return self.settings.environment.make(episode_steps=self.episode_steps)

    def roll_out(self, policy: Policy) -> list[Episode]:
        """A policy's episodes from the evaluation's starts, with true rewards."""
        starts = self.evaluation.starts
        found = rollout(self._envs, policy, seeds=starts, num_steps=self.episode_steps)
        return [replace(episode, rewards=self.task.step_rewards(episode)) for episode in found]

    @cached_property
    def _envs(self) -> list[gymnasium.Env]:
        return [self.make_env() for _ in self.evaluation.starts]

    def picture(self, reward: TransitionReward | None, episodes: list[Episode]) -> Arrays:
        """A reward (None if there is none) and episodes to the arrays of pictures."""
        environment = self.settings.environment
        draw = _maze_picture if isinstance(environment, PointMaze) else _velocity_picture
        return draw(self, reward, episodes)


def facts_of(problem: Problem) -> dict[str, Any]:
    """What all results on a problem depend on, whatever the method, as JSON values."""
    settings = problem.settings
    evaluation = settings.evaluation
    steps = evaluation.steps_in(settings.environment)
    return {
        "play": _facts(problem, settings.play, _PLAY_SEED),
        "demonstrations": _facts(problem, settings.demonstrations),
        "num_judged": _NUM_JUDGED,
        "window": [settings.horizon, settings.stride],
        "evaluation": [evaluation.num_episodes, steps, evaluation.seed],
        "policies": _policies(settings.environment.name),
    }


def open_world(problem: Problem, seed: int, folder: Path) -> World:
    """Load a problem; its data is collected into the folder if it is not there yet.

    Several processes may do so at once; the data is a function of the settings alone.
    """
    settings = problem.settings
    play = read_dataset(_collected(problem, settings.play, _PLAY_SEED, folder))
    demonstrations = read_dataset(_collected(problem, settings.demonstrations, 1 + seed, folder))
    diffuser = Diffuser.load(model_folder(str(settings.packaged)))
    demonstrator = problem.true_task.demonstrator()
    if demonstrator is None:
        policies = ladder_of(settings.environment.name)
        demonstrator = recorded_from(demonstrations.provenance, policies)
    if demonstrator is None:
        msg = "the demonstrations do not say which policy made them"
        raise DataError(msg, place="demonstrations")
    return World(problem, seed, diffuser, play, demonstrations, demonstrator)


def _maze_picture(world: World, reward: TransitionReward | None, episodes: list[Episode]) -> Arrays:
    maze = parse_maze(world.problem.environment)
    paths = np.stack([e.observations[:, :2] for e in episodes[:_NUM_PATHS]])
    arrays = {"executed": paths.astype(np.float32), "maze": np.array(maze.grid)}
    if reward is not None:
        states, wall = standing_states(maze, _MAP_CELLS)
        flat = states.reshape(-1, states.shape[-1])
        still = np.zeros((len(flat), world.play.action_dim))
        found = reward.step_rewards(flat, still, flat).reshape(wall.shape)
        arrays["reward_map"] = np.where(wall, np.nan, found).astype(np.float32)
    return arrays


def _velocity_picture(
    world: World, reward: TransitionReward | None, episodes: list[Episode]
) -> Arrays:
    speeds = np.stack([e.observations[:, FORWARD_VELOCITY] for e in episodes])
    arrays = {"velocities": speeds.astype(np.float32)}
    if reward is not None:
        drawn = draw_transitions(world.play, count=_NUM_DRAWN, seed=0)
        parts = drawn.observations, drawn.actions, drawn.next_observations
        pair = drawn.next_observations[:, FORWARD_VELOCITY], reward.step_rewards(*parts)
        arrays["reward_by_velocity"] = np.stack(pair).astype(np.float32)
    return arrays


def _collected(problem: Problem, recipe: Recipe, seed: int, folder: Path) -> Path:
    facts = _facts(problem, recipe, seed)
    facts["policies"] = _policies(problem.settings.environment.name)
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]
    name = f"{problem.environment}-{type(recipe).__name__.lower()}-{digest}"
    where = dataset_folder(folder / name)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{where.name}.making.lock"):  # collecting has a lock of its own
        if not where.exists():
            Collect(where, problem.settings.environment, recipe, seed).run(lambda line: None)
    return where


def _facts(problem: Problem, recipe: Recipe, seed: int = 0) -> dict[str, Any]:
    """What data depends on, spelt as committed results are keyed.

    Usual settings are left out, but for the one that says how much there is.
    """
    environment = problem.settings.environment
    what = next(name for name, kind in environment.recipes.items() if kind is type(recipe))
    usual, given = asdict(type(recipe)()), asdict(recipe)
    own = {
        name: given[name] for name in given if given[name] != usual[name] or name == _ALWAYS[what]
    }
    where = {"maze": environment.maze} if isinstance(environment, PointMaze) else {}
    name = "maze" if where else problem.environment
    return {**_UNSAID, "what": what, **where, **own, "environment": name, "seed": seed}


@cache
def _policies(environment: str) -> list[str]:
    """The packaged policies that data is made with."""
    try:
        return [policy.fingerprint for policy in ladder_of(environment)]
    except DataError:
        return []
