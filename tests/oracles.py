"""The linear-Gaussian world: everything that sampling and learning compute, in closed form.

Play windows, flattened, are ``x0 ~ N(mean, covariance)``. The exact denoiser is affine in the noisy
plan; under a linear reward so is every guided DDIM step, in plan and reward weights together. So
the guided plan and the gradient of an objective in the weights are products of matrices.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trailward.data.plan import PlanSpec
from trailward.diffusion.conditioning import Condition
from trailward.diffusion.schedule import Move, NoiseSchedule


@dataclass(frozen=True)
class GaussianWorld:
    """Play data whose windows are Gaussian.

    Args:
        spec: what a window holds.
        schedule: of the diffusion.
        mean: shape (entries,), of flattened windows.
        covariance: shape (entries, entries).
        known: shape (entries,), True where conditioning writes clean values into noisy plans.
    """

    spec: PlanSpec
    schedule: NoiseSchedule
    mean: np.ndarray
    covariance: np.ndarray
    known: np.ndarray

    def affine_denoiser(self, alpha_bar: float) -> tuple[np.ndarray, np.ndarray]:
        """G and g of ``E[x0 | x] = G x + g``: the Kalman gain of ``x = A x0 + noise``."""
        signal = np.diag(np.where(self.known, 1.0, alpha_bar**0.5))
        noise = np.diag(np.where(self.known, 0.0, 1 - alpha_bar))
        gain = self.covariance @ signal @ np.linalg.inv(signal @ self.covariance @ signal + noise)
        return gain, self.mean - gain @ signal @ self.mean

    def denoiser(self, noisy: Tensor, step: Tensor) -> Tensor:
        """The exact denoiser, in the precision of ``noisy``; all plans are at one step."""
        gain, offset = self.affine_denoiser(self.schedule.alpha_bars[int(step[0])])
        flat = noisy.flatten(1) @ torch.from_numpy(gain.T).to(noisy)
        return (flat + torch.from_numpy(offset).to(noisy)).reshape(noisy.shape)

    def given(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of the unknown entries given the known ones."""
        k, u = self.known, ~self.known
        gain = self.covariance[np.ix_(u, k)] @ np.linalg.inv(self.covariance[np.ix_(k, k)])
        mean = self.mean[u] + gain @ (values - self.mean[k])
        return mean, self.covariance[np.ix_(u, u)] - gain @ self.covariance[np.ix_(k, u)]


def gaussian_world(spec: PlanSpec, schedule: NoiseSchedule, *, known: bool) -> GaussianWorld:
    """A world with a fixed random mean and covariance; the first observation may be known."""
    entries = spec.horizon * spec.transition_dim
    generator = np.random.default_rng(0)
    root = generator.standard_normal((entries, 2 * entries))
    covariance = 0.5 * root @ root.T / (2 * entries) + 0.1 * np.eye(entries)
    first = np.arange(entries) < spec.observation_dim * known
    return GaussianWorld(spec, schedule, generator.standard_normal(entries), covariance, first)


@dataclass(frozen=True)
class AffineChain:
    """Where noise and weights lead: ``x_0 = from_noise x_N + from_weights w + offset``."""

    from_noise: np.ndarray
    from_weights: np.ndarray
    offset: np.ndarray

    def add(self, matrix: np.ndarray, weights: np.ndarray, offset: np.ndarray) -> "AffineChain":
        """Then ``x -> matrix x + weights w + offset``."""
        return AffineChain(
            matrix @ self.from_noise,
            matrix @ self.from_weights + weights,
            self.offset @ matrix.T + offset,
        )


@dataclass(frozen=True)
class LinearGuide:
    """The numbers of a guide under a linear reward; both kinds of guide at once."""

    on_noisy: float = 0.0
    on_clean: float = 0.0
    stop_step: int = 0
    repeats: int = 1


def guided_chain(
    world: GaussianWorld, moves: Sequence[Move], condition: Condition, guide: LinearGuide
) -> AffineChain:
    """The whole DDIM chain (eta 0), one row of ``offset`` for each plan of the condition."""
    unknown = np.diag(1.0 - world.known)
    values = condition.values.flatten(1).double().numpy() * world.known
    eye, zero = np.eye(len(unknown)), np.zeros_like(unknown)
    chain = AffineChain(eye, zero, np.zeros_like(values)).add(unknown, zero, values)
    for move in moves:
        a, b = move.alpha_bar, move.alpha_bar_next
        on = float(move.step >= guide.stop_step)
        for _ in range(guide.repeats):
            nudge = on * guide.on_noisy * move.posterior_variance
            chain = chain.add(eye, nudge * eye, np.zeros_like(values)).add(unknown, zero, values)
        gain, shift = world.affine_denoiser(a)
        nudge = on * guide.on_clean * world.spec.horizon * min(1.0, (1 - a) / a**0.5)
        # x' = sqrt(b) x0 + c (x - sqrt(a) x0), x0 = K (G x + g) + values + nudge w
        c = ((1 - b) / (1 - a)) ** 0.5
        clean = b**0.5 - c * a**0.5
        step = clean * unknown @ gain + c * eye
        offset = clean * (unknown @ shift + values)
        chain = chain.add(step, clean * nudge * eye, offset).add(unknown, zero, values)
    return chain


def squared_error_gradient(
    chain: AffineChain, noise: np.ndarray, weights: np.ndarray, targets: np.ndarray
) -> np.ndarray:
    """The gradient in the weights of the mean squared error of all plans against targets."""
    plans = noise @ chain.from_noise.T + weights @ chain.from_weights.T + chain.offset
    return 2 / targets.size * (plans - targets).sum(0) @ chain.from_weights
