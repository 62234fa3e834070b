"""Judge a learnt reward and the planner that uses it in a maze, by the true reward."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Float

from trailward.data.dataset import Dataset, Windows
from trailward.data.entries import observations_of
from trailward.diffusion.diffuser import Diffuser
from trailward.environments.pointmaze.data import run_from, run_seeds, waypoint_expert
from trailward.environments.pointmaze.maze import CornerTask, GoalTask, OrderedTask, Task, make_env
from trailward.judging.disagreement import agreement, can_disagree, disagreement
from trailward.judging.evaluation import (
    PLANS_AT_ONCE,
    DynamicsError,
    Evaluation,
    EvaluationConfig,
    check_long_enough,
    decision_ms,
    dynamics_error,
    episode_return_correlation,
    judge_behaviour,
    paths_of,
    plan_observations,
    standing_rewards,
    windows_of,
)
from trailward.judging.reward_distance import transition_figures
from trailward.learning.learnt_reward import LearntReward

_POSITION = (0, 1)
_MAP_CELLS = 20

Envs = Sequence[gymnasium.Env]


def evaluate_in_maze(
    learnt: LearntReward,
    diffuser: Diffuser,
    task: Task,
    play: Dataset,
    demonstrations: Dataset,
    config: EvaluationConfig,
    *,
    stage: Callable[[str], None] = lambda name: None,
) -> Evaluation:
    """Returns, ERC, EPIC, best cell and dynamics error, with 95% intervals.

    Args:
        learnt: the reward judged.
        diffuser: the planner's.
        task: the true reward; used here and nowhere before.
        play: episodes that ERC and EPIC are measured over.
        demonstrations: drawn in the pictures.
        config: how much is run.
        stage: told what is being done.

    Raises:
        DataError: if the data is of another environment, or no play episode as long as a plan.
    """
    for data in (play, demonstrations):
        Windows(data, learnt.spec)  # refuses data of another environment before anything runs
    check_long_enough(play, learnt.spec)
    stage("roll-outs")
    envs = [make_env(task.maze) for _ in range(max(config.num_episodes, PLANS_AT_ONCE))]
    behaviour = _behaviour(learnt, diffuser, task, envs, config)
    stage("correlation with the true reward")
    rewards = _rewards(learnt, task, play, config)
    stage("dynamics error")
    dynamics = _dynamics(learnt, diffuser, task, play, envs, config)
    drawn = {
        "play": paths_of(play.episodes[:30]),
        "demonstrations": paths_of(demonstrations.episodes),
        "maze": np.array(task.maze.grid),
    }
    facts = {
        "maze": task.maze.name,
        "task": task.name,
        "objective": learnt.provenance.get("objective"),
        "learnt": learnt.provenance.get("learnt"),
        "reward_model": learnt.config.model,
        "num_demonstrations": len(demonstrations.episodes),
        "sampling": asdict(learnt.sampling),
        "evaluation": asdict(config),
    }
    parts = (behaviour, rewards, dynamics)
    figures = facts | {k: v for part in parts for k, v in part.figures.items()}
    return Evaluation(figures, drawn | {k: v for part in parts for k, v in part.arrays.items()})


def reward_map(
    learnt: LearntReward, task: Task, *, cells: int = _MAP_CELLS, stage: int | None = None
) -> Float[np.ndarray, "row column"]:
    """Learnt reward of standing still, over the pixels of the maze; NaN in walls.

    A reward of whole plans is asked about the plan that stays there.

    Args:
        learnt: the reward.
        task: the maze.
        cells: pixels along a cell's side.
        stage: of a reward with stages; the last one if None.
    """
    states, wall = standing_states(task, cells)
    rewards = standing_rewards(learnt, states.reshape(-1, 4), stage=stage)
    return np.where(wall, np.nan, rewards.reshape(wall.shape))


def true_reward_map(task: Task, *, cells: int = _MAP_CELLS) -> Float[np.ndarray, "row column"]:
    """True reward of standing still, over the pixels of the maze; NaN in walls."""
    states, wall = standing_states(task, cells)
    return np.where(wall, np.nan, _standing_task(task).step_rewards(states))


def value_map(
    learnt: LearntReward, task: Task, *, cells: int = _MAP_CELLS, stage: int = -1
) -> Float[np.ndarray, "row column"]:
    """The value of standing still, over the pixels of the maze; NaN in walls.

    Args:
        learnt: the reward with its value.
        task: the maze.
        cells: pixels along a cell's side.
        stage: of a reward with stages; the last one if -1.

    Raises:
        ValueError: if no value was fitted.
    """
    if learnt.value is None:
        raise ValueError("the reward has no value; learn it in at least 2 rounds")
    states, wall = standing_states(task, cells)
    flat = torch.as_tensor(states.reshape(1, -1, 4))
    with torch.no_grad():
        values = learnt.value.stage_rewards(learnt.observation_normalizer.normalize(flat))
    return np.where(wall, np.nan, values[..., stage].cpu().numpy().reshape(wall.shape))


def disagreement_map(
    learnt: LearntReward, task: Task, play: Dataset, *, cells: int = _MAP_CELLS
) -> Float[np.ndarray, "row column"]:
    """How far an ensemble's members are apart about standing still, over the pixels of the maze.

    NaN in walls; in deviations of their rewards over the play data
    (:func:`~trailward.judging.disagreement.disagreement`).

    Args:
        learnt: the ensemble.
        task: the maze.
        play: what its members are standardised over.
        cells: pixels along a cell's side.
    """
    states, wall = standing_states(task, cells)
    return np.where(wall, np.nan, disagreement(learnt, states, reference=observations_of(play)))


def standing_states(task: Task, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Observations of standing still at every pixel, and whether each is in a wall."""
    rows, columns = np.array(task.maze.grid).shape
    half_width, half_height = task.maze.half_extent
    xs = (np.arange(columns * cells) + 0.5) / cells - half_width
    ys = half_height - (np.arange(rows * cells) + 0.5) / cells
    positions = np.stack(np.meshgrid(xs, ys), -1)
    states = np.concatenate([positions, np.zeros_like(positions)], -1)
    return states, task.maze.in_wall(positions)


