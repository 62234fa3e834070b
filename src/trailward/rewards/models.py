"""Reward models: plans to one number each; higher is better. Model space in."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from trailward.data.episode import at_least, at_most
from trailward.data.normalizer import Normalizer
from trailward.data.plan import PlanSpec
from trailward.diffusion.networks.fourier_features import RandomFourierFeatures
from trailward.rewards.ensemble import EnsembleReward, member_seeds
from trailward.rewards.memory import Memory, Remembered, Times, WithMemory
from trailward.typing import PerPlan, Plans, StageRewards, StepRewards


@runtime_checkable
class RewardModel(Protocol):
    """Higher is better."""

    def __call__(self, plan: Plans) -> PerPlan:
        """The reward of each plan, model space in, learnt units out."""
        ...


@runtime_checkable
class StepRewardModel(Protocol):
    """A reward model whose plan reward is the mean over time of a reward of each step.

    Only such a model can say what a single observation is worth, which whole-episode ERC, reward
    maps and reinforcement learning on the reward need.
    """

    def __call__(self, plan: Plans) -> PerPlan:
        """The mean of :meth:`step_rewards` over time."""
        ...

    def step_rewards(self, plan: Plans) -> StepRewards:
        """The reward of each plan step by itself."""
        ...


class LinearReward(nn.Module):
    """The thesis's linear model: a weight for each entry of the flattened plan, no bias.

    It weighs plan steps differently, so it cannot say what one observation is worth.

    Args:
        spec: what a plan holds.
    """

    def __init__(self, spec: PlanSpec) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(spec.horizon, spec.transition_dim))

    def forward(self, plan: Plans) -> PerPlan:
        """The weighted sum of the plan's entries."""
        return (plan * self.weight).sum((1, 2))


class MLPReward(nn.Module):
    """The thesis's model: a four-layer network on the flattened plan.

    It cannot say what one observation is worth, and holds one horizon only. The hidden widths are
    the thesis's for U-Maze (768-384-128-64-1).

    Args:
        spec: what a plan holds.
        hidden: widths of the three hidden layers.
    """

    def __init__(self, spec: PlanSpec, *, hidden: Sequence[int] = (384, 128, 64)) -> None:
        super().__init__()
        self.network = _mlp([spec.horizon * spec.transition_dim, *hidden, 1])

    def forward(self, plan: Plans) -> PerPlan:
        """One number a plan."""
        return self.network(plan.flatten(1)).squeeze(-1)


