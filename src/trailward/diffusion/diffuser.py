"""A trained diffusion model of play data, with all that planning and learning need of it."""

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trailward.checkpoint import (
    load_model,
    prefixed,
    readable,
    save_model,
    size_limit,
    submodule,
)
from trailward.data.episode import Columns
from trailward.data.normalizer import Normalizer, join_normalizers
from trailward.data.plan import PlanSpec
from trailward.diffusion.adjoint import Adjoint, full
from trailward.diffusion.conditioning import condition_on
from trailward.diffusion.denoiser import PARAMETERIZATIONS
from trailward.diffusion.guide import GUIDES, Guide
from trailward.diffusion.inverse_dynamics import InverseDynamics
from trailward.diffusion.networks import NETWORKS
from trailward.diffusion.sampler import parse_reverse_step, sample
from trailward.diffusion.schedule import Move, NoiseSchedule, cosine_schedule
from trailward.errors import SettingsError, at_least, at_most
from trailward.running.limits import check_memory
from trailward.typing import PerPlan, Plans

_MANY = 10_000
"""Plans at once from which on it is looked whether there is memory for them."""

_SKIPPED = 0.84
"""Share of the moves that are left out where plans begin near given ones."""

_OF_GUIDES = {"scale", "stop_step", "repeats", "use_variance"}


@dataclass(frozen=True)
class DenoiserConfig:
    """Constructor arguments of a denoiser.

    Attributes:
        network: ``transformer``, ``mlp`` or ``unet``; or ``module:Name`` (in Python the class
            itself), which takes ``(transition_dim, horizon)`` and, by name, any of the next three.
        width: width of the network.
        depth: layers of the transformer and the MLP; the U-Net's levels are its ``multipliers``.
        multipliers: channels of the U-Net's levels, in units of ``width``.
        parameterization: what the network predicts: ``clean``, ``noise`` or ``velocity``.
        num_diffusion_steps: steps of the cosine schedule.
    """

    network: str = "transformer"
    width: int = 96
    depth: int = 3
    multipliers: tuple[int, ...] = (1, 4, 8)
    parameterization: str = "clean"
    num_diffusion_steps: int = 64

    def __post_init__(self) -> None:
        if not isinstance(self.network, str):
            object.__setattr__(self, "network", NETWORKS.name_of(self.network))
        at_least(1, self, "width", "depth", "num_diffusion_steps")
        at_most(100_000, self, "num_diffusion_steps")
        at_most(1000, self, "depth")
        if not self.multipliers or min(self.multipliers) < 1:
            remedy = "give at least one, each at least 1"
            msg, value = f"multipliers are {self.multipliers}", self.multipliers
            raise SettingsError(msg, place="multipliers", value=value, remedy=remedy)

    def build(self, spec: PlanSpec) -> tuple[nn.Module, NoiseSchedule]:
        """A denoiser with fresh weights, and its schedule.

        Raises:
            UnknownPartError: if there is no such network.
            SettingsError: if there is no such parameterization, or the width does not fit.
        """
        kind = NETWORKS.find(self.network)
        if self.parameterization not in PARAMETERIZATIONS:
            named, remedy = self.parameterization, f"choose {' or '.join(PARAMETERIZATIONS)}"
            raise SettingsError(place="parameterization", value=named, remedy=remedy)
        own = set(inspect.signature(kind).parameters) & {"width", "depth", "multipliers"}
        given = {name: getattr(self, name) for name in own}
        network = kind(spec.transition_dim, spec.horizon, **given)
        schedule = cosine_schedule(self.num_diffusion_steps)
        return PARAMETERIZATIONS[self.parameterization](network, schedule), schedule


