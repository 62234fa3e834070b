"""What methods are compared on: an environment, a task, data, and how behaviour is judged there."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from filelock import FileLock
from jaxtyping import Float

from trailward.acting.planner import Policy
from trailward.acting.rollout import rollout
from trailward.baselines.episode_reward import TransitionReward
from trailward.cli.collect import Collect
from trailward.cli.presets import PRESETS, Settings
from trailward.data.dataset import Dataset, dataset_folder, read_dataset
from trailward.data.episode import DataError, Episode
from trailward.diffusion.diffuser import Diffuser
from trailward.environments.halfcheetah import environment as halfcheetah
from trailward.environments.halfcheetah.evaluation import demonstrator_of
from trailward.environments.pointmaze.data import run_seeds, waypoint_expert
from trailward.environments.pointmaze.evaluation import standing_states
from trailward.environments.pointmaze.maze import OrderedTask, make_env, parse_maze, parse_task
from trailward.judging.evaluation import EvaluationConfig
from trailward.judging.reward_distance import RewardFunction, draw_transitions
from trailward.pretrained import model_folder

Arrays = dict[str, np.ndarray]

_PLAY_STEPS, _PLAY_SEED = 200_000, 77
_NUM_JUDGED = 100
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

    @property
    def preset(self) -> str:
        """Whose data, diffuser and settings it has."""
        return "umaze-goal" if self.name.startswith("umaze/goal") else self.environment

    @cached_property
    def settings(self) -> Settings:
        """The preset's, for this task."""
        settings = PRESETS[self.preset].quick() if self.quick else PRESETS[self.preset]
        num_steps = min(_PLAY_STEPS, settings.play.num_steps or _PLAY_STEPS)
        return replace(
            settings,
            play=replace(settings.play, num_steps=num_steps, seed=_PLAY_SEED),
            demonstrations=replace(settings.demonstrations, task=self.task)
            if settings.play.environment == "maze"
            else settings.demonstrations,
        )


