"""One cell of the grid: learn with one method on one problem with one seed, and judge it."""

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from jaxtyping import Float

from trailward.baselines.episode_reward import TransitionReward
from trailward.errors import SettingsError
from trailward.judging.epic import draw_transitions, epic_distance, step_correlation
from trailward.judging.erc import episode_return_correlation
from trailward_benchmark.methods import METHODS, Outcome
from trailward_benchmark.problems import Arrays, Problem, World, facts_of, open_world

PROTOCOL = 1
"""Counts up when results of before can no longer stand beside new ones."""

_OFF = {"num_members": 1}
_EPIC_TRANSITIONS, _EPIC_PAIRS = 1000, 64


@dataclass(frozen=True)
class Cell:
    """A problem, a method and a seed.

    Raises:
        SettingsError: if the method is unknown.
    """

    problem: Problem
    method: str
    seed: int

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            msg = f"method '{self.method}' is unknown"
            remedy = f"choose one of {', '.join(METHODS)}"
            raise SettingsError(msg, place="method", value=self.method, remedy=remedy)

    @property
    def name(self) -> str:
        """The name for people and folders."""
        return f"{self.problem.name}/{self.method}/{self.seed}"

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All that its results depend on, as JSON values."""
        own = METHODS[self.method].settings(self.problem, self.problem.settings)
        facts = {"protocol": PROTOCOL, "cell": self.name, **facts_of(self.problem), "method": own}
        facts["epic"] = [_EPIC_TRANSITIONS, _EPIC_PAIRS]
        return json.loads(json.dumps(facts))

    @cached_property
    def key(self) -> str:
        """A hash of :attr:`settings`, by which a result is known to be this cell's.

        What is off (None, False, 0, empty; a stage of no steps, an ensemble of one) does not
        count, so that an option or a stage that is added later leaves keys as they are for as long
        as it is off.
        """
        digest = hashlib.sha256(json.dumps(_what_is_on(self.settings), sort_keys=True).encode())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Result:
    """What a cell shows.

    Attributes:
        figures: JSON values; None where the method has no such figure.
        arrays: what pictures are drawn from.
    """

    figures: Mapping[str, float | int | None]
    arrays: Arrays


def run_cell(cell: Cell, folder: Path) -> Result:
    """Learn and judge; what is learnt is kept in the folder.

    A cell is a matter of minutes: one that was interrupted is begun anew, so that its learning
    time is that of one piece.

    Args:
        cell: the cell to run.
        folder: of the whole grid.
    """
    world = open_world(cell.problem, cell.seed, folder / "data")
    own = folder / "cells" / cell.key / "learnt"
    own.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(own.with_suffix(".lock")):
        shutil.rmtree(own, ignore_errors=True)
        outcome = METHODS[cell.method].run(world, own)
    figures: dict[str, float | int | None] = {
        "learn_seconds": outcome.seconds,
        "num_env_steps": outcome.num_env_steps,
    }
    arrays: Arrays = {}
    if outcome.policy is not None:
        episodes = world.roll_out(outcome.policy)
        figures["return"] = _mean_return(world, episodes)
        arrays = world.picture(outcome.mapped, episodes)
    if outcome.best_of is not None:
        figures["return_best_of"] = _mean_return(world, world.roll_out(outcome.best_of))
    if outcome.reward is not None:
        figures |= _reward_figures(world, outcome)
    figures["peak_memory_mb"] = _peak_memory_mb()
    return Result(figures, arrays)


def _mean_return(world: World, episodes: Sequence[Any]) -> float:
    return float(np.mean([world.task.step_rewards(episode).sum() for episode in episodes]))


def _reward_figures(world: World, outcome: Outcome) -> dict[str, float | None]:
    """How the reward ranks whole play episodes, windows as long as a plan, steps; and EPIC."""
    reward, episodes = outcome.reward, world.judged.episodes
    if reward is None:
        return {}
    learnt = outcome.labels or [reward(episode) for episode in episodes]
    true = [world.task.step_rewards(episode) for episode in episodes]
    length = world.diffuser.spec.num_observations - 1
    windows = [np.concatenate([_windows(each, length) for each in of]) for of in (learnt, true)]
    means = [np.array([each.mean() for each in of]) for of in (learnt, true)]
    owner = np.repeat(np.arange(len(episodes)), [len(each) for each in true])
    steps = step_correlation(np.concatenate(learnt), np.concatenate(true), owner)
    return {
        "erc": episode_return_correlation(means[0], means[1]).distance.value,
        "erc_windows": episode_return_correlation(windows[0], windows[1]).distance.value,
        "step_pearson": steps.value,
        "epic": _epic(world, reward) if isinstance(reward, TransitionReward) else None,
    }


def _windows(rewards: Float[np.ndarray, "time"], length: int) -> Float[np.ndarray, "window"]:
    """Means of windows end to end; what is left over at the end does not count."""
    count = len(rewards) // length
    return rewards[: count * length].reshape(count, length).mean(1)


def _epic(world: World, reward: TransitionReward) -> float | None:
    true = world.task.transition_rewards
    if true is None:
        return None
    drawn = draw_transitions(world.judged, count=_EPIC_TRANSITIONS, seed=0)
    return epic_distance(reward.step_rewards, true, drawn, num_canonical=_EPIC_PAIRS).value


def _peak_memory_mb() -> int | None:
    """The most memory that this process has held, in MB; None where the system does not tell."""
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def _what_is_on(value: Any) -> Any:
    if isinstance(value, dict) and value.get("num_steps", 1) == 0:
        return {}
    if isinstance(value, dict):
        inner = {name: _what_is_on(each) for name, each in value.items()}
        return {name: each for name, each in inner.items() if each and _OFF.get(name) != each}
    return [_what_is_on(each) for each in value] if isinstance(value, list) else value