@dataclass(frozen=True)
class SamplingConfig:
    """How plans are sampled and guided; the same when a reward is learnt and when it is used.

    Attributes:
        sampler: ``ddpm``, ``ddim`` or ``ddim:ETA``.
        num_steps: reverse steps of the sampler.
        guide: ``clean`` or ``noisy``: where the reward's gradient is taken and added; or
            ``module:Name``, a :class:`~trailward.diffusion.guide.Guide` that takes the reward
            model and, by name, any of the next four.
        scale: strength of the guide; 0 is no guidance.
        stop_step: diffusion steps below this one are not guided.
        repeats: corrections in one reverse step (``noisy`` only).
        use_variance: whether to scale by the posterior variance (``noisy`` only).
        temperature: standard deviation of the noise that plans are made from; below 1 they vary
            less and keep to what is likely.
    """

    sampler: str = "ddim"
    num_steps: int = 8
    guide: str = "clean"
    scale: float = 0.3
    stop_step: int = 16
    repeats: int = 2
    use_variance: bool = True
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.guide, str):
            object.__setattr__(self, "guide", GUIDES.name_of(self.guide))
        GUIDES.find(self.guide)
        parse_reverse_step(self.sampler)
        at_least(1, self, "num_steps", "repeats")
        at_least(0, self, "scale", "stop_step", "temperature")

    def build_guide(self, reward_model: Callable[[Plans], PerPlan]) -> Guide:
        """The guide of a reward model, with those of these settings that it has by name."""
        kind = GUIDES.find(self.guide)
        own = set(inspect.signature(kind).parameters) & _OF_GUIDES
        return kind(reward_model, **{name: getattr(self, name) for name in own})


def sampling_from_config(
    config: Mapping[str, Any], *, allow_import: bool = False
) -> SamplingConfig:
    """Saved settings of sampling.

    Args:
        config: fields of :class:`SamplingConfig`.
        allow_import: whether a guide named ``module:Name`` may import its module.

    Raises:
        UnknownPartError: if the guide is unknown, or its module may not be imported.
    """
    GUIDES.find(config["guide"], may_import=allow_import)
    return SamplingConfig(**config)


