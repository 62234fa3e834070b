"""EPIC and the correlation of steps, where the truth has a closed form or can be enumerated."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from refusals import refused
from tiny import STAGED, random_walks, tiny_diffuser, tiny_reward, tiny_staged_reward
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.data.plan import PlanSpec
from trailward.environments import RewardFunction
from trailward.errors import SettingsError
from trailward.judging.config import EvaluationConfig
from trailward.judging.epic import (
    Transitions,
    canonical_rewards,
    draw_transitions,
    epic_distance,
    step_correlation,
    transition_figures,
)
from trailward.learning.learnt_reward import LearntReward
from trailward.rewards import AdditiveSettings, ConvSettings, RewardSettings

GENERATOR = np.random.default_rng(0)
GAUSSIAN = Transitions(
    GENERATOR.standard_normal((2000, 3)),
    GENERATOR.standard_normal((2000, 2)),
    GENERATOR.standard_normal((2000, 3)),
    np.arange(2000) % 100,
)
GAMMA = 0.9


def curved(observations: np.ndarray, actions: np.ndarray, arrived: np.ndarray) -> np.ndarray:
    """A reward in which all three parts act on each other."""
    return np.sin(observations[:, 0] * actions[:, 0]) + observations[:, 1] * arrived[:, 1]


def potential(observations: np.ndarray) -> np.ndarray:
    return 3 * np.cos(observations[:, 0]) + observations[:, 1] ** 2


def shaped(reward: RewardFunction, discount: float, scale: float = 1.0) -> RewardFunction:
    """The same preferences in other words."""
    return lambda observations, actions, arrived: (
        scale * reward(observations, actions, arrived)
        + 7
        + discount * potential(arrived)
        - potential(observations)
    )


def nothing(observations: np.ndarray, actions: np.ndarray, arrived: np.ndarray) -> np.ndarray:
    return np.full(len(observations), 0.3)


def epic(learnt: RewardFunction, true: RewardFunction, **options) -> float:
    options = {"discount": GAMMA, "num_canonical": 20} | options
    return epic_distance(learnt, true, GAUSSIAN, **options).value


@pytest.mark.parametrize("discount", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("num_canonical", [1, 20])
def test_shift_scale_and_shaping_do_not_matter(discount: float, num_canonical: int) -> None:
    options = {"discount": discount, "num_canonical": num_canonical}
    assert epic(shaped(curved, discount, 0.2), curved, **options) == pytest.approx(0, abs=1e-6)
    assert epic(shaped(curved, discount, -2.0), curved, **options) == pytest.approx(1)


def test_shaping_with_another_discount_matters() -> None:
    assert epic(shaped(curved, 0.0), curved) > 0.1


def test_the_reward_of_where_a_step_begins_is_that_of_where_it_ends() -> None:
    """But for shaping: which of the two a reward of observations means plays no part in EPIC."""
    begins = lambda observations, actions, arrived: potential(observations)
    ends = lambda observations, actions, arrived: potential(arrived)
    assert epic(begins, ends) == pytest.approx(0, abs=1e-6)


def test_the_canonical_form_of_rewards_of_arrival_and_action_is_themselves() -> None:
    reward = lambda observations, actions, arrived: potential(arrived) - (actions**2).sum(-1)
    parts = GAUSSIAN.observations, GAUSSIAN.actions, GAUSSIAN.next_observations
    difference = canonical_rewards(reward, GAUSSIAN) - reward(*parts)
    np.testing.assert_allclose(difference, difference[0], atol=1e-9)


def test_the_distance_is_symmetric() -> None:
    other = lambda observations, actions, arrived: curved(arrived, actions, observations) ** 2
    assert epic(curved, other) == epic(other, curved)
    assert 0.1 < epic(curved, other) < 0.9


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, -2.0])
def test_of_independent_parts_the_distance_has_a_closed_form(weight: float) -> None:
    """Rewards x and x + w y correlate by 1 / sqrt(1 + w^2), x and y being of arrivals."""
    x = lambda observations, actions, arrived: arrived[:, 0]
    both = lambda observations, actions, arrived: arrived[:, 0] + weight * arrived[:, 1]
    pearson = 1 / np.sqrt(1 + weight**2)
    assert epic(both, x) == pytest.approx(np.sqrt((1 - pearson) / 2), abs=0.02)


def test_of_a_linear_reward_the_canonical_form_is_linear_too() -> None:
    """R = s0 + a0 + s'0 becomes a0 + (1 + gamma) s'0, so against a0 rho is 1 / sqrt(1 + 1.9^2)."""
    linear = lambda observations, actions, arrived: (
        observations[:, 0] + actions[:, 0] + arrived[:, 0]
    )
    action = lambda observations, actions, arrived: actions[:, 0]
    pearson = 1 / np.sqrt(1 + (1 + GAMMA) ** 2)
    assert epic(linear, action) == pytest.approx(np.sqrt((1 - pearson) / 2), abs=0.02)


@pytest.mark.parametrize("empty", [nothing, shaped(nothing, GAMMA)], ids=["constant", "shaping"])
def test_a_reward_without_content_correlates_with_nothing(empty: RewardFunction) -> None:
    found = epic_distance(empty, curved, GAUSSIAN, discount=GAMMA)
    assert [found.low, found.value, found.high] == pytest.approx([0.5**0.5] * 3)
    single = lambda *parts: empty(*parts).astype(np.float32)
    assert epic(single, curved) == pytest.approx(0.5**0.5)


STATES, ACTIONS = 3, 2
TABLE = np.random.default_rng(1).standard_normal((2, STATES, ACTIONS, STATES))


def tabular(table: np.ndarray) -> RewardFunction:
    return lambda observations, actions, arrived: table[
        observations[:, 0].astype(int), actions[:, 0].astype(int), arrived[:, 0].astype(int)
    ]


def canonical_table(table: np.ndarray, discount: float) -> np.ndarray:
    """Definition 4.1 with uniform S, A and S', term by term."""
    every = list(itertools.product(range(STATES), range(ACTIONS), range(STATES)))
    found = np.zeros_like(table)
    for s, a, then in every:
        shaping = [
            discount * table[then, A, arrived]
            - table[s, A, arrived]
            - discount * table[S, A, arrived]
            for S, A, arrived in every
        ]
        found[s, a, then] = table[s, a, then] + np.mean(shaping)
    return found


