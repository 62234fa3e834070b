"""Entries that nobody moves: weather, a clock, other people. They go their own way."""

import numpy as np
from jaxtyping import Float

from trailward.data.dataset import Dataset
from trailward.randomness import numpy_generator

_MOST_ROWS, _NUM_FEATURES, _NUM_PARTS, _RIDGE = 6_000, 150, 5, 1e-3
_WORTH, _SURE, _EXACT = 0.01, 3.0, 1e-6


def unmoved_entries(dataset: Dataset, *, seed: int = 0) -> tuple[int, ...]:
    """Entries whose next value depends neither on actions nor on entries that depend on them.

    At first no entry counts as moved. Then each of those left is predicted from all that are left,
    and once more with the actions and the entries that are moved. If that predicts episodes that
    were not fitted better, by 1% of what is unknown and three standard errors, the entry is moved.
    This goes on until nothing changes. Jumps count as the largest usual change. Predictions are
    ridge regressions on the values and on random Fourier features of them.

    Args:
        dataset: with actions, environment units.
        seed: of the rows and the features.

    Returns:
        Numbers of the entries, ascending; none if there are no actions or fewer than five
        episodes, since then nothing can be told.
    """
    if not dataset.action_dim or len(dataset.episodes) < _NUM_PARTS:
        return ()
    now = np.concatenate([episode.observations[:-1] for episode in dataset.episodes])
    change = _tamed(np.concatenate([np.diff(e.observations, axis=0) for e in dataset.episodes]))
    actions = np.concatenate([episode.actions for episode in dataset.episodes])
    track = np.repeat(np.arange(len(dataset.episodes)), [len(e) for e in dataset.episodes])
    draw = numpy_generator(seed, "entries that nobody moves")
    if len(now) > _MOST_ROWS:
        some = np.sort(draw.choice(len(now), _MOST_ROWS, replace=False))
        now, change, actions, track = now[some], change[some], actions[some], track[some]
    left, everything = list(range(now.shape[1])), _standard(np.concatenate([now, actions], 1))
    while True:
        moved = [
            entry
            for entry in left
            if _is_moved(everything[:, left], everything, change[:, entry], track, draw)
        ]
        if not moved:
            return tuple(left)
        left = [entry for entry in left if entry not in moved]
        if not left:
            return ()


def _is_moved(
    own: Float[np.ndarray, "row own"],
    everything: Float[np.ndarray, "row all"],
    change: Float[np.ndarray, "row"],
    track: np.ndarray,
    draw: np.random.Generator,
) -> bool:
    """Whether everything predicts the change better than what is left does."""
    spread = change.std()
    if spread < _EXACT * max(1.0, float(np.abs(change).max())):
        return False
    misses = [_misses(seen, change / spread, track, draw) for seen in (own, everything)]
    if misses[0].mean() < _EXACT:
        return False
    tracks = np.unique(track, return_inverse=True)[1]
    gain = np.bincount(tracks, misses[0] - misses[1]) / np.bincount(tracks)
    error = gain.std() / np.sqrt(len(gain))
    return bool(gain.mean() > max(_WORTH * misses[0].mean(), _SURE * error))


def _misses(
    seen: Float[np.ndarray, "row entry"],
    wanted: Float[np.ndarray, "row"],
    track: np.ndarray,
    draw: np.random.Generator,
) -> Float[np.ndarray, "row"]:
    """Squared errors of predictions of episodes that were not fitted."""
    directions = draw.standard_normal((seen.shape[1], _NUM_FEATURES)) / np.sqrt(seen.shape[1])
    angles = seen @ directions + draw.uniform(0, 2 * np.pi, _NUM_FEATURES)
    design = np.concatenate([np.ones((len(seen), 1)), seen, np.cos(angles)], 1)
    found = np.empty(len(seen))
    for part in range(_NUM_PARTS):
        out = track % _NUM_PARTS == part
        fitted = design[~out]
        curve = fitted.T @ fitted + _RIDGE * len(fitted) * np.eye(design.shape[1])
        weights = np.linalg.solve(curve, fitted.T @ wanted[~out])
        found[out] = (design[out] @ weights - wanted[out]) ** 2
    return found


def _tamed(change: Float[np.ndarray, "row entry"]) -> Float[np.ndarray, "row entry"]:
    """Changes without jumps, such as of a clock at midnight, which would count for all the rest."""
    low, high = np.quantile(change, [0.1, 0.9], axis=0)
    return np.clip(change, low - (high - low), high + (high - low))


def _standard(values: Float[np.ndarray, "row entry"]) -> Float[np.ndarray, "row entry"]:
    spread = values.std(0)
    return (values - values.mean(0)) / np.where(spread > 0, spread, 1.0)