@dataclass(frozen=True, kw_only=True)
class Diffuser:
    """A frozen denoiser of play data, its normalizers, and the way from plans to actions.

    Attributes:
        spec: what its plans hold.
        observation_normalizer: the play data's; used for demonstrations too.
        action_normalizer: the play data's.
        denoiser: averaged weights, frozen.
        schedule: the noise schedule it was trained with.
        inverse_dynamics: finds actions for plans over states only; None if plans carry actions,
            or none were recorded.
        config: constructor arguments of the denoiser.
        provenance: command, seed, versions and data it was made from.
        columns: what the play data's entries are called.
    """

    spec: PlanSpec
    observation_normalizer: Normalizer
    action_normalizer: Normalizer
    denoiser: nn.Module
    schedule: NoiseSchedule
    inverse_dynamics: InverseDynamics | None
    config: DenoiserConfig
    provenance: Mapping[str, Any] = field(default_factory=dict)
    columns: Columns = Columns()

    @cached_property
    def normalizer(self) -> Normalizer:
        """Maps whole transitions."""
        return join_normalizers(self.observation_normalizer, self.action_normalizer, self.spec)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of plan layout, configuration and weights."""
        facts = json.dumps([self.spec.to_config(), asdict(self.config)])
        digest = hashlib.sha256(facts.encode())
        for name, module in self._modules().items():
            for weights in prefixed(name, module).values():
                digest.update(weights.float().contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def device(self) -> torch.device:
        """Where plans are sampled."""
        return self.observation_normalizer.shift.device

    def check_memory(self, num_plans: int) -> None:
        """Refuse more plans at once than there is memory for.

        Raises:
            SettingsError: names them, with an estimate.
        """
        step = 8 * self.spec.transition_dim + 4 * self.config.width
        entries = num_plans * self.spec.horizon * step
        check_memory(4 * entries, f"sampling {num_plans} plans at once", "ask for fewer")

    def sample_plans(
        self,
        first: Float[Tensor, "batch observation"],
        sampling: SamplingConfig,
        *,
        generator: torch.Generator | Sequence[torch.Generator],
        reward_model: Callable[[Plans], PerPlan] | None = None,
        last: Float[Tensor, "batch observation"] | None = None,
        adjoint: Adjoint = full,
        near: Plans | None = None,
    ) -> Plans:
        """Plans from the given observations; everything in model space.

        Args:
            first: where each plan starts.
            sampling: settings of sampling and guidance.
            generator: for all noise; several, for as many equal parts of the batch.
            reward_model: guides the plans; None for unguided ones.
            last: where each plan ends, if known.
            adjoint: how gradients go back to the reward model's weights.
            near: plans to begin from, in place of noise: only the later moves are made, from
                these with noise on them.

        Raises:
            SettingsError: if a reward model is given but no move would be guided, or so many
                plans take more memory than there is.
        """
        if len(first) >= _MANY:
            self.check_memory(len(first))
        if reward_model is not None:
            self.guided_moves(sampling)
        moves = self.schedule.moves(sampling.num_steps)
        return sample(
            self.denoiser,
            moves if near is None else moves[int(_SKIPPED * len(moves)) :],
            condition_on(self.spec, first, last),
            generator=generator,
            reverse_step=parse_reverse_step(sampling.sampler),
            guide=None if reward_model is None else sampling.build_guide(reward_model),
            temperature=sampling.temperature,
            adjoint=adjoint,
            near=near,
        )

    def guided_moves(self, sampling: SamplingConfig) -> list[Move]:
        """The moves that a reward model corrects, noisiest first.

        Raises:
            SettingsError: if there are none.
        """
        moves = self.schedule.moves(sampling.num_steps)
        guided = [move for move in moves if move.step >= sampling.stop_step]
        if not guided:
            at, stop = moves[0].step, sampling.stop_step
            msg = f"no move would be guided: the noisiest diffusion step is {at}, stop_step {stop}"
            raise SettingsError(msg, place="stop_step", value=stop, remedy="lower it")
        return guided

    def implausibility(self, plans: Plans, *, generator: torch.Generator) -> PerPlan:
        """How far each plan is from what the denoiser makes of it: 0 is as play data.

        Noise of a quarter of the diffusion steps is added to all but the known first observation,
        and taken off again without guidance. A plan that guidance has pulled off the play data,
        through a wall say, does not come back as it was.

        Args:
            plans: model space.
            generator: for the noise.

        Returns:
            The root mean square change of each plan's entries.
        """
        step = self.schedule.num_steps // 4
        signal = self.schedule.alpha_bars[step]
        noise = torch.randn(plans.shape, generator=generator, device=plans.device)
        known = condition_on(self.spec, self.spec.split(plans)[0][:, 0])
        noisy = known(signal**0.5 * plans + (1 - signal) ** 0.5 * noise)
        steps = torch.full((len(plans),), step, device=plans.device)
        return (self.denoiser(noisy, steps) - plans).square().mean((1, 2)).sqrt()

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write a model folder that :meth:`load` reads without data or environment."""
        weights: dict[str, Tensor] = {}
        for name, module in self._modules().items():
            weights |= prefixed(name, module)
        config = {
            "kind": "diffuser",
            "spec": self.spec.to_config(),
            "denoiser": asdict(self.config),
            "columns": self.columns.to_config(),
            "provenance": dict(self.provenance),
        }
        return save_model(folder, weights, config)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        *,
        device: str | torch.device = "cpu",
        allow_import: bool = False,
    ) -> "Diffuser":
        """Read a model folder.

        Args:
            folder: written by :meth:`save`.
            device: where plans will be sampled.
            allow_import: whether a network named ``module:Name`` may import its module, which
                executes it; if not, the module must have been imported before.

        Raises:
            CheckpointError: if it is missing, damaged, of another kind or does not fit its
                configuration.
        """
        weights, config = load_model(folder, "diffuser")
        with readable(folder), size_limit(weights, folder):
            spec = PlanSpec(**config["spec"])
            settings = DenoiserConfig(**config["denoiser"])
            NETWORKS.find(settings.network, may_import=allow_import)
            denoiser, schedule = settings.build(spec)
            inverse = None
            if submodule(weights, "inverse_dynamics"):
                inverse = InverseDynamics(spec.observation_dim, spec.action_dim, spec.stride)
            diffuser = cls(
                spec=spec,
                observation_normalizer=Normalizer(**submodule(weights, "observation_normalizer")),
                action_normalizer=Normalizer(**submodule(weights, "action_normalizer")),
                denoiser=denoiser,
                schedule=schedule,
                inverse_dynamics=inverse,
                config=settings,
                provenance=config["provenance"],
                columns=Columns.from_config(config.get("columns")),
            )
            for name, module in diffuser._modules().items():
                module.load_state_dict(submodule(weights, name))
                module.to(device).requires_grad_(requires_grad=False).eval()
        return diffuser

    def _modules(self) -> dict[str, nn.Module]:
        modules: dict[str, nn.Module] = {
            "observation_normalizer": self.observation_normalizer,
            "action_normalizer": self.action_normalizer,
            "denoiser": self.denoiser,
        }
        return modules | (
            {"inverse_dynamics": self.inverse_dynamics} if self.inverse_dynamics else {}
        )
