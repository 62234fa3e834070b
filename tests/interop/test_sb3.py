"""Vectorised environments of Stable-Baselines3 with the learnt reward."""

import importlib
import sys

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize
from walking import REWARDS, Walk, additive, staged, whole_plans

from refusals import refused
from tiny import tiny_diffuser, tiny_reward
from trailward.data.plan import PlanSpec
from trailward.interop.gymnasium_wrapper import LearntRewardWrapper
from trailward.interop.sb3 import LearntRewardVecEnv
from trailward.learning.learnt_reward import LearntReward
from trailward.optional import MissingExtraError

LENGTHS = (3, 4, 7)


def vectorised(*, keyed: bool = False) -> DummyVecEnv:
    """Episodes of different lengths, so that they end at different times."""
    return DummyVecEnv([lambda n=n: Walk(n, keyed=keyed, truncates=n == 4) for n in LENGTHS])


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("name", REWARDS)
def test_rewards_are_those_of_the_same_environments_wrapped_one_by_one(
    name: str, keyed: bool
) -> None:
    """Across several episodes; the learnt reward of an end is that of the last observation."""
    learnt, key = REWARDS[name](), "observation" if keyed else None
    ours = LearntRewardVecEnv(vectorised(keyed=keyed), learnt, observation_key=key)
    wrap = lambda env: LearntRewardWrapper(env, learnt, observation_key=key)
    theirs = DummyVecEnv(
        [lambda n=n: wrap(Walk(n, keyed=keyed, truncates=n == 4)) for n in LENGTHS]
    )
    for envs in (ours, theirs):
        envs.seed(0)
    see = lambda seen: seen["observation"] if keyed else seen
    np.testing.assert_array_equal(see(ours.reset()), see(theirs.reset()))
    generator, num_ends = np.random.default_rng(0), 0
    for _ in range(30):
        moves = generator.uniform(-1, 1, (3, 2)).astype(np.float32)
        seen, rewards, dones, infos = ours.step(moves)
        seen_too, expected, dones_too, infos_too = theirs.step(moves)
        np.testing.assert_allclose(rewards, expected, rtol=1e-4, atol=1e-5)
        assert rewards.dtype == np.float32
        np.testing.assert_array_equal(see(seen), see(seen_too))
        np.testing.assert_array_equal(dones, dones_too)
        for info, too in zip(infos, infos_too, strict=True):
            assert info["true_reward"] == pytest.approx(too["true_reward"], rel=1e-5)
            assert info.get("TimeLimit.truncated") == too.get("TimeLimit.truncated")
        num_ends += dones.sum()
    assert num_ends > 15


def test_all_environments_are_judged_in_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    envs, calls = LearntRewardVecEnv(vectorised(), additive()), []
    judge = LearntReward._judge
    monkeypatch.setattr(
        LearntReward, "_judge", lambda self, *given: calls.append(1) or judge(self, *given)
    )
    envs.reset()
    for _ in range(5):
        envs.step(np.zeros((3, 2)))
    assert len(calls) == 5


def test_scale_and_shift_are_applied_to_the_learnt_reward() -> None:
    rewards = []
    for options in ({}, {"scale": 3.0, "shift": -1.0}):
        envs = LearntRewardVecEnv(vectorised(), additive(), **options)
        envs.seed(1)
        envs.reset()
        rewards.append(envs.step(np.ones((3, 2)))[1])
    np.testing.assert_allclose(rewards[1], 3 * rewards[0] - 1, rtol=1e-5)


def test_a_policy_trains_on_it_and_a_monitor_outside_tells_learnt_returns() -> None:
    envs = VecMonitor(LearntRewardVecEnv(DummyVecEnv([lambda: Walk(4)] * 2), staged()))
    learner = PPO("MlpPolicy", envs, n_steps=8, batch_size=16, n_epochs=1, seed=0, device="cpu")
    learner.learn(32)
    assert [episode["l"] for episode in learner.ep_info_buffer] == 8 * [4]
    assert np.std([episode["r"] for episode in learner.ep_info_buffer]) > 1e-3


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(TypeError, match="'mlp' reward is of whole plans"):
        LearntRewardVecEnv(vectorised(), whole_plans())
    with refused(place="observations", value=(2,), remedy="learnt on (3,)"):
        LearntRewardVecEnv(vectorised(), tiny_reward(tiny_diffuser(PlanSpec(5, 2, 3, 2))))


def test_without_the_library_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == "stable_baselines3"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    monkeypatch.delitem(sys.modules, "trailward.interop.sb3")
    with pytest.raises(MissingExtraError, match=r"pip install 'trailward\[rl\]'"):
        importlib.import_module("trailward.interop.sb3")


def test_a_normaliser_belongs_outside() -> None:
    learnt = additive()
    normalised = lambda: gymnasium.wrappers.NormalizeObservation(Walk())
    for venv in (VecNormalize(DummyVecEnv([Walk] * 2)), DummyVecEnv([normalised] * 2)):
        with refused(place="venv", remedy="around the reward's wrapper") as found:
            LearntRewardVecEnv(venv, learnt)
        assert "Normalize" in found.value.value
    LearntRewardVecEnv(VecNormalize(DummyVecEnv([Walk] * 2), norm_obs=False), learnt)
    plain, outside = (LearntRewardVecEnv(DummyVecEnv([Walk] * 2), learnt) for _ in range(2))
    outside = VecNormalize(outside, norm_reward=False)
    for env in (plain, outside):
        env.seed(0)
        env.reset()
    moves = np.full((2, 2), 0.2, np.float32)
    np.testing.assert_allclose(plain.step(moves)[1], outside.step(moves)[1])


def test_a_last_observation_that_is_missing_is_named() -> None:
    class Forgetting(DummyVecEnv):
        def step_wait(self):
            observations, rewards, dones, infos = super().step_wait()
            for info in infos:
                info.pop("terminal_observation", None)
            return observations, rewards, dones, infos

    env = LearntRewardVecEnv(Forgetting([lambda: Walk(2)] * 2), additive())
    env.reset()
    moves = np.zeros((2, 2), np.float32)
    env.step(moves)
    with refused(place="infos[0]: terminal_observation", value=None):
        env.step(moves)
