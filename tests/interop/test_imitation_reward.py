"""The learnt reward as a reward network of imitation."""

import importlib
import sys

import numpy as np
import pytest
import torch
from imitation.rewards.reward_nets import RewardNet
from imitation.rewards.reward_wrapper import RewardVecEnvWrapper
from stable_baselines3.common.vec_env import DummyVecEnv
from walking import ALONE, Walk, additive, several_actions, staged, whole_plans

from refusals import refused
from tiny import random_walks, tiny_diffuser, tiny_reward
from trailward.data.plan import PlanSpec
from trailward.interop.imitation_reward import LearntRewardNet
from trailward.interop.sb3 import LearntRewardVecEnv
from trailward.learning.learnt_reward import LearntReward
from trailward.optional import MissingExtraError

EPISODE = random_walks([9]).episodes[0]
PARTS = (EPISODE.observations[:-1], EPISODE.actions, EPISODE.observations[1:], np.zeros(9, bool))


def network(learnt: LearntReward, **options: float) -> LearntRewardNet:
    env = Walk()
    return LearntRewardNet(learnt, env.observation_space, env.action_space, **options)


@pytest.mark.parametrize("name", ALONE)
def test_it_predicts_the_rewards_of_transitions(name: str) -> None:
    learnt = ALONE[name]()
    net = network(learnt)
    assert isinstance(net, RewardNet)
    expected = learnt.transition_rewards(*PARTS[:3])
    assert expected.std() > 1e-3
    for predict in (net.predict, net.predict_processed):
        np.testing.assert_allclose(predict(*PARTS), expected, rtol=1e-4, atol=1e-6)
    scaled = network(learnt, scale=2.0, shift=-3.0).predict(*PARTS)
    np.testing.assert_allclose(scaled, 2 * expected - 3, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ALONE)
def test_gradients_pass_through_it(name: str) -> None:
    learnt = ALONE[name]()
    state, action, then, done = (torch.from_numpy(part).float() for part in PARTS)
    seen = state if learnt.sees_actions else then
    seen.requires_grad_()
    (slope,) = torch.autograd.grad(network(learnt)(state, action, then, done).sum(), seen)
    rewards = []
    for step in (-5e-3, 5e-3):
        moved = [part.copy() for part in PARTS[:3]]
        moved[0 if learnt.sees_actions else 2][:, 1] += step
        rewards.append(learnt.transition_rewards(*moved))
    np.testing.assert_allclose(slope[:, 1], (rewards[1] - rewards[0]) / 1e-2, rtol=1e-2, atol=1e-4)
    assert slope[:, 1].abs().max() > 1e-3


@pytest.mark.parametrize("name", ALONE)
def test_the_wrapper_of_the_library_rewards_as_ours(name: str) -> None:
    learnt = ALONE[name]()
    make = lambda: DummyVecEnv([lambda n=n: Walk(n) for n in (3, 4)])
    wrapped = make()
    wrapped.seed(0)
    theirs = RewardVecEnvWrapper(wrapped, network(learnt).predict_processed)
    ours = LearntRewardVecEnv(make(), learnt)
    ours.seed(0)
    ours.reset()
    generator = np.random.default_rng(0)
    for _ in range(12):
        moves = generator.uniform(-1, 1, (2, 2)).astype(np.float32)
        seen, rewards, *_ = ours.step(moves)
        seen_too, expected, *_ = theirs.step(moves)
        np.testing.assert_array_equal(seen, seen_too)
        np.testing.assert_allclose(rewards, expected, rtol=1e-4, atol=1e-5)


def test_what_it_cannot_tell_is_refused() -> None:
    for learnt, words in [
        (whole_plans(), "'mlp' reward is of whole plans"),
        (staged(), "a staged reward remembers what came before"),
        (several_actions(), "the actions of 2 environment steps"),
    ]:
        with pytest.raises(TypeError, match=words):
            network(learnt)
    with refused(place="observations", value=(2,), remedy="learnt on (3,)"):
        network(tiny_reward(tiny_diffuser(PlanSpec(5, 2, 3, 2))))


def test_without_the_library_the_error_names_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == "imitation"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "imitation", None)
    monkeypatch.delitem(sys.modules, "trailward.interop.imitation_reward")
    with pytest.raises(MissingExtraError, match=r"pip install --no-deps imitation==1\.0\.1"):
        importlib.import_module("trailward.interop.imitation_reward")


def test_it_shares_the_weights_of_the_learnt_reward() -> None:
    learnt = additive()
    net, before = network(learnt), network(learnt).predict(*PARTS)
    with torch.no_grad():
        for weight in learnt.model.parameters():
            weight.zero_()
    assert not net.predict(*PARTS).any()
    assert before.any()