def finite_world() -> Transitions:
    every = np.array(list(itertools.product(range(STATES), range(ACTIONS), range(STATES))))
    s, a, then = every[:, :1], every[:, 1:2], every[:, 2:]
    return Transitions(s * 1.0, a * 1.0, then * 1.0, np.arange(len(every)))


def test_the_canonical_form_converges_to_that_found_by_enumeration() -> None:
    world, exact = finite_world(), canonical_table(TABLE[0], GAMMA).ravel()
    errors = []
    for count in (10, 20_000):
        options = {"discount": GAMMA, "num_canonical": count}
        found = canonical_rewards(tabular(TABLE[0]), world, **options)
        errors.append(np.abs((found - found.mean()) - (exact - exact.mean())).max())
    assert errors[1] < 0.04 < errors[0]


def test_the_distance_converges_to_that_found_by_enumeration() -> None:
    exact = [canonical_table(table, GAMMA).ravel() for table in TABLE]
    expected = np.sqrt((1 - stats.pearsonr(*exact).statistic) / 2)
    learnt, true = (tabular(table) for table in TABLE)
    options = {"discount": GAMMA, "num_canonical": 20_000}
    found = epic_distance(learnt, true, finite_world(), **options)
    plain = np.sqrt((1 - stats.pearsonr(TABLE[0].ravel(), TABLE[1].ravel()).statistic) / 2)
    assert found.value == pytest.approx(expected, abs=0.005)
    assert abs(plain - expected) > 0.02


def test_rewards_are_asked_about_in_blocks_that_make_no_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def counting(*parts: np.ndarray) -> np.ndarray:
        asked.append(len(parts[0]))
        return curved(*parts)

    whole = canonical_rewards(counting, GAUSSIAN, num_canonical=20)
    monkeypatch.setattr("trailward.judging.epic._ROWS", 1000)
    asked.clear()
    np.testing.assert_allclose(canonical_rewards(counting, GAUSSIAN, num_canonical=20), whole)
    assert max(asked[:-1]) <= 1000
    canonical_rewards(counting, GAUSSIAN, num_canonical=1500)  # one state after another


