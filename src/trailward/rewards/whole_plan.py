"""The thesis's rewards of whole plans: linear, a network on the flattened plan, convolutions.

They weigh plan steps differently, so they cannot say what one observation is worth.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from trailward.data.plan import PlanSpec
from trailward.errors import SettingsError
from trailward.rewards.contract import REWARDS, RewardModel, RewardSettings
from trailward.typing import PerPlan, Plans, StagesOfSteps


def check_layers(hidden: Sequence[int]) -> None:
    """Refuse hidden layers without units.

    Raises:
        SettingsError: if there is one.
    """
    if min(hidden, default=1) < 1:
        raise SettingsError(place="hidden", value=hidden, remedy="give each layer at least 1 unit")


@dataclass(frozen=True, kw_only=True)
class MLPSettings(RewardSettings):
    """Settings of a reward ``mlp``.

    Attributes:
        hidden: widths of the hidden layers; the thesis has 384, 128, 64 on its smallest task.
    """

    hidden: tuple[int, ...] = (384, 128, 64)

    def __post_init__(self) -> None:
        check_layers(self.hidden)


@dataclass(frozen=True, kw_only=True)
class ConvSettings(RewardSettings):
    """Settings of a reward ``conv``.

    Attributes:
        hidden: channels of the convolutions, and then the width of the last hidden layer.
    """

    hidden: tuple[int, ...] = (32, 64, 128)

    def __post_init__(self) -> None:
        check_layers(self.hidden)
        if not self.hidden:
            remedy = "give a 'conv' reward at least one layer"
            raise SettingsError(place="hidden", value=self.hidden, remedy=remedy)


@dataclass(frozen=True, kw_only=True)
class LinearSettings(RewardSettings):
    """A reward ``linear`` has nothing to set."""


@REWARDS.register("linear")
class LinearReward(RewardModel):
    """A weight for each entry of the flattened plan, no bias.

    Args:
        spec: what a plan holds.
        settings: nothing to set.
    """

    per_step = False
    Settings = LinearSettings

    def __init__(self, spec: PlanSpec, settings: LinearSettings = LinearSettings()) -> None:
        super().__init__(spec, settings)
        self.weight = nn.Parameter(torch.zeros(spec.horizon, spec.transition_dim))

    def forward(self, plan: Plans, past: StagesOfSteps | None = None) -> PerPlan:
        """The weighted sum of the plan's entries."""
        return (plan * self.weight).sum((1, 2))


@REWARDS.register("mlp")
class MLPReward(RewardModel):
    """A network on the flattened plan; it holds one horizon only.

    Args:
        spec: what a plan holds.
        settings: how wide it is.
        changes: single settings, by name.
    """

    per_step = False
    Settings = MLPSettings

    def __init__(
        self, spec: PlanSpec, settings: MLPSettings = MLPSettings(), **changes: Any
    ) -> None:
        settings = replace(settings, **changes)
        super().__init__(spec, settings)
        self.network = mlp([spec.horizon * spec.transition_dim, *settings.hidden, 1])

    def forward(self, plan: Plans, past: StagesOfSteps | None = None) -> PerPlan:
        """One number a plan."""
        return self.network(plan.flatten(1)).squeeze(-1)


@REWARDS.register("conv")
class ConvReward(RewardModel):
    """The thesis's model for locomotion, after Diffuser's value network: convolutions over time.

    Each layer halves the number of plan steps; what is left is mapped to one number. It holds one
    horizon only.

    Args:
        spec: what a plan holds.
        settings: how wide it is.
        changes: single settings, by name.
    """

    per_step = False
    Settings = ConvSettings

    def __init__(
        self, spec: PlanSpec, settings: ConvSettings = ConvSettings(), **changes: Any
    ) -> None:
        settings = replace(settings, **changes)
        super().__init__(spec, settings)
        hidden, length = settings.hidden, spec.horizon
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise([spec.transition_dim, *hidden[:-1]]):
            layers += [nn.Conv1d(inputs, outputs, 5, stride=2, padding=2), nn.SiLU()]
            length = (length + 1) // 2
        self.convolutions = nn.Sequential(*layers)
        width = hidden[-2] if layers else spec.transition_dim
        self.network = mlp([length * width, hidden[-1], 1])

    def forward(self, plan: Plans, past: StagesOfSteps | None = None) -> PerPlan:
        """One number a plan."""
        features = self.convolutions(plan.transpose(1, 2))
        return self.network(features.flatten(1)).squeeze(-1)


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers with SiLU between: smooth, for guidance is differentiated once more.

    Mish, Diffuser's choice, is not used here: its second derivative overflows to NaN in PyTorch.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.SiLU()]
    return nn.Sequential(*layers[:-1])
