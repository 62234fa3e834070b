"""How good a reward and a behaviour are: returns, ERC, best cell, dynamics error, intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from trailward.diffuser import Diffuser
from trailward.planner import PlanFollower, Planner, Policy
from trailward.trajectory import Episode

_RESAMPLES = 2000
PLANS_AT_ONCE = 50
"""How many plans :func:`dynamics_error` follows side by side."""


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
        ValueError: if there are no samples.
    """
    if len(samples) == 0:
        raise ValueError("no samples to estimate from")
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, len(samples), (_RESAMPLES, len(samples)))
    values = [statistic(samples[draw]) for draw in draws]
    low, high = np.nanquantile(values, [0.025, 0.975])
    return Estimate(float(statistic(samples)), float(low), float(high), len(samples))


@dataclass(frozen=True)
class Correlation:
    """Episode return correlation of a learnt with the true reward.

    Attributes:
        pearson: correlation of returns.
        spearman: correlation of their ranks.
        distance: ``sqrt((1 - pearson) / 2)``: 0 is best, 1 worst (arXiv 2006.13900, def. 5.1).
    """

    pearson: Estimate
    spearman: Estimate
    distance: Estimate


def episode_return_correlation(
    learnt: Float[np.ndarray, "episode"], true: Float[np.ndarray, "episode"], *, seed: int = 0
) -> Correlation:
    """ERC over play windows or whole play episodes, with bootstrap intervals.

    Both rewards are undiscounted. A constant reward correlates with
    nothing: its correlation counts as 0.

    Args:
        learnt: return of each window under the learnt reward.
        true: return of each window under the true reward.
        seed: of the bootstrap.
    """
    pairs = np.stack([learnt, true], axis=1)
    ranks = np.stack([_ranks(learnt), _ranks(true)], axis=1)
    return Correlation(
        bootstrap(_pearson, pairs, seed=seed),
        bootstrap(_pearson, ranks, seed=seed),
        bootstrap(lambda p: ((1 - _pearson(p)) / 2) ** 0.5, pairs, seed=seed),
    )


def return_fraction(
    returns: Float[np.ndarray, "episode"],
    unguided: Float[np.ndarray, "episode"],
    demonstrator: Float[np.ndarray, "episode"],
    *,
    seed: int = 0,
) -> Estimate:
    """The mean return on the scale where the unguided planner is 0 and the demonstrator 1.

    Episode i of all three has the same start, so the interval resamples starts; a resample
    without a scale does not count.

    Args:
        returns: of the policy judged.
        unguided: of the unguided planner.
        demonstrator: of the demonstrator.
        seed: of the bootstrap.

    Raises:
        ValueError: if both ends are the same, so that there is no scale.
    """
    low, high = unguided.mean(), demonstrator.mean()
    if np.isclose(low, high):
        raise ValueError(f"unguided and demonstrator both return {low:.4g}: there is no scale")

    def fraction(together: np.ndarray) -> float:
        judged, zero, one = together.mean(0)
        return float((judged - zero) / (one - zero)) if one != zero else float("nan")

    return bootstrap(fraction, np.stack([returns, unguided, demonstrator], axis=1), seed=seed)


@dataclass(frozen=True)
class DynamicsError:
    """How far the executed path is from the planned one, followed without replanning.

    Attributes:
        planned: shape (plan, horizon, observation), environment units.
        executed: shape (plan, horizon, observation), reached at the plan's steps.
        errors: shape (plan, horizon), distance of the two in the measured entries.
    """

    planned: Float[np.ndarray, "plan horizon observation"]
    executed: Float[np.ndarray, "plan horizon observation"]
    errors: Float[np.ndarray, "plan horizon"]


def dynamics_error(
    planner: Planner,
    starts: Float[np.ndarray, "plan observation"],
    run: Callable[[Policy, np.ndarray, int], Sequence[Episode]],
    *,
    entries: Sequence[int],
) -> DynamicsError:
    """Plan from each start, follow the plan to its end without replanning, and compare.

    Args:
        planner: makes the plans, with the guidance it acts with.
        starts: environment units.
        run: runs a policy in the simulator from some starts for a number of environment steps;
            it is given at most ``PLANS_AT_ONCE`` starts at a time.
        entries: of the observation that are measured, such as the position.
    """
    num_steps = (planner.diffuser.spec.horizon - 1) * planner.diffuser.spec.stride
    planned, executed = [], []
    for first in range(0, len(starts), PLANS_AT_ONCE):
        block = starts[first : first + PLANS_AT_ONCE]
        plans = planner.plan(block)
        episodes = run(PlanFollower(planner.diffuser, plans), block, num_steps)
        planned.append(plan_observations(planner.diffuser, plans))
        stride = planner.diffuser.spec.stride
        executed.append(np.stack([episode.observations[::stride] for episode in episodes]))
    both = np.concatenate(planned), np.concatenate(executed)
    errors = np.linalg.norm((both[0] - both[1])[..., list(entries)], axis=-1)
    return DynamicsError(*both, errors)


def plan_observations(
    diffuser: Diffuser, plans: torch.Tensor
) -> Float[np.ndarray, "plan horizon observation"]:
    """The observations of plans, from model space to environment units."""
    observations, _ = diffuser.spec.split(plans)
    units = diffuser.observation_normalizer.unnormalize(observations)
    return units.cpu().numpy().astype(np.float64)


def windows_of(
    episodes: Sequence[Episode], *, length: int, count: int, seed: int
) -> Float[np.ndarray, "window length observation"]:
    """Windows of consecutive observations, drawn uniformly from all in the episodes.

    Raises:
        ValueError: if no episode is that long.
    """
    long_enough = [e for e in episodes if len(e.observations) >= length]
    if not long_enough:
        longest = max(len(e.observations) for e in episodes)
        raise ValueError(f"windows of {length} observations; the longest episode has {longest}")
    generator = np.random.default_rng(seed)
    weights = np.array([len(e.observations) - length + 1 for e in long_enough], dtype=float)
    chosen = generator.choice(len(long_enough), count, p=weights / weights.sum())
    starts = [generator.integers(0, int(weights[index])) for index in chosen]
    return np.stack(
        [long_enough[i].observations[s : s + length] for i, s in zip(chosen, starts, strict=True)]
    )


def _pearson(pairs: Float[np.ndarray, "sample 2"]) -> float:
    centered = pairs - pairs.mean(0)
    scale = np.sqrt((centered**2).sum(0)).prod()
    if scale == 0:
        return 0.0
    return float(np.clip((centered[:, 0] * centered[:, 1]).sum() / scale, -1.0, 1.0))


def _ranks(values: Float[np.ndarray, "sample"]) -> Float[np.ndarray, "sample"]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[inverse].astype(np.float64)
