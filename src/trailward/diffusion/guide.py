"""Guides: how a reward model corrects a reverse step. A zero correction means no guidance."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from trailward.diffusion.schedule import Move
from trailward.registry import Registry
from trailward.typing import PerPlan, Plans


@runtime_checkable
class Guide(Protocol):
    """Corrections of one reverse step, all in model space.

    Attributes:
        repeats: how often the noisy plan is corrected before it is denoised.
    """

    @property
    def repeats(self) -> int:
        """How often :meth:`on_noisy` is applied in one reverse step."""
        ...

    def on_noisy(self, noisy: Plans, move: Move) -> Plans:
        """What to add to the noisy plan before the denoiser sees it."""
        ...

    def on_clean(self, clean_estimate: Plans, move: Move) -> Plans:
        """What to add to the clean estimate."""
        ...

    def height(self, noisy: Plans, estimate: Callable[[], Plans]) -> PerPlan:
        """The function whose gradient is added, of the plans that it is taken at.

        But for factors of the move, such as its variance. The objective ``logit`` learns it.

        Args:
            noisy: the noisy plans.
            estimate: gives their clean estimates; called only if they matter.
        """
        ...


@dataclass(frozen=True)
class NoGuide:
    """Plain sampling from the play data's distribution."""

    repeats: int = 0

    def on_noisy(self, noisy: Plans, move: Move) -> Plans:
        """Zero."""
        return torch.zeros_like(noisy)

    def on_clean(self, clean_estimate: Plans, move: Move) -> Plans:
        """Zero."""
        return torch.zeros_like(clean_estimate)

    def height(self, noisy: Plans, estimate: Callable[[], Plans]) -> PerPlan:
        """Zero."""
        return noisy.new_zeros(len(noisy))


@dataclass(frozen=True)
class NoisyGuide:
    """The thesis's and Diffuser's guide: ``x <- x + scale * variance * grad J(x)``, repeated.

    The gradient is taken at the noisy plan, before the denoiser (the Diffuser paper, arXiv
    2205.09991, Algorithm 1, takes it at the posterior mean; its code does it this way).

    Args:
        reward_model: J, plans to one number each; any callable that autograd can follow.
        scale: strength; 0 is no guidance.
        use_variance: whether to multiply by the posterior variance of the move.
        repeats: corrections in one reverse step.
        stop_step: diffusion steps below this one are not corrected.
    """

    reward_model: Callable[[Plans], PerPlan]
    scale: float = 0.1
    use_variance: bool = True
    repeats: int = 2
    stop_step: int = 2

    def on_noisy(self, noisy: Plans, move: Move) -> Plans:
        """The scaled reward gradient at the noisy plan."""
        if move.step < self.stop_step:
            return torch.zeros_like(noisy)
        variance = move.posterior_variance if self.use_variance else 1.0
        return self.scale * variance * reward_gradient(self.reward_model, noisy)

    def on_clean(self, clean_estimate: Plans, move: Move) -> Plans:
        """Zero."""
        return torch.zeros_like(clean_estimate)

    def height(self, noisy: Plans, estimate: Callable[[], Plans]) -> PerPlan:
        """``scale * repeats * J(x)`` at the noisy plan."""
        return self.scale * self.repeats * self.reward_model(noisy)


@dataclass(frozen=True)
class CleanGuide:
    """Correct the clean estimate: ``x0 <- x0 + scale * horizon * w * grad J(x0)``.

    The gradient is taken at the clean estimate and not through the denoiser (manifold-preserving
    guidance, arXiv 2311.16424). ``w = min(1, (1 - a) / sqrt(a))`` fades as the noise does; below
    ``stop_step`` it is 0, so that the last moves pull the plan back to the play data. Multiplied
    by the horizon, the correction of a plan step under an additive reward model (a mean over
    time) is ``scale * w`` times the gradient of that step's own reward, however long the plan.

    Args:
        reward_model: J, plans to one number each; any callable that autograd can follow.
        scale: strength; 0 is no guidance.
        stop_step: diffusion steps below this one are not corrected.
    """

    reward_model: Callable[[Plans], PerPlan]
    scale: float = 1.0
    stop_step: int = 16
    repeats: int = field(default=0, init=False)

    def on_noisy(self, noisy: Plans, move: Move) -> Plans:
        """Zero."""
        return torch.zeros_like(noisy)

    def on_clean(self, clean_estimate: Plans, move: Move) -> Plans:
        """The scaled reward gradient at the clean estimate."""
        if move.step < self.stop_step:
            return torch.zeros_like(clean_estimate)
        weight = min(1.0, (1 - move.alpha_bar) / move.alpha_bar**0.5)
        strength = self.scale * clean_estimate.shape[1] * weight
        return strength * reward_gradient(self.reward_model, clean_estimate)

    def height(self, noisy: Plans, estimate: Callable[[], Plans]) -> PerPlan:
        """``scale * horizon * J(x0)``; of an additive reward the scaled sum of step rewards."""
        clean = estimate()
        return self.scale * clean.shape[1] * self.reward_model(clean)


GUIDES: Registry[Callable[..., Guide]] = Registry(
    "guides", {"noisy": NoisyGuide, "clean": CleanGuide}
)
"""Guides by name; a guide is built from the reward model, and settings that it takes by name."""


def reward_gradient(reward_model: Callable[[Plans], PerPlan], plan: Plans) -> Plans:
    """The gradient of the reward in the plan, itself differentiable in plan and weights.

    It is found whether or not the caller records gradients; the graph for second derivatives is
    kept only if the caller does.
    """
    record = torch.is_grad_enabled()
    with torch.enable_grad():
        probe: Tensor = plan + torch.zeros_like(plan, requires_grad=True)
        (gradient,) = torch.autograd.grad(
            reward_model(probe).sum(), probe, create_graph=record, materialize_grads=True
        )
    return gradient
