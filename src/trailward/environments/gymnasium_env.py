"""Any environment of Gymnasium, by its id, with nothing to write: its own reward is the task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.spaces import Dict as DictSpace
from jaxtyping import Float
from matplotlib.figure import Figure

from trailward.data.choices import named_choices
from trailward.data.episode import Columns, Episode
from trailward.environments import Caption, Environment, Evaluation, Recipe, Row, Task, Trial
from trailward.environments.recipes import ROLL_OUTS
from trailward.errors import DataError
from trailward.registry import import_named


@dataclass(frozen=True)
class OwnReward(Task):
    """The reward that the environment itself gives, as it was recorded.

    Args:
        transition_rewards: the same from observations and actions, as far as these tell.
    """

    transition_rewards: Any = None
    name: str = "own"

    def step_rewards(self, episode: Episode) -> Float[np.ndarray, "time"]:
        """The recorded reward of each step."""
        if episode.rewards is None:
            msg = (
                "these episodes have no recorded rewards, and the environment's own reward is "
                "known by no other way"
            )
            remedy = "record them with rewards, or judge without an environment (--env none)"
            raise DataError(msg, place="rewards", remedy=remedy)
        return episode.rewards


@dataclass(frozen=True)
class GymnasiumEnvironment(Environment):
    """An environment of Gymnasium as it is.

    Observations are flat, or a dictionary of flat parts, which is flattened in the order of
    Gymnasium; actions are continuous, or discrete, which plans hold one-hot. Episodes may end
    early. The reward it gives is the task.

    Args:
        id: such as ``Hopper-v5``, or ``module:Env-v0`` to import the module first.
        options: further arguments of ``gymnasium.make``.

    Raises:
        DataError: if there is no such environment, or its spaces are of another kind.
    """

    id: str
    options: Mapping[str, Any] = field(default_factory=dict)

    recipes: ClassVar[Mapping[str, type[Recipe]]] = ROLL_OUTS

    @property
    def name(self) -> str:
        """The id."""
        return self.id

    @cached_property
    def columns(self) -> Columns:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Parts of dictionaries give the names of their entries; others have none."""
        env = _made(self.id, self.options)
        try:
            named, actions = Columns(_names_of(env.observation_space, self.id)), env.action_space
        finally:
            env.close()
        if not isinstance(actions, Discrete):
            return named
        first = int(actions.start)
        return named_choices(named, tuple(range(first, first + int(actions.n))))

    def make(
        self, *, episode_steps: int | None = None, render_size: tuple[int, int] | None = None
    ) -> gymnasium.Env:
        """A new simulator."""
        options = dict(self.options)
        if episode_steps is not None:
            options["max_episode_steps"] = episode_steps
        if render_size is not None:
            height, width = render_size
            options |= {"render_mode": "rgb_array", "height": height, "width": width}
        return flat(_made(self.id, options), self.id)

    def task(self, name: str | None = None) -> Task:
        """The environment's own reward."""
        return own_reward(self, name)

    def measure(self, trial: Trial) -> Evaluation:
        """Return and length of every roll-out."""
        return Evaluation(arrays=roll_out_arrays(trial))

    def panels(self, evaluation: Evaluation) -> Mapping[str, tuple[Caption, Figure]]:
        """Return and length of every roll-out."""
        return roll_out_panel(evaluation)

    def rows(self, figures: Mapping[str, Any]) -> Sequence[Row]:
        """None of its own."""
        return ()


def own_reward(environment: Environment, name: str | None, transition_rewards: Any = None) -> Task:
    """The environment's own reward, the one task that there is.

    Raises:
        DataError: if another task is asked for.
    """
    task = OwnReward(transition_rewards)
    if name not in (None, task.name):
        msg = f"'{environment.name}' has no task '{name}', only its own reward"
        remedy = "leave the task out, or write an environment with that task (see Extending)"
        raise DataError(msg, place="task", value=name, remedy=remedy)
    return task


def roll_out_arrays(trial: Trial) -> dict[str, np.ndarray]:
    """``return_NAME`` and ``length_NAME`` of each policy: a number a roll-out."""
    arrays = {}
    for name, episodes in trial.episodes.items():
        rewards = [trial.task.step_rewards(episode) for episode in episodes]
        arrays[f"return_{name}"] = np.array([each.sum() for each in rewards])
        arrays[f"length_{name}"] = np.array([len(each) for each in rewards])
    return arrays


def roll_out_panel(evaluation: Evaluation) -> dict[str, tuple[Caption, Figure]]:
    """The picture of :func:`roll_out_arrays`."""
    from trailward.environments.drawing import lengths_figure

    text = "Each dot is a roll-out, the bar their mean. All policies have the same starts."
    caption = Caption("What each policy returns, and how long its episodes last", text)
    return {"roll_outs": (caption, lengths_figure(evaluation.arrays))}


def flat(env: gymnasium.Env, name: str) -> gymnasium.Env:
    """The environment with flat observations, if its spaces are of a kind that plans can hold.

    Args:
        env: as ``gymnasium.make`` makes it.
        name: of the environment, for errors.

    Raises:
        DataError: if actions are neither continuous nor discrete, or observations neither flat nor
            a dictionary of flat parts.
    """
    _names_of(env.observation_space, name)
    actions = env.action_space
    if not isinstance(actions, Discrete) and not (
        isinstance(actions, Box) and len(actions.shape) == 1
    ):
        remedy = (
            "make it a Box of one axis, or Discrete: wrap the environment "
            "(gymnasium.ActionWrapper), register the wrapped one, and name it as 'module:Env-v0'"
        )
        raise DataError(place=f"the action space of '{name}'", value=actions, remedy=remedy)
    if isinstance(env.observation_space, DictSpace):
        return gymnasium.wrappers.FlattenObservation(env)
    return env


def _names_of(space: gymnasium.Space, name: str) -> tuple[str, ...]:
    """A name for each entry of a flattened dictionary; none for a flat space."""
    parts = space.spaces if isinstance(space, DictSpace) else {"": space}
    names: list[str] = []
    for part, inner in parts.items():
        if not isinstance(inner, Box) or len(inner.shape) != 1:
            what = f"part '{part}' of the observation space" if part else "the observation space"
            remedy = (
                "give one Box of one axis, or a dictionary of those: wrap the environment "
                "(gymnasium.wrappers.FlattenObservation, or gymnasium.ObservationWrapper), "
                "register the wrapped one, and name it as 'module:Env-v0'"
            )
            raise DataError(place=f"{what} of '{name}'", value=inner, remedy=remedy)
        count = inner.shape[0]
        names += [part] if count == 1 else [f"{part} {entry}" for entry in range(count)]
    return tuple(names) if isinstance(space, DictSpace) else ()


def _made(name: str, options: Mapping[str, Any]) -> gymnasium.Env:
    try:
        if ":" in name:
            import_named(name.partition(":")[0])
        return gymnasium.make(name, **options)
    except (gymnasium.error.Error, ModuleNotFoundError, AttributeError) as error:
        msg = f"environment '{name}' cannot be made: {error}"
        remedy = (
            "check the id (see 'import gymnasium; gymnasium.pprint_registry()') and install what "
            "it needs (for MuJoCo: pip install 'gymnasium[mujoco]')"
        )
        raise DataError(msg, place="environment", value=name, remedy=remedy) from None
