"""Networks over plans: (batch, horizon, transition) and a diffusion step to the same shape."""

from trailward.diffusion.networks.residual_mlp import ResidualMLP
from trailward.diffusion.networks.temporal_transformer import TemporalTransformer
from trailward.diffusion.networks.temporal_unet import TemporalUnet

NETWORKS = {"transformer": TemporalTransformer, "mlp": ResidualMLP, "unet": TemporalUnet}
"""By the name used in flags and saved configurations."""

__all__ = ["NETWORKS", "ResidualMLP", "TemporalTransformer", "TemporalUnet"]
