"""What a learnt reward, and its value, say of staying somewhere: for maps of them."""

import numpy as np
import torch
from jaxtyping import Float

from trailward.errors import DataError
from trailward.learning.learnt_reward import LearntReward


def standing_rewards(
    learnt: LearntReward,
    observations: Float[np.ndarray, "batch observation"],
    *,
    stage: int | None = None,
) -> Float[np.ndarray, "batch"]:
    """Learnt reward of staying at each observation (environment units).

    A reward of whole plans is asked about the plan that stays there without acting.

    Args:
        learnt: the reward.
        observations: where the agent stands.
        stage: of a reward with stages; the last one if None.
    """
    if learnt.is_additive and not learnt.sees_actions:
        return learnt.step_rewards(
            observations, stage=learnt.num_stages - 1 if stage is None else stage
        )
    states = torch.as_tensor(observations, dtype=torch.float64)
    still = states.new_zeros(len(states), learnt.spec.stride, learnt.spec.action_dim)
    step = learnt.spec.join(states, still)
    return learnt.plan_rewards(step.unsqueeze(1).expand(-1, learnt.spec.horizon, -1))


@torch.no_grad()
def standing_values(
    learnt: LearntReward,
    observations: Float[np.ndarray, "batch observation"],
    *,
    stage: int | None = None,
) -> Float[np.ndarray, "batch"]:
    """The value of staying at each observation (environment units).

    Args:
        learnt: the reward with its value.
        observations: where the agent stands.
        stage: of a reward with stages; the last one if None.

    Raises:
        DataError: if no value was fitted.
    """
    if learnt.value is None:
        remedy = "learn it in at least 2 rounds"
        raise DataError("the reward has no value", place="value", remedy=remedy)
    states = torch.as_tensor(observations[None])
    values = learnt.value.stage_rewards(learnt.observation_normalizer.normalize(states))
    return values[0, :, -1 if stage is None else stage].cpu().numpy()
