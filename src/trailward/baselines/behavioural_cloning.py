"""Behavioural cloning: the demonstrator's action as a function of the observation, by regression.

Offline: it reads the demonstrations and nothing else.
"""

from typing import Any

import gymnasium
import numpy as np

from trailward.baselines.imitation_library import (
    NetworkPolicy,
    contained,
    library,
    trajectories,
)
from trailward.data.dataset import Dataset
from trailward.errors import DataError, SettingsError

_BATCH_SIZE = 32


def clone(
    demonstrations: Dataset,
    *,
    seed: int,
    num_epochs: int = 50,
    width: int | None = None,
    action_space: gymnasium.spaces.Box | None = None,
) -> NetworkPolicy:
    """Clone the demonstrator, by ``imitation.algorithms.bc.BC`` with the library's defaults.

    They are: two hidden layers of 32 tanh units on the observation in environment units, a
    Gaussian over actions whose log-likelihood is maximised with an entropy bonus of 0.001, Adam
    with learning rate 0.001, batches of 32. With a ``width`` the network is another: two hidden
    layers of so many tanh units on the normalised observation; normalising is as in the library's
    tuned settings, the width is not.

    Args:
        demonstrations: environment units; at least 32 steps in all.
        seed: of weights and batches: the same seed, the same weights.
        num_epochs: passes over the demonstrations. The library's example makes one, over 50
            episodes, its tuned settings 20; with nine demonstrations returns rise until then.
        width: of the hidden layers; the library's default network if None.
        action_space: bounds of the actions; [-1, 1] in every entry if None.

    Returns:
        A policy that takes the mean action, clipped to the bounds.

    Raises:
        MissingExtraError: if the library is not installed.
        DataError: if the demonstrations are too short or an action is out of bounds.
        SettingsError: if there is no epoch or the width is below 1.
    """
    if num_epochs < 1:
        raise SettingsError(place="num_epochs", value=num_epochs, remedy="it must be at least 1")
    if width is not None and width < 1:
        raise SettingsError(place="width", value=width, remedy="it must be at least 1")
    count = demonstrations.num_steps
    if count < _BATCH_SIZE:
        msg = f"the demonstrations have {count} steps in all"
        remedy = f"record at least {_BATCH_SIZE}, as many as a batch takes"
        raise DataError(msg, place="demonstrations", value=count, remedy=remedy)
    actions = action_space or gymnasium.spaces.Box(-1.0, 1.0, (demonstrations.action_dim,))
    observations = gymnasium.spaces.Box(-np.inf, np.inf, (demonstrations.observation_dim,))
    with contained(seed) as logger:
        trainer = library("imitation.algorithms.bc").BC(
            observation_space=observations,
            action_space=actions,
            rng=np.random.default_rng(seed),
            policy=None if width is None else _network(observations, actions, width),
            demonstrations=trajectories(demonstrations, actions),
            batch_size=_BATCH_SIZE,
            device="cpu",
            custom_logger=logger,
        )
        trainer.train(n_epochs=num_epochs, progress_bar=False)
    return NetworkPolicy(trainer.policy)


def _network(observations: gymnasium.spaces.Box, actions: gymnasium.spaces.Box, width: int) -> Any:
    """A network of two hidden layers on normalised observations; the trainer sets the rate."""
    return library("stable_baselines3.common.policies").ActorCriticPolicy(
        observations,
        actions,
        lr_schedule=lambda left: 0.0,
        net_arch=[width, width],
        features_extractor_class=library("imitation.policies.base").NormalizeFeaturesExtractor,
    )
