"""What is remembered of a trajectory, and which place demonstrations say should be."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from refusals import refused
from tiny import ToldReward, corridor_walks, given, random_walks, seeded
from trailward.data.dataset import Dataset, Windows
from trailward.data.episode import Episode
from trailward.data.normalizer import Normalizer
from trailward.data.plan import PlanSpec
from trailward.diffusion.guide import reward_gradient
from trailward.errors import SettingsError
from trailward.rewards import staged as memory
from trailward.rewards.staged import (
    Memory,
    MemoryConfig,
    MemoryFit,
    fit_memory,
)

SPEC = PlanSpec(horizon=5, stride=2, observation_dim=2, action_dim=2)
UNCHANGED = Normalizer(torch.zeros(2), torch.ones(2))
GATE, GOAL = -0.9, 0.9
"""The ends of a corridor; walks begin in its middle."""


def memory_of(*place: float, features: tuple[int, ...] = (0, 1), radius: float = 0.7) -> Memory:
    made = Memory(features, radius=radius)
    made.place.copy_(torch.tensor(place))
    return made


def paths(time: int = 30) -> Tensor:
    """Six random paths; some visit the origin early, some late, some never."""
    return 0.4 * torch.randn((6, time, 2), generator=seeded()).cumsum(1) + 1


def visited_by_brute_force(path: Tensor, *, before: bool = False) -> list[bool]:
    """Whether the origin has been visited at each time, by many small steps between the times."""
    answers, last = [], path[0].numpy()
    for now in path.numpy():
        between = np.linspace(last, now, 1001)
        before = before or np.hypot(*between.T).min() < 0.7
        answers.append(bool(before))
        last = now
    return answers


def two_stages() -> ToldReward:
    """The first entry of each plan step before the origin has been visited, minus it after."""
    rewards = lambda plan: torch.stack([plan[..., 0], -plan[..., 0]], -1)
    return ToldReward(rewards, SPEC, memory_of(0.0, 0.0))


def fit(*stops: float, **changes) -> MemoryFit:
    """What is found in walks to these stops along a corridor."""
    options = {"features": (0, 1), "radius": 0.12, "config": MemoryConfig(num_candidates=60)}
    seed = changes.pop("seed", 0)
    return fit_memory(corridor_walks(*stops, seed=seed), SPEC, UNCHANGED, **options | changes)


def error_by_brute_force(
    dataset: Dataset,
    *,
    visited: Callable[[Tensor], Tensor] | None = None,
    count: int = 3,
    every: int = 1,
) -> float:
    """Each window against the median of its neighbours in other episodes, one by one.

    ``visited`` says of an episode's observations up to a window whether those windows alone are
    neighbours that agree on it; of ``every`` so many windows one is looked at.
    """
    windows = Windows(dataset, SPEC)
    values, _ = windows.gather(torch.arange(0, len(windows), every))
    episodes, firsts = windows.episode[::every].tolist(), windows.first[::every].tolist()
    pasts = [
        torch.from_numpy(dataset.episodes[episode].observations[: first + 1])
        for episode, first in zip(episodes, firsts, strict=True)
    ]
    errors = []
    for i in range(len(values)):
        others = [
            j
            for j in range(len(values))
            if episodes[j] != episodes[i]
            and (visited is None or visited(pasts[j]) == visited(pasts[i]))
        ]
        others.sort(key=lambda j: float((values[j, 0] - values[i, 0]).norm()))
        predicted = values.mean(0)
        if others:
            predicted = values[others[:count]].median(0).values
        errors.append((predicted - values[i]).square().mean())
    return float(torch.stack(errors).mean())


def test_a_visit_is_remembered_from_then_on() -> None:
    found = memory_of(0.0, 0.0).visited(paths())
    assert found.tolist() == [visited_by_brute_force(path) for path in paths()]
    ever = found[:, -1]
    assert ever.any()
    assert not ever.all()
    assert not found[ever].all()


def test_what_was_remembered_before_stays_so() -> None:
    before = torch.tensor([True, False, True, False, False, True])
    expected = [
        visited_by_brute_force(path, before=bool(known))
        for path, known in zip(paths(), before, strict=True)
    ]
    assert memory_of(0.0, 0.0).visited(paths(), before).tolist() == expected
    assert memory_of(0.0, 0.0).visited(paths())[before].logical_not().any()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ([(-3.0, 0.6), (3.0, 0.6)], [False, True]),
        ([(-3.0, 0.8), (3.0, 0.8)], [False, False]),
        ([(-3.0, 3.0), (1.0, -1.0), (5.0, -1.0)], [False, True, True]),
        ([(1.0, 0.0), (5.0, 0.0), (5.0, 5.0)], [False, False, False]),
        ([(5.0, 0.0), (1.0, 0.0), (1.0, 5.0)], [False, False, False]),
    ],
    ids=["over it", "past it", "askew", "away from it", "towards it"],
)
def test_a_long_stride_does_not_step_over_the_place(
    path: list[tuple[float, float]], expected: list[bool]
) -> None:
    """The straight line counts between two observations, not beyond them."""
    assert memory_of(0.0, 0.0).visited(torch.tensor([path])).tolist() == [expected]


def test_a_fresh_memory_has_been_nowhere() -> None:
    assert not Memory((0, 1), radius=1e6).visited(paths()).any()


def test_the_radius_says_what_is_near() -> None:
    path = torch.tensor([[[0.3, 0.4]]])
    assert memory_of(0.0, 0.0, radius=0.51).visited(path).all()
    assert not memory_of(0.0, 0.0, radius=0.49).visited(path).any()


def test_a_place_is_made_of_the_features_alone() -> None:
    second = memory_of(0.0, features=(1,))
    path = torch.tensor([[[0.0, 5.0], [9.0, 0.1], [0.0, 5.0]]])
    assert second.visited(path).tolist() == [[False, True, True]]


def test_a_place_is_kept_with_the_weights() -> None:
    again = Memory((0, 1), radius=0.7)
    again.load_state_dict(memory_of(0.0, 0.0).state_dict())
    assert torch.equal(again.visited(paths()), memory_of(0.0, 0.0).visited(paths()))


@pytest.mark.parametrize("time", [1, 4, 17, 29])
def test_an_episode_in_two_parts_is_the_episode_as_a_whole(time: int) -> None:
    """The second begins with the observation that the first ended with."""
    model, whole = two_stages(), paths()
    first = model.observe(whole[:, :time])
    then = model.observe(whole[:, time - 1 :], first[:, -1])
    assert torch.equal(torch.cat([first, then[:, 1:]], 1), model.observe(whole))
    assert torch.equal(then[:, 0], first[:, -1])
    assert first[:, -1].any()
    assert not torch.equal(then[:, 1:], model.observe(whole[:, time:]))


def test_each_step_is_rewarded_in_its_stage() -> None:
    expected = [
        [
            -float(step[0]) if seen else float(step[0])
            for step, seen in zip(path, visits, strict=True)
        ]
        for path, visits in zip(paths(), map(visited_by_brute_force, paths()), strict=True)
    ]
    model = two_stages()
    assert model.num_stages == 2
    assert model.observe(paths()).tolist() == [visited_by_brute_force(path) for path in paths()]
    torch.testing.assert_close(model.step_rewards(paths()), torch.tensor(expected))
    torch.testing.assert_close(model(paths()), torch.tensor(expected).mean(1))


def test_plans_are_judged_in_the_stage_they_begin_in_wherever_they_lead() -> None:
    model = two_stages()
    every = torch.ones(6, dtype=torch.bool)
    torch.testing.assert_close(given(model, every)(paths()), -paths()[..., 0].mean(1))
    torch.testing.assert_close(given(model, ~every)(paths()), paths()[..., 0].mean(1))
    leading_there = model.observe(paths())[:, -1]
    switched = (given(model, ~every)(paths()) - model(paths())).abs() > 1e-3
    assert torch.equal(switched, leading_there.bool())


def test_each_plan_is_given_its_own_past() -> None:
    plans = torch.full((2, 3, 2), 5.0)
    model = given(two_stages(), torch.tensor([True, False]))
    assert model(plans).tolist() == [-5.0, 5.0]


def test_the_gradient_of_a_step_is_that_of_its_stage() -> None:
    plan = torch.tensor([[[2.0, 0.0], [0.1, 0.0], [2.0, 0.0]]])
    gradient = reward_gradient(two_stages(), plan)
    torch.testing.assert_close(gradient[0, :, 0], torch.tensor([1.0, -1.0, -1.0]) / 3)


@pytest.mark.parametrize("seed", range(3))
def test_the_place_where_demonstrators_turn_round_is_found(seed: int) -> None:
    found = fit(GATE, GOAL, seed=seed)
    assert found.is_needed
    assert found.radius == 0.12
    assert found.error < 0.1 * found.error_without
    assert abs(found.place[0] - GATE) < 0.12


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_demonstrators_that_go_straight_to_the_goal_need_no_memory(seed: int) -> None:
    assert not fit(GOAL, seed=seed).is_needed


def test_a_place_that_one_demonstrator_leaves_out_is_not_tried() -> None:
    """Its walk alone cannot be told from those of the rest after their visit."""
    episodes = [*corridor_walks(GATE, GOAL).episodes, *corridor_walks(GOAL, count=1).episodes]
    found = fit_memory(
        Dataset(episodes), SPEC, UNCHANGED, features=(0, 1), radius=0.12, config=MemoryConfig()
    )
    left_out = episodes[-1].observations[:, 0]
    assert found.place is None or left_out.min() - 0.12 < found.place[0]
    assert not found.is_needed


def test_walks_that_never_meet_have_no_place_in_common() -> None:
    apart = [
        Episode(e.observations + 100 * i, e.actions) for i, e in enumerate(random_walks().episodes)
    ]
    found = fit_memory(Dataset(apart), SPEC, UNCHANGED, features=(0, 1), radius=0.5)
    assert found.place is None
    assert found.error == found.error_without
    assert not found.is_needed


def test_one_demonstration_alone_explains_nothing() -> None:
    """There is no other to predict it by, so that the mean of its windows has to do."""
    alone = corridor_walks(GATE, GOAL, count=1)
    found = fit_memory(alone, SPEC, UNCHANGED, features=(0, 1), radius=0.12)
    values, _ = Windows(alone, SPEC).gather(torch.arange(len(Windows(alone, SPEC))))
    assert found.error_without == pytest.approx(
        float(values.var(0, unbiased=False).mean()), rel=1e-4
    )
    assert not found.is_needed


def test_errors_are_those_of_the_nearest_windows_of_other_demonstrations() -> None:
    walks = corridor_walks(GATE, GOAL, count=3)
    few = MemoryConfig(num_neighbours=3, num_candidates=10)
    found = fit_memory(walks, SPEC, UNCHANGED, features=(0, 1), radius=0.12, config=few)
    seen = lambda past: bool(((past - found.place).norm(dim=1) < 0.12).any())
    assert found.error_without == pytest.approx(error_by_brute_force(walks), rel=1e-3)
    assert found.error == pytest.approx(error_by_brute_force(walks, visited=seen), rel=1e-3)


def test_places_and_radius_are_in_model_space() -> None:
    walks, shift, scale = (
        corridor_walks(GATE, GOAL),
        torch.tensor([3.0, -2.0]),
        torch.tensor([50.0, 0.1]),
    )
    stretched = Dataset(
        [Episode(e.observations * scale.numpy() + shift.numpy(), e.actions) for e in walks.episodes]
    )
    found = fit_memory(
        stretched,
        SPEC,
        Normalizer(shift, scale),
        features=(0, 1),
        radius=0.12,
        config=MemoryConfig(num_candidates=60),
    )
    expected = fit(GATE, GOAL)
    torch.testing.assert_close(found.place, expected.place, atol=1e-4, rtol=1e-4)
    assert found.error == pytest.approx(expected.error, rel=1e-2)


def test_entries_beside_the_features_do_not_matter() -> None:
    walks = corridor_walks(GATE, GOAL)
    noise = np.random.default_rng(0)
    wider = Dataset(
        [
            Episode(
                np.concatenate([noise.normal(0, 9, (len(e) + 1, 1)), e.observations], 1), e.actions
            )
            for e in walks.episodes
        ]
    )
    found = fit_memory(
        wider,
        PlanSpec(SPEC.horizon, SPEC.stride, 3, 2),
        Normalizer(torch.zeros(3), torch.ones(3)),
        features=(1, 2),
        radius=0.12,
        config=MemoryConfig(num_candidates=60),
    )
    assert found.place.shape == (2,)
    assert found.error == pytest.approx(fit(GATE, GOAL).error, rel=1e-4)


@pytest.mark.parametrize(("error", "needed"), [(0.49, True), (0.51, False)])
def test_a_memory_must_take_half_of_the_error_away(error: float, needed: bool) -> None:
    assert MemoryFit(torch.zeros(2), error, 1.0, radius=0.1).is_needed == needed
    assert not MemoryFit(None, error, 1.0, radius=0.1).is_needed


@pytest.mark.parametrize(("radius", "needed"), [(0.29, True), (0.31, False)])
def test_a_memory_must_take_more_error_away_than_a_radius(radius: float, needed: bool) -> None:
    """The root of the error that is saved here is 0.3."""
    assert MemoryFit(torch.zeros(2), 0.01, 0.1, radius=radius).is_needed == needed


@pytest.mark.parametrize("fewer", [1, 20])
def test_no_more_windows_are_predicted_than_asked_for(fewer: int) -> None:
    """One window less is every second one."""
    walks = corridor_walks(GATE, GOAL, count=3)
    few = MemoryConfig(num_windows=len(Windows(walks, SPEC)) - fewer, num_neighbours=3)
    found = fit_memory(walks, SPEC, UNCHANGED, features=(0, 1), radius=0.12, config=few)
    expected = error_by_brute_force(walks, every=2)
    assert found.error_without == pytest.approx(expected, rel=1e-3)
    assert expected != pytest.approx(error_by_brute_force(walks), rel=1e-2)


@pytest.mark.parametrize("fewer", [0, 1, 60])
def test_no_more_places_are_tried_than_asked_for(
    fewer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them are common to these walks; the first error is the one without a memory."""
    errors = []

    def error(*arguments: object) -> float:
        errors.append(arguments)
        return 1.0

    monkeypatch.setattr(memory, "_prediction_error", error)
    walks = corridor_walks(GATE, GOAL, count=3)
    count = sum(len(e.observations) for e in walks.episodes)
    few = MemoryConfig(num_candidates=count - fewer)
    fit_memory(walks, SPEC, UNCHANGED, features=(0, 1), radius=0.12, config=few)
    assert (count - fewer) / 2 < len(errors) - 1 <= count - fewer


@pytest.mark.parametrize("name", ["num_windows", "num_candidates", "num_neighbours"])
def test_a_search_over_nothing_is_refused(name: str) -> None:
    with refused(SettingsError, place=name, value=0, remedy="at least 1"):
        MemoryConfig(**{name: 0})
