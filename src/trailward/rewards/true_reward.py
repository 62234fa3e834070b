"""A true reward as a reward model: a guide for demonstrators, and the yardstick."""

from collections.abc import Callable

from torch import Tensor

from trailward.data.normalizer import Normalizer
from trailward.data.plan import PlanSpec
from trailward.rewards.contract import RewardModel
from trailward.typing import Plans, StagesOfSteps, StepRewards


class TrueReward(RewardModel):
    """A true reward of observations; it is not learnt, and cannot be saved.

    Args:
        true_step_rewards: observations (environment units) to rewards, differentiable.
        normalizer: of the plans it will be given.
        spec: what a plan holds.
    """

    def __init__(
        self, true_step_rewards: Callable[[Tensor], Tensor], normalizer: Normalizer, spec: PlanSpec
    ) -> None:
        super().__init__(spec, inputs=range(spec.observation_dim))
        self._true_step_rewards, self._normalizer = true_step_rewards, normalizer

    def step_rewards(self, plan: Plans, past: StagesOfSteps | None = None) -> StepRewards:
        """The true reward of each plan step."""
        observations, _ = self.spec.split(self._normalizer.unnormalize(plan))
        return self._true_step_rewards(observations).to(plan)
