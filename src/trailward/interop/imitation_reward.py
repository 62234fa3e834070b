"""The learnt reward as a reward network of the ``imitation`` library."""

from typing import Any

import gymnasium
from torch import Tensor

from trailward.baselines.imitation_library import library
from trailward.interop.exported import StepReward
from trailward.interop.running_reward import RunningReward
from trailward.learning.learnt_reward import LearntReward


class LearntRewardNet(library("imitation.rewards.reward_nets").RewardNet):
    """An ``imitation.rewards.reward_nets.RewardNet`` that rewards transitions as learnt.

    Its ``predict_processed`` is what the library's ``RewardVecEnvWrapper`` takes. Gradients pass
    through ``forward``.

    Args:
        learnt: the reward; to train an agent on, its pessimistic form (``reward.pessimistic()``).
        observation_space: of the environment; flat.
        action_space: of the environment.
        scale: factor on the learnt reward, which is defined up to scale and shift only.
        shift: added afterwards.

    Raises:
        TypeError: if the reward is of whole plans, remembers what came before, or sees actions of
            several environment steps.
        DataError: if observations or actions are not those that the reward was learnt on.
    """

    def __init__(
        self,
        learnt: LearntReward,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        *,
        scale: float = 1.0,
        shift: float = 0.0,
    ) -> None:
        super().__init__(observation_space, action_space)
        RunningReward(learnt, observation_space, action_space)  # refuses what does not fit
        self.reward = StepReward(learnt)
        self.scale, self.shift = scale, shift

    def forward(self, state: Tensor, action: Tensor, next_state: Tensor, done: Any) -> Tensor:
        """The reward of each transition, environment units in; ``done`` plays no part."""
        if self.reward.sees_actions:
            rewards = self.reward(state, action)
        else:
            rewards = self.reward(next_state)
        return self.scale * rewards + self.shift