def parse_problem(name: str, *, quick: bool = False) -> Problem:
    """A problem by name, such as ``umaze/corner`` or ``halfcheetah/mixture``.

    Raises:
        DataError: if there is none of that name, or its true reward depends on what came before.
    """
    environment, _, task = name.partition("/")
    if environment == "halfcheetah" and task == "mixture":
        return Problem(environment, task, quick)
    if environment in ("umaze", "large") and task:
        if not isinstance(parse_task(task, parse_maze(environment)), OrderedTask):
            return Problem(environment, task, quick)
        msg = f"problem '{name}': the true reward of an ordered task is not one of single steps"
        raise DataError(msg)
    msg = f"problem '{name}' is unknown; choose umaze/TASK, large/TASK or halfcheetah/mixture"
    raise DataError(msg)


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
        make_env: makes a new environment.
        roll_out: a policy's episodes from the evaluation's starts, with true rewards.
        true_rewards: of each environment step of an episode.
        true_reward: the same as a function of transitions, as far as these tell.
        picture: a reward (None if there is none) and episodes to the arrays of pictures.
    """

    problem: Problem
    seed: int
    diffuser: Diffuser
    play: Dataset
    demonstrations: Dataset
    demonstrator: Policy
    make_env: Callable[[], gymnasium.Env]
    roll_out: Callable[[Policy], list[Episode]]
    true_rewards: Callable[[Episode], Float[np.ndarray, "time"]]
    true_reward: RewardFunction
    picture: Callable[[TransitionReward | None, list[Episode]], Arrays]

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


def facts_of(problem: Problem) -> dict[str, Any]:
    """What all results on a problem depend on, whatever the method, as JSON values."""
    settings = problem.settings
    evaluation = settings.evaluation
    return {
        "play": _without_folder(settings.play),
        "demonstrations": _without_folder(settings.demonstrations),
        "num_judged": _NUM_JUDGED,
        "window": [settings.horizon, settings.stride],
        "evaluation": [evaluation.num_episodes, evaluation.episode_steps, evaluation.seed],
        "policies": _policies(settings.play.environment),
    }


def open_world(problem: Problem, seed: int, folder: Path) -> World:
    """Load a problem; its data is collected into the folder if it is not there yet.

    Several processes may do so at once; the data is a function of the settings alone.
    """
    settings = problem.settings
    play = read_dataset(_collected(settings.play, folder))
    job = replace(settings.demonstrations, seed=1 + seed)
    demonstrations = read_dataset(_collected(job, folder))
    diffuser = Diffuser.load(model_folder(str(settings.packaged)))
    opened = _open_maze if settings.play.environment == "maze" else _open_halfcheetah
    return opened(problem, seed, diffuser, play, demonstrations)


def _open_maze(
    problem: Problem, seed: int, diffuser: Diffuser, play: Dataset, demonstrations: Dataset
) -> World:
    settings = problem.settings
    maze = parse_maze(settings.play.maze)
    task = parse_task(settings.demonstrations.task, maze)
    evaluation = settings.evaluation.with_seed(seed)
    envs = [make_env(maze) for _ in evaluation.starts]
    states, wall = standing_states(task, _MAP_CELLS)

    def picture(reward: TransitionReward | None, episodes: list[Episode]) -> Arrays:
        paths = np.stack([e.observations[:, :2] for e in episodes[:_NUM_PATHS]])
        arrays = {"executed": paths.astype(np.float32), "maze": np.array(maze.grid)}
        if reward is not None:
            flat = states.reshape(-1, states.shape[-1])
            still = np.zeros((len(flat), play.action_dim))
            found = reward.step_rewards(flat, still, flat).reshape(wall.shape)
            arrays["reward_map"] = np.where(wall, np.nan, found).astype(np.float32)
        return arrays

    return World(
        problem,
        seed,
        diffuser,
        play,
        demonstrations,
        waypoint_expert(task),
        lambda: make_env(maze),
        lambda policy: run_seeds(envs, task, policy, evaluation.starts, evaluation.episode_steps),
        lambda episode: task.step_rewards(episode.observations)[1:],
        lambda now, actions, then: task.step_rewards(then),
        picture,
    )


def _open_halfcheetah(
    problem: Problem, seed: int, diffuser: Diffuser, play: Dataset, demonstrations: Dataset
) -> World:
    settings = problem.settings
    evaluation = settings.evaluation.with_seed(seed)
    num_steps = evaluation.episode_steps
    envs = [halfcheetah.make_env(episode_steps=num_steps) for _ in evaluation.starts]
    demonstrator = demonstrator_of(demonstrations, halfcheetah.ladder())
    if demonstrator is None:
        raise DataError("the demonstrations do not say which policy made them")
    drawn = draw_transitions(play, count=_NUM_DRAWN, seed=0)

    def picture(reward: TransitionReward | None, episodes: list[Episode]) -> Arrays:
        place = halfcheetah.FORWARD_VELOCITY
        speeds = np.stack([e.observations[:, place] for e in episodes])
        arrays = {"velocities": speeds.astype(np.float32)}
        if reward is not None:
            parts = drawn.observations, drawn.actions, drawn.next_observations
            pair = drawn.next_observations[:, place], reward.step_rewards(*parts)
            arrays["reward_by_velocity"] = np.stack(pair).astype(np.float32)
        return arrays

    return World(
        problem,
        seed,
        diffuser,
        play,
        demonstrations,
        demonstrator,
        lambda: halfcheetah.make_env(episode_steps=num_steps),
        lambda policy: rollout(envs, policy, seeds=evaluation.starts, num_steps=num_steps),
        _recorded_rewards,
        halfcheetah.transition_rewards,
        picture,
    )


def _recorded_rewards(episode: Episode) -> np.ndarray:
    if episode.rewards is None:
        raise DataError("the play data has no recorded rewards to judge by")
    return episode.rewards


def _collected(command: Collect, folder: Path) -> Path:
    facts = _without_folder(command) | {"policies": _policies(command.environment)}
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:8]
    where = dataset_folder(folder / f"{command.environment}-{command.what}-{digest}")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{where.name}.lock"):
        if not where.exists():
            replace(command, out=where).run(lambda line: None)
    return where


def _policies(environment: str) -> list[str]:
    """The packaged policies that data is made with."""
    if environment != "halfcheetah":
        return []
    return [policy.fingerprint for policy in halfcheetah.ladder()]


def _without_folder(command: Collect) -> dict[str, Any]:
    return {name: value for name, value in asdict(command).items() if name != "out"}
