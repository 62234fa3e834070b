"""Several rewards learnt side by side, and used as their mean.

Each member begins with other weights and sees other batches and noise (deep ensembles,
Lakshminarayanan et al. 2017, arXiv 1612.01474, who found that to do better than to give each a
bootstrap of the data). What the demonstrations settle, members agree on; where they differ, the
reward is a guess.

In learning, the plans of all members are one batch: its first part is guided by the first member
and compared with the first member's demonstrations, and so on. Members share no weights, so one
gradient of the sum of their losses is the gradient of each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trailward.data.dataset import Dataset
from trailward.data.normalizer import Normalizer
from trailward.data.plan import PlanSpec
from trailward.errors import SettingsError, at_least, at_most
from trailward.randomness import seeds
from trailward.rewards.additive import AdditiveSettings
from trailward.rewards.contract import (
    REWARDS,
    RewardModel,
    RewardSettings,
    build_reward,
    from_config,
)
from trailward.typing import (
    Past,
    PerPlan,
    Plans,
    Scalar,
    Stages,
    StagesOfSteps,
    StepRewards,
)


def member_seeds(seed: int, num_members: int) -> list[int]:
    """The seed of each member's weights, batches and noise; the first is the seed itself."""
    return [seed, *seeds(seed, "ensemble: members", num_members - 1)][:num_members]


@dataclass(frozen=True, kw_only=True)
class EnsembleSettings(RewardSettings):
    """Settings of a reward ``ensemble``.

    Attributes:
        member: what each member is: settings, or the name of a kind.
        num_members: how many there are.
    """

    member: RewardSettings | str = field(default_factory=AdditiveSettings)
    num_members: int = 5

    def __post_init__(self) -> None:
        at_least(2, self, "num_members")
        at_most(1000, self, "num_members")

    def numbered(self, names: Sequence[str], count: int) -> "EnsembleSettings":
        """The same with the members' features by number."""
        if isinstance(self.member, str):
            return self
        return replace(self, member=self.member.numbered(names, count))

    def build(self, spec: PlanSpec, *, seed: int | None = None) -> "EnsembleReward":
        """An ensemble whose members have fresh weights, each by the seed of its own."""
        count = self.num_members
        each = count * [None] if seed is None else member_seeds(seed, count)
        return EnsembleReward([build_reward(self.member, spec, seed=own) for own in each])


@REWARDS.register("ensemble")
class EnsembleReward(RewardModel):
    """The mean of rewards of single steps.

    Args:
        members: rewards of one kind; learnt by matching, their scale is that of the guide, so
            they are averaged as they are.

    Raises:
        SettingsError: if there are fewer than 2, or they reward whole plans only.
    """

    Settings = EnsembleSettings

    def __init__(self, members: Sequence[RewardModel]) -> None:
        count = len(members)
        if count < 2:
            raise SettingsError(place="num_members", value=count, remedy="it must be at least 2")
        first = members[0]
        if not first.per_step:
            msg = f"num_members is {count}, but an ensemble is of additive rewards"
            remedy = f"set it to 1 for a reward '{first.name}', or learn an 'additive' reward"
            raise SettingsError(msg, place="num_members", value=count, remedy=remedy)
        super().__init__(first.spec, inputs=first.inputs.tolist())
        self.parts: Any = nn.ModuleList(members)
        self.num_stages = first.num_stages

    def members(self) -> Sequence[RewardModel]:
        """The rewards that it is the mean of."""
        return tuple(self.parts)

    def observe(self, steps: Plans, past: Past | None = None) -> Stages:
        """The stage at each step; it is the same to all members."""
        return self.parts[0].observe(steps, past)

    def member_step_rewards(self, plan: Plans) -> Float[Tensor, "member batch horizon"]:
        """The reward of each plan step by each member."""
        return torch.stack([member.step_rewards(plan) for member in self.parts])

    def step_rewards(self, plan: Plans, past: StagesOfSteps | None = None) -> StepRewards:
        """The reward of each plan step: the mean over members."""
        return torch.stack([member.step_rewards(plan, past) for member in self.parts]).mean(0)

    def penalty(self, plan: Plans) -> Scalar:
        """The sum over members."""
        return torch.stack([member.penalty(plan) for member in self.parts]).sum()

    def prepared(
        self, demonstrations: Dataset, normalizer: Normalizer
    ) -> tuple[RewardModel, Mapping[str, float]]:
        """The ensemble of what its members become.

        Raises:
            SettingsError: if the demonstrations call for rewards that remember.
        """
        found = [member.prepared(demonstrations, normalizer) for member in self.parts]
        if found[0][0].num_stages > 1:
            msg = (
                f"num_members is {len(found)}, but these demonstrations call for a reward that "
                "remembers, and an ensemble is of additive ones"
            )
            remedy = "set it to 1, or learn an 'additive' reward"
            raise SettingsError(msg, place="num_members", value=len(found), remedy=remedy)
        return EnsembleReward([member for member, _ in found]), found[0][1]

    def separately(self) -> RewardModel:
        """Each plan judged by one member: the first part of the batch by the first, ..."""
        return _Separately(self)

    def to_config(self) -> dict[str, Any]:
        """The kind and settings of its members, and how many there are."""
        member = self.parts[0].to_config()
        return {"model": self.name, "settings": {"num_members": len(self.parts), "member": member}}

    @classmethod
    def from_settings(
        cls, settings: Mapping[str, Any], spec: PlanSpec, *, allow_import: bool = False
    ) -> "EnsembleReward":
        """An ensemble with fresh weights, of what :meth:`to_config` gave."""
        member = settings.get("member", {"model": "additive", "settings": {}})
        count = range(settings.get("num_members", EnsembleSettings.num_members))
        return cls([from_config(member, spec, allow_import=allow_import) for _ in count])


class _Separately(RewardModel):
    """An ensemble of which each member judges an equal part of the batch."""

    def __init__(self, ensemble: EnsembleReward) -> None:
        super().__init__(ensemble.spec, inputs=ensemble.inputs.tolist())
        self.ensemble: Any = ensemble
        self.num_stages = ensemble.num_stages

    def observe(self, steps: Plans, past: Past | None = None) -> Stages:
        return self.ensemble.observe(steps, past)

    def step_rewards(self, plan: Plans, past: StagesOfSteps | None = None) -> StepRewards:
        members = self.ensemble.members()
        plans, count = plan.tensor_split(len(members)), len(members)
        pasts = count * [None] if past is None else past.tensor_split(count)
        parts = zip(members, plans, pasts, strict=True)
        return torch.cat([member.step_rewards(*given) for member, *given in parts])

    def forward(self, plan: Plans, past: StagesOfSteps | None = None) -> PerPlan:
        return self.step_rewards(plan, past).mean(-1)
