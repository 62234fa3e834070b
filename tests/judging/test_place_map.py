"""The map of a reward: what staying at each point is worth, blank where nothing is known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from refusals import refused
from tiny import random_walks, shake, tiny_diffuser, tiny_reward
from trailward.data.entries import observations_of
from trailward.data.plan import PlanSpec
from trailward.judging.place_map import map_arrays, read_walls, standing_plane
from trailward.learning.disagreement import disagreement
from trailward.learning.standing import standing_rewards
from trailward.rewards import AdditiveSettings, EnsembleSettings

SPEC = PlanSpec(horizon=4, stride=2, observation_dim=3, action_dim=2)
PLAY = random_walks([60] * 8, observation_dim=3)
EXTENT = (-60.0, 60.0, -30.0, 30.0)


def test_a_pixel_is_blank_where_no_play_observation_is_near() -> None:
    states, blank = standing_plane(PLAY, (2, 0), EXTENT)
    rows = observations_of(PLAY)
    gaps = np.abs(states[:, None, [2, 0]] - rows[None][..., [2, 0]]) / [120.0, 60.0]
    np.testing.assert_array_equal(blank, np.hypot(*np.moveaxis(gaps, -1, 0)).min(1) > 0.03)
    assert 0 < blank.mean() < 1
    assert set(states[:, 1]) == {np.median(rows[:, 1])}


def test_the_first_row_is_at_the_top() -> None:
    states, _ = standing_plane(PLAY, (0, 1), EXTENT)
    assert states[0, :2] == pytest.approx((-59.4, 29.7))
    assert states[-1, :2] == pytest.approx((59.4, -29.7))


def test_walls_are_read_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "walls.csv"
    file.write_text("x0,y0,x1,y1\n0,0,0,4\n1.5,2,3,-2\n")
    walls = read_walls(file)
    assert walls.tolist() == [[[0, 0], [0, 4]], [[1.5, 2], [3, -2]]]
    arrays = map_arrays(tiny_reward(tiny_diffuser(SPEC)), PLAY, PLAY, (0, 1), walls)
    np.testing.assert_array_equal(arrays["walls"], walls)


@pytest.mark.parametrize(
    ("rows", "found"),
    [("0,0,1", "(1, 3)"), ("0,0,nan,1", "nan"), ("0,0,up,1", "'up'")],
)
def test_a_wall_that_is_not_four_numbers_is_refused(rows: str, found: str, tmp_path: Path) -> None:
    file = tmp_path / "walls.csv"
    file.write_text(f"x0,y0,x1,y1\n{rows}\n")
    with refused(place=str(file), remedy="x0,y0,x1,y1") as caught:
        read_walls(file)
    assert found in str(caught.value.value)


def test_the_map_is_the_reward_of_staying() -> None:
    learnt, shown = tiny_reward(tiny_diffuser(SPEC)), random_walks([30], observation_dim=3, seed=4)
    arrays = map_arrays(learnt, PLAY, shown, (0, 1))
    states, blank = standing_plane(PLAY, (0, 1), tuple(arrays["map_extent"].tolist()))
    expected = np.where(blank, np.nan, standing_rewards(learnt, states)).reshape(100, 100)
    np.testing.assert_array_equal(arrays["reward_map"], expected)
    np.testing.assert_array_equal(
        arrays["demonstrations"][0], shown.episodes[0].observations[:, :2]
    )
    assert arrays["play"].shape == (8, 61, 2)
    assert "disagreement_map" not in arrays


def test_an_ensemble_has_a_map_of_where_its_members_disagree() -> None:
    learnt = tiny_reward(
        tiny_diffuser(SPEC), EnsembleSettings(member=AdditiveSettings(hidden=(8,)), num_members=3)
    )
    shake(learnt.model, seed=5)
    arrays = map_arrays(learnt, PLAY, PLAY, (0, 1))
    states, blank = standing_plane(PLAY, (0, 1), tuple(arrays["map_extent"].tolist()))
    expected = disagreement(learnt, states[~blank], reference=observations_of(PLAY))
    found = arrays["disagreement_map"].flatten()
    np.testing.assert_allclose(found[~blank], expected, rtol=1e-3)
    assert torch.tensor(found[blank]).isnan().all()
