from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from refusals import refused
from tiny import random_walks, tiny_diffuser
from trailward.acting.planner import Planner, Policy
from trailward.data.episode import Episode
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.judging.behaviour import return_fraction
from trailward.judging.config import EvaluationConfig
from trailward.judging.dynamics import dynamics_error, plan_observations, windows_of
from trailward.judging.erc import episode_return_correlation
from trailward.judging.evaluate import check_long_enough
from trailward.judging.statistics import bootstrap, bootstrap_mean

TRUE = np.random.default_rng(0).standard_normal(40)
LEARNT = 0.5 * TRUE + np.random.default_rng(1).standard_normal(40)


def test_return_correlation_equals_that_of_scipy() -> None:
    correlation = episode_return_correlation(LEARNT, TRUE)
    pearson = stats.pearsonr(LEARNT, TRUE).statistic
    assert correlation.pearson.value == pytest.approx(pearson)
    assert correlation.spearman.value == pytest.approx(stats.spearmanr(LEARNT, TRUE).statistic)
    assert correlation.distance.value == pytest.approx(((1 - pearson) / 2) ** 0.5)


def test_rank_correlation_with_ties_equals_that_of_scipy() -> None:
    learnt, true = np.round(LEARNT), np.round(TRUE)
    expected = stats.spearmanr(learnt, true).statistic
    assert episode_return_correlation(learnt, true).spearman.value == pytest.approx(expected)


def test_intervals_contain_the_value_and_repeat_with_the_seed() -> None:
    correlation = episode_return_correlation(LEARNT, TRUE)
    for estimate in (correlation.pearson, correlation.spearman, correlation.distance):
        assert estimate.low < estimate.value < estimate.high
        assert estimate.count == 40
    assert correlation == episode_return_correlation(LEARNT, TRUE)
    assert correlation != episode_return_correlation(LEARNT, TRUE, seed=1)


def test_the_bootstrap_interval_of_a_mean_is_that_of_the_central_limit_theorem() -> None:
    samples = np.random.default_rng(0).standard_normal(500)
    estimate = bootstrap(np.mean, samples)
    assert bootstrap_mean(samples) == estimate
    error = samples.std() / 500**0.5
    assert estimate.low == pytest.approx(samples.mean() - 1.96 * error, abs=0.2 * error)
    assert estimate.high == pytest.approx(samples.mean() + 1.96 * error, abs=0.2 * error)


def test_experiments_with_different_seeds_share_no_start() -> None:
    config = EvaluationConfig(num_episodes=1000, seed=9000)
    first, second = config.with_seed(0), config.with_seed(1)
    assert first == config
    assert list(first.starts) == list(range(9000, 10_000))
    assert not set(first.starts) & set(second.starts)


def test_no_samples_are_refused() -> None:
    with refused(place="the number of samples", value=0):
        bootstrap(np.mean, np.zeros(0))
    with refused(place="the number of samples", value=0):
        bootstrap_mean(np.zeros(0))


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.0])
def test_a_constant_reward_correlates_with_nothing(constant: float) -> None:
    correlation = episode_return_correlation(np.full(40, constant), TRUE)
    assert correlation.pearson.value == pytest.approx(0, abs=1e-12)
    assert correlation.spearman.value == 0
    assert correlation.distance.value == pytest.approx(0.5**0.5)


@pytest.mark.parametrize(("slope", "pearson", "distance"), [(2.0, 1.0, 0.0), (-0.1, -1.0, 1.0)])
def test_a_linear_map_of_the_true_reward_is_a_perfect_or_a_worst_match(
    slope: float, pearson: float, distance: float
) -> None:
    correlation = episode_return_correlation(slope * TRUE + 7, TRUE)
    assert correlation.pearson.value == pytest.approx(pearson)
    assert correlation.spearman.value == pytest.approx(pearson)
    assert correlation.distance.value == pytest.approx(distance, abs=1e-6)
    assert 0 <= correlation.distance.low <= correlation.distance.high <= 1


def test_the_scale_of_returns_ends_at_zero_and_one() -> None:
    unguided, demonstrator = np.array([1.0, 3.0]), np.array([10.0, 14.0])
    assert return_fraction(unguided, unguided, demonstrator).value == 0
    assert return_fraction(demonstrator, unguided, demonstrator).value == 1
    halfway = return_fraction(np.array([4.0, 10.0]), unguided, demonstrator)
    assert halfway.value == 0.5
    assert halfway.low < 0.5 < halfway.high


def test_the_scale_is_resampled_with_the_returns() -> None:
    """A policy exactly halfway from each start is halfway, whichever starts are drawn."""
    unguided, demonstrator = np.array([1.0, 3.0, 0.0]), np.array([10.0, 14.0, 5.0])
    halfway = return_fraction((unguided + demonstrator) / 2, unguided, demonstrator)
    assert [halfway.low, halfway.value, halfway.high] == pytest.approx([0.5] * 3)


