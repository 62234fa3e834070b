from typing import Any

import gymnasium
import numpy as np
import pytest

from trailward.acting.rollout import rollout


class Walk(gymnasium.Env):
    """The observation moves by the action; the reward is where it was."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float64)

    def __init__(self, *, ends_after: int = 100) -> None:
        self.ends_after = ends_after

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.position, self.age = self.np_random.standard_normal(2), 0
        return self.position, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward, self.age = self.position[0], self.age + 1
        self.position = self.position + action
        return self.position, reward, self.age >= self.ends_after, False, {}


class Homing:
    """Goes back to the origin, as far as it can."""

    def __init__(self) -> None:
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def __call__(self, observations: np.ndarray) -> np.ndarray:
        return -10 * observations


def test_episodes_hold_what_happened() -> None:
    policy = Homing()
    episodes = rollout([Walk(), Walk()], policy, seeds=[3, 4], num_steps=5)
    assert policy.resets == 1
    for episode, seed in zip(episodes, (3, 4), strict=True):
        start, _ = Walk().reset(seed=seed)
        np.testing.assert_array_equal(episode.observations[0], start)
        np.testing.assert_array_equal(
            episode.actions, np.clip(-10 * episode.observations[:-1], -1, 1)
        )
        np.testing.assert_array_equal(
            episode.observations[1:], episode.observations[:-1] + episode.actions
        )
        np.testing.assert_array_equal(episode.rewards, episode.observations[:-1, 0])


def test_starts_can_be_given() -> None:
    def start(env: gymnasium.Env, index: int) -> np.ndarray:
        env.reset(seed=0)
        env.position = np.array([index, 5.0])
        return env.position

    episodes = rollout([Walk(), Walk()], Homing(), seeds=[0, 0], num_steps=1, start=start)
    assert [episode.observations[0].tolist() for episode in episodes] == [[0, 5], [1, 5]]


def test_each_environment_runs_until_it_ends() -> None:
    """Those that go on are not disturbed by those that have ended."""
    lengths = [3, 5, 1]
    envs = [Walk(ends_after=length) for length in lengths]
    episodes = rollout(envs, Homing(), seeds=[0, 1, 2])
    assert [len(episode) for episode in episodes] == lengths
    assert all(episode.terminated and not episode.truncated for episode in episodes)
    for episode, length, seed in zip(episodes, lengths, (0, 1, 2), strict=True):
        (alone,) = rollout([Walk(ends_after=length)], Homing(), seeds=[seed])
        np.testing.assert_array_equal(episode.observations, alone.observations)
        np.testing.assert_array_equal(episode.actions, alone.actions)
        np.testing.assert_array_equal(episode.rewards, alone.rewards)


def test_what_does_not_end_by_itself_is_cut_and_says_so() -> None:
    envs = [Walk(ends_after=3), Walk(), gymnasium.wrappers.TimeLimit(Walk(), 4)]
    episodes = rollout(envs, Homing(), seeds=[0, 0, 0], num_steps=5)
    assert [len(episode) for episode in episodes] == [3, 5, 4]
    ends = [(episode.terminated, episode.truncated) for episode in episodes]
    assert ends == [(True, False), (False, True), (False, True)]


def test_an_ended_environment_is_not_stepped_again() -> None:
    env = Walk(ends_after=2)
    rollout([env, Walk(ends_after=6)], Homing(), seeds=[0, 0])
    assert env.age == 2


def test_actions_of_another_kind_are_refused() -> None:
    env = Walk()
    env.action_space = gymnasium.spaces.MultiBinary(2)
    with pytest.raises(TypeError, match="actions must be continuous or discrete"):
        rollout([env], Homing(), seeds=[0], num_steps=1)