def test_intervals_contain_the_value_count_episodes_and_repeat_with_the_seed() -> None:
    reward = lambda observations, actions, arrived: potential(arrived)
    draws = [epic_distance(curved, reward, GAUSSIAN, num_canonical=5, seed=s) for s in (0, 0, 1)]
    assert draws[0].low < draws[0].value < draws[0].high
    assert draws[0].count == 100
    assert draws[0] == draws[1]
    assert draws[0].value != draws[2].value


def test_no_pairs_are_refused() -> None:
    with refused(SettingsError, place="num_canonical", value=0, remedy="at least 1"):
        canonical_rewards(curved, GAUSSIAN, num_canonical=0)


X = GENERATOR.standard_normal(300)
Y = X + GENERATOR.standard_normal(300)


def test_the_correlation_of_steps_equals_that_of_scipy_whatever_their_order() -> None:
    episode = np.arange(300) // 10
    found = step_correlation(4 * X + 1000, Y, episode)
    assert found.value == pytest.approx(stats.pearsonr(X, Y).statistic)
    assert found.low < found.value < found.high
    assert found.count == 30
    order = GENERATOR.permutation(300)
    again = step_correlation(X[order], Y[order], episode[order])
    assert [again.low, again.high] == pytest.approx([found.low, found.high])


def test_the_interval_is_as_wide_as_episodes_are_few() -> None:
    """Ten copies of each step tell no more than one, if they are of one episode."""
    copied = step_correlation(X.repeat(10), Y.repeat(10), np.arange(300).repeat(10))
    once = step_correlation(X, Y, np.arange(300))
    assert [copied.low, copied.high] == pytest.approx([once.low, once.high])
    alone = step_correlation(X, Y, np.zeros(300, int))
    assert alone.low == alone.value == alone.high
    assert alone.count == 1


@pytest.mark.parametrize("constant", [0.0, 0.1, -3e5])
def test_a_constant_step_reward_correlates_with_nothing(constant: float) -> None:
    for rewards in ((np.full(300, constant), X), (X, np.full(300, constant))):
        found = step_correlation(*rewards, np.arange(300))
        assert [found.low, found.value, found.high] == [0, 0, 0]


def test_no_steps_are_refused() -> None:
    with refused(place="the number of steps", value=0):
        step_correlation(np.zeros(0), np.zeros(0), np.zeros(0, int))


def test_drawn_transitions_are_consecutive_in_their_episode_and_none_comes_twice() -> None:
    play = random_walks([9, 4, 1])
    drawn = draw_transitions(play, count=1000, seed=0)
    assert len(drawn.episode) == 14
    assert drawn.rewards is not None
    assert len(np.unique(drawn.observations[:, 0])) == 14
    for index, number in enumerate(drawn.episode):
        episode = play.episodes[number]
        step = int(np.flatnonzero(episode.observations[:, 0] == drawn.observations[index, 0])[0])
        np.testing.assert_array_equal(drawn.observations[index], episode.observations[step])
        np.testing.assert_array_equal(drawn.actions[index], episode.actions[step])
        np.testing.assert_array_equal(
            drawn.next_observations[index], episode.observations[step + 1]
        )
        assert drawn.rewards[index] == episode.rewards[step]


def test_every_transition_is_as_likely_as_any_other() -> None:
    play = random_walks([9, 1])
    found = [draw_transitions(play, count=3, seed=seed).episode for seed in range(600)]
    assert np.mean(np.stack(found) == 1) == pytest.approx(0.1, abs=0.02)
    assert np.array_equal(found[0], draw_transitions(play, count=3, seed=0).episode)


def test_rewards_are_drawn_only_if_all_episodes_have_them() -> None:
    walks = random_walks([9, 4])
    bare = Episode(walks.episodes[1].observations, walks.episodes[1].actions)
    mixed = Dataset([walks.episodes[0], bare])
    assert draw_transitions(mixed, count=13, seed=0).rewards is None


