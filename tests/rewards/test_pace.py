"""The pace that demonstrators keep: found in data, and kept by plans on the same way."""

import numpy as np
import pytest
import torch

from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.rewards.pace import Pace, find_pace

STRIDE = 2


def walks(*paces: float, count: int = 4, length: int = 120) -> Dataset:
    """Straight walks at these paces in turn: place, then its rate of change."""
    draw = np.random.default_rng(0)
    found = []
    for pace in paces:
        for _ in range(count):
            moved = pace * draw.uniform(0.6, 1.0, length)
            place = np.concatenate([[0.0], moved.cumsum()])
            rate = np.concatenate([moved, moved[-1:]])
            rate[1:-1] = (moved[1:] + moved[:-1]) / 2
            found.append(Episode(np.stack([place, rate], -1), np.zeros((length, 1))))
    return Dataset(found)


def pace_of(play: Dataset, shown: Dataset) -> Pace | None:
    return find_pace(play, shown, stride=STRIDE, seen=(0,))


def test_the_pace_is_the_longest_step_of_all_demonstrations() -> None:
    shown = walks(0.2)
    pace = pace_of(walks(0.2, 1.0), shown)
    assert pace is not None
    places = [episode.observations[:, 0] for episode in shown.episodes]
    longest = max((place[STRIDE:] - place[:-STRIDE]).max() for place in places)
    assert pace.most.item() == pytest.approx(longest)
    assert pace.place.tolist() == [0]
    assert pace.rates.tolist() == [1]


@pytest.mark.parametrize("shown", [walks(1.0), walks(0.2, count=1, length=30), walks(0.0)])
def test_there_is_none_if_play_is_seldom_faster_or_little_was_shown(shown: Dataset) -> None:
    assert pace_of(walks(0.2, 1.0), shown) is None


def test_plans_are_walked_more_slowly_the_same_way() -> None:
    pace = Pace(torch.tensor(0.5), torch.tensor([0, 1]), torch.tensor([2, 3]))
    corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [2.0, 1.0], [2.0, 2.0], [2.0, 3.0]])
    path = torch.cat([corner, torch.ones(6, 2)], -1).unsqueeze(0)
    slow = pace.slowed(path)
    assert slow.shape == path.shape
    assert torch.equal(slow[:, 0], path[:, 0])
    assert pace.lengths(slow).max() <= 0.5
    assert torch.allclose(pace.lengths(slow)[0, :4], torch.tensor(0.45))  # the last cuts the bend
    on_way = (slow[0, :, 1] == 0) | (slow[0, :, 0] == 2)
    assert bool(on_way.all())
    assert torch.allclose(slow[0, 1:, 2:], torch.tensor(0.45))


def test_slow_plans_stay_as_they_are() -> None:
    pace = Pace(torch.tensor(0.5), torch.tensor([0]), torch.tensor([1]))
    path = torch.tensor([[[0.0, 0.3], [0.3, 0.3], [0.6, 0.3]]])
    assert torch.equal(pace.slowed(path), path)
