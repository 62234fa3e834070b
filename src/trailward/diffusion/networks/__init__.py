"""Networks over plans: (batch, horizon, transition) and a diffusion step to the same shape."""

from collections.abc import Callable

from torch import nn

from trailward.diffusion.networks.residual_mlp import ResidualMLP
from trailward.diffusion.networks.temporal_transformer import TemporalTransformer
from trailward.diffusion.networks.temporal_unet import TemporalUnet
from trailward.registry import Registry

NETWORKS: Registry[Callable[..., nn.Module]] = Registry(
    "networks", {"transformer": TemporalTransformer, "mlp": ResidualMLP, "unet": TemporalUnet}
)
"""Networks by name; one is built from ``(transition_dim, horizon)``, and settings by name."""

__all__ = ["NETWORKS", "ResidualMLP", "TemporalTransformer", "TemporalUnet"]
