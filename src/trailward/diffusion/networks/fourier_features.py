"""Sines and cosines of the input: lets small networks hold fine detail (arXiv 2006.10739)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FourierFeatures(nn.Module):
    """The input beside its sines and cosines at octaves of half a cycle over a unit.

    Args:
        num_entries: entries of the input.
        num_frequencies: octaves; 0 leaves the input as it is.
    """

    frequencies: Tensor

    def __init__(self, num_entries: int, num_frequencies: int) -> None:
        super().__init__()
        self.num_features = num_entries * (1 + 2 * num_frequencies)
        octaves = math.pi * 2.0 ** torch.arange(num_frequencies)
        self.register_buffer("frequencies", octaves, persistent=False)

    def forward(self, entries: Float[Tensor, "*axes entry"]) -> Float[Tensor, "*axes feature"]:
        """Entries, then sines, then cosines."""
        angles = (entries.unsqueeze(-1) * self.frequencies).flatten(-2)
        return torch.cat([entries, angles.sin(), angles.cos()], dim=-1)


class RandomFourierFeatures(nn.Module):
    """Sines and cosines along random directions (Rahimi and Recht 2007): a Gaussian kernel.

    Args:
        num_entries: entries of the input.
        num_directions: random directions, saved with the weights.
        frequency: standard deviation of the directions' entries, radians a unit; details finer
            than about ``1 / frequency`` are smoothed over.
    """

    directions: Tensor

    def __init__(self, num_entries: int, num_directions: int, frequency: float) -> None:
        super().__init__()
        self.num_features = 2 * num_directions
        directions = frequency * torch.randn(num_entries, num_directions)
        self.register_buffer("directions", directions)

    def forward(self, entries: Float[Tensor, "*axes entry"]) -> Float[Tensor, "*axes feature"]:
        """Sines, then cosines."""
        angles = entries @ self.directions
        return torch.cat([angles.sin(), angles.cos()], dim=-1)
