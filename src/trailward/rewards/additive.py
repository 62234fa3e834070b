"""The usual reward: the mean over plan steps of a small network on each of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trailward.data.entries import entry_numbers
from trailward.data.plan import PlanSpec
from trailward.diffusion.networks.fourier_features import RandomFourierFeatures
from trailward.errors import SettingsError, at_least
from trailward.rewards.contract import REWARDS, RewardModel, RewardSettings
from trailward.rewards.whole_plan import check_layers, mlp
from trailward.typing import Plans, Scalar, StagesOfSteps, StepRewards


@dataclass(frozen=True, kw_only=True)
class AdditiveSettings(RewardSettings):
    """Settings of a reward ``additive``.

    Attributes:
        features: entries of the observation that the reward may see, by number or, where they have
            names, by name; all if None.
        unmoved: entries of the observation, by number, that nobody moves, such as the weather: the
            reward sees them, but no guide moves them.
        sees_actions: whether it sees the actions that follow the observation too, so that it can
            say how to act, not only where to be.
        hidden: widths of the hidden layers.
        num_local: random Fourier features of the local part; 0 leaves it out.
        local_frequency: highest frequency of the local part, which is its finest detail; radians
            a unit of model space.
    """

    features: tuple[int | str, ...] | None = None
    unmoved: tuple[int, ...] = ()
    sees_actions: bool = False
    hidden: tuple[int, ...] = (64, 64)
    num_local: int = 0
    local_frequency: float = 8.0

    def __post_init__(self) -> None:
        at_least(0, self, "num_local", "local_frequency")
        check_layers(self.hidden)

    def numbered(self, names: Sequence[str], count: int) -> "AdditiveSettings":
        """The same with features by number."""
        if self.features is None or all(isinstance(each, int) for each in self.features):
            return self
        return replace(self, features=entry_numbers(self.features, names, count, what="features"))

    def inputs(self, spec: PlanSpec) -> tuple[int, ...]:
        """Entries of a plan step that the reward sees.

        Raises:
            SettingsError: if a feature is not an entry of the observation, or actions are to be
                seen and plans have none.
        """
        every = range(spec.observation_dim)
        chosen: Any = tuple(every if self.features is None else self.features)
        if not chosen or any(feature not in every for feature in chosen):
            msg = f"features are {chosen}"
            remedy = f"name at least one entry of the observation, each in 0 to {len(every) - 1}"
            raise SettingsError(msg, place="features", value=chosen, remedy=remedy)
        if not self.sees_actions:
            return chosen
        if not spec.with_actions:
            msg = "sees_actions is True, but plans are over states only"
            remedy = "train a diffuser with_actions"
            raise SettingsError(msg, place="sees_actions", value=True, remedy=remedy)
        return chosen + tuple(range(spec.observation_dim, spec.transition_dim))


@REWARDS.register("additive")
class AdditiveReward(RewardModel):
    """The mean over plan steps of a small network on each of them.

    A plain network is smooth: it can say "further this way is better", not "here and nowhere
    else". With ``num_local`` a second network, on random Fourier features, is added that can.
    Learning keeps the second small wherever the play data is (:meth:`penalty`), so that it takes
    up only what the first cannot say.

    Args:
        spec: what a plan holds.
        settings: what it sees and how large it is.
        changes: single settings, by name.

    Raises:
        SettingsError: if a feature is not an entry of the observation, or it is to see actions
            and plans have none.
    """

    Settings = AdditiveSettings
    fixed: Tensor

    def __init__(
        self, spec: PlanSpec, settings: AdditiveSettings = AdditiveSettings(), **changes: Any
    ) -> None:
        settings = replace(settings, **changes)
        inputs = settings.inputs(spec)
        super().__init__(spec, settings, inputs=inputs)
        fixed = torch.tensor([entry in settings.unmoved for entry in inputs])
        self._has_fixed = bool(fixed.any())
        self.register_buffer("fixed", fixed, persistent=False)
        self.network = mlp([len(inputs), *settings.hidden, 1])
        self.local: nn.Sequential | None = None
        if settings.num_local:
            local = RandomFourierFeatures(len(inputs), settings.num_local, settings.local_frequency)
            self.local = nn.Sequential(local, mlp([local.num_features, *settings.hidden, 1]))
            for weights in list(self.local.parameters())[-2:]:
                nn.init.zeros_(weights)

    def local_rewards(self, plan: Plans) -> StepRewards:
        """The local part of :meth:`step_rewards`; zero if there is none."""
        if self.local is None:
            return plan.new_zeros(plan.shape[:2])
        return self.local(self._seen(plan)).squeeze(-1)

    def step_rewards(self, plan: Plans, past: StagesOfSteps | None = None) -> StepRewards:
        """The reward of each plan step by itself, whatever came before."""
        return self.network(self._seen(plan)).squeeze(-1) + self.local_rewards(plan)

    def _seen(self, plan: Plans) -> Float[Tensor, "batch horizon entry"]:
        """What it sees of each plan step; entries that nobody moves have no gradient."""
        seen = plan[..., self.inputs]
        return torch.where(self.fixed, seen.detach(), seen) if self._has_fixed else seen

    def penalty(self, plan: Plans) -> Scalar:
        """The mean square of the local part."""
        return self.local_rewards(plan).square().mean()
