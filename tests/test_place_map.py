"""The map of a reward: what staying at each point is worth, blank where nothing is known."""

import numpy as np
import pytest
import torch

from tiny import random_walks, shake, tiny_diffuser, tiny_reward
from trailward.entries import observations_of
from trailward.evaluation import standing_rewards
from trailward.place_map import map_arrays, standing_plane
from trailward.reward import RewardConfig
from trailward.trajectory import PlanSpec
from trailward.uncertainty import disagreement

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


def test_the_first_row_is_at_the_top_and_walls_are_blank_too() -> None:
    states, blank = standing_plane(PLAY, (0, 1), EXTENT)
    assert states[0, :2] == pytest.approx((-59.4, 29.7))
    assert states[-1, :2] == pytest.approx((59.4, -29.7))
    _, walled = standing_plane(PLAY, (0, 1), EXTENT, in_wall=lambda points: points[:, 0] > 0)
    np.testing.assert_array_equal(walled, blank | (states[:, 0] > 0))


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
    learnt = tiny_reward(tiny_diffuser(SPEC), RewardConfig(hidden=(8,), num_members=3))
    shake(learnt.model, seed=5)
    arrays = map_arrays(learnt, PLAY, PLAY, (0, 1))
    states, blank = standing_plane(PLAY, (0, 1), tuple(arrays["map_extent"].tolist()))
    expected = disagreement(learnt, states[~blank], reference=observations_of(PLAY))
    found = arrays["disagreement_map"].flatten()
    np.testing.assert_allclose(found[~blank], expected, rtol=1e-3)
    assert torch.tensor(found[blank]).isnan().all()
