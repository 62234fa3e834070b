"""What the wrappers of environments share: the learnt reward, one environment step at a time."""

from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Bool, Float, Int

from trailward.data.episode import as_numbers
from trailward.errors import DataError
from trailward.learning.learnt_reward import LearntReward
from trailward.typing import Observations


@dataclass
class RunningReward:
    """The learnt reward of environments that run side by side, with what it has to remember.

    Args:
        learnt: the reward.
        observation_space: of one environment.
        action_space: of one environment; it matters only to a reward that sees actions.
        observation_key: which entry of dictionaries the reward is of; None for flat observations.
        scale: factor on the learnt reward, which is defined up to scale and shift only.
        shift: added afterwards.

    Raises:
        TypeError: if the reward cannot be told step by step
            (:meth:`~trailward.learning.learnt_reward.LearntReward.check_of_transitions`).
        DataError: if observations or actions are not those that the reward was learnt on.
    """

    learnt: LearntReward
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    observation_key: str | None = None
    scale: float = 1.0
    shift: float = 0.0
    _now: Observations = field(init=False, repr=False)
    _stage: Int[np.ndarray, "batch"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.learnt.check_of_transitions(remembering=True)
        spec, space = self.learnt.spec, self.observation_space
        if isinstance(space, gymnasium.spaces.Dict):
            there = ", ".join(f"'{entry}'" for entry in space)
            if self.observation_key not in space.spaces:
                remedy = f"name the entry of observations that the reward was learnt on: {there}"
                raise DataError(place="observation_key", value=self.observation_key, remedy=remedy)
            space = space[self.observation_key]
        elif self.observation_key is not None:
            remedy = f"leave it out: observations are {space}"
            raise DataError(place="observation_key", value=self.observation_key, remedy=remedy)
        _check_shape("observations", space, spec.observation_dim)
        if self.learnt.sees_actions:
            _check_shape("actions", self.action_space, spec.action_dim)

    def entries(self, observations: Any) -> Float[np.ndarray, "*axes observation"]:
        """What the reward is of: a copy, for environments may write into theirs."""
        if self.observation_key is not None:
            observations = observations[self.observation_key]
        return as_numbers("observations", np.array(observations))

    def begin(
        self, observations: Observations, where: Bool[np.ndarray, "batch"] | None = None
    ) -> None:
        """Begin new episodes, in these environments or in all.

        Args:
            observations: of all environments, environment units.
            where: True where an episode begins; everywhere if None.
        """
        stage = self.learnt.observe(observations[:, None])[:, -1]
        if where is not None:
            observations = np.where(where[:, None], observations, self._now)
            stage = np.where(where, stage, self._stage)
        self._now, self._stage = observations, stage

    def step(self, actions: np.ndarray, arrived: Observations) -> Float[np.ndarray, "batch"]:
        """The reward of one environment step, everywhere.

        Args:
            actions: what was done, environment units.
            arrived: where that has led, environment units; the last observation of an episode, not
                the first of the next one.
        """
        if self.learnt.sees_actions:
            acted = np.asarray(actions, dtype=np.float64)
        else:
            acted = np.zeros((len(arrived), 0))  # whatever they are: numbers, choices
        rewards = self.learnt.transition_rewards(self._now, acted, arrived, past=self._stage)
        path = np.stack([self._now, arrived], 1)
        self._stage = self.learnt.observe(path, self._stage)[:, -1]
        self._now = arrived
        return self.scale * rewards + self.shift


def true_reward(given: Any) -> float:
    """An environment's own reward as a number; NaN if it has none.

    Raises:
        DataError: if it is several numbers.
    """
    if given is None:
        return float("nan")
    values = np.asarray(given, dtype=np.float64)
    if values.size != 1:
        remedy = "an environment gives one number a step"
        raise DataError(place="the environment's reward", value=values.shape, remedy=remedy)
    return float(values.reshape(()))


def check_environment(env: Any) -> None:
    """Refuse environments whose observations are not those that a reward was learnt on.

    Args:
        env: of Gymnasium, with all wrappers inside, or vectorised of Gymnasium.

    Raises:
        DataError: if it is vectorised, or normalises, rescales or transforms observations.
    """
    if isinstance(env, gymnasium.vector.VectorEnv):
        remedy = (
            "wrap each environment: SyncVectorEnv([lambda: LearntRewardWrapper(make(), reward)])"
        )
        msg = f"{env} holds many environments"
        raise DataError(msg, place="env", value=str(env), remedy=remedy)
    for layer in layers_of(env):
        changes = type(layer) is gymnasium.wrappers.TransformObservation and not isinstance(
            layer.env.observation_space, gymnasium.spaces.Dict
        )
        if changes or isinstance(layer, NORMALISERS):
            name = type(layer).__name__
            remedy = f"put the reward's wrapper inside {name}, next to the environment"
            msg = f"{name} changes observations before the reward sees them"
            raise DataError(msg, place="env", value=name, remedy=remedy)


NORMALISERS = (gymnasium.wrappers.NormalizeObservation, gymnasium.wrappers.RescaleObservation)


def layers_of(env: Any) -> list[Any]:
    """An environment's wrappers, the outermost first."""
    found = []
    while isinstance(env, gymnasium.Wrapper):
        found.append(env)
        env = env.env
    return found


def _check_shape(what: str, space: gymnasium.Space, entries: int) -> None:
    if space.shape != (entries,):
        msg = f"{what} of the environment have shape {space.shape}"
        remedy = (
            f"the reward was learnt on ({entries},): use the environment that the data is from, or "
            f"transform its {what}"
        )
        raise DataError(msg, place=what, value=space.shape, remedy=remedy)
