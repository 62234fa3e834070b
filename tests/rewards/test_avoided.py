"""What demonstrators avoid: a ring of which they never take the short side."""

import numpy as np
import pytest
import torch

from trailward.data.dataset import Dataset, Windows
from trailward.data.episode import Episode
from trailward.data.normalizer import Normalizer
from trailward.data.plan import PlanSpec
from trailward.rewards import AdditiveReward, AdditiveSettings
from trailward.rewards.avoided import Avoided, TollReward, WayRound, find_avoided
from trailward.rewards.readings import Readings, find_readings
from trailward.rewards.value import ValueConfig, fit_value

SPEC = PlanSpec(horizon=8, stride=2, observation_dim=2, action_dim=1)
IDENTITY = Normalizer(torch.zeros(2), torch.ones(2))
SPEED, END = 0.05, 1.0
"""Radians a step, and where demonstrators rest; they start at angles below 0."""


def ring(angles: np.ndarray, *, seed: int = 0) -> Episode:
    draw = np.random.default_rng(seed)
    path = np.stack([np.cos(angles), np.sin(angles)], -1)
    return Episode(path + 0.01 * draw.standard_normal(path.shape), np.zeros((len(path) - 1, 1)))


def play(*, count: int = 60, length: int = 120) -> Dataset:
    """Walks round the ring, either way, with rests."""
    draw = np.random.default_rng(0)
    walks = []
    for number in range(count):
        pace = SPEED * draw.choice([-1, 1]) * (draw.random(length) < 0.9)
        walks.append(ring(draw.uniform(0, 2 * np.pi) + pace.cumsum(), seed=number))
    return Dataset(walks)


def demonstrations(*, the_long_way: bool, count: int = 12) -> Dataset:
    """Ways to the end from a quarter turn before it, and a rest there."""
    draw = np.random.default_rng(1)
    shown = []
    for number in range(count):
        start = END - draw.uniform(1.2, 2.0)
        pace = -SPEED if the_long_way else SPEED
        length = (2 * np.pi - END + start if the_long_way else END - start) / SPEED
        way = start + pace * np.arange(int(length))
        path = np.concatenate([way, np.repeat(way[-1:], 12)])
        shown.append(ring(path, seed=100 + number))
        shown[-1].observations[-12:] = shown[-1].observations[-12]
    return Dataset(shown)


def read_from(shown: Dataset) -> Readings:
    base = AdditiveReward(SPEC, AdditiveSettings(hidden=(4,)))
    return find_readings(base, IDENTITY, Windows(play(), SPEC), shown)


def avoided_in(shown: Dataset) -> Avoided | None:
    return find_avoided(read_from(shown), IDENTITY, Windows(play(), SPEC), shown)


def at(angle: float) -> torch.Tensor:
    return torch.tensor([[np.cos(angle), np.sin(angle)]], dtype=torch.float32)


def test_the_side_that_nobody_takes_is_avoided_and_no_other() -> None:
    avoided = avoided_in(demonstrations(the_long_way=True))
    assert avoided is not None
    angles = torch.atan2(avoided.places[:, 1], avoided.places[:, 0])
    assert angles.min() > -0.5
    assert angles.max() < END
    assert avoided(at(0.4)) > 2 * np.pi / SPEED / SPEC.stride / 4
    assert avoided(at(np.pi)) < 1e-3


def test_nothing_is_avoided_by_those_who_take_the_short_side() -> None:
    assert avoided_in(demonstrations(the_long_way=False)) is None


def test_nothing_is_avoided_by_those_who_never_rest() -> None:
    assert avoided_in(play(count=5)) is None


def test_the_reward_has_a_dip_there_and_the_value_leads_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trailward.rewards.value._STEPS_ALONE", 500)
    shown = demonstrations(the_long_way=True)
    readings = read_from(shown)
    avoided = find_avoided(readings, IDENTITY, Windows(play(), SPEC), shown)
    assert avoided is not None
    place = readings.read("place:1")
    angles = torch.tensor([-0.4, 0.4, -1.5])
    steps = torch.stack([angles.cos(), angles.sin()], -1).unsqueeze(1)
    before, inside, far = TollReward(place, avoided).step_rewards(steps)[:, 0]
    assert inside < before
    assert far == place.step_rewards(steps)[2, 0]
    config = ValueConfig(num_windows=600, num_prototypes=150, width=48, num_steps=500)
    windows = Windows(play(), SPEC)
    plain, around = (
        fit_value(place, windows, IDENTITY, alone=True, tolls=each, config=config)
        for each in (None, avoided)
    )
    ways = torch.tensor([-0.6, -1.6])
    there = torch.stack([ways.cos(), ways.sin()], -1).unsqueeze(1)
    near, back = plain.step_rewards(there)[:, 0]
    assert near > back
    near, back = around.step_rewards(there)[:, 0]
    assert back > near


def test_plans_are_drawn_to_the_way_round_and_those_through_it_break_what_was_kept() -> None:
    avoided = avoided_in(demonstrations(the_long_way=True))
    assert avoided is not None
    guide = WayRound(SPEC, avoided)
    first = at(-0.7).unsqueeze(1)
    way = guide.reference(first, 40)
    assert torch.equal(way[:, :1], first)
    angles = np.unwrap(np.arctan2(*way[0].T.flip(0).numpy()))
    assert angles[-1] == pytest.approx(END - 2 * np.pi, abs=0.15)  # the other way round
    assert (way[0].norm(dim=1) - 1).abs().max() < 0.1
    assert (way[0, 1:] - way[0, :-1]).norm(dim=1).max() < 0.3
    assert guide.violation(way).item() < 0.2
    straight = torch.linspace(-0.7, END, 9)
    through = torch.stack([straight.cos(), straight.sin()], -1).unsqueeze(0)
    assert guide.violation(through).item() > 0.8
    assert guide.violation(through[:, 4:]).item() < 0.8  # it begins there
    plan = torch.cat([way[:, :1], way[:, 1:8] + 0.1], 1).requires_grad_()
    (pull,) = torch.autograd.grad(guide(plan).sum(), plan)
    assert bool((pull[:, 1:] < 0).all())


def test_near_the_resting_place_the_way_leads_straight_to_it() -> None:
    shown = demonstrations(the_long_way=True)
    avoided = avoided_in(shown)
    assert avoided is not None
    place = read_from(shown).place
    way = avoided.ways(at(END + 0.12).unsqueeze(1), 5)[0]
    assert torch.allclose(way[1:], place.expand(4, 2))
