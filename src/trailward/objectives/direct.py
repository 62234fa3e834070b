"""Direct objectives: what a guide should add to a denoiser, learnt without sampling a plan.

The objectives of :mod:`trailward.objectives.matching` compare sampled plans with demonstrations.
These look at one guided move at a time: windows get the noise of its diffusion step, and the guide
is told what it should have made of them. No chain is differentiated, and since the denoiser is
frozen, no gradient goes through it either, unless the guide corrects the noisy plan (``noisy``).
The guide that is learnt is the one that plans are sampled with, at the same moves and the same
scale.

Everything is in model space.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from trailward.diffusion.conditioning import Condition, condition_on
from trailward.diffusion.denoiser import Denoiser, add_noise, denoising_error
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.diffusion.sampler import guided_estimate
from trailward.diffusion.schedule import Move
from trailward.errors import SettingsError
from trailward.registry import Registry
from trailward.typing import PerPlan, PlanMask, Plans, Scalar


@dataclass(frozen=True)
class Noised:
    """Windows with the noise of one move, as sampling meets its plans.

    Attributes:
        clean: the windows.
        noisy: the same with noise, but for the known entries.
        condition: the known entries.
        counted: 1 where an entry is real and not known, else 0; of the shape of ``clean``.
        move: whose diffusion step the noise is of.
    """

    clean: Plans
    noisy: Plans
    condition: Condition
    counted: Plans
    move: Move

    def estimate(self, denoiser: Denoiser) -> Plans:
        """The clean estimate without guidance."""
        step = torch.full((len(self.noisy),), self.move.step, device=self.noisy.device)
        return self.condition(denoiser(self.noisy, step))

    def error(self, estimate: Plans, target: Plans) -> Scalar:
        """Their mean squared difference where it counts, weighted as in a denoiser's training."""
        signal = torch.full((len(target),), self.move.alpha_bar, device=target.device)
        return denoising_error(estimate - target, self.counted, signal)


@dataclass(frozen=True)
class GuidedDenoiser:
    """A frozen denoiser and the guide that is learnt.

    Attributes:
        denoiser: of the play data.
        sampling: how plans will be guided.
        reward_model: guides; losses are differentiable in its weights.
        expert: a denoiser of the demonstrations; None if the objective needs none.
    """

    denoiser: Denoiser
    sampling: SamplingConfig
    reward_model: Callable[[Plans], PerPlan]
    expert: Denoiser | None = None

    def estimate(self, noised: Noised) -> Plans:
        """The guided clean estimate, as sampling uses it."""
        guide = self.sampling.build_guide(self.reward_model)
        step = noised.condition, guide, noised.move, noised.noisy
        return guided_estimate(self.denoiser, *step)[1]

    def logit(self, noised: Noised) -> PerPlan:
        """What the guide climbs (:meth:`~trailward.diffusion.guide.Guide.height`).

        ``clean`` adds ``w`` times the gradient of ``scale * horizon * J`` at the clean estimate;
        ``noisy`` adds the variance times that of ``scale * J`` at the noisy plan, ``repeats``
        times. Under an additive reward ``horizon * J`` is the sum of the step rewards.
        """
        guide = self.sampling.build_guide(self.reward_model)
        return guide.height(noised.noisy, lambda: noised.estimate(self.denoiser))


@runtime_checkable
class DirectObjective(Protocol):
    """Lower is better; of the windows of one guided move.

    Attributes:
        needs_play: whether it compares demonstrations with play data.
        needs_expert: whether it needs a denoiser of the demonstrations.
    """

    @property
    def needs_play(self) -> bool:
        """Whether ``play`` must be given."""
        ...

    @property
    def needs_expert(self) -> bool:
        """Whether ``guided.expert`` must be given."""
        ...

    def __call__(self, guided: GuidedDenoiser, *windows: Noised) -> Scalar:
        """How far the guide is from what it should be.

        Args:
            guided: the denoiser and its guide.
            windows: noised demonstration windows, and as many play windows if it needs them.
        """
        ...


@dataclass(frozen=True)
class DenoisingScoreMatching:
    """The denoising loss of the guided denoiser on demonstrations.

    ``|x0 + c(x_i) - d|^2``, where ``x_i`` is the demonstration window ``d`` with noise, ``x0`` its
    clean estimate and ``c`` the guide's correction. In the form of scores it is denoising
    likelihood score matching (Chao et al. 2022, arXiv 2203.14206, the DLSM loss), weighted by
    signal-to-noise ratio as the denoiser's own training is.

    Deviations: a reward replaces a classifier's log-likelihood; there is one class, and the
    paper's cross-entropy term is left out; the gradient is taken at the clean estimate, not
    through the denoiser. Nothing is said of the reward where demonstrations never pass.
    """

    needs_play: bool = False
    needs_expert: bool = False

    def __call__(self, guided: GuidedDenoiser, *windows: Noised) -> Scalar:
        """See :class:`DirectObjective`; play windows are not needed."""
        (demonstrations,) = windows
        return demonstrations.error(guided.estimate(demonstrations), demonstrations.clean)


