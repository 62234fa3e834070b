"""How demonstrations rank above those who are unlike them, though nobody says who those are.

Play data holds people who do what is demonstrated and were not named. A demonstration that is left
out cannot rank above those, so the share of *all* others that it ranks above, its rank, is less
than the share of the *unlike*. If a share ``s`` of the others is alike, the two are related by ::

    AUC among all = s / 2 + (1 - s) AUC among the unlike

The share is not known, but ranks tell of it: those alike are spread over ranks from 0 to 1 as
demonstrations are, and no part of the others can hold more of them than there are. Two things are
assumed: that the higher the rank, the likelier someone is alike; and that the highest ranked all
are (without such an assumption the share cannot be known; Scott 2015, "A rate of convergence for
mixture proportion estimation"). Then demonstrations have a density of ranks that rises to ``1 /
s``. It is taken for a smooth step, of any place and width, over a floor of stray demonstrations::

    density(rank) = (1 - stray) * sigmoid((rank - edge) / width) / integral + stray

A uniform prior on the step's share (its integral, 0.002 to 0.9), on the logarithm of the width
(0.005 to 0.5, and one that is as good as 0: a perfect order) and on stray (0 or 0.1) is weighed by
the likelihood of the ranks. As the assumption may fail, two fifths of the prior say that nobody was
left unnamed, and a tenth that all ranks are equally likely, by chance. Without these, ranks of 0.5
would be taken for a perfect order among people who are nearly all alike.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

_SHARP, _STRAY = 5e-4, (0.0, 0.1)
_SHARES = np.concatenate([np.geomspace(0.002, 0.1, 40), np.linspace(0.1, 0.9, 80)[1:]])
_WIDTHS = np.array([_SHARP, *np.geomspace(0.005, 0.5, 40)])
_REFUTED, _CELLS, _FINEST, _TINY = 1.92, 400, 1e-4, 1e-12
_NONE, _CHANCE = 0.4, 0.1

PerCurve = Float[np.ndarray, "curve"]


@dataclass(frozen=True)
class AboveUnlike:
    """The chance that an unseen demonstration ranks above someone unlike it (an AUC).

    Attributes:
        value: the median of what the ranks leave possible.
        low: 2.5% quantile, rounded down to 0.0001.
        high: 97.5% quantile, rounded up; 1 if ranks do not refute a perfect order, by a likelihood
            ratio test.
        share: of the others, that is alike: the median.
    """

    value: float
    low: float
    high: float
    share: float


@dataclass(frozen=True)
class _Curves:
    """Densities of ranks, each with its mean, share of those alike and AUC among the unlike."""

    edge: PerCurve
    width: PerCurve
    step: PerCurve
    stray: PerCurve
    prior: PerCurve
    mean: PerCurve
    share: PerCurve

    @property
    def above(self) -> PerCurve:
        """The AUC among the unlike."""
        return (self.mean - self.share / 2) / (1 - self.share)

    def density(self, ranks: Float[np.ndarray, "rank"]) -> Float[np.ndarray, "curve rank"]:
        """Of each curve at each rank."""
        steps = _sigmoid((ranks - self.edge[:, None]) / self.width[:, None]) / self.step[:, None]
        return (1 - self.stray[:, None]) * steps + self.stray[:, None]


def above_unlike(
    ranks: Float[np.ndarray, "demonstration"],
    weights: Float[np.ndarray, "demonstration"] | None = None,
) -> AboveUnlike:
    """What the ranks of left-out demonstrations say about those who are unlike them.

    Args:
        ranks: the share of others that each demonstration ranks above, when it was left out.
        weights: how much each counts as one of its own; 1 / n for each of n from one animal.
    """
    curves, sharp = _curves(tuple(_WIDTHS)), _curves((_SHARP,))
    weights = np.ones(len(ranks)) if weights is None else weights
    fits, best = (np.log(each.density(ranks) + _TINY) @ weights for each in (curves, sharp))
    top = max(fits.max(), best.max(), 0.0)
    likely = np.exp(fits - top) * curves.prior
    some = 1 - _NONE - _CHANCE
    chances = np.concatenate([some * likely, _NONE * likely, [_CHANCE * np.exp(-top)]])
    above = np.concatenate([curves.above, curves.mean, [0.5]])
    shares = np.concatenate([curves.share, np.zeros(len(likely) + 1)])
    low, value, high = _quantiles(above, chances, (0.025, 0.5, 0.975))
    (share,) = _quantiles(shares, chances, (0.5,))
    low, high = math.floor(low / _FINEST) * _FINEST, min(math.ceil(high / _FINEST) * _FINEST, 1.0)
    return AboveUnlike(value, low, 1.0 if best.max() > top - _REFUTED else high, share)


@cache
def _curves(widths: tuple[float, ...]) -> _Curves:
    """Every combination of settings."""
    parts = np.meshgrid(_SHARES, widths, _STRAY, indexing="ij")
    step, width, stray = (part.ravel() for part in parts)
    prior = np.broadcast_to(np.gradient(_SHARES)[:, None, None], parts[0].shape).ravel()
    edge = _edges(step, width)
    middles = (np.arange(_CELLS) + 0.5) / _CELLS
    before = width * np.logaddexp(0, (middles - edge[:, None]) / width[:, None]).mean(1)
    first, last = (width * np.logaddexp(0, (at - edge) / width) for at in (0, 1))
    mean = (1 - stray) * (last - before) / (last - first) + stray / 2  # by parts
    share = 1 / ((1 - stray) * _sigmoid((1 - edge) / width) / step + stray)
    return _Curves(edge, width, step, stray, prior / prior.sum(), mean, share)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -values))


def _edges(step: PerCurve, width: PerCurve) -> PerCurve:
    """Where sigmoids of these widths must rise for their integrals over ranks to be ``step``."""
    low, high = np.full(len(step), -10.0), np.full(len(step), 10.0)
    for _ in range(60):
        edge = (low + high) / 2
        integral = width * (np.logaddexp(0, (1 - edge) / width) - np.logaddexp(0, -edge / width))
        low, high = np.where(integral > step, edge, low), np.where(integral > step, high, edge)
    return (low + high) / 2


def _quantiles(values: PerCurve, chances: PerCurve, at: tuple[float, ...]) -> tuple[float, ...]:
    order = np.argsort(values)
    total = np.cumsum(chances[order]) / chances.sum()
    return tuple(float(values[order][np.searchsorted(total, each)]) for each in at)
