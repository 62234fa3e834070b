"""Train a denoiser on play data: resumable at any moment, to the bit."""

import copy
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import nn

from trailward.checkpoint import RunFolder, check_of_finished
from trailward.data.dataset import Dataset, Windows
from trailward.data.episode import MAX_SEED
from trailward.data.normalizer import NORMALIZERS, Normalizer, join_normalizers
from trailward.data.plan import PlanSpec
from trailward.diffusion.conditioning import condition_on
from trailward.diffusion.denoiser import denoising_loss
from trailward.diffusion.diffuser import DenoiserConfig, Diffuser
from trailward.diffusion.fitting import check_finite
from trailward.diffusion.inverse_dynamics import InverseDynamics, train_inverse_dynamics
from trailward.diffusion.schedule import NoiseSchedule
from trailward.errors import DataError, SettingsError, at_least, at_most
from trailward.progress import Report
from trailward.randomness import generator
from trailward.running.files import size_in_words
from trailward.running.folders import own_if_any
from trailward.running.interruption import Checkpoints
from trailward.running.limits import AllocationLimit, available_memory, check_memory
from trailward.running.logs import LOGS, read_curve

STATE = "training.safetensors"
_HIDDEN = 64
_COPIES = 5
_MUON_RATE = {"adam": 1.0, "muon": 3.0}
_MUON_BETAS = (0.9, 0.99)
_OF_STEPS = ("num_steps", "learning_rate", "num_warmup", "max_gradient_norm")
MAY_CHANGE = (*_OF_STEPS, "checkpoint_every")
"""Settings that may differ when training goes on."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a denoiser is trained.

    Attributes:
        num_steps: gradient steps.
        batch_size: windows in a batch.
        learning_rate: the highest learning rate; it is reached after ``num_warmup`` steps and falls
            to 0 at the end (cosine).
        num_warmup: gradient steps of linear increase.
        max_gradient_norm: norm that gradients are scaled down to.
        average_decay: decay of the exponential moving average of the weights.
        optimizer: ``muon`` or ``adam``; see :func:`build_optimizers`.
        weighted: whether the loss weights by signal-to-noise ratio.
        action_weight: how much the actions that follow the first observation count in the loss,
            where plans carry actions; everything else counts 1.
        normalizer: ``limits`` or ``gaussian``.
        checkpoint_every: gradient steps between checkpoints.
        num_inverse_dynamics_steps: gradient steps of the inverse-dynamics model.
        seed: seed for weights, batches and noise.
    """

    num_steps: int = 30_000
    batch_size: int = 64
    learning_rate: float = 1e-3
    num_warmup: int = 500
    max_gradient_norm: float = 1.0
    average_decay: float = 0.999
    optimizer: str = "muon"
    weighted: bool = True
    action_weight: float = 1.0
    normalizer: str = "limits"
    checkpoint_every: int = 1000
    num_inverse_dynamics_steps: int = 4000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.normalizer not in NORMALIZERS:
            remedy = f"choose {' or '.join(NORMALIZERS)}"
            raise SettingsError(place="normalizer", value=self.normalizer, remedy=remedy)
        if self.optimizer not in ("muon", "adam"):
            remedy = "choose muon or adam"
            raise SettingsError(place="optimizer", value=self.optimizer, remedy=remedy)
        at_least(1, self, "num_steps", "batch_size", "checkpoint_every")
        at_least(1, self, "num_inverse_dynamics_steps")
        at_least(0, self, "num_warmup", "learning_rate", "max_gradient_norm", "average_decay")
        at_least(0, self, "action_weight")
        at_most(MAX_SEED, self, "seed")


