"""An environment small enough for a test, and the rewards that wrappers must take."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from tiny import STAGED, tiny_diffuser, tiny_reward, tiny_staged_reward
from trailward.data.episode import Columns, Episode
from trailward.data.plan import PlanSpec
from trailward.learning.learnt_reward import LearntReward
from trailward.rewards import AdditiveSettings, MLPSettings, StagedSettings

STATES = PlanSpec(horizon=5, stride=2, observation_dim=2, action_dim=2)
ACTIONS = PlanSpec(horizon=4, stride=1, observation_dim=2, action_dim=2, with_actions=True)
ACTING = AdditiveSettings(hidden=(8,), sees_actions=True)


class Walk(gymnasium.Env):
    """A walk that starts anywhere and ends after ``num_steps``.

    Args:
        num_steps: of an episode.
        keyed: whether observations are dictionaries.
        truncates: whether it is cut at its end, or ends by itself.
    """

    def __init__(self, num_steps: int = 5, *, keyed: bool = False, truncates: bool = False) -> None:
        self.num_steps, self.keyed, self.truncates = num_steps, keyed, truncates
        place = spaces.Box(-99.0, 99.0, (2,), np.float64)
        self.observation_space = place
        if keyed:
            self.observation_space = spaces.Dict({"observation": place, "desired_goal": place})
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.place = np.zeros(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place[:] = 3 * self.np_random.standard_normal(2)
        self.time = 0
        return self.seen(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place += action
        self.time += 1
        ends = self.time == self.num_steps
        reward = float(self.place.sum())
        return self.seen(), reward, ends and not self.truncates, ends and self.truncates, {"a": 1}

    def seen(self) -> Any:
        place = self.place.copy()
        return {"observation": place, "desired_goal": np.zeros(2)} if self.keyed else place


class Reusing(Walk):
    """The same in one array, which it writes into."""

    def seen(self) -> Any:
        return {"observation": self.place} if self.keyed else self.place


class Choices(Walk):
    """The same with numbered actions."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Discrete(3)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return super().step(np.array([0.1, 0.2]) * int(action))


def additive() -> LearntReward:
    return tiny_reward(tiny_diffuser(STATES))


def local() -> LearntReward:
    return tiny_reward(tiny_diffuser(STATES), AdditiveSettings(features=(1, 0), num_local=6))


def acting() -> LearntReward:
    return tiny_reward(tiny_diffuser(ACTIONS), ACTING)


def staged() -> LearntReward:
    return tiny_staged_reward(tiny_diffuser(STATES))


def staged_acting() -> LearntReward:
    config = StagedSettings(hidden=(8,), memory_radius=STAGED.memory_radius, sees_actions=True)
    return tiny_staged_reward(tiny_diffuser(ACTIONS), config)


ALONE: dict[str, Callable[[], LearntReward]] = {
    "additive": additive,
    "local": local,
    "acting": acting,
}
"""Rewards of transitions by themselves."""

REWARDS = {**ALONE, "staged": staged, "staged and acting": staged_acting}
"""Rewards that can be told step by step."""

NAMED = Columns(("x", "y"), ("ax", "ay"), {"x": "m"})


def whole_plans() -> LearntReward:
    return tiny_reward(tiny_diffuser(STATES), MLPSettings(hidden=(4, 4, 4)))


def several_actions() -> LearntReward:
    return tiny_reward(tiny_diffuser(PlanSpec(4, 2, 2, 2, with_actions=True)), ACTING)


def expected(learnt: LearntReward, episode: Episode) -> np.ndarray:
    """What each of its transitions is worth, read off the whole episode."""
    rewards = learnt.episode_rewards(episode)
    return rewards if learnt.sees_actions else rewards[1:]
