"""Affine maps between environment units and model space, fitted on the play data."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trailward.data.plan import PlanSpec
from trailward.errors import SettingsError

ROUNDING = 8 * torch.finfo(torch.float64).eps
"""Share of an entry's largest value; with a smaller range it is constant but for rounding."""


class Normalizer(nn.Module):
    """``normalize(x) = (x - shift) / scale``, per entry of a transition.

    The identity ``unnormalize(normalize(x)) == x`` holds outside the fitted range too: nothing is
    clipped, so gradients pass everywhere. Demonstrations are always normalised with the *play
    data's* normalizer.

    The shift is subtracted in 64 bits (where the device has them), so that entries of any scale and
    offset, such as seconds since 1970, keep all that they tell. Model space is 32 bits.

    Args:
        shift: shape (transition,), environment units.
        scale: shape (transition,), environment units for one unit of model space; never 0.

    Raises:
        SettingsError: if a scale is not above 0.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: Float[Tensor, "entry"], scale: Float[Tensor, "entry"]) -> None:
        super().__init__()
        if not bool((scale > 0).all()):
            low, remedy = scale.min().item(), "all must be above 0"
            msg = f"scale has a value of {low}"
            raise SettingsError(msg, place="scale", value=low, remedy=remedy)
        self.register_buffer("shift", shift.double())
        self.register_buffer("scale", scale.double())

    def normalize(self, values: Float[Tensor, "*axes entry"]) -> Float[Tensor, "*axes entry"]:
        """Environment units to model space, 32 bits; on the normalizer's device."""
        return ((values.to(self.shift) - self.shift) / self.scale).float()

    def unnormalize(self, values: Float[Tensor, "*axes entry"]) -> Float[Tensor, "*axes entry"]:
        """Model space to environment units, 64 bits."""
        return values.to(self.shift) * self.scale + self.shift

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Normalizer":  # noqa: FBT001, FBT002
        try:
            return super()._apply(fn, recurse)
        except TypeError:  # Apple's devices have no 64-bit floats
            return super()._apply(lambda tensor: fn(tensor.float()), recurse)


def fit_limits(values: Float[Tensor, "sample entry"]) -> Normalizer:
    """The smallest and largest value of each entry become -1 and 1.

    A constant entry keeps its own scale (1) and becomes 0; the others are not affected by it.
    """
    low, high = values.double().aminmax(dim=0)
    return Normalizer((high + low) / 2, _scale((high - low) / 2, values))


def fit_gaussian(values: Float[Tensor, "sample entry"]) -> Normalizer:
    """Each entry gets mean 0 and standard deviation 1; a constant entry becomes 0."""
    values = values.double()
    spread = values.std(0, correction=0) if values.shape[1] else values[0]  # no actions: no entries
    return Normalizer(values.mean(0), _scale(spread, values))


def _scale(
    scale: Float[Tensor, "entry"], values: Float[Tensor, "sample entry"]
) -> Float[Tensor, "entry"]:
    """The scale of entries that change; 1 of those that do not, but for rounding."""
    low, high = values.double().aminmax(dim=0)
    changes = high - low > ROUNDING * torch.maximum(low.abs(), high.abs())
    return torch.where(changes & (scale > 0), scale, 1.0)


NORMALIZERS = {"limits": fit_limits, "gaussian": fit_gaussian}
"""Normalizers by the name used in flags and saved configurations."""


def join_normalizers(observation: Normalizer, action: Normalizer, spec: PlanSpec) -> Normalizer:
    """The normalizer of whole transitions: every action of a chunk shares one scale."""
    return Normalizer(
        spec.join(observation.shift, action.shift.expand(spec.stride, -1)),
        spec.join(observation.scale, action.scale.expand(spec.stride, -1)),
    )
