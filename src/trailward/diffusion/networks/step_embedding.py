"""Sinusoidal features of the diffusion step."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trailward.typing import Steps


class StepEmbedding(nn.Module):
    """Sinusoids of the step (arXiv 1706.03762, section 3.5), then a two-layer network.

    Args:
        width: entries of the embedding; even.
        hidden: width between the two layers.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.width = width
        self.network = nn.Sequential(nn.Linear(width, hidden), nn.Mish(), nn.Linear(hidden, width))

    def forward(self, step: Steps) -> Float[Tensor, "batch width"]:
        """One vector a diffusion step."""
        half = self.width // 2
        rates = torch.exp(-math.log(10_000) / max(half - 1, 1) * torch.arange(half))
        angles = step.unsqueeze(-1) * rates.to(step.device)
        return self.network(torch.cat([angles.sin(), angles.cos()], dim=-1))
