"""Affine maps between environment units and model space, fitted on the play data."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trailward.data.plan import PlanSpec

_CONSTANT = 1e-6


class Normalizer(nn.Module):
    """``normalize(x) = (x - shift) / scale``, per entry of a transition.

    The identity ``unnormalize(normalize(x)) == x`` holds outside the fitted range too: nothing is
    clipped, so gradients pass everywhere. Demonstrations are always normalised with the *play
    data's* normalizer.

    Args:
        shift: shape (transition,), environment units.
        scale: shape (transition,), environment units for one unit of model space; never 0.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: Float[Tensor, "entry"], scale: Float[Tensor, "entry"]) -> None:
        super().__init__()
        if not bool((scale > 0).all()):
            raise ValueError(f"scale has a value of {scale.min().item()}; all must be above 0")
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    def normalize(self, values: Float[Tensor, "*axes entry"]) -> Float[Tensor, "*axes entry"]:
        """Environment units to model space."""
        return (values - self.shift) / self.scale

    def unnormalize(self, values: Float[Tensor, "*axes entry"]) -> Float[Tensor, "*axes entry"]:
        """Model space to environment units."""
        return values * self.scale + self.shift


def fit_limits(values: Float[Tensor, "sample entry"]) -> Normalizer:
    """The smallest and largest value of each entry become -1 and 1.

    A constant entry keeps its own scale (1) and becomes 0; the others are not affected by it.
    """
    low, high = values.amin(0), values.amax(0)
    scale = (high - low) / 2
    return Normalizer((high + low) / 2, torch.where(scale > _CONSTANT, scale, 1.0))


def fit_gaussian(values: Float[Tensor, "sample entry"]) -> Normalizer:
    """Each entry gets mean 0 and standard deviation 1; a constant entry becomes 0."""
    scale = values.std(0, correction=0)
    return Normalizer(values.mean(0), torch.where(scale > _CONSTANT, scale, 1.0))


NORMALIZERS = {"limits": fit_limits, "gaussian": fit_gaussian}
"""By the name used in flags and saved configurations."""


def join_normalizers(observation: Normalizer, action: Normalizer, spec: PlanSpec) -> Normalizer:
    """The normalizer of whole transitions: every action of a chunk shares one scale."""
    return Normalizer(
        spec.join(observation.shift, action.shift.expand(spec.stride, -1)),
        spec.join(observation.scale, action.scale.expand(spec.stride, -1)),
    )
