"""ERC of episodes that differ in length: each way to compare, by hand."""

import numpy as np
import pytest

from trailward.judging.erc import COMPARED, correlations_by_return, episode_return_correlation

MEANS = np.array([1.0, 3.0, 2.0])
"""Mean learnt reward of three episodes of 1, 2 and 4 steps."""

TRUE = [np.array([2.0]), np.array([1.0, 1.0]), np.array([0.0, 1.0, 2.0, 2.0])]
"""Sums 2, 2 and 5; means 2, 1 and 1.25."""


def pearson(one: list[float], other: list[float]) -> float:
    return float(np.corrcoef(one, other)[0, 1])


@pytest.mark.parametrize(
    ("name", "learnt", "true"),
    [
        ("mean", [1, 3, 2], [2, 1, 1.25]),
        ("sum", [1, 6, 8], [2, 2, 5]),
        ("sum_above_least", [0.5, 5, 6], [2, 2, 5]),
        ("length", [1, 2, 4], [2, 2, 5]),
    ],
)
def test_each_comparison_is_what_it_says(name: str, learnt: list[float], true: list[float]) -> None:
    found = correlations_by_return(MEANS, 0.5, TRUE)[name]
    assert found.pearson.value == pytest.approx(pearson(learnt, true))
    assert found.distance.value == pytest.approx(((1 - pearson(learnt, true)) / 2) ** 0.5)
    assert found.pearson.count == 3


def test_every_comparison_is_explained() -> None:
    assert set(correlations_by_return(MEANS, 0.0, TRUE)) == set(COMPARED)


def test_only_sums_depend_on_the_shift_of_the_learnt_reward() -> None:
    before = correlations_by_return(MEANS, 0.5, TRUE)
    after = correlations_by_return(MEANS + 10, 10.5, TRUE)
    for name in ("mean", "sum_above_least", "length"):
        assert after[name].pearson.value == pytest.approx(before[name].pearson.value)
    assert after["sum"].pearson.value > before["sum"].pearson.value + 0.1


def test_where_lengths_are_equal_all_but_length_are_the_same() -> None:
    true = [np.array([0.0, 1.0]), np.array([2.0, 2.0]), np.array([1.0, 1.0])]
    found = correlations_by_return(MEANS, 1.0, true)
    plain = episode_return_correlation(MEANS, np.array([0.5, 2.0, 1.0]))
    for name in ("mean", "sum", "sum_above_least"):
        assert found[name].pearson.value == pytest.approx(plain.pearson.value)
    assert found["length"].pearson.value == 0