class ConvReward(nn.Module):
    """The thesis's model for HalfCheetah, after Diffuser's value network: convolutions over time.

    Each layer halves the number of plan steps; what is left is mapped to one number. It holds one
    horizon only, and cannot say what one observation is worth.

    Args:
        spec: what a plan holds.
        hidden: channels of the convolutions, and then the width of the last hidden layer.
    """

    def __init__(self, spec: PlanSpec, *, hidden: Sequence[int] = (32, 64, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        length = spec.horizon
        for inputs, outputs in itertools.pairwise([spec.transition_dim, *hidden[:-1]]):
            layers += [nn.Conv1d(inputs, outputs, 5, stride=2, padding=2), nn.SiLU()]
            length = (length + 1) // 2
        self.convolutions = nn.Sequential(*layers)
        self.network = _mlp(
            [length * (hidden[-2] if layers else spec.transition_dim), hidden[-1], 1]
        )

    def forward(self, plan: Plans) -> PerPlan:
        """One number a plan."""
        features = self.convolutions(plan.transpose(1, 2))
        return self.network(features.flatten(1)).squeeze(-1)


class AdditiveReward(nn.Module):
    """The mean over plan steps of a small network on each of them (the default).

    A plain network is smooth: it can say "further this way is better", not "here and nowhere
    else". With ``num_local`` a second network, on random Fourier features, is added that can.
    Learning keeps the second small wherever the play data is (``local_penalty``), so that it
    takes up only what the first cannot say.

    Args:
        spec: what a plan holds.
        features: entries of the observation that it may see; all if None.
        sees_actions: whether it sees the actions that follow the observation too, so that it can
            say how to act, not only where to be.
        hidden: widths of the hidden layers.
        num_local: random Fourier features of the local part; 0 leaves it out.
        local_frequency: of the local part, radians a unit of model space: its finest detail.

    Raises:
        ValueError: if a feature is not an entry of the observation, or it is to see actions and
            plans have none.
    """

    inputs: Tensor

    def __init__(
        self,
        spec: PlanSpec,
        *,
        features: Sequence[int] | None = None,
        sees_actions: bool = False,
        hidden: Sequence[int] = (64, 64),
        num_local: int = 0,
        local_frequency: float = 8.0,
    ) -> None:
        super().__init__()
        chosen = tuple(range(spec.observation_dim)) if features is None else tuple(features)
        outside = [f for f in chosen if not 0 <= f < spec.observation_dim]
        if outside or not chosen:
            msg = (
                f"features are {chosen}; name at least one entry of the observation, "
                f"each in 0 to {spec.observation_dim - 1}"
            )
            raise ValueError(msg)
        if sees_actions and not spec.with_actions:
            raise ValueError("sees_actions: plans are over states only; train one with_actions")
        if sees_actions:
            chosen += tuple(range(spec.observation_dim, spec.transition_dim))
        self.register_buffer("inputs", torch.tensor(chosen), persistent=False)
        self.network = _mlp([len(chosen), *hidden, 1])
        self.local: nn.Sequential | None = None
        if num_local:
            local = RandomFourierFeatures(len(chosen), num_local, local_frequency)
            self.local = nn.Sequential(local, _mlp([local.num_features, *hidden, 1]))
            for weights in list(self.local.parameters())[-2:]:
                nn.init.zeros_(weights)

    def local_rewards(self, plan: Plans) -> StepRewards:
        """The local part of :meth:`step_rewards`; zero if there is none."""
        if self.local is None:
            return plan.new_zeros(plan.shape[:2])
        return self.local(plan[..., self.inputs]).squeeze(-1)

    def step_rewards(self, plan: Plans) -> StepRewards:
        """The reward of each plan step by itself."""
        return self.network(plan[..., self.inputs]).squeeze(-1) + self.local_rewards(plan)

    def stage_rewards(self, plan: Plans) -> StageRewards:
        """The same, in the only stage there is."""
        return self.step_rewards(plan).unsqueeze(-1)

    def forward(self, plan: Plans) -> PerPlan:
        """The mean of the step rewards."""
        return self.step_rewards(plan).mean(-1)


class StagedReward(nn.Module):
    """Two additive rewards: one until a place has been visited, another from then on.

    It holds tasks of whole trajectories, such as "go to A before B", which no reward of single
    observations can. Which place it is, :func:`~trailward.rewards.memory.fit_memory` reads off the
    demonstrations before the two rewards are learnt.

    Args:
        spec: what a plan holds.
        features: entries of the observation that the rewards and the memory may see; all if None.
        memory_radius: how near counts as a visit, model space.
        additive: further arguments of each :class:`AdditiveReward`.
    """

    def __init__(
        self,
        spec: PlanSpec,
        *,
        features: Sequence[int] | None = None,
        memory_radius: float = 0.05,
        **additive: Any,
    ) -> None:
        super().__init__()
        self.before = AdditiveReward(spec, features=features, **additive)
        self.after = AdditiveReward(spec, features=features, **additive)
        seen = range(spec.observation_dim) if features is None else features
        self.memory = Memory(seen, radius=memory_radius)

    def stage_rewards(self, plan: Plans) -> StageRewards:
        """The reward of each plan step by itself, before the visit and after it."""
        return torch.stack([self.before.step_rewards(plan), self.after.step_rewards(plan)], -1)

    def local_rewards(self, plan: Plans) -> StageRewards:
        """The local part of :meth:`stage_rewards`; zero if there is none."""
        return torch.stack([self.before.local_rewards(plan), self.after.local_rewards(plan)], -1)

    def remember(
        self, observations: Times, remembered: Remembered | None = None
    ) -> Bool[Tensor, "batch time"]:
        """Whether the place has been visited at or before each observation, model space."""
        return self._with_memory.remember(observations, remembered)

    def given(self, remembered: Remembered) -> Callable[[Plans], PerPlan]:
        """The reward of plans before which the place has been visited or not."""
        return self._with_memory.given(remembered)

    def step_rewards(self, plan: Plans) -> StepRewards:
        """The reward of each plan step, in the stage that those before it have led to."""
        return self._with_memory.step_rewards(plan)

    def forward(self, plan: Plans) -> PerPlan:
        """The mean of the step rewards."""
        return self._with_memory(plan)

    @property
    def _with_memory(self) -> WithMemory:
        return WithMemory(self.memory, self.stage_rewards)


class KnownReward:
    """A true reward as a reward model: a guide for demonstrators, and the yardstick.

    Args:
        true_step_rewards: observations (environment units) to rewards, differentiable.
        normalizer: of the plans it will be given.
        spec: what a plan holds.
    """

    def __init__(
        self, true_step_rewards: Callable[[Tensor], Tensor], normalizer: Normalizer, spec: PlanSpec
    ) -> None:
        self._true_step_rewards, self._normalizer, self._spec = true_step_rewards, normalizer, spec

    def step_rewards(self, plan: Plans) -> StepRewards:
        """The true reward of each plan step."""
        observations, _ = self._spec.split(self._normalizer.unnormalize(plan))
        return self._true_step_rewards(observations).to(plan)

    def __call__(self, plan: Plans) -> PerPlan:
        """The mean of the step rewards."""
        return self.step_rewards(plan).mean(-1)


REWARDS = {
    "additive": AdditiveReward,
    "staged": StagedReward,
    "linear": LinearReward,
    "mlp": MLPReward,
    "conv": ConvReward,
}
"""By the name used in flags and saved configurations."""


@dataclass(frozen=True)
class RewardConfig:
    """Constructor arguments of a reward model.

    Attributes:
        model: ``additive``; ``staged``, which learning makes ``additive`` if the demonstrations
            call for no memory; ``linear``, ``mlp`` or ``conv``.
        features: entries of the observation that the reward may see, by number or, where they have
            names, by name; all if None (not for ``linear``, ``mlp`` and ``conv``, which see all).
        sees_actions: whether ``additive`` and ``staged`` see actions too; the others see all.
        hidden: widths of the hidden layers of ``additive`` and ``staged`` (64, 64 if None), of
            ``mlp`` (384, 128, 64 if None: the thesis's) and of ``conv`` (32, 64, 128 if None).
        num_local: random Fourier features of the local part of ``additive`` and ``staged``; 0
            leaves it out.
        local_frequency: its finest detail, radians a unit of model space.
        memory_radius: how near to the place that ``staged`` remembers counts as a visit, model
            space.
        num_members: additive rewards of which it is the mean; 1 is a plain reward.
    """

    model: str = "additive"
    features: tuple[int | str, ...] | None = None
    sees_actions: bool = False
    hidden: tuple[int, ...] | None = None
    num_local: int = 0
    local_frequency: float = 8.0
    memory_radius: float = 0.05
    num_members: int = 1

    def __post_init__(self) -> None:
        at_least(1, self, "num_members")
        at_most(1000, self, "num_members")
        at_least(0, self, "num_local", "local_frequency", "memory_radius")
        if min(self.hidden or (1,)) < 1:
            raise ValueError(f"hidden is {self.hidden}; each layer must have at least 1 unit")

    def build(self, spec: PlanSpec, *, seed: int | None = None) -> nn.Module:
        """A reward model with fresh weights.

        Args:
            spec: what a plan holds.
            seed: PyTorch's is set to it, or to that of each member; left as it is if None.

        Raises:
            ValueError: if the model is unknown or a feature is not there.
        """
        self._check()
        if self.num_members > 1:
            one, count = replace(self, num_members=1), self.num_members
            seeds = count * [None] if seed is None else member_seeds(seed, count)
            return EnsembleReward([one.build(spec, seed=each) for each in seeds])
        if seed is not None:
            torch.manual_seed(seed)
        given: dict[str, Any] = {"features": self.features, "hidden": self.hidden}
        if self.sees_actions:
            given["sees_actions"] = True
        if self.num_local:
            given |= {"num_local": self.num_local, "local_frequency": self.local_frequency}
        if self.model == "staged":
            given["memory_radius"] = self.memory_radius
        own = {name: value for name, value in given.items() if value is not None}
        return REWARDS[self.model](spec, **own)

    def _check(self) -> None:
        of_steps = self.model in ("additive", "staged")
        if self.features is not None and not of_steps:
            msg = f"features {self.features} are for additive rewards; '{self.model}' sees all"
            raise ValueError(msg)
        if self.hidden is not None and self.model == "linear":
            raise ValueError(f"hidden {self.hidden} given, but a 'linear' reward has no layers")
        if self.hidden == () and self.model == "conv":
            raise ValueError("hidden is (); a 'conv' reward must have at least one layer")
        if self.model not in REWARDS:
            known = ", ".join(REWARDS)
            raise ValueError(f"reward model '{self.model}' is unknown; choose one of {known}")
        if self.num_local and not of_steps:
            msg = f"num_local {self.num_local} is for additive rewards, not for '{self.model}'"
            raise ValueError(msg)
        if self.sees_actions and not of_steps:
            raise ValueError(f"sees_actions is for additive rewards; '{self.model}' sees all")
        if self.num_members > 1 and self.model != "additive":
            msg = (
                f"num_members is {self.num_members}, but an ensemble is of additive rewards, not "
                f"of '{self.model}' ones; set it to 1, or learn an 'additive' reward"
            )
            raise ValueError(msg)


def _mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers with SiLU between: smooth, for guidance is differentiated once more.

    Mish, Diffuser's choice, is not used here: its second derivative overflows to NaN in PyTorch.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.SiLU()]
    return nn.Sequential(*layers[:-1])
