"""Noise schedules, and the moves of a sampler along one."""

import math
from dataclasses import dataclass

from trailward.errors import SettingsError

_MAX_BETA = 0.999


@dataclass(frozen=True)
class Move:
    """One reverse move: from diffusion step ``step`` to an earlier one.

    Attributes:
        step: the diffusion step moved from.
        alpha_bar: signal power there; the noise power is ``1 - alpha_bar``.
        alpha_bar_next: signal power where the move ends; 1 at the clean end.
    """

    step: int
    alpha_bar: float
    alpha_bar_next: float

    @property
    def beta(self) -> float:
        """Noise power that the forward process adds over this move."""
        return 1 - self.alpha_bar / self.alpha_bar_next

    @property
    def posterior_variance(self) -> float:
        """Variance of the reverse move given the clean plan (DDPM, arXiv 2006.11239, eq. 7)."""
        return (1 - self.alpha_bar_next) / (1 - self.alpha_bar) * self.beta


@dataclass(frozen=True)
class NoiseSchedule:
    """Signal power by diffusion step: ``noisy = sqrt(a) clean + sqrt(1 - a) noise``.

    Attributes:
        alpha_bars: ``a`` of each step, falling from almost 1 to almost 0.
    """

    alpha_bars: tuple[float, ...]

    @property
    def num_steps(self) -> int:
        """Diffusion steps N."""
        return len(self.alpha_bars)

    def moves(self, num_moves: int) -> list[Move]:
        """``num_moves`` reverse moves from the last step to the clean end, evenly spaced.

        The spacing is the "trailing" one of ``diffusers``: the noisiest step is always visited.

        Raises:
            SettingsError: if ``num_moves`` is not in 1 to ``num_steps``.
        """
        if not 1 <= num_moves <= self.num_steps:
            msg, remedy = f"{num_moves} sampling steps asked for", f"choose 1 to {self.num_steps}"
            raise SettingsError(msg, place="num_moves", value=num_moves, remedy=remedy)
        steps = [round(self.num_steps * (1 - i / num_moves)) - 1 for i in range(num_moves)]
        signals = [self.alpha_bars[step] for step in steps] + [1.0]
        return [Move(s, a, b) for s, a, b in zip(steps, signals, signals[1:], strict=False)]


def cosine_schedule(num_steps: int, *, offset: float = 0.008) -> NoiseSchedule:
    """The cosine schedule (Nichol and Dhariwal, arXiv 2102.09672, eq. 17), betas at most 0.999.

    Args:
        num_steps: diffusion steps N, at least 1.
        offset: keeps the first step from being noiseless.

    Raises:
        SettingsError: if ``num_steps`` is below 1.
    """
    if num_steps < 1:
        raise SettingsError(place="num_steps", value=num_steps, remedy="it must be at least 1")

    def signal(fraction: float) -> float:
        return math.cos((fraction + offset) / (1 + offset) * math.pi / 2) ** 2

    alpha_bars, product = [], 1.0
    for step in range(num_steps):
        beta = 1 - signal((step + 1) / num_steps) / signal(step / num_steps)
        product *= 1 - min(beta, _MAX_BETA)
        alpha_bars.append(product)
    return NoiseSchedule(tuple(alpha_bars))
