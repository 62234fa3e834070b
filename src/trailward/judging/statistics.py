"""Figures with their 95% intervals, and correlations."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from trailward.errors import DataError

_RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% interval (percentile bootstrap).

    Attributes:
        value: on the whole sample.
        low: 2.5% quantile over resamples.
        high: 97.5% quantile over resamples.
        count: size of the sample.
    """

    value: float
    low: float
    high: float
    count: int


def bootstrap(
    statistic: Callable[[np.ndarray], float], samples: np.ndarray, *, seed: int = 0
) -> Estimate:
    """A statistic of samples (first axis) with its bootstrap interval.

    Raises:
        DataError: if there are no samples.
    """
    values = [statistic(samples[draw]) for draw in _draws(len(samples), seed)]
    low, high = np.nanquantile(values, [0.025, 0.975])
    return Estimate(float(statistic(samples)), float(low), float(high), len(samples))


def bootstrap_mean(samples: Float[np.ndarray, "sample"], *, seed: int = 0) -> Estimate:
    """The mean of samples with its bootstrap interval, as of :func:`bootstrap`, but faster.

    Args:
        samples: one figure each; the estimate has their unit.
        seed: of the resamples.

    Raises:
        DataError: if there are no samples.
    """
    draws = _draws(len(samples), seed)
    low, high = np.nanquantile(samples[draws].mean(1), [0.025, 0.975])
    return Estimate(float(samples.mean()), float(low), float(high), len(samples))


def _draws(count: int, seed: int) -> Int[np.ndarray, "resample sample"]:
    if not count:
        raise DataError(place="the number of samples", value=0, remedy="give at least one")
    return np.random.default_rng(seed).integers(0, count, (_RESAMPLES, count))


def pearson(pairs: Float[np.ndarray, "sample 2"]) -> float:
    """Pearson correlation of the two columns; 0 if either is constant."""
    centered = pairs - pairs.mean(0)
    scale = np.sqrt((centered**2).sum(0)).prod()
    if scale == 0:
        return 0.0
    return float(np.clip((centered[:, 0] * centered[:, 1]).sum() / scale, -1.0, 1.0))


def ranks(values: Float[np.ndarray, "sample"]) -> Float[np.ndarray, "sample"]:
    """The rank of each value, from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[inverse].astype(np.float64)
