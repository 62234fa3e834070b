"""ERC, episode return correlation: does a learnt reward rank episodes as the true one does?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from trailward.judging.statistics import Estimate, bootstrap, pearson, ranks


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
    ranked = np.stack([ranks(learnt), ranks(true)], axis=1)
    return Correlation(
        bootstrap(pearson, pairs, seed=seed),
        bootstrap(pearson, ranked, seed=seed),
        bootstrap(lambda p: ((1 - pearson(p)) / 2) ** 0.5, pairs, seed=seed),
    )


COMPARED = {
    "mean": "mean reward of a step, of both; where an episode ends does not count",
    "sum": "sums of rewards; the learnt reward's, whose shift is free, depends on that shift",
    "sum_above_least": "sums of rewards; the learnt reward is shifted so that its least is 0",
    "length": "the number of steps alone, with no reward, beside the true sum",
}
"""What :func:`correlations_by_return` compares, by name."""


def correlations_by_return(
    means: Float[np.ndarray, "episode"],
    least: float,
    true: Sequence[Float[np.ndarray, "_time"]],
    *,
    seed: int = 0,
) -> dict[str, Correlation]:
    """ERC of whole episodes that differ in length, by each way to compare them.

    A true return is the sum of rewards until the episode ends. The shift of a learnt reward is
    free, and matters as soon as lengths differ: so there is no one right way, and all are told,
    as :data:`COMPARED` says. Where all lengths are equal, all but ``length`` are the same.

    Args:
        means: mean learnt reward of a step of each episode.
        least: the least learnt reward on these episodes.
        true: true reward of each step of each episode.
        seed: of the bootstrap.
    """
    lengths = np.array([len(rewards) for rewards in true], dtype=np.float64)
    sums = np.array([rewards.sum() for rewards in true])
    compared = {
        "mean": (means, sums / lengths),
        "sum": (means * lengths, sums),
        "sum_above_least": ((means - least) * lengths, sums),
        "length": (lengths, sums),
    }
    return {
        name: episode_return_correlation(learnt, returns, seed=seed)
        for name, (learnt, returns) in compared.items()
    }