def _standing_task(task: Task) -> CornerTask | GoalTask:
    """What standing still is worth: of an ordered task, once its first cell has been visited."""
    return GoalTask(task.maze, task.then) if isinstance(task, OrderedTask) else task


def _behaviour(
    learnt: LearntReward, diffuser: Diffuser, task: Task, envs: Envs, config: EvaluationConfig
) -> Evaluation:
    policies = {
        "unguided": config.planner(diffuser, learnt, guided=False),
        "learnt": config.planner(diffuser, learnt, guided=True),
        "demonstrator": waypoint_expert(task),
    }
    found, figures = judge_behaviour(
        policies, lambda policy: run_seeds(envs, task, policy, config.starts, config.episode_steps)
    )
    arrays = {f"executed_{name}": paths_of(episodes) for name, episodes in found.items()}
    success = {
        name: float(np.mean([task.success(e.observations) for e in episodes]))
        for name, episodes in found.items()
        if isinstance(task, OrderedTask)
    }
    starts = arrays["executed_learnt"][:, 0]
    for name in ("unguided", "learnt"):
        planned = config.planner(diffuser, learnt, guided=name == "learnt").plan(starts)
        arrays[f"plans_{name}"] = plan_observations(diffuser, planned)
    figures |= {
        "ordered_success": success or None,
        "decision_ms": decision_ms(config.planner(diffuser, learnt, guided=True), starts[:1]),
    }
    return Evaluation(figures, arrays)


def _rewards(
    learnt: LearntReward, task: Task, play: Dataset, config: EvaluationConfig
) -> Evaluation:
    windows = Windows(play, learnt.spec)
    generator = torch.Generator().manual_seed(config.seed)
    drawn, mask = windows.gather(windows.draw(config.num_windows, generator))
    drawn = drawn[mask.all(1)]
    pairs = {
        "windows": (learnt.plan_rewards(drawn), _true_mean(task, learnt.spec.split(drawn)[0])),
        "episodes": (
            np.array([learnt.mean_reward(episode) for episode in play.episodes]),
            np.array([task.step_rewards(e.observations).mean() for e in play.episodes]),
        ),
    }
    figures: dict[str, Any] = {
        f"erc_{name}": asdict(episode_return_correlation(*pair)) for name, pair in pairs.items()
    }
    true = None
    if not isinstance(task, OrderedTask):
        true = lambda observations, actions, arrived: task.step_rewards(arrived)
    figures |= transition_figures(learnt, true, play, config)
    centers = task.maze.center(task.maze.free_cells)
    states = np.concatenate([centers, np.zeros_like(centers)], -1)
    best = [
        task.maze.free_cells[int(np.argmax(rewards))]
        for rewards in (standing_rewards(learnt, states), _standing_task(task).step_rewards(states))
    ]
    figures["best_cell"] = {"learnt": best[0], "true": best[1], "hit": best[0] == best[1]}
    maps = {"reward_map": reward_map(learnt, task), "true_reward_map": true_reward_map(task)}
    if learnt.value is not None:
        maps["value_map"] = value_map(learnt, task)
    if learnt.num_stages > 1:
        maps["first_reward_map"] = reward_map(learnt, task, stage=0)
        if learnt.value is not None:
            maps["first_value_map"] = value_map(learnt, task, stage=0)
    if can_disagree(learnt):
        figures["ensemble_agreement"] = agreement(learnt, observations_of(play))
        maps["disagreement_map"] = disagreement_map(learnt, task, play)
    arrays = {f"erc_{name}": np.stack(pair) for name, pair in pairs.items()}
    return Evaluation(figures, arrays | maps)


def _dynamics(
    learnt: LearntReward,
    diffuser: Diffuser,
    task: Task,
    play: Dataset,
    envs: Envs,
    config: EvaluationConfig,
) -> Evaluation:
    starts = windows_of(play.episodes, length=1, count=config.num_plans, seed=config.seed)[:, 0]
    steps = np.arange(diffuser.spec.horizon) * diffuser.spec.stride
    figures: dict[str, Any] = {"environment_steps": steps.tolist()}
    arrays = {}
    for name in ("unguided", "learnt"):
        found: DynamicsError = dynamics_error(
            config.planner(diffuser, learnt, guided=name == "learnt"),
            starts,
            lambda policy, where, count: run_from(envs, policy, where, count),
            entries=_POSITION,
        )
        figures[name] = {
            "by_step": found.errors.mean(0).tolist(),
            "at_16": _at(16, steps, found.errors.mean(0)),
            "wall_fraction": float(task.maze.in_wall(found.planned[..., :2]).mean()),
        }
        arrays[f"dynamics_planned_{name}"] = found.planned
        arrays[f"dynamics_errors_{name}"] = found.errors
    return Evaluation({"dynamics_error": figures}, arrays)


def _at(step: int, steps: np.ndarray, errors: np.ndarray) -> float | None:
    """The error after an environment step, between plan steps by interpolation."""
    return float(np.interp(step, steps, errors)) if step <= steps[-1] else None


def _true_mean(task: Task, observations: torch.Tensor) -> np.ndarray:
    return task.step_rewards(observations.numpy().astype(np.float64)).mean(1)
