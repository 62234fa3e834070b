"""A clone by plain regression."""

import numpy as np
import pytest

from trailward.baselines.plain_clone import plain_clone
from trailward.data.dataset import Dataset
from trailward.data.episode import Columns, Episode

FAR = 6e6
"""As far off as metres in a map's grid: 32 bits would make steps of half a metre of it."""


@pytest.mark.parametrize(("unit", "offset"), [(1.0, 0.0), (1e4, -3e5)])
def test_it_does_what_was_done_in_any_unit(unit: float, offset: float) -> None:
    draw, episodes = np.random.default_rng(0), []
    for _ in range(4):
        seen = draw.normal(size=(101, 2))
        done = offset + unit * np.sin(seen[:-1, :1])
        episodes.append(Episode(FAR + 0.01 * seen, done))
    policy = plain_clone(Dataset(episodes), num_steps=600)
    there = draw.normal(size=(50, 2))
    wrong = (policy(FAR + 0.01 * there)[:, 0] - offset) / unit - np.sin(there[:, 0])
    assert np.abs(wrong).mean() < 0.15


def test_choices_are_numbers() -> None:
    seen = np.random.default_rng(0).normal(size=(201, 1))
    chosen = (seen[:-1, 0] > 0).astype(int)
    columns = Columns(("x",), ("turn=3", "turn=5"), choices=(3, 5))
    policy = plain_clone(Dataset([Episode(seen, np.eye(2)[chosen])], {}, columns), num_steps=200)
    assert policy(np.array([[-1.0], [1.0]])).tolist() == [3, 5]
