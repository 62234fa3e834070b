"""Any Gymnasium environment with the learnt reward in place of its own."""

from typing import Any

import gymnasium
import numpy as np

from trailward.interop.running_reward import (
    RunningReward,
    check_environment,
    layers_of,
    true_reward,
)
from trailward.learning.learnt_reward import LearntReward


class LearntRewardWrapper(gymnasium.Wrapper, gymnasium.utils.RecordConstructorArgs):
    """Rewards every step as learnt; the environment's own reward is ``info["true_reward"]``.

    A step is worth what :meth:`~trailward.learning.learnt_reward.LearntReward.transition_rewards`
    says. A staged reward is told all observations of the episode, so that it knows its stage.

    Args:
        env: with observations as in the data that the reward was learnt on.
        learnt: the reward; to train an agent on, its pessimistic form (``reward.pessimistic()``).
        observation_key: which entry of dictionaries the reward is of; None for flat observations.
        scale: factor on the learnt reward, which is defined up to scale and shift only.
        shift: added afterwards.

    Raises:
        TypeError: if the reward is of whole plans, or sees actions of several environment steps.
        DataError: if observations or actions are not those that the reward was learnt on, also
            because a wrapper inside normalises them.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        learnt: LearntReward,
        *,
        observation_key: str | None = None,
        scale: float = 1.0,
        shift: float = 0.0,
    ) -> None:
        check_environment(env)
        gymnasium.utils.RecordConstructorArgs.__init__(
            self,
            learnt=learnt,
            observation_key=observation_key,
            scale=scale,
            shift=shift,
            _disable_deepcopy=True,
        )
        gymnasium.Wrapper.__init__(self, env)
        self._resets_itself = any(
            isinstance(layer, gymnasium.wrappers.Autoreset) for layer in layers_of(env)
        )
        self._has_ended = False
        self._reward = RunningReward(
            learnt, env.observation_space, env.action_space, observation_key, scale, shift
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, and with it what the reward remembers."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._reward.begin(self._reward.entries(observation)[None])
        self._has_ended = False
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One environment step with its learnt reward."""
        observation, own, terminated, truncated, info = self.env.step(action)
        seen = self._reward.entries(observation)[None]
        if self._resets_itself and self._has_ended:  # this step has only begun an episode
            self._reward.begin(seen)
            reward = 0.0
        else:
            (reward,) = self._reward.step(np.asarray(action)[None], seen)
        self._has_ended = terminated or truncated
        info = {**info, "true_reward": true_reward(own)}
        return observation, float(reward), terminated, truncated, info
