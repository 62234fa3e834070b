"""Demonstrations of a known controller, without a simulator."""

import numpy as np

from trailward.data.dataset import Dataset
from trailward.data.episode import Episode

GAIN = np.array([[0.5, -0.25, 0.0], [0.0, 0.3, 0.6]])
"""Of :func:`linear_controller`, shape (action, observation)."""


def linear_controller(observations: np.ndarray) -> np.ndarray:
    return np.clip(observations @ GAIN.T, -1.0, 1.0)


def linear_demonstrations(num_episodes: int = 4, *, length: int = 60, seed: int = 0) -> Dataset:
    """Episodes of :func:`linear_controller` on observations that wander by themselves."""
    generator = np.random.default_rng(seed)
    observations = generator.uniform(-1, 1, (num_episodes, length + 1, 3))
    return Dataset([Episode(walk, linear_controller(walk[:-1])) for walk in observations])
