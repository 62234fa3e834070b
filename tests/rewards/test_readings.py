"""Readings of a learnt reward: the family, its default, its scale, and the way to disk."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from refusals import refused
from tiny import seeded, shake
from trailward.data.dataset import Dataset, Windows
from trailward.data.episode import Episode
from trailward.data.normalizer import Normalizer
from trailward.data.plan import PlanSpec
from trailward.errors import SettingsError
from trailward.rewards import AdditiveReward, AdditiveSettings, EnsembleSettings, StagedSettings
from trailward.rewards.contract import RewardModel, from_config
from trailward.rewards.readings import (
    ANSWERS,
    AS_IS,
    DEFAULT,
    RADII,
    SHARPNESSES,
    Readings,
    find_readings,
    halfspace_depth,
)
from trailward.typing import Plans, StagesOfSteps, StepRewards

SPEC = PlanSpec(horizon=4, stride=2, observation_dim=2, action_dim=1)
IDENTITY = Normalizer(torch.zeros(2), torch.ones(2))
SIDE = 3.0


class Slope(RewardModel):
    """Twice the first entry and the second."""

    def step_rewards(self, plan: Plans, past: StagesOfSteps | None = None) -> StepRewards:
        """Of each plan step."""
        return 2 * plan[..., 0] + plan[..., 1]


def episode(path: np.ndarray) -> Episode:
    return Episode(path, np.zeros((len(path) - 1, 1)))


def play(*, count: int = 60, length: int = 40) -> Dataset:
    """Walks inside a square, that turn round at its edges."""
    generator = np.random.default_rng(0)
    walks = []
    for _ in range(count):
        steps = 0.15 * generator.standard_normal((length + 1, 2))
        path = generator.uniform(-SIDE, SIDE, 2) + steps.cumsum(0)
        walks.append(episode(SIDE - np.abs((path - SIDE) % (4 * SIDE) - 2 * SIDE)))
    return Dataset(walks)


def demonstrations(end: tuple[float, float], *, rest: int = 10, count: int = 5) -> Dataset:
    """Straight ways from anywhere to an end, and a rest there."""
    generator = np.random.default_rng(1)
    shown = []
    for _ in range(count):
        way = np.linspace(generator.uniform(-SIDE, SIDE, 2), end, 20)
        shown.append(episode(np.concatenate([way, np.repeat(way[-1:], rest, 0)])))
    return Dataset(shown)


def found(end: tuple[float, float], *, base: RewardModel | None = None, rest: int = 10) -> Readings:
    windows = Windows(play(), SPEC)
    return find_readings(base or Slope(SPEC), IDENTITY, windows, demonstrations(end, rest=rest))


INSIDE, CORNER = (0.5, -1.0), (SIDE, SIDE)


def plans_of(count: int = 5) -> Plans:
    return torch.randn((count, SPEC.horizon, SPEC.transition_dim), generator=seeded())


def test_the_family_has_the_reward_its_links_and_places() -> None:
    names = found(INSIDE).names
    assert names[: 1 + len(SHARPNESSES)] == (AS_IS, "link:0.5", "link:1", "link:2", "link:4")
    assert names[1 + len(SHARPNESSES) :] == tuple(f"place:{radius:.2g}" for radius in RADII)
    assert "place:1" in names


@pytest.mark.parametrize(("end", "default"), [(INSIDE, "place:1"), (CORNER, AS_IS)])
def test_the_default_is_the_place_where_play_lies_beyond_it(
    end: tuple[float, float], default: str
) -> None:
    readings = found(end)
    assert readings.chosen == default
    assert f"the default is '{default}'" in readings.options.notes[-1]
    assert torch.allclose(readings.place, torch.tensor(end), atol=1e-6)


def test_each_reading_is_what_its_formula_says() -> None:
    readings, plans = found(INSIDE), plans_of()
    learnt = Slope(SPEC).step_rewards(plans)
    assert torch.equal(readings.read(AS_IS).step_rewards(plans), learnt)
    height = ((learnt - readings.top) / readings.deviation).clamp(max=1)
    link = readings.read("link:2").step_rewards(plans)
    assert torch.allclose(link, readings.scales[3] * (2 * height).exp())
    place = readings.read("place:2")
    offset = torch.tensor([2.0, 0.0]) * readings.unit
    there = (readings.place + torch.stack([0 * offset, offset, 9 * offset])).reshape(3, 1, 2)
    scale = readings.scales[readings.names.index("place:2")]
    assert torch.allclose(place.step_rewards(there)[:, 0], scale * torch.tensor([1.0, 0.5, 0.0]))


def test_top_deviation_and_unit_are_those_of_play() -> None:
    readings = found(INSIDE)
    steps = np.concatenate([episode.observations for episode in play().episodes])
    rewards = 2 * steps[:, 0] + steps[:, 1]
    assert readings.top.item() == pytest.approx(np.quantile(rewards, 0.999), abs=0.2)
    assert readings.deviation.item() == pytest.approx(rewards.std(), rel=0.05)
    paths = [episode.observations for episode in play().episodes]
    moved = np.concatenate([np.abs(path[2:] - path[:-2]) for path in paths])
    assert readings.unit.numpy() == pytest.approx(np.quantile(moved, 0.9, axis=0), rel=0.05)


def test_all_readings_have_one_scale() -> None:
    readings, windows = found(INSIDE), Windows(play(), SPEC)
    plans, _ = windows.batch(torch.arange(len(windows)), IDENTITY)
    spread = readings.plan_rewards(plans).std(1)
    assert spread.numpy() == pytest.approx(np.ones(len(readings.names)), rel=0.1)


def test_answers_are_the_weighted_mean_of_readings() -> None:
    readings, plans = found(INSIDE), plans_of()
    weights = torch.zeros(len(readings.names))
    weights[0], weights[-1] = 0.25, 0.75
    mean = 0.25 * readings.read(AS_IS).step_rewards(plans)
    mean = mean + 0.75 * readings.read(readings.names[-1]).step_rewards(plans)
    weighed = readings.weighed(weights)
    assert weighed.chosen == ANSWERS
    assert weighed.has_answers
    assert not readings.has_answers
    assert torch.allclose(weighed.step_rewards(plans), mean)
    assert torch.equal(weighed.read(DEFAULT).read(ANSWERS).weights, weights)


def test_choosing_a_reading_leaves_the_one_before_as_it_was() -> None:
    readings, plans = found(INSIDE), plans_of()
    before = readings.step_rewards(plans)
    readings.read("link:4")
    assert readings.chosen == "place:1"
    assert torch.equal(readings.step_rewards(plans), before)
    assert torch.equal(readings.read("link:4").read(DEFAULT).step_rewards(plans), before)


@pytest.mark.parametrize(
    ("readings", "reason"),
    [
        (lambda: found(INSIDE, rest=0), "5 of 5 demonstrations still move"),
        (lambda: found(INSIDE, base=StagedSettings(hidden=(4,)).build(SPEC)), "what came before"),
    ],
)
def test_there_is_no_place_where_nobody_rests_and_the_reason_is_told(
    readings: Callable[[], Readings], reason: str
) -> None:
    left = readings()
    assert left.names == (AS_IS, "link:0.5", "link:1", "link:2", "link:4")
    assert left.chosen == AS_IS
    with refused(SettingsError, place="reading", value="place:1", remedy=reason):
        left.read("place:1")


def test_there_is_no_place_where_demonstrators_rest_at_several() -> None:
    shown = [*demonstrations(INSIDE).episodes, *demonstrations((-2.0, 2.0)).episodes]
    readings = find_readings(Slope(SPEC), IDENTITY, Windows(play(), SPEC), Dataset(shown))
    assert readings.options.notes == (
        "there is no reading of a place: demonstrators come to rest at several places",
    )


def test_one_of_six_who_does_not_rest_does_not_matter() -> None:
    shown = [*demonstrations(INSIDE).episodes, *demonstrations(CORNER, rest=0, count=1).episodes]
    readings = find_readings(Slope(SPEC), IDENTITY, Windows(play(), SPEC), Dataset(shown))
    assert torch.allclose(readings.place, torch.tensor(INSIDE), atol=1e-6)


def test_a_constant_reward_has_readings_of_no_height() -> None:
    base = AdditiveReward(SPEC, AdditiveSettings(hidden=(4,)))
    torch.nn.init.zeros_(next(reversed(list(base.parameters()))))
    torch.nn.init.zeros_(list(base.parameters())[-2])
    readings, plans = found(CORNER, base=base), plans_of()
    for name in readings.names:
        assert torch.isfinite(readings.read(name).step_rewards(plans)).all()


def test_readings_are_saved_with_what_they_are_made_of() -> None:
    base = AdditiveReward(SPEC, AdditiveSettings(hidden=(4,)))
    shake(base)
    weights = torch.softmax(torch.arange(12.0), 0)
    readings, plans = found(INSIDE, base=base).weighed(weights), plans_of()
    again = from_config(readings.to_config(), SPEC)
    again.load_state_dict(readings.state_dict())
    assert isinstance(again, Readings)
    assert again.options == readings.options
    assert torch.equal(again.step_rewards(plans), readings.step_rewards(plans))
    assert torch.equal(again.read("place:1")(plans), readings.read("place:1")(plans))


def test_members_of_an_ensemble_are_read_alike() -> None:
    settings = EnsembleSettings(member=AdditiveSettings(hidden=(4,)), num_members=2)
    base = settings.build(SPEC)
    shake(base)
    readings, plans = found(INSIDE, base=base), plans_of()
    assert readings.members() == (readings,)  # of a place they say the same
    parts = readings.read(AS_IS).members()
    means = torch.stack([part.step_rewards(plans) for part in parts]).mean(0)
    assert len(parts) == 2
    assert torch.allclose(means, base.step_rewards(plans))


def test_depth_is_zero_at_the_edge_and_a_half_in_the_middle() -> None:
    cloud = torch.rand((20_000, 2), generator=seeded()) * 2 - 1
    assert halfspace_depth(torch.zeros(2), cloud) == pytest.approx(0.5, abs=0.02)
    assert halfspace_depth(torch.tensor([1.0, 1.0]), cloud) == 0
    assert halfspace_depth(torch.tensor([0.5, 0.0]), cloud) == pytest.approx(0.25, abs=0.02)


def test_an_unknown_reading_is_refused() -> None:
    with refused(SettingsError, place="reading", value="plcae:1", remedy="as-is"):
        found(INSIDE).read("plcae:1")
