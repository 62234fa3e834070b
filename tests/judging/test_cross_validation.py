"""Left-out demonstrations: who is left out, and what that says."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from refusals import refused
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.data.tracks import TrackRows
from trailward.judging.cross_validation import (
    CrossValidation,
    Reading,
    auc,
    chance,
    cross_validate,
)

ROWS = TrackRows.of(Dataset([Episode(np.full((6, 1), float(n))) for n in range(10)]))


class Nearness:
    """Judges rows by how near they are to what was shown, and keeps what it was shown."""

    def __init__(self) -> None:
        self.shown: list[list[int]] = []

    def values(self, shown: Sequence[int]) -> Mapping[str, Reading]:
        self.shown.append(list(shown))
        near = -np.abs(ROWS.values - np.array(shown)[None]).min(1)
        return {"near": Reading(near), "far": Reading(-near)}


def test_each_demonstration_is_left_out_whole() -> None:
    judge = Nearness()
    found = cross_validate([judge], ROWS, [7, 8, 9], [0, 1, 2, 3])
    assert judge.shown == [[8, 9], [7, 9], [7, 8]]
    assert found.ranks["near"].tolist() == [1, 1, 1]
    assert found.ranks["far"].tolist() == [0, 0, 0]
    assert found.best() == "near"
    assert found.chances["first half"]["near"].rank == 1


def test_many_demonstrations_are_left_out_in_folds() -> None:
    judge = Nearness()
    found = cross_validate([judge], ROWS, [5, 6, 7, 8, 9], [0, 1], num_folds=2)
    assert judge.shown == [[6, 8], [5, 7, 9]]
    assert len(found.ranks["near"]) == 5


def test_one_demonstration_cannot_be_left_out() -> None:
    with refused(place="the number of demonstrations", value=1, remedy="at least 2"):
        cross_validate([Nearness()], ROWS, [1], [2, 3])


def test_all_demonstrations_of_an_animal_are_left_out_together_and_count_as_one() -> None:
    judge = Nearness()
    found = cross_validate([judge], ROWS, [6, 7, 8, 9], [0, 1], animals=["a", "b", "a", "c"])
    assert judge.shown == [[7, 9], [6, 8, 9], [6, 7, 8]]
    assert found.chances["whole"]["near"].count == 3
    with refused(place="the number of animals that demonstrate", value=1):
        cross_validate([judge], ROWS, [6, 7], [0, 1], animals=["a", "a"])


def test_an_interval_narrows_with_demonstrations_and_there_is_none_of_one() -> None:
    five, fifty = chance(np.ones(5)), chance(np.ones(50))
    assert (five.low, five.high) == (pytest.approx(0.94, abs=0.01), 1)
    assert fifty.low == pytest.approx(0.999, abs=1e-3)
    assert (chance(np.array([0.7])).low, chance(np.array([0.7])).value) == (None, 0.7)


def test_animals_of_many_demonstrations_do_not_narrow_the_interval() -> None:
    ranks = np.array([0.6, 0.8, 0.9, 0.95, 0.99])
    alone, often = chance(ranks), chance(ranks.repeat(4), np.full(20, 0.25))
    assert often == alone
    assert often.count == 5


def test_ties_count_half() -> None:
    assert auc(np.array([1.0, 3.0]), np.array([1.0, 2.0])) == pytest.approx(0.625)


def test_a_reading_is_ahead_only_beyond_chance() -> None:
    ranks = {"a": np.array([0.9, 0.8, 0.7, 0.9]), "b": np.array([0.8, 0.7, 0.6, 0.8]),
             "c": np.array([0.1, 1.0, 1.0, 0.2])}  # fmt: skip
    chances = {name: chance(each) for name, each in ranks.items()}
    found = CrossValidation({"whole": chances, "first half": chances}, ranks, ranks)
    assert found.is_ahead("a", "b", least=0.03)
    assert not found.is_ahead("a", "b", least=0.2)
    assert found.score("a") > found.score("c") + 0.2
    assert not found.is_ahead("a", "c", least=0.03)
