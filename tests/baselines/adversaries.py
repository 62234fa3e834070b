"""GAIL and AIRL after next to no training, made once for all tests."""

import functools
from functools import partial

import gymnasium
import numpy as np

from trailward.acting.rollout import rollout
from trailward.baselines.adversarial import AdversarialResult, Budget, airl, gail
from trailward.data.dataset import Dataset
from trailward.environments.pointmaze.maze import make_env, parse_maze

METHODS = {"gail": gail, "airl": airl}
ENVIRONMENTS = {
    "maze": partial(make_env, parse_maze("umaze"), episode_steps=50),
    "halfcheetah": partial(gymnasium.make, "HalfCheetah-v5"),
}
TINY = Budget(128, num_envs=2, rollout_steps=32)


class Pushing:
    """Acts with a constant."""

    def __init__(self, action_dim: int) -> None:
        self.action_dim = action_dim

    def reset(self) -> None:
        """It remembers nothing."""

    def __call__(self, observations: np.ndarray) -> np.ndarray:
        return np.full((len(observations), self.action_dim), 0.5)


@functools.cache
def demonstrations(environment: str) -> Dataset:
    envs = [ENVIRONMENTS[environment]() for _ in range(3)]
    policy = Pushing(envs[0].action_space.shape[0])
    return Dataset(rollout(envs, policy, seeds=[0, 1, 2], num_steps=40))


def train(method: str, environment: str, *, seed: int = 0) -> AdversarialResult:
    make = ENVIRONMENTS[environment]
    return METHODS[method](demonstrations(environment), make, seed=seed, budget=TINY)


trained = functools.cache(train)
