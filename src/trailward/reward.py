"""Reward models: plans to one number each; higher is better. Model space in."""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from trailward.checkpoint import CheckpointError, load_model, prefixed, save_model, submodule
from trailward.diffuser import SamplingConfig
from trailward.networks.fourier_features import RandomFourierFeatures
from trailward.normalizer import Normalizer, join_normalizers
from trailward.trajectory import PlanSpec, at_least
from trailward.typing import PerPlan, Plans, StepRewards
from trailward.value import RewardToGo, Value


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


class AdditiveReward(nn.Module):
    """The mean over plan steps of a small network on the step's observation (the default).

    A plain network is smooth: it can say "further this way is better", not "here and nowhere
    else". With ``num_local`` a second network, on random Fourier features, is added that can.
    Learning keeps the second small wherever the play data is (``local_penalty``), so that it
    takes up only what the first cannot say.

    Args:
        spec: what a plan holds.
        features: entries of the observation that it may see; all if None.
        hidden: widths of the hidden layers.
        num_local: random Fourier features of the local part; 0 leaves it out.
        local_frequency: of the local part, radians a unit of model space: its finest detail.

    Raises:
        ValueError: if a feature is not an entry of the observation.
    """

    features: Tensor

    def __init__(
        self,
        spec: PlanSpec,
        *,
        features: Sequence[int] | None = None,
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
        self.register_buffer("features", torch.tensor(chosen), persistent=False)
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
        return self.local(plan[..., self.features]).squeeze(-1)

    def step_rewards(self, plan: Plans) -> StepRewards:
        """The reward of each plan step by itself."""
        return self.network(plan[..., self.features]).squeeze(-1) + self.local_rewards(plan)

    def forward(self, plan: Plans) -> PerPlan:
        """The mean of the step rewards."""
        return self.step_rewards(plan).mean(-1)


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
        return self._true_step_rewards(observations)

    def __call__(self, plan: Plans) -> PerPlan:
        """The mean of the step rewards."""
        return self.step_rewards(plan).mean(-1)


REWARDS = {"additive": AdditiveReward, "linear": LinearReward, "mlp": MLPReward}
"""By the name used in flags and saved configurations."""


@dataclass(frozen=True)
class RewardConfig:
    """Constructor arguments of a reward model.

    Attributes:
        model: ``additive``, ``linear`` or ``mlp``.
        features: entries of the observation that ``additive`` may see; all if None.
        hidden: widths of the hidden layers of ``additive`` (64, 64 if None) and ``mlp``
            (384, 128, 64 if None: the thesis's).
        num_local: random Fourier features of the local part of ``additive``; 0 leaves it out.
        local_frequency: its finest detail, radians a unit of model space.
    """

    model: str = "additive"
    features: tuple[int, ...] | None = None
    hidden: tuple[int, ...] | None = None
    num_local: int = 0
    local_frequency: float = 8.0

    def __post_init__(self) -> None:
        at_least(0, self, "num_local", "local_frequency")

    def build(self, spec: PlanSpec) -> nn.Module:
        """A reward model with fresh weights.

        Raises:
            ValueError: if the model is unknown or a feature is not there.
        """
        if self.features is not None and self.model != "additive":
            msg = f"features {self.features} are for additive rewards; '{self.model}' sees all"
            raise ValueError(msg)
        if self.hidden is not None and self.model == "linear":
            raise ValueError(f"hidden {self.hidden} given, but a 'linear' reward has no layers")
        if self.model not in REWARDS:
            known = ", ".join(REWARDS)
            raise ValueError(f"reward model '{self.model}' is unknown; choose one of {known}")
        if self.num_local and self.model != "additive":
            msg = f"num_local {self.num_local} is for additive rewards, not for '{self.model}'"
            raise ValueError(msg)
        given: dict[str, Any] = {"features": self.features, "hidden": self.hidden}
        if self.num_local:
            given |= {"num_local": self.num_local, "local_frequency": self.local_frequency}
        own = {name: value for name, value in given.items() if value is not None}
        return REWARDS[self.model](spec, **own)


@dataclass(frozen=True)
class LearntReward:
    """A reward model with what it takes to use it: in environment units, or to plan with it.

    Attributes:
        model: the reward model, model space.
        spec: the plans it was learnt on.
        observation_normalizer: the play data's, from environment units to model space.
        action_normalizer: the same for actions.
        config: constructor arguments of ``model``.
        sampling: how plans were sampled and guided when it was learnt; plan with the same.
        diffuser_fingerprint: of the diffuser it was learnt with; plan with the same.
        provenance: command, seed, versions, objective and data.
        value: what lies beyond a plan's end, fitted to the reward; None if none was.
    """

    model: nn.Module
    spec: PlanSpec
    observation_normalizer: Normalizer
    action_normalizer: Normalizer
    config: RewardConfig
    sampling: SamplingConfig
    diffuser_fingerprint: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    value: Value | None = None

    @property
    def guide_model(self) -> Callable[[Plans], PerPlan]:
        """What guides plans: the reward, with the value added if there is one."""
        return self.model if self.value is None else RewardToGo(self.model, self.value)

    @property
    def is_additive(self) -> bool:
        """Whether it can say what a single observation is worth."""
        return isinstance(self.model, StepRewardModel)

    @torch.no_grad()
    def step_rewards(
        self, observations: Float[np.ndarray, "*axes observation"]
    ) -> Float[np.ndarray, "*axes"]:
        """Learnt reward of each observation (environment units), in learnt units.

        Raises:
            TypeError: if the reward model rewards whole plans only.
        """
        if not isinstance(self.model, StepRewardModel):
            msg = f"a '{self.config.model}' reward is of whole plans; learn an 'additive' one"
            raise TypeError(msg)
        flat = torch.as_tensor(observations, dtype=torch.float32).reshape(
            1, -1, self.spec.observation_dim
        )
        normalized = self.observation_normalizer.normalize(flat.to(self.device))
        rewards = self.model.step_rewards(normalized)
        return rewards.reshape(observations.shape[:-1]).cpu().numpy().astype(np.float64)

    @torch.no_grad()
    def plan_rewards(self, windows: Plans) -> Float[np.ndarray, "batch"]:
        """Learnt reward of whole windows (environment units), in learnt units."""
        joined = join_normalizers(self.observation_normalizer, self.action_normalizer, self.spec)
        rewards = self.model(joined.normalize(windows.to(self.device)))
        return rewards.cpu().numpy().astype(np.float64)

    @property
    def device(self) -> torch.device:
        """Where it is evaluated."""
        return self.observation_normalizer.shift.device

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write a model folder that :meth:`load` reads without data, denoiser or environment."""
        weights = prefixed("reward", self.model)
        weights |= prefixed("observation_normalizer", self.observation_normalizer)
        weights |= prefixed("action_normalizer", self.action_normalizer)
        if self.value is not None:
            weights |= prefixed("value", self.value)
        config = {
            "kind": "reward",
            "spec": self.spec.to_config(),
            "reward": asdict(self.config),
            "sampling": asdict(self.sampling),
            "value": None if self.value is None else self.value.to_config(),
            "diffuser_fingerprint": self.diffuser_fingerprint,
            "provenance": dict(self.provenance),
        }
        return save_model(folder, weights, config)

    @classmethod
    def load(
        cls, folder: str | os.PathLike[str], *, device: str | torch.device = "cpu"
    ) -> "LearntReward":
        """Read a model folder.

        Raises:
            CheckpointError: if it is missing, damaged, of another kind or does not fit its
                configuration.
        """
        weights, config = load_model(folder, "reward")
        try:
            spec, settings = PlanSpec(**config["spec"]), RewardConfig(**config["reward"])
            model = settings.build(spec)
            model.load_state_dict(submodule(weights, "reward"))
            observation, action = (
                Normalizer(**submodule(weights, f"{name}_normalizer")).to(device)
                for name in ("observation", "action")
            )
            sampling = SamplingConfig(**config["sampling"])
            fingerprint, facts = config["diffuser_fingerprint"], config["provenance"]
            value = None
            if config.get("value") is not None:
                value = Value(spec, **config["value"])
                value.load_state_dict(submodule(weights, "value"))
                value.to(device).requires_grad_(requires_grad=False)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{folder}: weights and configuration disagree: {error}"
            ) from None
        model.to(device).requires_grad_(requires_grad=False)
        return cls(model, spec, observation, action, settings, sampling, fingerprint, facts, value)


def _mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers with SiLU between: smooth, for guidance is differentiated once more.

    Mish, Diffuser's choice, is not used here: its second derivative overflows to NaN in PyTorch.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.SiLU()]
    return nn.Sequential(*layers[:-1])
