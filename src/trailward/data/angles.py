"""Entries that are angles: sine and cosine inside, so that a turn ends where it began."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from trailward.data.dataset import Dataset
from trailward.data.entries import entry_names
from trailward.data.episode import Columns

_PERIODS = (2 * np.pi, 360.0)
_NEARLY, _LEAST_JUMPS, _MOSTLY, _SMALL = 0.97, 2, 0.9, 0.25

Angles = tuple[tuple[int, float], ...]
"""Entries that are angles, each with its period."""


def find_angles(dataset: Dataset) -> Angles:
    """Entries that wrap: they use nearly all of a turn, radians or degrees, and jump by one.

    Args:
        dataset: environment units.
    """
    values = np.concatenate([episode.observations for episode in dataset.episodes])
    change = np.concatenate([np.diff(e.observations, axis=0) for e in dataset.episodes])
    found = []
    for entry in range(dataset.observation_dim):
        low, high = float(values[:, entry].min()), float(values[:, entry].max())
        for period in _PERIODS:
            fits = _NEARLY * period < high - low <= 1.001 * period
            jumps = np.abs(change[:, entry]) > period / 2
            turned = change[:, entry] - period * np.round(change[:, entry] / period)
            usual = np.abs(turned) < _SMALL * period
            if fits and jumps.sum() >= _LEAST_JUMPS and usual[jumps].mean() > _MOSTLY:
                found.append((entry, period))
    return tuple(found)


def with_angles(dataset: Dataset, angles: Angles) -> Dataset:
    """The same recordings with sine and cosine of each angle in its place; all entries named.

    Args:
        dataset: environment units.
        angles: as :func:`find_angles` gives them.
    """
    if not angles:
        return dataset
    old, names = dataset.columns, entry_names(dataset)
    added = [f"cos {names[entry]}" for entry, _ in angles]
    for entry, _ in angles:
        names[entry] = f"sin {names[entry]}"
    columns = Columns((*names, *added), old.actions, old.units, old.choices, angles)
    episodes = [
        replace(episode, observations=lift(columns, episode.observations))
        for episode in dataset.episodes
    ]
    return replace(dataset, episodes=episodes, columns=columns)


def lift(
    columns: Columns, observations: Float[np.ndarray, "*axes entry"]
) -> Float[np.ndarray, "*axes more"]:
    """Observations as they were recorded, with sine and cosine of their angles.

    Args:
        columns: with angles; without any, observations are given back as they are.
        observations: environment units; those that have sines and cosines already stay as well.
    """
    recorded = len(columns.observations) - len(columns.angles)
    if not columns.angles or np.shape(observations)[-1:] != (recorded,):
        return observations
    values = np.array(observations, dtype=np.float64)
    turned = [values[..., entry] * (2 * np.pi / period) for entry, period in columns.angles]
    for (entry, _), angle in zip(columns.angles, turned, strict=True):
        values[..., entry] = np.sin(angle)
    return np.concatenate([values, *(np.cos(angle)[..., None] for angle in turned)], -1)
