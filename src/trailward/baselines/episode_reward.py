"""The contract of rewards that baselines give: recorded episodes to a reward a step."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from trailward.data.episode import Episode


@runtime_checkable
class EpisodeReward(Protocol):
    """Higher is better. Environment units in, units of its own out."""

    def __call__(self, episode: Episode) -> Float[np.ndarray, "time"]:
        """The reward of each of the episode's T environment steps."""
        ...


@runtime_checkable
class TransitionReward(Protocol):
    """An :class:`EpisodeReward` that judges every transition by itself."""

    def __call__(self, episode: Episode) -> Float[np.ndarray, "time"]:
        """The reward of each of the episode's T environment steps."""
        ...

    def step_rewards(
        self,
        observations: Float[np.ndarray, "time observation"],
        actions: Float[np.ndarray, "time action"],
        next_observations: Float[np.ndarray, "time observation"],
    ) -> Float[np.ndarray, "time"]:
        """The reward of each transition."""
        ...