@dataclass(frozen=True)
class Logit:
    """The logistic loss of telling demonstrations from play data, with noise on both.

    What the guide climbs (:meth:`GuidedDenoiser.logit`) is the logit, so plans are guided by the
    estimated log-ratio of the two densities: discriminator guidance (Kim et al. 2023, arXiv
    2211.17091, section 3). The paper adds the gradient of the logit to the score, which moves a
    clean estimate by ``(1 - a) / sqrt(a)`` times it; the guide ``clean`` does the same up to its
    limit of 1, whatever the scale. The logit guides, not its sigmoid, which is flat where the two
    are easily told apart.

    Deviations: the paper's discriminator sees noise and diffusion step and tells data from samples
    of the model. Ours sees what the guide gives the reward, is one function for all diffusion
    steps, tells demonstrations from play data, and is differentiated at the clean estimate.
    """

    needs_play: bool = True
    needs_expert: bool = False

    def __call__(self, guided: GuidedDenoiser, *windows: Noised) -> Scalar:
        """See :class:`DirectObjective`; padded steps count, for a reward is of whole plans."""
        shown, played = (guided.logit(noised) for noised in windows)
        labels = torch.cat([torch.ones_like(shown), torch.zeros_like(played)])
        return binary_cross_entropy_with_logits(torch.cat([shown, played]), labels)


@dataclass(frozen=True)
class RelativeReward:
    """How far the guide's correction is from the difference of two denoisers.

    ``|c(x_i) - (e(x_i) - x0(x_i))|^2`` on noised demonstration and play windows, where ``e`` is the
    clean estimate of an expert denoiser: the relative reward function (Nuti et al. 2023, arXiv
    2306.01804, algorithm 1) of the two.

    Deviations: the expert is trained further from the base instead of on much data of its own, and
    only at the guided moves; differences are of clean estimates, weighted alike, rather than of
    noise; the reward has no diffusion step. ``dlsm`` asks for the same correction, on
    demonstrations alone, from single windows instead of the expert's mean of them.
    """

    needs_play: bool = True
    needs_expert: bool = True

    def __call__(self, guided: GuidedDenoiser, *windows: Noised) -> Scalar:
        """See :class:`DirectObjective`."""
        if guided.expert is None:
            msg = "a relative reward needs an expert denoiser"
            raise SettingsError(msg, place="expert", remedy="make one by train_expert")
        expert = guided.expert
        errors = [each.error(guided.estimate(each), each.estimate(expert)) for each in windows]
        return torch.stack(errors).mean()


DIRECT_OBJECTIVES: Registry[DirectObjective] = Registry(
    "direct_objectives",
    {"dlsm": DenoisingScoreMatching(), "logit": Logit(), "relative_reward": RelativeReward()},
)
"""Objectives that sample no plans, by name."""


def direct_loss(
    objective: DirectObjective,
    guided: GuidedDenoiser,
    diffuser: Diffuser,
    batches: list[tuple[Plans, PlanMask]],
    *,
    generator: torch.Generator,
) -> Scalar:
    """A direct objective, averaged over all guided moves.

    Args:
        objective: such as ``DIRECT_OBJECTIVES["dlsm"]``.
        guided: the denoiser, its guide and, if needed, the expert.
        diffuser: whose moves are gone through.
        batches: windows and masks: demonstrations, then play data if the objective needs it.
        generator: of the windows' noise, on the CPU.

    Raises:
        SettingsError: if no move is guided, so that nothing could be learnt.
    """
    losses = [
        objective(guided, *(noise_windows(diffuser, *batch, move, generator) for batch in batches))
        for move in diffuser.guided_moves(guided.sampling)
    ]
    return torch.stack(losses).mean()


def noise_windows(
    diffuser: Diffuser, clean: Plans, mask: PlanMask, move: Move, generator: torch.Generator
) -> Noised:
    """Windows with the noise of a move; their first observations are known.

    Args:
        diffuser: says what windows hold.
        clean: the windows, model space.
        mask: where they are real.
        move: the noise is of its diffusion step.
        generator: of the noise, on the CPU.
    """
    condition = condition_on(diffuser.spec, diffuser.spec.split(clean)[0][:, 0])
    noise = torch.randn(clean.shape, generator=generator).to(clean)
    signal = torch.full((len(clean),), move.alpha_bar).to(clean)
    counted = (mask.unsqueeze(-1) & ~condition.known).to(clean)
    return Noised(clean, add_noise(clean, signal, noise, condition), condition, counted, move)
