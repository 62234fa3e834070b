"""The denoiser's contract, its parameterisations, and the denoising loss."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trailward.diffusion.conditioning import Condition
from trailward.diffusion.schedule import NoiseSchedule
from trailward.typing import PerPlan, PlanMask, Plans, Scalar, Steps

_LEAST_WEIGHT, _MOST_WEIGHT = 0.2, 5.0


@runtime_checkable
class Denoiser(Protocol):
    """Noisy plans in, clean estimates out, both in model space. It never knows about rewards."""

    def __call__(self, noisy: Plans, step: Steps) -> Plans:
        """The clean estimate of each noisy plan.

        Args:
            noisy: plans with the noise of ``step``.
            step: diffusion step of each plan.
        """
        ...


class _Parameterization(nn.Module):
    alpha_bars: Tensor

    def __init__(self, network: nn.Module, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("alpha_bars", torch.tensor(schedule.alpha_bars), persistent=False)

    def _signal_and_noise(self, step: Steps) -> tuple[Tensor, Tensor]:
        alpha_bar = self.alpha_bars[step].reshape(-1, 1, 1)
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


class CleanPrediction(_Parameterization):
    """The network's output is the clean estimate itself (Diffuser's choice)."""

    def forward(self, noisy: Plans, step: Steps) -> Plans:
        """See :class:`Denoiser`."""
        return self.network(noisy, step)


class NoisePrediction(_Parameterization):
    """The network predicts the noise: ``clean = (noisy - s noise) / a`` (arXiv 2006.11239)."""

    def forward(self, noisy: Plans, step: Steps) -> Plans:
        """See :class:`Denoiser`."""
        signal, noise = self._signal_and_noise(step)
        return (noisy - noise * self.network(noisy, step)) / signal


class VelocityPrediction(_Parameterization):
    """The network predicts ``v = a noise - s clean``: ``clean = a noisy - s v`` (2202.00512)."""

    def forward(self, noisy: Plans, step: Steps) -> Plans:
        """See :class:`Denoiser`."""
        signal, noise = self._signal_and_noise(step)
        return signal * noisy - noise * self.network(noisy, step)


PARAMETERIZATIONS = {
    "clean": CleanPrediction,
    "noise": NoisePrediction,
    "velocity": VelocityPrediction,
}
"""Parameterizations by the name used in flags and saved configurations."""


def denoising_loss(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    clean: Plans,
    mask: PlanMask,
    *,
    step: Steps,
    noise: Plans,
    condition: Condition,
    weighted: bool = True,
    importance: Float[Tensor, "horizon transition"] | None = None,
) -> Scalar:
    """Mean squared error of the clean estimate, over the entries that are real and not known.

    With ``weighted`` a plan's error counts by its signal-to-noise ratio, kept within [0.2, 5]
    (a floor under Min-SNR-5, Hang et al., arXiv 2303.09556), whatever the parameterisation.

    Args:
        denoiser: the model.
        schedule: its noise schedule.
        clean: windows of play data, model space.
        mask: where they are real.
        step: diffusion step of each window.
        noise: standard normal, of the shape of ``clean``.
        condition: the known entries, as they will be when sampling.
        weighted: whether to weight by signal-to-noise ratio.
        importance: how much each entry counts; all the same if None.
    """
    alpha_bar = torch.tensor(schedule.alpha_bars, device=clean.device, dtype=clean.dtype)[step]
    noisy = add_noise(clean, alpha_bar, noise, condition)
    counted = (mask.unsqueeze(-1) & ~condition.known).float()
    if importance is not None:
        counted = counted * importance
    error = denoiser(noisy, step) - clean
    return denoising_error(error, counted, alpha_bar if weighted else None)


def add_noise(clean: Plans, alpha_bar: PerPlan, noise: Plans, condition: Condition) -> Plans:
    """Noisy plans with their known entries clean, as a denoiser meets them in sampling.

    Args:
        clean: model space.
        alpha_bar: signal power of each plan.
        noise: standard normal.
        condition: the known entries.
    """
    signal = alpha_bar.sqrt().reshape(-1, 1, 1)
    return condition(signal * clean + (1 - alpha_bar).sqrt().reshape(-1, 1, 1) * noise)


def denoising_error(error: Plans, counted: Plans, alpha_bar: PerPlan | None) -> Scalar:
    """The mean square of clean estimates' errors, as :func:`denoising_loss` has it.

    Args:
        error: clean estimates less what they should be, model space.
        counted: how much each entry counts.
        alpha_bar: signal power of each plan, to weight it by its signal-to-noise ratio; None
            for equal weights.
    """
    total = counted.sum((1, 2))
    per_plan = (error.square() * counted).sum((1, 2)) / (total + (total == 0))
    if alpha_bar is None:
        return per_plan.mean()
    ratio = alpha_bar / (1 - alpha_bar)
    return (per_plan * ratio.clamp(_LEAST_WEIGHT, _MOST_WEIGHT)).mean()