def test_episodes_without_steps_have_no_transitions() -> None:
    still = Dataset([Episode(np.zeros((1, 2)), np.zeros((0, 2)))])
    with refused(place="the number of transitions", value=0, remedy="at least one"):
        draw_transitions(still, count=3, seed=0)


@pytest.mark.usefixtures("without_type_checks")
def test_transitions_of_unequal_numbers_or_none_are_refused() -> None:
    parts = GAUSSIAN.observations, GAUSSIAN.actions, GAUSSIAN.next_observations
    count, place = len(GAUSSIAN.episode), "parts of transitions"
    with refused(place=place, value=[count, count, count, count - 1], remedy="one of each"):
        Transitions(*parts, GAUSSIAN.episode[1:])
    with refused(place=place, value=[count, count, count, count, 3], remedy="one of each"):
        replace(GAUSSIAN, rewards=np.zeros(3))
    with refused(place="the number of transitions", value=0):
        Transitions(*(part[:0] for part in parts), GAUSSIAN.episode[:0])


CONFIG = EvaluationConfig(num_transitions=40)
WALKS = random_walks()
AT_ONCE = PlanSpec(4, 1, 2, 2, with_actions=True)
APART = PlanSpec(4, 2, 2, 2, with_actions=True)
ACTING = AdditiveSettings(hidden=(8,), sees_actions=True)


def rewarded(learnt: LearntReward, sign: float) -> Dataset:
    """Walks whose true reward is the learnt one, with a sign."""
    rewards = [sign * learnt.transition_rewards(*each.transitions) for each in WALKS.episodes]
    episodes = zip(WALKS.episodes, rewards, strict=True)
    return Dataset([Episode(e.observations, e.actions, found) for e, found in episodes])


@pytest.mark.parametrize("config", [AdditiveSettings(hidden=(8,)), ACTING], ids=["plain", "acting"])
def test_a_learnt_reward_is_its_own_best_match(config: RewardSettings) -> None:
    learnt = tiny_reward(tiny_diffuser(AT_ONCE), config)
    found = transition_figures(learnt, learnt.transition_rewards, rewarded(learnt, 1.0), CONFIG)
    assert found["epic"]["value"] == pytest.approx(0, abs=1e-6)
    assert found["step_pearson"]["value"] == pytest.approx(1)
    assert found["step_pearson"]["count"] == 3


def test_steps_are_correlated_with_the_rewards_of_the_play_data() -> None:
    learnt = tiny_reward(tiny_diffuser(AT_ONCE))
    play = rewarded(learnt, -1.0)
    found = transition_figures(learnt, learnt.transition_rewards, play, CONFIG)
    assert found["epic"]["value"] == pytest.approx(0, abs=1e-6)
    assert found["step_pearson"]["value"] == pytest.approx(-1)
    bare = Dataset([Episode(e.observations, e.actions) for e in play.episodes])
    with refused(place="rewards of the play data", value=None, remedy="record them"):
        transition_figures(learnt, learnt.transition_rewards, bare, CONFIG)


def test_without_a_true_reward_of_transitions_there_is_no_epic() -> None:
    learnt = tiny_reward(tiny_diffuser(AT_ONCE))
    found = transition_figures(learnt, None, rewarded(learnt, 1.0), CONFIG)
    assert found["epic"] is None
    assert found["step_pearson"]["value"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("config", "spec"),
    [("linear", AT_ONCE), (ConvSettings(), AT_ONCE), (ACTING, APART)],
    ids=["linear", "conv", "several actions"],
)
def test_rewards_that_are_not_of_transitions_have_no_figures(
    config: RewardSettings, spec: PlanSpec
) -> None:
    learnt = tiny_reward(tiny_diffuser(spec), config)
    found = transition_figures(learnt, curved, WALKS, CONFIG)
    assert found == {"epic": None, "step_pearson": None}


def test_rewards_that_remember_have_no_figures() -> None:
    diffuser = tiny_diffuser(AT_ONCE)
    found = transition_figures(tiny_staged_reward(diffuser, STAGED), curved, WALKS, CONFIG)
    assert found == {"epic": None, "step_pearson": None}
