"""Among others of whom some are alike, the interval holds the chance among the unlike."""

import numpy as np
import pytest

from trailward.judging.cross_validation import auc
from trailward.judging.unnamed import above_unlike


def drawn(generator: np.random.Generator, share: float, apart: float) -> tuple[np.ndarray, float]:
    """Ranks of five left-out demonstrations among 200 others, and the truth."""
    count = round(200 * share)
    shown, alike = generator.normal(apart, 1, 5), generator.normal(apart, 1, count)
    unlike = generator.normal(0, 1, 200 - count)
    others = np.concatenate([alike, unlike])
    ranks = np.array([auc(shown[[n]], others) for n in range(5)])
    return ranks, auc(generator.normal(apart, 1, 1000), generator.normal(0, 1, 1000))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("apart", [1.0, 2.0, 4.0])
def test_the_interval_holds_the_truth_as_often_as_it_says(share: float, apart: float) -> None:
    generator = np.random.default_rng(0)
    held, widths = [], []
    for _ in range(100):
        ranks, truth = drawn(generator, share, apart)
        found = above_unlike(ranks)
        held.append(found.low - 1e-3 <= truth <= found.high + 1e-3)
        widths.append(found.high - found.low)
    assert np.mean(held) >= 0.9
    assert np.mean(widths) < 0.5


def test_a_perfect_order_among_many_alike_is_not_taken_for_a_bad_one() -> None:
    found = above_unlike(np.linspace(0.55, 0.99, 20))
    assert found.value > 0.95
    assert found.high == 1
    assert found.share == pytest.approx(0.45, abs=0.06)


def test_ranks_of_chance_leave_chance_possible_and_ranks_at_the_top_do_not() -> None:
    assert above_unlike(np.array([0.1, 0.3, 0.5, 0.7, 0.9])).low == 0.5
    found = above_unlike(np.ones(5))
    assert found.low > 0.9
    assert found.share < 0.05


def test_ranks_below_chance_refute_a_perfect_order() -> None:
    found = above_unlike(np.array([0.05, 0.1, 0.02, 0.2, 0.1]))
    assert found.value == 0.5
    assert found.high < 0.9
