"""Known entries of a plan, written back after every reverse step (inpainting)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trailward.data.plan import PlanSpec
from trailward.typing import Plans


@dataclass(frozen=True)
class Condition:
    """Which entries of each plan are known, and their values.

    Attributes:
        known: shape (batch, horizon, transition).
        values: the same shape, model space; read only where ``known``.
    """

    known: Bool[Tensor, "batch horizon transition"]
    values: Plans

    def __call__(self, plan: Plans) -> Plans:
        """The plan with its known entries in place; the argument is left as it is."""
        return torch.where(self.known, self.values, plan)


def condition_on(
    spec: PlanSpec,
    first: Float[Tensor, "batch observation"],
    last: Float[Tensor, "batch observation"] | None = None,
) -> Condition:
    """Fix the first observation of each plan and, optionally, the last one.

    Args:
        spec: what a plan holds.
        first: the observations that plans start from, model space.
        last: the observations that plans end at, model space.
    """
    entries = torch.arange(spec.transition_dim, device=first.device) < spec.observation_dim
    steps = torch.arange(spec.horizon, device=first.device)
    padding = first.new_zeros(len(first), spec.transition_dim - spec.observation_dim)
    ends = torch.cat([first if last is None else last, padding], dim=-1)
    starts = torch.cat([first, padding], dim=-1)
    is_first = (steps == 0).unsqueeze(-1)
    fixed = is_first if last is None else is_first | (steps == spec.horizon - 1).unsqueeze(-1)
    values = torch.where(is_first, starts.unsqueeze(1), ends.unsqueeze(1))
    return Condition((fixed & entries).expand(values.shape), values)
