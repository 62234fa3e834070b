"""What behavioural cloning, GAIL and AIRL share: the ``imitation`` library, seen from here.

The library (https://github.com/HumanCompatibleAI/imitation) trains the networks; nothing of its
algorithms is written again.
"""

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

import gymnasium
import numpy as np
import torch

from trailward.data.dataset import Dataset
from trailward.errors import DataError
from trailward.optional import import_extra
from trailward.typing import Actions, Observations

_MISSING = (
    "behavioural cloning, GAIL, AIRL and rewards for imitation need imitation, whose release pins "
    "an older Gymnasium than it needs here: "
    "pip install 'trailward[baselines]' && pip install --no-deps imitation==1.0.1"
)


def library(module: str) -> Any:
    """A module of ``imitation``, or of ``stable_baselines3``, which it builds on.

    Raises:
        MissingExtraError: if one of them, or what they import, is not installed.
    """
    return import_extra(module, _MISSING)


@dataclass
class NetworkPolicy:
    """A trained Stable-Baselines3 policy as a :class:`~trailward.acting.planner.Policy`.

    Args:
        network: the Stable-Baselines3 policy; clips its actions to their bounds.
        deterministic: whether it takes its mean action, or draws one.
        seed: of the draws.
    """

    network: Any
    deterministic: bool = True
    seed: int = 0
    _random_state: torch.Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start the draws anew; it remembers nothing else."""
        self._random_state = torch.Generator().manual_seed(self.seed).get_state()

    def __call__(self, observations: Observations) -> Actions:
        """One action for each environment, all in environment units."""
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._random_state)
            actions, _ = self.network.predict(observations, deterministic=self.deterministic)
            self._random_state = torch.get_rng_state()
        return actions.astype(np.float64)


def trajectories(demonstrations: Dataset, action_space: gymnasium.spaces.Box) -> list[Any]:
    """Demonstrations as the library's trajectories; each is an episode from start to end.

    Raises:
        DataError: if the action space is of other actions or one of them is not in it.
    """
    types = library("imitation.data.types")
    if action_space.shape != (demonstrations.action_dim,):
        msg = f"the action space has shape {action_space.shape}"
        remedy = (
            "give the space that the actions were recorded with, of shape "
            f"({demonstrations.action_dim},)"
        )
        raise DataError(msg, place="action_space", value=action_space.shape, remedy=remedy)
    for index, episode in enumerate(demonstrations.episodes):
        actions = episode.actions.astype(action_space.dtype)
        outside = (actions < action_space.low) | (actions > action_space.high)
        if outside.any():
            time, entry = np.argwhere(outside)[0]
            low, high = action_space.low[entry], action_space.high[entry]
            raise DataError(
                place=f"episode {index}: actions[{time}, {entry}]",
                value=float(episode.actions[time, entry]),
                remedy=f"give the space that it was recorded with, not one of {low} to {high}",
            )
    return [
        types.Trajectory(episode.observations, episode.actions, infos=None, terminal=True)
        for episode in demonstrations.episodes
    ]


@contextmanager
def contained(seed: int) -> Iterator[Any]:
    """Run the library with a seed, and a logger of its own that writes nothing.

    It draws from the global generators, which are as they were afterwards. It also makes numbers
    for its log out of losses that have a gradient, which PyTorch warns of; here it may.
    """
    before = random.getstate(), np.random.get_state()
    with (
        TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        torch.random.fork_rng(devices=[]),
    ):
        warnings.filterwarnings(
            "ignore", "Converting a tensor with requires_grad=True", UserWarning
        )
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield library("imitation.util.logger").configure(folder, format_strs=[])
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
