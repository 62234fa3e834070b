"""Several additive rewards learnt side by side, and used as their mean.

Each member begins with other weights and sees other batches and noise (deep ensembles,
Lakshminarayanan et al. 2017, arXiv 1612.01474, who found that to do better than to give each a
bootstrap of the data). What the demonstrations settle, members agree on; where they differ, the
reward is a guess.

In learning, the plans of all members are one batch: its first part is guided by the first member
and compared with the first member's demonstrations, and so on. Members share no weights, so one
gradient of the sum of their losses is the gradient of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trailward.objectives.matching import Objective
from trailward.typing import (
    DemonstrationMask,
    Demonstrations,
    PerPlan,
    Plans,
    Scalar,
    StageRewards,
    StepRewards,
)

_SEED_STRIDE = 1_000_003


def member_seeds(seed: int, num_members: int) -> list[int]:
    """The seed of each member's weights, batches and noise; the first is the seed itself."""
    return [seed + member * _SEED_STRIDE for member in range(num_members)]


class EnsembleReward(nn.Module):
    """The mean of additive rewards.

    Args:
        members: additive rewards; learnt by matching, their scale is that of the guide, so they
            are averaged as they are.

    Raises:
        ValueError: if there are fewer than 2.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if len(members) < 2:
            raise ValueError(f"an ensemble has at least 2 members; there are {len(members)}")
        self.members: Any = nn.ModuleList(members)

    def member_step_rewards(self, plan: Plans) -> Float[Tensor, "member batch horizon"]:
        """The reward of each plan step by each member."""
        return torch.stack([member.step_rewards(plan) for member in self.members])

    def step_rewards(self, plan: Plans) -> StepRewards:
        """The reward of each plan step: the mean over members."""
        return self.member_step_rewards(plan).mean(0)

    def stage_rewards(self, plan: Plans) -> StageRewards:
        """The same, in the only stage there is."""
        return self.step_rewards(plan).unsqueeze(-1)

    def forward(self, plan: Plans) -> PerPlan:
        """The mean of the step rewards."""
        return self.step_rewards(plan).mean(-1)

    def apart(self, plan: Plans) -> PerPlan:
        """The reward of each plan by one member: the first part of the batch by the first, ..."""
        parts = zip(self.members, plan.tensor_split(len(self.members)), strict=True)
        return torch.cat([member(part) for member, part in parts])


@dataclass(frozen=True)
class Apart:
    """The sum of an objective over equal parts of a batch, each part by itself.

    Args:
        objective: of each part.
        num_parts: as many as members; the batch's size is a multiple of it.
    """

    objective: Objective
    num_parts: int

    def __call__(
        self, plans: Plans, demonstrations: Demonstrations, mask: DemonstrationMask | None = None
    ) -> Scalar:
        """As any objective; masked steps are those of its own part."""
        parts = [
            self.objective(own, shown, None if real is None or bool(real.all()) else real)
            for own, shown, real in zip(
                plans.tensor_split(self.num_parts),
                demonstrations.tensor_split(self.num_parts),
                self.num_parts * [None] if mask is None else mask.tensor_split(self.num_parts),
                strict=True,
            )
        ]
        return torch.stack(parts).sum()
