"""Residual layers on the whole plan at once, modulated by the diffusion step."""

import torch
from torch import nn
from torch.nn import functional

from trailward.diffusion.networks.step_embedding import StepEmbedding
from trailward.diffusion.networks.temporal_transformer import zeroed
from trailward.errors import SettingsError
from trailward.typing import Plans, Steps


class ResidualMLP(nn.Module):
    """The plan as one vector through residual layers with adaptive layer norm.

    For plans of a few steps: every entry sees every other in every layer, at a fraction of what
    attention costs (residual networks as diffusion policies: IDQL, arXiv 2304.10573).

    Args:
        transition_dim: entries of a plan step.
        horizon: plan steps.
        width: entries of the hidden vector; a multiple of 8.
        depth: residual layers.

    Raises:
        SettingsError: if ``width`` is not.
    """

    def __init__(
        self, transition_dim: int, horizon: int, *, width: int = 512, depth: int = 4
    ) -> None:
        super().__init__()
        if width % 8:
            remedy = "it must be a multiple of 8"
            raise SettingsError(place="width", value=width, remedy=remedy)
        entries, level = horizon * transition_dim, width // 4
        self.embed = nn.Linear(entries, width)
        self.embed_step = StepEmbedding(level, level)
        self.blocks = nn.ModuleList([_Block(width, level) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.out = zeroed(nn.Linear(width, entries))

    def forward(self, noisy: Plans, step: Steps) -> Plans:
        """The network's prediction, of the shape of ``noisy``."""
        level = functional.silu(self.embed_step(step))
        hidden = self.embed(noisy.flatten(1))
        for block in self.blocks:
            hidden = block(hidden, level)
        return self.out(self.norm(hidden)).unflatten(1, noisy.shape[1:])


class _Block(nn.Module):
    def __init__(self, width: int, level: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = zeroed(nn.Linear(level, 3 * width))
        self.inner = nn.Linear(width, 2 * width)
        self.outer = nn.Linear(2 * width, width)

    def forward(self, hidden: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        shift, scale, gate = self.modulate(level).chunk(3, dim=-1)
        change = self.inner(self.norm(hidden) * (1 + scale) + shift)
        return hidden + (1 + gate) * self.outer(functional.silu(change))
