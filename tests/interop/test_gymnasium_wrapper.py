"""Gymnasium environments with the learnt reward."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from walking import (
    REWARDS,
    Choices,
    Reusing,
    Walk,
    additive,
    expected,
    several_actions,
    whole_plans,
)

from tiny import tiny_diffuser, tiny_reward
from trailward.data.episode import DataError, Episode
from trailward.data.plan import PlanSpec
from trailward.interop.gymnasium_wrapper import LearntRewardWrapper

MOVES = np.random.default_rng(0).uniform(-1, 1, (5, 2))


def walk(env: gymnasium.Env, seed: int) -> tuple[Episode, np.ndarray, list[dict]]:
    """An episode with the true rewards of its infos; its rewards; its infos."""
    see = lambda seen: np.array(seen["observation"] if isinstance(seen, dict) else seen)
    path, rewards, infos = [see(env.reset(seed=seed)[0])], [], []
    for move in MOVES:
        seen, reward, terminated, truncated, info = env.step(move)
        path.append(see(seen))
        rewards.append(reward)
        infos.append(info)
    assert terminated or truncated
    true = np.array([info["true_reward"] for info in infos])
    return Episode(np.stack(path), MOVES, true), np.array(rewards), infos


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("name", REWARDS)
def test_every_step_is_worth_what_it_is_in_the_whole_episode(name: str, keyed: bool) -> None:
    learnt = REWARDS[name]()
    key = "observation" if keyed else None
    env = LearntRewardWrapper(Reusing(keyed=keyed), learnt, observation_key=key)
    stages = set()
    for seed in range(12):
        episode, rewards, infos = walk(env, seed)
        np.testing.assert_allclose(rewards, expected(learnt, episode), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(episode.rewards, episode.observations[1:].sum(1))
        assert all(type(info["true_reward"]) is float and info["a"] == 1 for info in infos)
        stages |= set(learnt.remember(episode.observations[None])[0].tolist())
    assert len(stages) == learnt.num_stages


def test_scale_and_shift_are_applied_to_the_learnt_reward() -> None:
    learnt = additive()
    episode, plain, _ = walk(LearntRewardWrapper(Walk(), learnt), 3)
    other, scaled, _ = walk(LearntRewardWrapper(Walk(), learnt, scale=-2.0, shift=0.5), 3)
    np.testing.assert_allclose(scaled, 0.5 - 2 * plain)
    np.testing.assert_array_equal(episode.rewards, other.rewards)


@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version:UserWarning")
def test_gymnasium_finds_nothing_wrong_with_it() -> None:
    check_env(LearntRewardWrapper(Walk(truncates=True), additive()), skip_render_check=True)


def test_actions_that_the_reward_does_not_see_may_be_choices() -> None:
    env = LearntRewardWrapper(Choices(), additive())
    env.reset(seed=0)
    _, reward, *_ = env.step(2)
    np.testing.assert_allclose(reward, additive()(env.unwrapped.place), rtol=1e-5)
    with pytest.raises(DataError, match=r"actions of the environment have shape \(\), .* \(2,\)"):
        LearntRewardWrapper(Choices(), REWARDS["acting"]())


def test_an_environment_of_other_observations_is_refused() -> None:
    other = tiny_reward(tiny_diffuser(PlanSpec(5, 2, 3, 2)))
    words = r"observations of the environment have shape \(2,\), .* learnt on \(3,\); use the env"
    with pytest.raises(DataError, match=words):
        LearntRewardWrapper(Walk(), other)
    with pytest.raises(
        DataError, match=r"observation_key is None.* 'observation'.*; name the entry"
    ):
        LearntRewardWrapper(Walk(keyed=True), additive())
    with pytest.raises(
        DataError, match=r"observation_key is 'x'.* of 'desired_goal', 'observation'"
    ):
        LearntRewardWrapper(Walk(keyed=True), additive(), observation_key="x")
    with pytest.raises(DataError, match="observation_key is 'x', but observations are Box"):
        LearntRewardWrapper(Walk(), additive(), observation_key="x")


def test_rewards_that_cannot_be_told_step_by_step_are_refused() -> None:
    with pytest.raises(TypeError, match="'mlp' reward is of whole plans"):
        LearntRewardWrapper(Walk(), whole_plans())
    with pytest.raises(TypeError, match="sees the actions of 2 environment steps"):
        LearntRewardWrapper(Walk(), several_actions())
