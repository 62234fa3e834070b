"""Recordings as other libraries keep them: a row a frame, and what is to come back of it."""

import numpy as np
import torch

from tiny import random_walks
from trailward.data.dataset import Dataset, Windows
from trailward.data.plan import PlanSpec

WALKS = random_walks([9, 1, 14, 6])
LENGTHS = np.array([10, 2, 15, 7])
LAST_ACTION = np.full(2, 99.0)
"""Of each episode; what it led to is not known, so it must never be seen again."""

OBSERVATIONS = np.concatenate([episode.observations for episode in WALKS.episodes])
ACTIONS = np.concatenate([[*episode.actions, LAST_ACTION] for episode in WALKS.episodes])
REWARDS = np.concatenate([[*episode.rewards, 99.0] for episode in WALKS.episodes])
EPISODE = np.repeat(np.arange(4), LENGTHS)
FRAME = np.concatenate([np.arange(length) for length in LENGTHS])


def assert_same(found: Dataset, expected: Dataset, *, with_actions: bool = True) -> None:
    """The same episodes and the same windows of them."""
    assert len(found.episodes) == len(expected.episodes)
    for ours, theirs in zip(found.episodes, expected.episodes, strict=True):
        np.testing.assert_array_equal(ours.observations, theirs.observations)
        if with_actions:
            np.testing.assert_array_equal(ours.actions, theirs.actions)
        else:
            assert ours.actions.shape == (len(theirs), 0)
    spec = PlanSpec(3, 2, expected.observation_dim, found.action_dim, with_actions)
    windows, wanted = Windows(found, spec), Windows(expected, spec)
    assert len(windows) == len(wanted)
    every = torch.arange(len(windows))
    for ours, theirs in zip(windows.gather(every), wanted.gather(every), strict=True):
        assert torch.equal(ours, theirs)


def assert_same_rewards(found: Dataset, expected: Dataset) -> None:
    for ours, theirs in zip(found.episodes, expected.episodes, strict=True):
        np.testing.assert_array_equal(ours.rewards, theirs.rewards)
