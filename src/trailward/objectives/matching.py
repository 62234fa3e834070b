"""Objectives: how far a batch of plans is from a batch of demonstration windows.

All take whole plans in model space; lower is better. ``mask`` marks the steps of
the demonstrations that are real; plan i, sampled from the start of demonstration i, shares its
mask, and a distance between two masked plans is over the steps real in both, scaled up to the
whole horizon.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from trailward.errors import DataError, SettingsError
from trailward.registry import Registry
from trailward.typing import DemonstrationMask, Demonstrations, PlanMask, Plans, Scalar

_SMALLEST = 1e-8


@runtime_checkable
class Objective(Protocol):
    """Lower is better."""

    def __call__(
        self, plans: Plans, demonstrations: Demonstrations, mask: DemonstrationMask | None = None
    ) -> Scalar:
        """How far ``plans`` are from ``demonstrations``.

        Args:
            plans: model space; plan i starts where demonstration i does.
            demonstrations: windows, model space.
            mask: where the demonstrations are real; None if everywhere.
        """
        ...


@dataclass(frozen=True)
class MSE:
    """Mean squared error of plan i against demonstration i; 0 iff all pairs are equal."""

    def __call__(
        self, plans: Plans, demonstrations: Demonstrations, mask: DemonstrationMask | None = None
    ) -> Scalar:
        """See :class:`Objective`.

        Raises:
            DataError: if there are not as many plans as demonstrations.
        """
        if plans.shape != demonstrations.shape:
            shapes = tuple(plans.shape), tuple(demonstrations.shape)
            raise DataError(
                f"MSE pairs plans with demonstrations, but their shapes are {shapes[0]} and "
                f"{shapes[1]}",
                place="plans and demonstrations",
                value=shapes,
                remedy="use an MMD objective for unpaired batches",
            )
        real = _mask_of(plans, mask).unsqueeze(-1).expand_as(plans)
        return ((plans - demonstrations).square() * real).sum() / real.sum().clamp(min=1)


@dataclass(frozen=True)
class MMDGaussian:
    """Squared maximum mean discrepancy under a sum of Gaussian kernels; 0 iff the sets are equal.

    The kernel is ``sum_j exp(-d^2 / b_j)``, with ``num_bandwidths`` bandwidths, each twice the
    last, centred on the mean squared distance of all pairs. The estimator is the biased
    V-statistic (Gretton et al. 2012, eq. 5), never negative.

    Args:
        num_bandwidths: number of kernels that are summed.
    """

    num_bandwidths: int = 5

    def __call__(
        self, plans: Plans, demonstrations: Demonstrations, mask: DemonstrationMask | None = None
    ) -> Scalar:
        """See :class:`Objective`; the numbers of plans and demonstrations may differ."""
        squared = _all_distances(plans, demonstrations, mask)
        count, num_plans = len(squared), len(plans)
        center = squared.detach().sum() / (count * count - count)
        powers = [2.0 ** (j - self.num_bandwidths // 2) for j in range(self.num_bandwidths)]
        kernel = torch.stack([torch.exp(-squared / (p * center + _SMALLEST)) for p in powers]).sum(
            0
        )
        within = kernel[:num_plans, :num_plans].mean() + kernel[num_plans:, num_plans:].mean()
        return within - 2 * kernel[:num_plans, num_plans:].mean()


@dataclass(frozen=True)
class MMDMatern:
    """Squared maximum mean discrepancy under a Matern kernel, in expectation 0 iff equal.

    Trajectories are flattened and length-normalised: divided by the square root of their number
    of entries, so that the distance ``d`` is a root mean square per entry. The estimator is the
    unbiased U-statistic (Gretton et al. 2012, eq. 3), which can be slightly negative.

    Args:
        nu: smoothness: 0.5 (the thesis), 1.5 or 2.5.
        length_scale: length scale of the kernel, model space.

    Raises:
        SettingsError: if ``nu`` is none of these.
    """

    nu: float = 0.5
    length_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.nu not in (0.5, 1.5, 2.5):
            raise SettingsError(place="nu", value=self.nu, remedy="choose 0.5, 1.5 or 2.5")

    def __call__(
        self, plans: Plans, demonstrations: Demonstrations, mask: DemonstrationMask | None = None
    ) -> Scalar:
        """See :class:`Objective`; at least two plans and two demonstrations.

        Raises:
            DataError: if there are fewer: the U-statistic needs pairs.
        """
        num_plans, num_demonstrations = len(plans), len(demonstrations)
        if min(num_plans, num_demonstrations) < 2:
            raise DataError(
                f"the numbers of plans and demonstrations are {num_plans} and {num_demonstrations}",
                place="plans and demonstrations",
                value=(num_plans, num_demonstrations),
                remedy="give the unbiased MMD at least 2 of each",
            )
        entries = plans.shape[1] * plans.shape[2]
        kernel = self._kernel(_all_distances(plans, demonstrations, mask) / entries)
        own = kernel[:num_plans, :num_plans], kernel[num_plans:, num_plans:]
        within = sum(
            ((k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1)) for k in own),
            start=kernel.new_zeros(()),
        )
        return within - 2 * kernel[:num_plans, num_plans:].mean()

    def _kernel(self, squared: Float[Tensor, "all all"]) -> Float[Tensor, "all all"]:
        scaled = math.sqrt(2 * self.nu) * (squared + _SMALLEST).sqrt() / self.length_scale
        polynomial = {
            0.5: 1.0,
            1.5: 1 + scaled,
            2.5: 1 + scaled + scaled.square() / 3,
        }[self.nu]
        return polynomial * torch.exp(-scaled)


@dataclass(frozen=True)
class EnergyDistance:
    """Energy distance (Szekely and Rizzo 2013): ``2 E|x - y| - E|x - x'| - E|y - y'|``.

    Trajectories are length-normalised as in :class:`MMDMatern`, so its unit is a root mean square
    per entry of model space. It has no bandwidth to choose: 0 iff the sets are equal, and in
    proportion to how far apart they are. That makes it the judge of held-out demonstrations,
    whichever objective a reward is learnt with.
    """

    def __call__(
        self, plans: Plans, demonstrations: Demonstrations, mask: DemonstrationMask | None = None
    ) -> Scalar:
        """See :class:`Objective`; the numbers of plans and demonstrations may differ."""
        entries, count = plans.shape[1] * plans.shape[2], len(plans)
        distance = (_all_distances(plans, demonstrations, mask) / entries + _SMALLEST).sqrt()
        within = distance[:count, :count].mean() + distance[count:, count:].mean()
        return 2 * distance[:count, count:].mean() - within


@dataclass(frozen=True)
class Apart:
    """The sum of an objective over equal parts of a batch, each part by itself.

    Args:
        objective: of each part.
        num_parts: as many as an ensemble has members; the batch's size is a multiple of it.
    """

    objective: Objective
    num_parts: int

    def __call__(
        self, plans: Plans, demonstrations: Demonstrations, mask: DemonstrationMask | None = None
    ) -> Scalar:
        """The sum over parts."""
        parts = [
            self.objective(own, shown, None if real is None or bool(real.all()) else real)
            for own, shown, real in zip(
                plans.tensor_split(self.num_parts),
                demonstrations.tensor_split(self.num_parts),
                self.num_parts * [None] if mask is None else mask.tensor_split(self.num_parts),
                strict=True,
            )
        ]
        return torch.stack(parts).sum()


OBJECTIVES: Registry[Objective] = Registry(
    "objectives",
    {
        "mse": MSE(),
        "mmd_gaussian": MMDGaussian(),
        "mmd_matern": MMDMatern(0.5),
        "mmd_matern32": MMDMatern(1.5),
        "mmd_matern52": MMDMatern(2.5),
        "energy": EnergyDistance(),
    },
)
"""Objectives that compare sampled plans with demonstrations, by name."""


def _mask_of(plans: Plans, mask: PlanMask | None) -> PlanMask:
    if mask is None:
        return torch.ones(plans.shape[:2], dtype=torch.bool, device=plans.device)
    return mask


def _all_distances(
    plans: Plans, demonstrations: Demonstrations, mask: DemonstrationMask | None
) -> Float[Tensor, "all all"]:
    """Squared distances between all trajectories, plans first."""
    everything = torch.cat([plans, demonstrations])
    difference = (everything.unsqueeze(1) - everything.unsqueeze(0)).square().sum(-1)
    if mask is None:
        return difference.sum(-1)
    if len(plans) != len(demonstrations):
        msg = "masked demonstrations need one plan each, sampled from their starts"
        counts = len(plans), len(demonstrations)
        raise DataError(msg, place="plans and demonstrations", value=counts)
    real = torch.cat([mask, mask])
    both = real.unsqueeze(1) & real.unsqueeze(0)
    return (difference * both).sum(-1) * mask.shape[1] / both.sum(-1).clamp(min=1)