def train_diffuser(
    dataset: Dataset,
    spec: PlanSpec,
    folder: str | os.PathLike[str] | None = None,
    *,
    denoiser_config: DenoiserConfig = DenoiserConfig(),
    config: TrainingConfig = TrainingConfig(),
    device: str = "cpu",
    report: Report = lambda done, **figures: None,
    provenance: dict[str, Any] | None = None,
) -> Diffuser:
    """Train a denoiser, and an inverse-dynamics model if plans lack the recorded actions.

    The randomness of each gradient step is a function of the seed and the step's number alone;
    so, started again in a folder that holds a checkpoint, training goes on from it and ends with
    the same bits as if it had never stopped.

    Args:
        dataset: play data, environment units.
        spec: what plans hold.
        folder: gets the model, the checkpoint and TensorBoard's ``logs``; if None, everything
            stays in memory.
        denoiser_config: the denoiser's architecture.
        config: how it is trained.
        device: where it is trained.
        report: told the gradient steps done and the loss.
        provenance: kept in the model's configuration.

    Returns:
        The diffuser with averaged weights, as saved in ``folder`` if there is one.

    Raises:
        DivergedError: if a loss or gradient is not finite; the folder keeps the last good
            checkpoint.
        CheckpointError: if the folder's checkpoint is of other data or settings.
        FolderError: if the folder holds something else, or another process works in it.
    """
    folder = None if folder is None else Path(folder)
    check_training_memory(spec, denoiser_config, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network, schedule = denoiser_config.build(spec)
    network.to(device)
    observation, action = (
        NORMALIZERS[config.normalizer](torch.cat(parts)).to(device)
        for parts in (
            [torch.as_tensor(e.observations) for e in dataset.episodes],
            [torch.as_tensor(e.actions) for e in dataset.episodes],
        )
    )
    windows = Windows(dataset, spec)
    batches = Batches(windows, join_normalizers(observation, action, spec), config)
    identity = {
        "play data": dataset.fingerprint,
        "denoiser": asdict(denoiser_config),
        "spec": spec.to_config(),
        "training": {k: v for k, v in asdict(config).items() if k not in MAY_CHANGE},
    }
    with own_if_any(folder, "diffuser"):
        average = train_denoiser(network, schedule, batches, folder, identity, report)
        average.requires_grad_(requires_grad=False).eval()
        diffuser = Diffuser(
            spec=spec,
            observation_normalizer=observation,
            action_normalizer=action,
            denoiser=average,
            schedule=schedule,
            inverse_dynamics=_fitted_inverse_dynamics(dataset, spec, observation, action, config),
            config=denoiser_config,
            provenance=provenance or {},
            columns=dataset.columns,
        )
        if folder is not None:
            diffuser.save(folder)
        return diffuser


def _fitted_inverse_dynamics(
    dataset: Dataset,
    spec: PlanSpec,
    observation: Normalizer,
    action: Normalizer,
    config: TrainingConfig,
) -> InverseDynamics | None:
    """What finds the actions of plans that lack them; None if plans have them, or data has none."""
    if spec.with_actions or not spec.action_dim:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        inverse = InverseDynamics(spec.observation_dim, spec.action_dim, spec.stride)
    train_inverse_dynamics(
        inverse.to(observation.shift.device),
        dataset,
        normalize_observation=observation.normalize,
        normalize_action=action.normalize,
        num_steps=config.num_inverse_dynamics_steps,
        seed=config.seed,
    )
    return inverse.requires_grad_(requires_grad=False)


def check_training_memory(spec: PlanSpec, denoiser: DenoiserConfig, config: TrainingConfig) -> None:
    """Refuse settings that take more memory than there is, before any is taken.

    Raises:
        SettingsError: names them, with an estimate.
    """
    entries = config.batch_size * spec.horizon * (8 * spec.transition_dim + 4 * denoiser.width)
    what = (
        f"a batch of batch_size {config.batch_size}, horizon {spec.horizon} and width "
        f"{denoiser.width}"
    )
    check_memory(4 * entries, what, "lower one of them")

    def refused(shape: tuple[int, ...]) -> SettingsError:
        place = (
            f"a {denoiser.network} of width {denoiser.width} and depth {denoiser.depth} for plans "
            f"of horizon {spec.horizon}"
        )
        msg = (
            f"{place} takes more memory to train than is free here "
            f"({size_in_words(available_memory())}): weights of shape {shape} take "
            f"{size_in_words(_COPIES * 4 * math.prod(shape))}"
        )
        return SettingsError(msg, place=place, value=shape, remedy="lower one of them")

    fits = AllocationLimit(available_memory() / (4 * _COPIES), refused)
    with torch.random.fork_rng(devices=[]), fits:
        denoiser.build(spec)


def build_optimizers(
    network: nn.Module, config: TrainingConfig
) -> dict[str, torch.optim.Optimizer]:
    """The optimizers of a network's weights, by name.

    ``muon`` (Jordan et al. 2024; scaled as in arXiv 2502.16982) moves the hidden matrices, those
    with at least 64 rows and columns, and Adam the rest; ``adam`` moves everything.
    """
    hidden = [
        weights
        for weights in network.parameters()
        if config.optimizer == "muon" and weights.ndim == 2 and min(weights.shape) >= _HIDDEN
    ]
    taken = {id(weights) for weights in hidden}
    rest = [weights for weights in network.parameters() if id(weights) not in taken]
    betas = _MUON_BETAS if hidden else (0.9, 0.999)
    found: dict[str, torch.optim.Optimizer] = {
        "adam": torch.optim.Adam(rest, lr=config.learning_rate, betas=betas)
    }
    if hidden:
        found["muon"] = torch.optim.Muon(
            hidden, lr=config.learning_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
        )
    return found


@dataclass(frozen=True)
class Batches:
    """What a denoiser is trained on.

    Attributes:
        windows: environment units.
        normalizer: of whole transitions.
        config: how it is trained.
        weights: how likely each window is to be drawn; all alike if None.
    """

    windows: Windows
    normalizer: Normalizer
    config: TrainingConfig
    weights: Float[torch.Tensor, "window"] | None = None

    @cached_property
    def importance(self) -> Float[torch.Tensor, "horizon transition"]:
        """How much each entry of a plan counts in the loss."""
        spec = self.windows.spec
        weights = torch.ones(spec.horizon, spec.transition_dim)
        weights[0, spec.observation_dim :] = self.config.action_weight
        return weights.to(self.normalizer.shift.device)

    def loss(self, denoiser: nn.Module, schedule: NoiseSchedule, step: int) -> torch.Tensor:
        """The denoising loss of the batch of one gradient step."""
        spec, size, seed = self.windows.spec, self.config.batch_size, self.config.seed
        drawn = self.windows.draw(size, generator(seed, "training: windows", step), self.weights)
        clean, mask = self.windows.batch(drawn, self.normalizer)
        draw = generator(seed, "training: noise", step)
        diffusion_step = torch.randint(schedule.num_steps, (size,), generator=draw)
        noise = torch.randn(clean.shape, generator=draw)
        return denoising_loss(
            denoiser,
            schedule,
            clean,
            mask,
            step=diffusion_step.to(clean.device),
            noise=noise.to(clean.device),
            condition=condition_on(spec, spec.split(clean)[0][:, 0]),
            weighted=self.config.weighted,
            importance=self.importance,
        )


def train_denoiser(
    network: nn.Module,
    schedule: NoiseSchedule,
    batches: Batches,
    folder: Path | None,
    identity: dict[str, Any],
    report: Report,
) -> nn.Module:
    """Train a network, or go on training it.

    Args:
        network: a denoiser; changed in place.
        schedule: its noise schedule.
        batches: what it is trained on, and how.
        folder: gets the checkpoint and TensorBoard's ``logs``; if None, none are kept.
        identity: JSON values that must be the same when training goes on.
        report: told the gradient steps done and the loss.

    Returns:
        A copy with averaged weights.
    """
    config, average = batches.config, copy.deepcopy(network)
    optimizers = build_optimizers(network, config)
    settings = {name: getattr(config, name) for name in _OF_STEPS}
    with (
        RunFolder(
            folder,
            STATE,
            modules={"network": network, "average": average},
            optimizers=optimizers,
            identity=identity,
        ) as files,
        Checkpoints(config.checkpoint_every, config.num_steps) as due,
    ):
        before = files.load(like={"settings": {}})
        done = before.get("step", 0)
        if files.state is not None and done >= config.num_steps:
            remedy = f"a num_steps above {done}"
            check_of_finished(
                files.state, done, before.get("settings", {}), settings, remedy=remedy
            )
        for step in range(done, config.num_steps):
            for name, optimizer in optimizers.items():
                optimizer.param_groups[0]["lr"] = _MUON_RATE[name] * _learning_rate(config, step)
                optimizer.zero_grad()
            loss = batches.loss(network, schedule, step)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(network.parameters(), config.max_gradient_norm)
            remedy = (
                f"{files.last_good('checkpoint')}: run again with a learning rate below "
                f"{config.learning_rate}"
            )
            check_finite("training", loss.item(), norm.item(), step, remedy=remedy)
            for optimizer in optimizers.values():
                optimizer.step()
            _average(average, network, min(config.average_decay, (1 + step) / (10 + step)))
            if step % 20 == 0:
                files.log(step, {"train/loss": loss.item(), "train/gradient_norm": norm.item()})
                report(step, loss=loss.item())
            if due.due(step + 1):
                files.save({"step": step + 1, "settings": settings})
                due.stop_if_asked()
    report(config.num_steps)
    return average


def _learning_rate(config: TrainingConfig, step: int) -> float:
    warm = min(1.0, (step + 1) / max(config.num_warmup, 1))
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / config.num_steps))


@torch.no_grad()
def _average(average: nn.Module, network: nn.Module, decay: float) -> None:
    for kept, new in zip(average.parameters(), network.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)


def logged_losses(
    folder: str | os.PathLike[str], tag: str = "train/loss"
) -> Iterator[tuple[int, float]]:
    """The curve that training or learning wrote for TensorBoard, as (step, value) pairs.

    Raises:
        DataError: if the folder holds no logs.
    """
    if not (Path(folder) / LOGS).is_dir():
        remedy = "name the folder of a training or learning run"
        raise DataError(f"{folder} holds no logs", place=str(folder), remedy=remedy)
    yield from read_curve(folder, tag)
