"""A small environment whose episodes end early and whose observations are a dictionary."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.spaces import Dict as DictSpace

ID = "falling:Falling-v0"


class Falling(gymnasium.Env):
    """A ball on a line, pushed about; it falls off where the line ends. Reward 1 a step, less pain.

    Actions reach from -2 to 2, so that bounds other than 1 are met.
    """

    action_space = Box(-2.0, 2.0, (1,), np.float32)
    observation_space = DictSpace(
        {
            "velocity": Box(-np.inf, np.inf, (1,), np.float64),
            "place": Box(-np.inf, np.inf, (2,), np.float32),
        }
    )

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        self.x, self.v = float(self.np_random.uniform(-0.5, 0.5)), 0.0
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        self.v = 0.9 * self.v + 0.1 * float(action[0])
        self.x += self.v
        reward = 1 - 0.1 * float(action[0]) ** 2
        return self._seen(), reward, abs(self.x) > 1, False, {}

    def _seen(self) -> dict:
        return {
            "velocity": np.array([self.v]),
            "place": np.array([self.x, self.x**2], np.float32),
        }


def push(observations: np.ndarray) -> np.ndarray:
    """A policy: keep to the middle. Entries are place 0, place 1 and velocity."""
    return -2 * observations[:, :1] - 2 * observations[:, 2:]


if "Falling-v0" not in gymnasium.registry:
    gymnasium.register("Falling-v0", entry_point=Falling, max_episode_steps=25)
