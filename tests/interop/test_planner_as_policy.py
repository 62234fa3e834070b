"""The planner in the hands of Stable-Baselines3."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from imitation.data import rollout
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor
from walking import STATES, Walk

import trailward as tw
from refusals import refused
from tiny import tiny_diffuser, tiny_staged_reward
from trailward.acting.planner import Planner
from trailward.diffusion.diffuser import SamplingConfig
from trailward.learning.config import PlanningConfig

SAMPLING = SamplingConfig(num_steps=3, stop_step=0)
OBSERVATIONS = np.random.default_rng(0).standard_normal((4, 2))


def planner(**options: object) -> Planner:
    return Planner(
        tiny_diffuser(STATES), SAMPLING, planning=PlanningConfig(replan_every=3), **options
    )


def count_plans(policy: Planner, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of environments of each call of ``plan`` to come."""
    counts, plan = [], policy.plan
    monkeypatch.setattr(policy, "plan", lambda seen: counts.append(len(seen)) or plan(seen))
    return counts


def test_it_predicts_for_one_environment_for_many_and_from_dictionaries() -> None:
    expected = planner()(OBSERVATIONS)
    actions, state = planner().predict(OBSERVATIONS)
    np.testing.assert_array_equal(actions, expected)
    assert state is None
    keyed = {"observation": OBSERVATIONS, "desired_goal": np.zeros((4, 2))}
    np.testing.assert_array_equal(planner().predict(keyed, deterministic=True)[0], expected)
    one, _ = planner().predict(OBSERVATIONS[0].astype(np.float32))
    assert one.shape == (2,)
    np.testing.assert_allclose(one, planner()(OBSERVATIONS[:1])[0], rtol=1e-3, atol=1e-4)


def test_the_state_comes_back_as_it_is() -> None:
    state = (np.arange(3),)
    assert planner().predict(OBSERVATIONS, state)[1] is state


@pytest.mark.parametrize(
    ("starts", "num_plans"),
    [([0, 0, 0, 0], 1), ([1, 0, 0, 0], 1), ([1, 0, 1, 0], 2), ([1, 1, 0, 1], 3)],
)
def test_it_plans_anew_where_an_episode_begins(
    starts: list[int], num_plans: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For all environments, even if an episode begins in one of them only."""
    policy = replace(planner(), planning=PlanningConfig(replan_every=8))
    counts = count_plans(policy, monkeypatch)
    for begins in starts:
        policy.predict(OBSERVATIONS, episode_start=np.array([False, bool(begins), False, False]))
    assert counts == num_plans * [4]


def test_only_the_environments_that_begin_anew_forget() -> None:
    diffuser = tiny_diffuser(STATES)
    policy = Planner(diffuser, SAMPLING, tiny_staged_reward(diffuser).model)
    units = diffuser.observation_normalizer.unnormalize
    place, far = (units(torch.full((2,), value)).numpy() for value in (0.0, 5.0))
    policy.predict(np.stack([place, place, far]))
    assert policy._stage.tolist() == [True, True, False]
    policy.predict(np.stack([far, far, far]), episode_start=np.array([False, True, True]))
    assert policy._stage.tolist() == [True, False, False]
    policy.predict(np.stack([far, far, place]), episode_start=np.zeros(3, dtype=bool))
    assert policy._stage.tolist() == [True, False, True]
    policy.predict(np.stack([far, place]), episode_start=np.ones(2, dtype=bool))
    assert policy._stage.tolist() == [False, True]


def test_it_refuses_observations_of_another_shape() -> None:
    for seen in (np.zeros(3), np.zeros((4, 3)), np.zeros((1, 4, 2))):
        with refused(place="observation", value=seen.shape, remedy="give (2,), or (environ"):
            planner().predict(seen)
    with refused(place="observation", value=["place"]):
        planner().predict({"place": np.zeros(2)})


@pytest.mark.parametrize("keyed", [False, True])
def test_stable_baselines_evaluates_it(keyed: bool) -> None:
    """The returns are those of the same planner in a loop of our own."""
    envs = VecMonitor(DummyVecEnv([lambda: Walk(4, keyed=keyed)] * 2))
    envs.seed(3)
    returns, lengths = evaluate_policy(
        planner(), envs, n_eval_episodes=4, return_episode_rewards=True
    )
    assert lengths == 4 * [4]
    policy, envs = planner(), DummyVecEnv([lambda: Walk(4)] * 2)
    envs.seed(3)
    seen, expected = envs.reset(), []
    for _ in range(2):
        policy._follower, total = None, np.zeros(2)
        for _ in range(4):
            seen, rewards, *_ = envs.step(policy(seen.astype(np.float64)))
            total += rewards
        expected += total.tolist()
    np.testing.assert_allclose(returns, expected, rtol=1e-4)


def test_the_roll_outs_of_imitation_take_it() -> None:
    policy = planner()
    recorded = rollout.rollout(
        lambda observations, state, starts: policy.predict(observations, state, starts),
        DummyVecEnv([lambda: Walk(4)] * 2),
        rollout.make_sample_until(min_episodes=4),
        rng=np.random.default_rng(0),
        unwrap=False,
    )
    assert [each.acts.shape for each in recorded] == [(4, 2)] * 4


def test_stable_baselines_evaluates_it_in_a_single_environment() -> None:
    mean, std = evaluate_policy(planner(), Monitor(Walk(4)), n_eval_episodes=3)
    assert np.isfinite([mean, std]).all()


def test_stable_baselines_evaluates_the_packaged_diffuser_in_pointmaze() -> None:
    """With dictionaries for observations, as the environment returns them."""
    gymnasium_robotics = pytest.importorskip("gymnasium_robotics")
    gymnasium.register_envs(gymnasium_robotics)
    env = gymnasium.make(
        "PointMaze_UMaze-v3", continuing_task=True, reset_target=False, max_episode_steps=20
    )
    diffuser = tw.Diffuser.load(tw.model_folder("umaze"))
    policy = Planner(diffuser, SamplingConfig(num_steps=4))
    returns, lengths = evaluate_policy(
        policy, Monitor(env), n_eval_episodes=2, return_episode_rewards=True
    )
    assert lengths == [20, 20]
    assert np.isfinite(returns).all()
