"""Diffuser's temporal U-Net (Janner et al. 2022, arXiv 2205.09991, appendix C)."""

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from trailward.diffusion.networks.step_embedding import StepEmbedding
from trailward.errors import SettingsError
from trailward.typing import Plans, Steps

_KERNEL, _GROUPS = 5, 8


class TemporalUnet(nn.Module):
    """Residual convolutions over time, halving and doubling the number of plan steps.

    A horizon that cannot be halved often enough is padded by repeating the last step, and cut
    back at the end.

    Args:
        transition_dim: entries of a plan step.
        horizon: plan steps (any; kept for the common signature).
        width: channels at the first level; a multiple of 8.
        multipliers: channels of each level, in units of ``width``.

    Raises:
        SettingsError: if ``width`` is not a multiple of 8 (the groups of the normalisation).
    """

    def __init__(
        self,
        transition_dim: int,
        horizon: int,
        *,
        width: int = 32,
        multipliers: Sequence[int] = (1, 4, 8),
    ) -> None:
        super().__init__()
        if width % _GROUPS:
            remedy = f"it must be a multiple of {_GROUPS}"
            raise SettingsError(place="width", value=width, remedy=remedy)
        self._fold = 2 ** (len(multipliers) - 1)
        self.embed_step = StepEmbedding(width, 4 * width)
        sizes = [transition_dim, *(width * m for m in multipliers)]
        pairs = list(itertools.pairwise(sizes))
        self.down = nn.ModuleList([_Level(*pair, width) for pair in pairs])
        self.shrink = nn.ModuleList([nn.Conv1d(s, s, 3, 2, 1) for s in sizes[1:-1]])
        self.middle = _Level(sizes[-1], sizes[-1], width)
        ups = [(2 * big, small) for small, big in reversed(pairs[1:])]
        self.up = nn.ModuleList([_Level(*pair, width) for pair in ups])
        self.grow = nn.ModuleList([nn.ConvTranspose1d(s, s, 4, 2, 1) for _, s in ups])
        self.out = nn.Sequential(_convolution(sizes[1], width), nn.Conv1d(width, transition_dim, 1))

    def forward(self, noisy: Plans, step: Steps) -> Plans:
        """The network's prediction, of the shape of ``noisy``."""
        horizon = noisy.shape[1]
        padding = (0, -horizon % self._fold)
        features = functional.pad(noisy.transpose(1, 2), padding, mode="replicate")
        level, skips = self.embed_step(step), []
        for block, shrink in zip(self.down, [*self.shrink, nn.Identity()], strict=True):
            features = block(features, level)
            skips.append(features)
            features = shrink(features)
        features = self.middle(features, level)
        for block, grow in zip(self.up, self.grow, strict=True):
            features = grow(block(torch.cat([features, skips.pop()], dim=1), level))
        return self.out(features)[..., :horizon].transpose(1, 2)


class _Level(nn.Module):
    """Two residual blocks at one resolution."""

    def __init__(self, inputs: int, outputs: int, level_width: int) -> None:
        super().__init__()
        self.first = _ResidualBlock(inputs, outputs, level_width)
        self.second = _ResidualBlock(outputs, outputs, level_width)

    def forward(
        self, features: Float[Tensor, "batch inputs time"], level: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch outputs time"]:
        return self.second(self.first(features, level), level)


class _ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, level_width: int) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs)
        self.second = _convolution(outputs, outputs)
        self.level = nn.Sequential(nn.Mish(), nn.Linear(level_width, outputs))
        self.skip = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(
        self, features: Float[Tensor, "batch inputs time"], level: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch outputs time"]:
        hidden = self.first(features) + self.level(level).unsqueeze(-1)
        return self.second(hidden) + self.skip(features)


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, _KERNEL, padding=_KERNEL // 2),
        nn.GroupNorm(_GROUPS, outputs),
        nn.Mish(),
    )
