"""Naive ways to judge: right where counting is enough."""

import numpy as np
import pytest

from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.data.tracks import TrackRows, with_rates
from trailward.judging.cross_validation import auc
from trailward.judging.naive import (
    REGRESSION,
    WIDTHS,
    DensityMaps,
    NearestNeighbours,
    RateRegression,
    judge_naively,
)


def walks(num: int, sign: float) -> list[Episode]:
    """To the right or to the left along the same line, from anywhere."""
    generator = np.random.default_rng(0)
    steps = np.arange(12)[:, None] * [0.5 * sign, 0]
    starts = generator.uniform([-2, -1], [2, 1], (num, 1, 2))
    return [Episode(start - steps.mean(0) + steps) for start in starts]


BOTH = Dataset([*walks(20, 1), *walks(20, -1)])
ROWS, MOVING = TrackRows.of(BOTH), TrackRows.of(with_rates(BOTH))


def told_apart(reading: np.ndarray) -> float:
    return auc(reading[4:20], reading[20:])


@pytest.mark.parametrize("judge", [RateRegression(MOVING), NearestNeighbours(MOVING)])
def test_rates_tell_who_walks_the_other_way(judge: RateRegression) -> None:
    (reading,) = judge.values([0, 1, 2, 3]).values()
    assert told_apart(reading.scores(MOVING)) > 0.9


def test_maps_cannot_tell_who_walks_the_other_way() -> None:
    readings = DensityMaps(ROWS).values([0, 1, 2, 3])
    assert len(readings) == 4 * len(WIDTHS)
    for reading in readings.values():
        assert 0.3 < told_apart(reading.scores(ROWS)) < 0.7


def test_a_map_is_the_density_of_what_was_shown() -> None:
    found = DensityMaps(ROWS).values([0, 1])
    values = found["density by time, width 0.06"].values
    assert values[ROWS.track < 2].min() > np.median(values)
    best = ROWS.track[np.argmax(found["log ratio by path length, width 0.03"].values)]
    assert best in (0, 1)


def test_tracks_that_are_only_judged_are_not_learnt_from() -> None:
    more = with_rates(Dataset([*BOTH.episodes, *walks(30, 1)]))
    weights = {}
    for num_known in (40, 70):
        judge = RateRegression(TrackRows.of(more, num_known=num_known))
        weights[num_known] = judge.values([0, 1, 2, 3])[REGRESSION].scores(judge.rows)
    assert not np.allclose(weights[40], weights[70])
    assert told_apart(weights[40][:40]) > 0.9


def test_where_there_are_no_others_nothing_is_said() -> None:
    shown = Dataset(walks(4, 1))
    assert judge_naively(shown, shown) == {}


def test_left_out_demonstrations_are_ranked_among_the_others() -> None:
    shown = Dataset(walks(4, 1))
    found = judge_naively(Dataset([*shown.episodes, *walks(20, -1)]), shown)
    assert len(found) == 3
    assert found[REGRESSION]["whole"]["value"] > 0.9
    assert found[REGRESSION]["whole"]["count"] == 4
    assert found[REGRESSION]["first half"]["value"] > 0.9
