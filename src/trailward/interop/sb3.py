"""Vectorised environments of Stable-Baselines3 with the learnt reward in place of their own."""

from typing import Any

import numpy as np

from trailward.errors import DataError
from trailward.interop.running_reward import (
    NORMALISERS,
    RunningReward,
    check_environment,
    true_reward,
)
from trailward.learning.learnt_reward import LearntReward
from trailward.optional import import_extra

_vec_env = import_extra(
    "stable_baselines3.common.vec_env",
    "vectorised environments need Stable-Baselines3: pip install 'trailward[rl]'",
)


class LearntRewardVecEnv(_vec_env.VecEnvWrapper):
    """The learnt reward for many environments at once, in place of their own.

    One call of the reward judges a step of all environments. Their own rewards are
    ``infos[i]["true_reward"]``. Where an episode ends, its last observation counts, not the first
    one of the next episode, which Stable-Baselines3 returns.

    Args:
        venv: with observations as in the data that the reward was learnt on.
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
        venv: Any,
        learnt: LearntReward,
        *,
        observation_key: str | None = None,
        scale: float = 1.0,
        shift: float = 0.0,
    ) -> None:
        check_environment(venv)
        _check_not_normalised(venv)
        super().__init__(venv)
        self._reward = RunningReward(
            learnt, venv.observation_space, venv.action_space, observation_key, scale, shift
        )
        self._actions: Any = None

    def reset(self) -> Any:
        """Begin an episode in every environment."""
        observations = self.venv.reset()
        self._reward.begin(self._reward.entries(observations))
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Tell every environment its action."""
        self._actions = actions
        self.venv.step_async(actions)

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """What came of it, with learnt rewards."""
        observations, true_rewards, dones, infos = self.venv.step_wait()
        now = self._reward.entries(observations)
        arrived = now.copy()
        for index in np.flatnonzero(dones):
            if "terminal_observation" not in infos[index]:
                remedy = "put the last observation of an episode there, as Stable-Baselines3 does"
                msg = f"infos[{index}] has no 'terminal_observation' where an episode ends"
                place = f"infos[{index}]: terminal_observation"
                raise DataError(msg, place=place, remedy=remedy)
            arrived[index] = self._reward.entries(infos[index]["terminal_observation"])
        rewards = self._reward.step(self._actions, arrived)
        self._reward.begin(now, where=dones)
        infos = [
            {**info, "true_reward": true_reward(reward)}
            for info, reward in zip(infos, true_rewards, strict=True)
        ]
        return observations, rewards.astype(np.float32), dones, infos


def _check_not_normalised(venv: Any) -> None:
    names = [kind.__name__ for kind in NORMALISERS if any(venv.env_is_wrapped(kind))]
    layer = venv
    while isinstance(layer, _vec_env.VecEnvWrapper):
        if isinstance(layer, _vec_env.VecNormalize) and layer.norm_obs:
            names.append("VecNormalize")
        layer = layer.venv
    if names:
        remedy = f"put {names[0]} around the reward's wrapper instead"
        msg = f"{names[0]} changes observations before the reward sees them"
        raise DataError(msg, place="venv", value=names[0], remedy=remedy)
