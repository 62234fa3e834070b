"""Tracks: rows that know where they are from, rates, held ends."""

from dataclasses import replace

import numpy as np
import pytest

from trailward.data.dataset import Dataset
from trailward.data.episode import Columns, Episode
from trailward.data.tracks import (
    TrackRows,
    hold_ends,
    rate_entries,
    with_rates,
    with_rates_like,
)


def recording(*lengths: int) -> Dataset:
    columns = Columns(("x", "y"), (), {"x": "m"})
    tracks = [
        Episode(np.stack([np.arange(n) ** 2.0, 5.0 + np.sin(np.arange(n))], 1)) for n in lengths
    ]
    return Dataset(tracks, {}, columns)


def test_rates_are_of_the_row_before_over_the_time_step() -> None:
    found = with_rates(recording(4), time_step=0.5)
    assert found.columns.observations == ("x", "y", "rate of x", "rate of y")
    assert found.columns.units["rate of x"] == "m/s"
    np.testing.assert_allclose(found.episodes[0].observations[:, 2], [2.0, 2.0, 6.0, 10.0])


def test_entries_whose_rate_is_there_get_none() -> None:
    once = with_rates(recording(40), time_step=0.5)
    assert with_rates(once, time_step=0.5).columns == once.columns
    assert rate_entries(once) == [2, 3]


def test_held_ends_rest_where_the_track_ended() -> None:
    moving = with_rates(recording(4))
    held = hold_ends(moving, 3, [2, 3]).episodes[0].observations
    assert held.shape == (7, 4)
    np.testing.assert_allclose(
        held[4:, :2], np.tile(moving.episodes[0].observations[-1, :2], (3, 1))
    )
    assert (held[4:, 2:] == 0).all()


def test_rows_know_their_track_and_time() -> None:
    rows = TrackRows.of(recording(4, 6), num_known=1)
    assert rows.track.tolist() == [0] * 4 + [1] * 6
    assert rows.time.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5]
    assert rows.known.sum() == 4
    assert rows.path_lengths[[0, 4]].tolist() == [0, 0]
    assert rows.track_weights.sum() == pytest.approx(2)


def test_a_long_recording_is_thinned_evenly() -> None:
    rows = TrackRows.of(recording(1000, 10), most=100)
    times = rows.time[rows.track == 0]
    assert len(times) < 100
    assert (times[0], times[-1]) == (0, 999)
    assert np.ptp(np.diff(times)) <= 1
    assert (rows.track == 1).sum() == 6


def test_means_are_of_the_part_that_the_values_know_of() -> None:
    rows = TrackRows.of(recording(8))
    values = np.arange(8.0)
    assert rows.means(values)[0] == 3.5
    assert rows.means(values, part="first half")[0] == 1.5
    assert rows.means(values, reach=2)[0] == 2.5
    assert rows.means(values, part="first half", reach=2)[0] == 0.5
    assert rows.means(values, part="first half", reach=50)[0] == 0
    assert rows.means(values, np.eye(8)[6])[0] == pytest.approx(6)


def test_rates_are_added_as_they_were_to_other_data_at_its_own_time_step() -> None:
    x = np.array([[0.0, 1.0], [1.0, 1.0], [3.0, 1.0]])
    made = with_rates(Dataset([Episode(x)], {}, Columns(("x", "y"))), 0.5)
    bare = Dataset([Episode(x)])
    found = with_rates_like(bare, made.columns, 0.5)
    np.testing.assert_allclose(found.episodes[0].observations, made.episodes[0].observations)
    assert found.columns.observations == made.columns.observations
    faster = with_rates_like(replace(bare, provenance={"time_step": 0.25}), made.columns, 0.5)
    np.testing.assert_allclose(faster.episodes[0].observations[:, 2], [4, 4, 8])
    assert with_rates_like(made, made.columns) is made
    assert with_rates_like(bare, Columns(("x", "y"))) is bare


def test_the_fingerprint_of_a_track_is_that_of_its_observations() -> None:
    x = np.arange(6.0).reshape(3, 2)
    assert Episode(x).fingerprint == Episode(x, np.ones((2, 1))).fingerprint
    assert Episode(x).fingerprint != Episode(x + 1e-9).fingerprint
