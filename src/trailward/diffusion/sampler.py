"""Samplers: one function a reverse step, and the loop over them.

The loop is a differentiable map from noise, condition and guide to plans, all in model space. It
knows nothing of gradients: how they go back through it is the ``adjoint`` argument.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch

from trailward.diffusion.adjoint import Adjoint, full
from trailward.diffusion.conditioning import Condition
from trailward.diffusion.denoiser import Denoiser
from trailward.diffusion.guide import Guide, NoGuide
from trailward.diffusion.schedule import Move
from trailward.errors import SettingsError
from trailward.typing import Plans

ReverseStep = Callable[[Plans, Plans, Move, Plans], Plans]
"""Noisy plan, clean estimate, move and standard normal noise in, less noisy plan out."""


def ddpm_step(noisy: Plans, clean_estimate: Plans, move: Move, noise: Plans) -> Plans:
    """DDPM, arXiv 2006.11239, eq. 7: a draw from the posterior of the less noisy plan."""
    a, b = move.alpha_bar, move.alpha_bar_next
    clean_weight = b**0.5 * move.beta / (1 - a)
    noisy_weight = (a / b) ** 0.5 * (1 - b) / (1 - a)
    mean = clean_weight * clean_estimate + noisy_weight * noisy
    return mean + move.posterior_variance**0.5 * noise


def ddim_step(
    noisy: Plans, clean_estimate: Plans, move: Move, noise: Plans, *, eta: float = 0.0
) -> Plans:
    """DDIM, arXiv 2010.02502, eq. 12: deterministic at ``eta`` 0, DDPM's variance at 1."""
    a, b = move.alpha_bar, move.alpha_bar_next
    variance = eta**2 * move.posterior_variance
    direction = (noisy - a**0.5 * clean_estimate) / (1 - a) ** 0.5
    mean = b**0.5 * clean_estimate + (1 - b - variance) ** 0.5 * direction
    return mean + variance**0.5 * noise


def parse_reverse_step(name: str) -> ReverseStep:
    """A reverse step by name: ``ddpm``, ``ddim`` or ``ddim:ETA``.

    Raises:
        SettingsError: if the name is none of these or ETA is not in 0 to 1.
    """
    kind, _, eta = name.partition(":")
    if name == "ddpm":
        return ddpm_step
    if kind == "ddim" and eta.replace(".", "", 1).isdigit() and float(eta) <= 1:
        return partial(ddim_step, eta=float(eta))
    if name == "ddim":
        return ddim_step
    remedy = "choose ddpm, ddim or ddim:ETA, ETA in 0 to 1"
    raise SettingsError(f"sampler '{name}' is unknown", place="sampler", value=name, remedy=remedy)


def sample(
    denoiser: Denoiser,
    moves: Sequence[Move],
    condition: Condition,
    *,
    generator: torch.Generator | Sequence[torch.Generator],
    reverse_step: ReverseStep = ddim_step,
    guide: Guide | None = None,
    temperature: float = 1.0,
    adjoint: Adjoint = full,
    near: Plans | None = None,
    callback: Callable[[Move, Plans], None] = lambda move, plan: None,
) -> Plans:
    """Plans from noise, one for each row of the condition, in model space.

    Args:
        denoiser: the model of the play data.
        moves: of its noise schedule, noisiest first.
        condition: known entries; they hold after every step.
        generator: of all noise, on the condition's device; several for as many equal parts of
            the batch.
        reverse_step: such as :func:`ddim_step`.
        guide: corrects every step; None for unguided plans.
        temperature: standard deviation of all noise; below 1 plans keep to what is likely
            (low-temperature sampling, arXiv 2211.15657).
        adjoint: how gradients go back.
        near: plans to begin from, with the noise of the first move; noise alone if None (SDEdit,
            arXiv 2108.01073).
        callback: told each move, and the plans that it has led to.
    """
    shape, device = condition.values.shape, condition.values.device
    generators = [generator] if isinstance(generator, torch.Generator) else generator
    part = (shape[0] // len(generators), *shape[1:])

    def noise() -> Plans:
        drawn = [torch.randn(part, generator=each, device=device) for each in generators]
        return temperature * torch.cat(drawn)

    plan = condition(noise())
    if near is not None:
        signal = moves[0].alpha_bar
        plan = condition(signal**0.5 * near + (1 - signal) ** 0.5 * plan)
    for index, move in enumerate(moves):

        def advance(noisy: Plans, fresh: Plans, move: Move = move) -> Plans:
            noisy, clean = guided_estimate(denoiser, condition, guide or NoGuide(), move, noisy)
            return condition(reverse_step(noisy, clean, move, fresh))

        plan = adjoint(advance, len(moves) - index)(plan, noise())
        callback(move, plan)
    return plan


def guided_estimate(
    denoiser: Denoiser, condition: Condition, guide: Guide, move: Move, noisy: Plans
) -> tuple[Plans, Plans]:
    """Noisy plans as a guide corrects them, and their guided clean estimates; model space."""
    for _ in range(guide.repeats):
        noisy = condition(noisy + guide.on_noisy(noisy, move))
    step = torch.full((len(noisy),), move.step, device=noisy.device)
    clean_estimate = condition(denoiser(noisy, step))
    return noisy, clean_estimate + guide.on_clean(clean_estimate, move)
