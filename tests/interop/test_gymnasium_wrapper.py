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

from refusals import refused
from tiny import tiny_diffuser, tiny_reward
from trailward.data.episode import Episode
from trailward.data.plan import PlanSpec
from trailward.interop.gymnasium_wrapper import LearntRewardWrapper
from trailward.interop.running_reward import true_reward

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
        stages |= set(learnt.observe(episode.observations[None])[0].tolist())
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
    with refused(place="actions", value=(), remedy="(2,)"):
        LearntRewardWrapper(Choices(), REWARDS["acting"]())


def test_an_environment_of_other_observations_is_refused() -> None:
    other = tiny_reward(tiny_diffuser(PlanSpec(5, 2, 3, 2)))
    with refused(place="observations", value=(2,), remedy="learnt on (3,): use the env"):
        LearntRewardWrapper(Walk(), other)
    with refused(place="observation_key", value=None, remedy="'observation'"):
        LearntRewardWrapper(Walk(keyed=True), additive())
    with refused(place="observation_key", value="x", remedy="'desired_goal', 'observation'"):
        LearntRewardWrapper(Walk(keyed=True), additive(), observation_key="x")
    with refused(place="observation_key", value="x", remedy="observations are Box"):
        LearntRewardWrapper(Walk(), additive(), observation_key="x")


def test_rewards_that_cannot_be_told_step_by_step_are_refused() -> None:
    with pytest.raises(TypeError, match="'mlp' reward is of whole plans"):
        LearntRewardWrapper(Walk(), whole_plans())
    with pytest.raises(TypeError, match="sees the actions of 2 environment steps"):
        LearntRewardWrapper(Walk(), several_actions())


def normalised(env: gymnasium.Env) -> gymnasium.Env:
    return gymnasium.wrappers.NormalizeObservation(env)


def rescaled(env: gymnasium.Env) -> gymnasium.Env:
    return gymnasium.wrappers.RescaleObservation(env, np.float64(-1), np.float64(1))


def transformed(env: gymnasium.Env) -> gymnasium.Env:
    return gymnasium.wrappers.TransformObservation(env, lambda seen: seen / 2, None)


@pytest.mark.parametrize("wrap", [normalised, rescaled, transformed])
def test_observations_that_were_changed_are_refused(wrap) -> None:
    for env in (wrap(Walk()), gymnasium.wrappers.TimeLimit(wrap(Walk()), 5)):
        with refused(place="env", value=type(wrap(Walk())).__name__, remedy="inside"):
            LearntRewardWrapper(env, additive())
    _, rewards, _ = walk(LearntRewardWrapper(Walk(), additive()), 1)
    outside = wrap(LearntRewardWrapper(Walk(), additive()))
    outside.reset(seed=1)
    found = [outside.step(move)[1] for move in MOVES]
    np.testing.assert_allclose(found, rewards)


@pytest.mark.parametrize(
    ("own", "told"), [(np.array([1.5]), 1.5), (np.float32(2), 2.0), (3, 3.0), (None, np.nan)]
)
def test_the_true_reward_may_be_any_single_number_or_none(own, told: float) -> None:
    class Paying(Walk):
        def step(self, action):
            observation, _, *others = super().step(action)
            return (observation, own, *others)

    env = LearntRewardWrapper(Paying(), additive())
    env.reset(seed=0)
    np.testing.assert_equal(env.step(MOVES[0])[4]["true_reward"], told)


def test_a_true_reward_of_several_numbers_is_refused() -> None:
    with refused(place="the environment's reward", value=(2,)):
        true_reward(np.zeros(2))


@pytest.mark.parametrize("name", REWARDS)
def test_a_step_that_only_resets_is_worth_nothing(name: str) -> None:
    learnt = REWARDS[name]()
    env = LearntRewardWrapper(gymnasium.wrappers.Autoreset(Walk()), learnt)
    alone = LearntRewardWrapper(Walk(), learnt)
    env.reset(seed=0)
    alone.reset(seed=0)
    for _ in range(2):
        expected_rewards = [alone.step(move)[1] for move in MOVES]
        np.testing.assert_allclose([env.step(move)[1] for move in MOVES], expected_rewards)
        assert env.step(MOVES[0])[1] == 0
        alone.reset()


def test_many_environments_at_once_are_wrapped_one_by_one() -> None:
    many = gymnasium.vector.SyncVectorEnv([Walk] * 2)
    remedy = "SyncVectorEnv([lambda: LearntRewardWrapper"
    with refused(place="env", value=str(many), remedy=remedy):
        LearntRewardWrapper(many, additive())
    learnt = additive()
    works = gymnasium.vector.SyncVectorEnv([lambda: LearntRewardWrapper(Walk(), learnt)] * 2)
    works.reset(seed=0)
    assert works.step(np.zeros((2, 2)))[1].shape == (2,)


def test_an_entry_may_be_taken_out_of_dictionaries() -> None:
    keyed, space = Walk(keyed=True), Walk().observation_space
    flat = gymnasium.wrappers.TransformObservation(keyed, lambda seen: seen["observation"], space)
    LearntRewardWrapper(flat, additive())


def test_a_wrapper_can_be_made_anew_from_its_arguments() -> None:
    learnt = additive()
    env = LearntRewardWrapper(Walk(), learnt, scale=2.0)
    again = LearntRewardWrapper(Walk(), **env._saved_kwargs)
    assert (again._reward.scale, again._reward.learnt) == (2.0, learnt)
