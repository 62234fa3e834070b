"""A small transformer over plan steps with adaptive layer norm (DiT, arXiv 2212.09748)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from trailward.diffusion.networks.step_embedding import StepEmbedding
from trailward.errors import SettingsError
from trailward.typing import Plans, Steps


class TemporalTransformer(nn.Module):
    """One token a plan step; every layer is modulated by the diffusion step.

    Args:
        transition_dim: entries of a plan step.
        horizon: plan steps.
        width: entries of a token; a multiple of ``heads``, and even.
        depth: layers.
        heads: attention heads.

    Raises:
        SettingsError: if ``width`` does not fit ``heads``.
    """

    def __init__(
        self, transition_dim: int, horizon: int, *, width: int = 96, depth: int = 3, heads: int = 4
    ) -> None:
        super().__init__()
        if width % heads or width % 2:
            remedy = f"it must be even and a multiple of heads {heads}"
            raise SettingsError(place="width", value=width, remedy=remedy)
        self.embed = nn.Linear(transition_dim, width)
        self.position = nn.Parameter(0.02 * torch.randn(horizon, width))
        self.embed_step = StepEmbedding(width, 4 * width)
        self.blocks = nn.ModuleList([_Block(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = zeroed(nn.Linear(width, 2 * width))
        self.out = zeroed(nn.Linear(width, transition_dim))

    def forward(self, noisy: Plans, step: Steps) -> Plans:
        """The network's prediction, of the shape of ``noisy``."""
        level = functional.silu(self.embed_step(step)).unsqueeze(1)
        tokens = self.embed(noisy) + self.position
        for block in self.blocks:
            tokens = block(tokens, level)
        shift, scale = self.modulate(level).chunk(2, dim=-1)
        return self.out(self.norm(tokens) * (1 + scale) + shift)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )
        self.modulate = zeroed(nn.Linear(width, 6 * width))

    def forward(
        self, tokens: Float[Tensor, "batch horizon width"], level: Float[Tensor, "batch 1 width"]
    ) -> Float[Tensor, "batch horizon width"]:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulate(level).chunk(6, dim=-1)
        tokens = tokens + gate1 * self._attend(self.norm(tokens) * (1 + scale1) + shift1)
        return tokens + gate2 * self.feed_forward(self.norm(tokens) * (1 + scale2) + shift2)

    def _attend(
        self, tokens: Float[Tensor, "batch horizon width"]
    ) -> Float[Tensor, "batch horizon width"]:
        split = self.query_key_value(tokens).unflatten(-1, (3, self.heads, -1))
        query, key, value = (part.transpose(1, 2) for part in split.unbind(2))
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.attended(mixed.transpose(1, 2).flatten(2))


def zeroed(layer: nn.Linear) -> nn.Linear:
    """The layer with all weights 0: it adds nothing before it is trained."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
