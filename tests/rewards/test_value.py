"""The value of states: graphs small enough to be solved by hand, and a bend that a slope misses."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from refusals import refused
from tiny import ToldReward, ToldWholeReward, random_walks, seeded, shake, tiny_diffuser
from trailward.data.dataset import Dataset, Windows
from trailward.data.episode import Episode
from trailward.data.normalizer import Normalizer
from trailward.data.plan import PlanSpec
from trailward.diffusion.networks.fourier_features import FourierFeatures
from trailward.errors import SettingsError
from trailward.rewards import LinearReward
from trailward.rewards import value as value_module
from trailward.rewards.staged import Memory
from trailward.rewards.value import (
    DISCOUNTED,
    NoValueError,
    RewardToGo,
    Value,
    ValueConfig,
    fit_discounted_value,
    fit_value,
    graph_values,
)

SPEC = PlanSpec(horizon=5, stride=1, observation_dim=2, action_dim=2)
CONFIG = ValueConfig(
    num_windows=400, num_prototypes=60, width=32, num_frequencies=2, num_steps=500, batch_size=128
)
CORNERS = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5], [-0.5, 0.5]])
"""A bend walked to and fro by all play data; the best place is its end, close to its beginning."""


def bend(*, seed: int = 0) -> Windows:
    along = np.linspace(0, 4, 61)
    path = np.stack([np.interp(along, range(5), CORNERS[:, entry]) for entry in range(2)], -1)
    there_and_back = np.concatenate([path, path[::-1]])
    generator = np.random.default_rng(seed)
    walks = [there_and_back + 0.01 * generator.standard_normal((122, 2)) for _ in range(6)]
    return Windows(Dataset([Episode(walk, np.zeros((121, 2))) for walk in walks]), SPEC)


def unchanged() -> Normalizer:
    return Normalizer(torch.zeros(2), torch.ones(2))


def near(plans: Tensor) -> Tensor:
    return -(plans - torch.tensor(CORNERS[-1], dtype=torch.float32)).norm(dim=-1)


NEARNESS = ToldReward(near, SPEC)
"""A reward with one stage."""


def values_at(value: Value, places: np.ndarray) -> Tensor:
    return value.step_rewards(torch.tensor(places[None], dtype=torch.float32))[0]


def test_on_a_chain_the_value_is_minus_the_number_of_steps_left() -> None:
    nodes, rewards = torch.tensor([[0, 1, 2, 2]]), torch.tensor([[5.0, -3.0, 1.0, 1.0]])
    assert graph_values(nodes, rewards, 3).tolist() == [-2.0, -1.0, 0.0]


def test_a_shorter_way_in_another_window_is_found() -> None:
    nodes = torch.tensor([[0, 1, 2, 3, 4, 4], [5, 0, 3, 3, 3, 3]])
    rewards = (nodes == 4).float()
    assert graph_values(nodes, rewards, 6).tolist() == [-2.0, -3.0, -2.0, -1.0, 0.0, -3.0]


def test_windows_are_not_joined_end_to_beginning() -> None:
    nodes = torch.tensor([[0, 1, 2], [3, 4, 4]])
    rewards = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    assert graph_values(nodes, rewards, 5).tolist() == [-1.0, -1.0, -1.0, -1.0, 0.0]


def test_nodes_without_a_way_get_the_lowest_value_of_those_with_one() -> None:
    nodes = torch.tensor([[0, 1, 2, 2], [3, 3, 3, 3], [2, 2, 4, 4]])
    rewards = (nodes == 2).float()
    assert graph_values(nodes, rewards, 6).tolist() == [-2.0, -1.0, 0.0, -2.0, -2.0, -2.0]


def test_the_best_place_is_one_where_somebody_stayed() -> None:
    """Node 1 has the higher reward, but is only passed through."""
    nodes, rewards = torch.tensor([[0, 1, 2, 2]]), torch.tensor([[0.0, 9.0, 1.0, 1.0]])
    assert graph_values(nodes, rewards, 3).argmax() == 2


@pytest.mark.parametrize(("first_end", "best"), [(0, 0), (1, 2), (2, 2), (3, 3)])
def test_the_best_place_is_none_of_the_nodes_before_the_first_end(
    first_end: int, best: int
) -> None:
    nodes = torch.tensor([[0, 0, 1, 1, 2, 2, 3, 3]])
    rewards = torch.tensor([[9.0, 9.0, -5.0, -5.0, 1.0, 1.0, 0.0, 0.0]])
    values = graph_values(nodes, rewards, 4, first_end=first_end)
    assert values[: best + 1].tolist() == list(range(-best, 1))


def test_play_data_in_which_nobody_stays_after_the_first_end_is_refused() -> None:
    nodes = torch.tensor([[0, 0, 1, 2]])
    assert graph_values(nodes, torch.zeros(1, 4), 3).tolist() == [0.0, 0.0, 0.0]
    with refused(NoValueError, place="play"):
        graph_values(nodes, torch.zeros(1, 4), 3, first_end=1)


def test_the_reward_of_a_node_is_the_mean_over_visits() -> None:
    nodes = torch.tensor([[0, 0, 1, 1], [1, 0, 0, 0]])
    rewards = torch.tensor([[9.0, -5.0, 1.0, 1.0], [1.0, -5.0, -5.0, -5.0]])
    assert graph_values(nodes, rewards, 2).tolist() == [-1.0, 0.0]


@pytest.mark.parametrize(("toll", "at_start"), [(0.0, -2.0), (0.5, -2.5), (2.0, -3.0)])
def test_a_toll_makes_the_longer_way_the_better_one(toll: float, at_start: float) -> None:
    """From 0 to 3 by way of 1, where there is a toll, or of 2 and 4."""
    nodes = torch.tensor([[0, 1, 3, 3], [0, 2, 4, 3]])
    tolls = toll * (torch.arange(5) == 1).float()
    values = graph_values(nodes, (nodes == 3).float(), 5, tolls=tolls)
    torch.testing.assert_close(values, torch.tensor([at_start, -1 - toll, -2.0, 0.0, -1.0]))


def test_time_costs_even_where_reward_is_above_the_best() -> None:
    nodes, rewards = torch.tensor([[0, 1, 2, 2]]), torch.tensor([[9.0, 9.0, 1.0, 1.0]])
    assert graph_values(nodes, rewards, 3).tolist() == [-2.0, -1.0, 0.0]


def test_equal_rewards_everywhere_are_allowed() -> None:
    nodes = torch.tensor([[0, 1, 1]])
    assert graph_values(nodes, torch.ones(1, 3), 2).tolist() == [-1.0, 0.0]


def test_play_data_in_which_nobody_stays_is_refused() -> None:
    with refused(NoValueError, place="play"):
        graph_values(torch.tensor([[0, 1, 2], [2, 0, 1]]), torch.zeros(2, 3), 3)


def test_the_value_rises_along_the_way_though_the_reward_falls() -> None:
    value = fit_value(NEARNESS, bend(), unchanged(), config=CONFIG)
    along = values_at(value, CORNERS[:4])
    rewards = near(torch.tensor(CORNERS[None, :4], dtype=torch.float32))[0]
    assert (along.diff() > 0.2).all()
    assert rewards[1] < rewards[0]


def test_values_have_mean_zero_and_deviation_one_on_play_data() -> None:
    play = bend()
    value = fit_value(NEARNESS, play, unchanged(), config=CONFIG)
    plans, _ = play.batch(play.draw(500, seeded()), unchanged())
    values = value.step_rewards(plans)
    assert abs(values.mean()) < 0.15
    assert values.std() == pytest.approx(1, abs=0.15)


def chain() -> Windows:
    """Play data that walks to and fro between five places in a row, and rests at both ends."""
    along = np.array([0, 0, 1, 2, 3, 4, 4, 3, 2, 1, 0, 0, 1, 2, 3, 4, 4, 3, 2, 1, 0, 0])
    walk = np.stack([along / 2 - 1, np.zeros(len(along))], -1)
    return Windows(Dataset([Episode(walk, np.zeros((len(walk) - 1, 2)))]), SPEC)


def value_on_a_chain(*, slope: float = 0.0, middle: float = -9.0) -> Value:
    """The gate is the last place; once there, reward falls with the distance from the first.

    Until then it is ``middle`` in the middle and has a slope.
    """
    memory = Memory((0, 1), radius=0.1)
    memory.place.copy_(torch.tensor([1.0, 0.0]))

    def rewards(plans: Tensor) -> Tensor:
        return torch.stack([middle + slope * plans[..., 0], -2 * plans[..., 0]], -1)

    config = ValueConfig(num_windows=200, width=32, num_frequencies=3, num_steps=600)
    return fit_value(ToldReward(rewards, SPEC, memory), chain(), unchanged(), config=config)


@pytest.mark.parametrize(("slope", "middle"), [(0.0, -9.0), (50.0, -49.0), (0.0, 9.0)])
def test_the_value_of_two_stages_leads_to_the_gate_first_and_then_to_the_goal(
    slope: float, middle: float
) -> None:
    """Counted in steps that are left; at the gate both stages are worth the same.

    Learning does not say how the rewards of two stages compare, so that must not matter.
    """
    places = torch.tensor([[[x, 0.0] for x in (-1, -0.5, 0, 0.5, 1)]])
    values = value_on_a_chain(slope=slope, middle=middle).stage_rewards(places)[0]
    first, then = (4 * (values - values[0, 1]) / (values[0, 1] - values[4, 1])).T
    torch.testing.assert_close(then, torch.tensor([0.0, -1, -2, -3, -4]), atol=0.15, rtol=0)
    torch.testing.assert_close(first, torch.tensor([-8.0, -7, -6, -5, -4]), atol=0.15, rtol=0)


def test_values_have_mean_zero_over_stages_and_deviation_one_within_them() -> None:
    play = chain()
    plans, _ = play.batch(play.draw(500, seeded()), unchanged())
    values = value_on_a_chain().stage_rewards(plans).flatten(0, 1)
    assert abs(values.mean()) < 0.1
    assert (values - values.mean(0)).std() == pytest.approx(1, abs=0.1)
    assert values.std() > 1.5


def test_without_a_memory_there_is_one_stage() -> None:
    few = ValueConfig(num_windows=100, num_prototypes=40, width=8, num_steps=2)
    value = fit_value(NEARNESS, bend(), unchanged(), config=few)
    assert value.num_stages == 1
    assert value.stage_rewards(torch.zeros(3, 5, 2)).shape == (3, 5, 1)


def test_a_value_of_a_reward_of_whole_plans_is_refused() -> None:
    with pytest.raises(TypeError, match="is of whole plans"):
        fit_value(LinearReward(SPEC), bend(), unchanged(), config=CONFIG)


def test_a_seed_decides_the_value_and_leaves_other_draws_alone() -> None:
    def fitted(seed: int) -> Tensor:
        few = ValueConfig(num_windows=100, num_prototypes=40, width=8, num_steps=5, seed=seed)
        return values_at(fit_value(NEARNESS, bend(), unchanged(), config=few), CORNERS)

    before = torch.get_rng_state()
    first, again, other = fitted(0), fitted(0), fitted(1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_ways_are_told_apart_by_the_entries_that_the_reward_sees_alone() -> None:
    """A third entry of large noise, unseen, would else tear the bend into unrelated nodes."""
    spec = replace(SPEC, observation_dim=3)
    walks = [np.concatenate([w, 5 * noise], 1) for w, noise in noisy_walks()]
    play = Windows(Dataset([Episode(walk, np.zeros((121, 2))) for walk in walks]), spec)
    reward = ToldReward(lambda plans: near(plans[..., :2]), spec)
    reward.inputs = torch.tensor([0, 1])
    normalizer = Normalizer(torch.zeros(3), torch.ones(3))
    value = fit_value(reward, play, normalizer, config=CONFIG)
    corners = np.concatenate([CORNERS[:-1], np.zeros((4, 1))], 1)
    along = values_at(value, corners).tolist()
    assert along == sorted(along)


def noisy_walks() -> list[tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(0)
    along = np.linspace(0, 4, 61)
    path = np.stack([np.interp(along, range(5), CORNERS[:, entry]) for entry in range(2)], -1)
    there_and_back = np.concatenate([path, path[::-1]])
    return [
        (
            there_and_back + 0.01 * generator.standard_normal((122, 2)),
            generator.standard_normal((122, 1)),
        )
        for _ in range(6)
    ]


def test_a_fitted_value_is_frozen() -> None:
    few = ValueConfig(num_windows=100, num_prototypes=40, width=8, num_steps=2)
    value = fit_value(NEARNESS, bend(), unchanged(), config=few)
    assert not any(weights.requires_grad for weights in value.parameters())
    assert not value.training
    expected = {"width": 8, "num_frequencies": 4, "num_stages": 1, "discount": 0.0}
    assert value.to_config() == expected


def test_states_are_normalised_before_the_reward_sees_them() -> None:
    normalizer = Normalizer(torch.full((2,), 0.5), torch.full((2,), 2.0))
    seen = []

    def rewards(plans: Tensor) -> Tensor:
        seen.append(plans)
        return plans[..., 0]

    few = ValueConfig(num_windows=50, num_prototypes=20, width=8, num_steps=1)
    fit_value(ToldReward(rewards, SPEC), bend(), normalizer, config=few)
    low, high = (normalizer.normalize(torch.tensor([x, x]).float())[0] for x in (-0.6, 0.6))
    assert all(low < plans.min() and plans.max() < high for plans in seen)


@pytest.mark.parametrize(
    ("lengths", "horizon", "place", "value"),
    [((3, 2), 5, "play", 0), ((20, 14), 1, "horizon", 1)],
    ids=["short episodes", "short plans"],
)
def test_play_data_without_a_plan_step_is_refused(
    lengths: tuple[int, ...], horizon: int, place: str, value: int
) -> None:
    spec = PlanSpec(horizon, 1, 2, 2)
    play = Windows(random_walks(lengths), spec)
    with refused(NoValueError, place=place, value=value):
        fit_value(NEARNESS, play, unchanged(), config=CONFIG)


def test_play_data_in_which_every_state_is_new_is_refused() -> None:
    """There are more prototypes than states, so that each is its own."""
    play = Windows(random_walks((20,)), SPEC)
    with refused(NoValueError, place="play"):
        fit_value(NEARNESS, play, unchanged(), config=ValueConfig(num_steps=1))


@pytest.mark.parametrize("name", ["num_windows", "num_prototypes", "width", "num_steps"])
def test_a_value_of_nothing_is_refused(name: str) -> None:
    with refused(SettingsError, place=name, value=0, remedy="at least 1"):
        ValueConfig(**{name: 0})


def test_a_value_is_built_again_from_its_configuration(spec: PlanSpec) -> None:
    value = shake(Value(spec, width=8, num_frequencies=3))
    assert isinstance(value, Value)
    again = Value(spec, **value.to_config())
    again.load_state_dict(value.state_dict())
    plans = torch.randn((3, 5, 2), generator=seeded())
    assert torch.equal(again(plans), value(plans))
    features = again.network[0]
    assert isinstance(features, FourierFeatures)
    assert features.num_features == 2 * (1 + 2 * 3)


def test_step_rewards_are_of_the_first_stage(spec: PlanSpec) -> None:
    value = shake(Value(spec, width=8, num_stages=2))
    assert isinstance(value, Value)
    plans = torch.randn((3, 5, 2), generator=seeded())
    stages = value.stage_rewards(plans)
    assert stages.shape == (3, 5, 2)
    assert torch.equal(value.step_rewards(plans), stages[..., 0])
    assert (stages[..., 0] - stages[..., 1]).abs().min() > 1e-4
    again = Value(spec, **value.to_config())
    again.load_state_dict(value.state_dict())
    assert torch.equal(again.stage_rewards(plans), stages)


def test_a_value_sees_observations_and_not_actions(action_spec: PlanSpec) -> None:
    value = shake(Value(action_spec, width=8))
    plans = torch.randn((3, 4, 6), generator=seeded()).requires_grad_()
    (gradient,) = torch.autograd.grad(value(plans).sum(), plans)
    assert (gradient[..., :2].abs() > 0).all()
    assert (gradient[..., 2:] == 0).all()


def test_the_reward_to_go_is_the_sum_of_reward_and_value(spec: PlanSpec) -> None:
    value = shake(Value(spec, width=8))
    assert isinstance(value, Value)
    reward = tiny_diffuser(spec).normalizer.normalize
    plans = torch.randn((3, 5, 2), generator=seeded())
    both = RewardToGo(ToldWholeReward(lambda plan: reward(plan).sum((1, 2)), spec), value)
    torch.testing.assert_close(both(plans), reward(plans).sum((1, 2)) + value(plans))
    assert value(plans).abs().min() > 1e-3


@pytest.mark.parametrize(
    ("memory", "num_stages"), [(Memory((0, 1)), 1), (Memory((0, 1)), 3), (None, 2), (None, 3)]
)
def test_a_reward_and_a_value_of_other_stages_are_not_added(
    memory: Memory | None, num_stages: int, spec: PlanSpec
) -> None:
    reward = ToldReward(lambda plan: plan, spec, memory)
    stages = reward.num_stages, num_stages
    with refused(SettingsError, place="num_stages", value=stages):
        RewardToGo(reward, Value(spec, width=8, num_stages=num_stages))


LAPS = random_walks([40, 25, 33], seed=5)
QUICK = replace(DISCOUNTED, width=64, num_steps=600, batch_size=128)


def discounted(
    dataset: Dataset, rewards: Callable[[np.ndarray], np.ndarray], discount: float
) -> np.ndarray:
    """What follows each observation, by recursion from the end, where the last reward stays."""
    found = []
    for episode in dataset.episodes:
        onward = []
        for reward in reversed(rewards(episode.observations)):
            after = onward[-1] if onward else reward
            onward.append((1 - discount) * reward + discount * after)
        found += onward[::-1]
    return np.array(found)


def values_of(value: Value, dataset: Dataset) -> np.ndarray:
    observations = np.concatenate([episode.observations for episode in dataset.episodes])
    return values_at(value, observations).numpy()


@pytest.mark.parametrize("constant", [-30.0, 0.0, 2.5])
def test_the_discounted_value_of_a_constant_reward_is_the_constant(constant: float) -> None:
    value = fit_discounted_value(
        ToldReward(lambda plans: torch.full(plans.shape[:2], constant), SPEC),
        Windows(LAPS, SPEC),
        unchanged(),
        discount=0.9,
        config=replace(QUICK, num_steps=20),
    )
    np.testing.assert_allclose(values_of(value, LAPS), constant, rtol=1e-4, atol=1e-4)
    assert (value.discount, value.num_stages) == (0.9, 1)


@pytest.mark.parametrize("discount", [0.5, 0.9])
def test_a_discounted_value_is_what_followed_in_the_unit_of_the_reward(discount: float) -> None:
    """The reward is 20 times the first entry, and 100 more."""
    value = fit_discounted_value(
        ToldReward(lambda plans: 20 * plans[..., 0] + 100, SPEC),
        Windows(LAPS, SPEC),
        unchanged(),
        discount=discount,
        config=QUICK,
    )
    expected = discounted(LAPS, lambda path: 20 * path[:, 0] + 100, discount)
    found = values_of(value, LAPS)
    assert np.corrcoef(found, expected)[0, 1] > 0.95
    assert found.mean() == pytest.approx(expected.mean(), rel=0.05)
    assert found.std() == pytest.approx(expected.std(), rel=0.15)


def test_the_targets_of_a_discounted_value_are_those_of_plain_recursion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    monkeypatch.setattr(
        value_module,
        "_regress",
        lambda value, states, targets, *rest: seen.append((states, targets)),
    )
    fit_discounted_value(
        ToldReward(lambda plans: plans[..., 1].square(), SPEC),
        Windows(LAPS, SPEC),
        unchanged(),
        discount=0.8,
    )
    ((states, targets),) = seen
    expected = discounted(LAPS, lambda path: path[:, 1] ** 2, 0.8)
    np.testing.assert_allclose(targets[:, 0], expected, rtol=1e-4)
    path = np.concatenate([episode.observations for episode in LAPS.episodes])
    np.testing.assert_array_equal(states, path.astype("f4"))


def test_a_discounted_value_counts_environment_steps_whatever_the_stride_of_plans() -> None:
    values = [
        fit_discounted_value(
            ToldReward(lambda plans: plans[..., 0], SPEC),
            Windows(LAPS, replace(SPEC, stride=stride)),
            unchanged(),
            discount=0.8,
            config=replace(QUICK, num_steps=20),
        )
        for stride in (1, 3)
    ]
    np.testing.assert_array_equal(*(values_of(value, LAPS) for value in values))


def test_the_reward_of_a_discounted_value_may_see_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Observations with too few actions after them have no reward."""
    spec, dataset = PlanSpec(3, 2, 2, 2, with_actions=True), random_walks([6])
    seen = []
    monkeypatch.setattr(
        value_module, "_regress", lambda value, states, targets, *rest: seen.append(targets)
    )
    normalizer = Normalizer(torch.zeros(6), torch.ones(6))
    fit_discounted_value(
        ToldReward(lambda plans: plans[..., 4:].sum(-1), spec),
        Windows(dataset, spec),
        normalizer,
        discount=0.5,
    )
    rewards = dataset.episodes[0].actions[1:].sum(-1)
    expected = [rewards[-1]]
    for reward in rewards[-2::-1]:
        expected.insert(0, 0.5 * reward + 0.5 * expected[0])
    np.testing.assert_allclose(seen[0][:, 0], expected, rtol=1e-4, atol=1e-6)


def test_a_discounted_value_is_frozen_and_its_seed_decides_it() -> None:
    def fitted(seed: int) -> Value:
        few = replace(QUICK, num_steps=5, seed=seed)
        return fit_discounted_value(
            ToldReward(lambda plans: plans[..., 0], SPEC),
            Windows(LAPS, SPEC),
            unchanged(),
            discount=0.9,
            config=few,
        )

    before = torch.get_rng_state()
    first, again, other = fitted(0), fitted(0), fitted(1)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(values_of(first, LAPS), values_of(again, LAPS))
    assert not np.array_equal(values_of(first, LAPS), values_of(other, LAPS))
    assert not any(weights.requires_grad for weights in first.parameters())


def test_play_data_shorter_than_a_plan_step_has_no_discounted_value() -> None:
    spec = PlanSpec(2, 5, 2, 2, with_actions=True)
    play = Windows(random_walks([4, 3]), spec)
    normalizer = Normalizer(torch.zeros(12), torch.ones(12))
    reward = ToldReward(lambda plans: plans[..., 0], spec)
    with refused(place="stride", value=5):
        fit_discounted_value(reward, play, normalizer, discount=0.9)