def test_a_scale_without_length_is_refused() -> None:
    with refused(place="unguided and demonstrator", value=2):
        return_fraction(np.ones(2), np.array([1.0, 3.0]), np.array([3.0, 1.0]))


class FixedPlan(nn.Module):
    """A denoiser that wants one plan, whose actions say where the next observations are."""

    def __init__(self, plan: Tensor) -> None:
        super().__init__()
        self.plan = plan

    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        return self.plan.expand_as(noisy)


def teleporting_planner() -> Planner:
    spec = PlanSpec(4, 2, 2, 2, with_actions=True)
    diffuser = tiny_diffuser(spec)
    path = torch.arange(18.0).reshape(9, 2)  # the observations that every plan goes through
    observations = diffuser.observation_normalizer.normalize(path)
    actions = diffuser.action_normalizer.normalize(path)
    plan = spec.join(observations[:-1:2], actions[1:].unflatten(0, (4, 2)))
    fixed = Diffuser(
        spec=spec,
        observation_normalizer=diffuser.observation_normalizer,
        action_normalizer=diffuser.action_normalizer,
        denoiser=FixedPlan(plan),
        schedule=diffuser.schedule,
        inverse_dynamics=None,
        config=diffuser.config,
    )
    return Planner(fixed, SamplingConfig(num_steps=2))


def teleport(
    policy: Policy, starts: np.ndarray, num_steps: int, *, miss: float = 0.0
) -> list[Episode]:
    """A simulator in which an action is where to be next."""
    observations, actions = [starts], []
    for _ in range(num_steps):
        actions.append(policy(observations[-1]))
        observations.append(actions[-1] + miss * np.array([3.0, 4.0]))
    return [
        Episode(o, a) for o, a in zip(np.stack(observations, 1), np.stack(actions, 1), strict=True)
    ]


STARTS = np.array([[5.0, -5.0], [0.0, 1.0], [2.0, 2.0]])


def test_the_dynamics_error_is_zero_where_plans_are_followed_exactly() -> None:
    error = dynamics_error(teleporting_planner(), STARTS, teleport, entries=[0, 1])
    assert error.errors.shape == (3, 4)
    np.testing.assert_allclose(error.errors, 0, atol=1e-5)
    np.testing.assert_allclose(error.planned[:, 0], STARTS, atol=1e-5)
    np.testing.assert_allclose(error.planned[0, 1:], [[4, 5], [8, 9], [12, 13]], atol=1e-5)


@pytest.mark.parametrize(("entries", "expected"), [([0, 1], 5.0), ([0], 3.0), ([1], 4.0)])
def test_the_dynamics_error_is_the_distance_in_the_measured_entries(
    entries: Sequence[int], expected: float
) -> None:
    missing = lambda *arguments: teleport(*arguments, miss=1.0)
    error = dynamics_error(teleporting_planner(), STARTS, missing, entries=entries)
    np.testing.assert_allclose(error.errors[:, 0], 0, atol=1e-5)
    np.testing.assert_allclose(error.errors[:, 1:], expected, atol=1e-4)


def test_planned_observations_are_in_environment_units(action_diffuser: Diffuser) -> None:
    plans = torch.zeros(2, 4, 6)
    expected = action_diffuser.observation_normalizer.shift.expand(2, 4, 2).numpy()
    np.testing.assert_allclose(plan_observations(action_diffuser, plans), expected, rtol=1e-6)


def test_windows_are_consecutive_observations_of_one_episode() -> None:
    episodes = random_walks([9, 4, 3]).episodes
    windows = windows_of(episodes, length=5, count=60, seed=0)
    every = [
        (index, start)
        for index, episode in enumerate(episodes)
        for start in range(len(episode.observations) - 4)
    ]
    found = [
        next(
            place
            for place in every
            if np.array_equal(window, episodes[place[0]].observations[place[1] : place[1] + 5])
        )
        for window in windows
    ]
    assert windows.shape == (60, 5, 2)
    assert set(found) == set(every)


def test_every_window_is_as_likely_as_any_other() -> None:
    episodes = random_walks([9, 4]).episodes  # six windows of five observations, and one
    windows = windows_of(episodes, length=5, count=2000, seed=0)
    of_the_second = (windows == episodes[1].observations).all((1, 2)).mean()
    assert of_the_second == pytest.approx(1 / 7, abs=0.03)


def test_windows_repeat_with_the_seed() -> None:
    episodes = random_walks([9, 4]).episodes
    draws = [windows_of(episodes, length=3, count=10, seed=seed) for seed in (1, 1, 2)]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_play_episodes_shorter_than_a_plan_are_refused_before_anything_is_judged() -> None:
    play = random_walks([5, 7])
    check_long_enough(play, PlanSpec(8, 1, 2, 2))
    with refused(place="the longest play episode", value=8, remedy="spans 9"):
        check_long_enough(play, PlanSpec(9, 1, 2, 2))


def test_windows_longer_than_every_episode_are_refused() -> None:
    with refused(place="the longest episode", value=10, remedy="11"):
        windows_of(random_walks([9, 4]).episodes, length=11, count=1, seed=0)
