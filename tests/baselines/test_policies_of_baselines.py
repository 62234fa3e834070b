"""The battery of policies, over those that baselines train."""

import functools
from collections.abc import Callable

import numpy as np
import pytest
from adversaries import demonstrations, trained

from trailward.acting.planner import Policy
from trailward.baselines.behavioural_cloning import clone
from trailward.baselines.imitation_library import NetworkPolicy


@functools.cache
def cloned() -> NetworkPolicy:
    return clone(demonstrations("maze"), seed=0, num_epochs=2)


POLICIES: dict[str, Callable[[], Policy]] = {
    "cloned": lambda: NetworkPolicy(cloned().network),
    "cloned, drawn actions": lambda: NetworkPolicy(cloned().network, deterministic=False, seed=5),
    "gail": lambda: trained("gail", "maze").policy,
    "airl": lambda: trained("airl", "maze").policy,
}
OBSERVATIONS = np.random.default_rng(0).standard_normal((4, 4))


def act(policy: Policy) -> np.ndarray:
    return np.stack([policy(OBSERVATIONS + time) for time in range(4)])


@pytest.mark.parametrize("name", POLICIES)
def test_every_environment_gets_an_action_within_bounds(name: str) -> None:
    policy, before = POLICIES[name](), OBSERVATIONS.copy()
    assert isinstance(policy, Policy)
    actions = act(policy)
    assert actions.shape == (4, 4, 2)
    assert actions.dtype == np.float64
    assert (np.abs(actions) <= 1).all()
    assert np.array_equal(OBSERVATIONS, before)


@pytest.mark.parametrize("name", POLICIES)
def test_a_reset_policy_acts_as_a_new_one(name: str) -> None:
    policy = POLICIES[name]()
    first = act(policy)
    policy.reset()
    assert np.array_equal(act(policy), first)
    assert np.array_equal(act(POLICIES[name]()), first)


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_observation_gets_the_same_action_unless_actions_are_drawn(name: str) -> None:
    policy = POLICIES[name]()
    assert np.array_equal(policy(OBSERVATIONS), policy(OBSERVATIONS)) == ("drawn" not in name)
