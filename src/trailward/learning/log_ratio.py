"""A reward learnt in one convex step: the log-ratio of demonstrations to play data.

Windows of demonstrations are told from windows of play data by logistic regression, as the
objective ``logit`` (:mod:`trailward.objectives.direct`) does, here without noise. The logit is the
horizon times an additive reward that is linear in random Fourier features, so the loss is convex
and Newton's method finds its minimum in seconds. Every track weighs alike, and demonstrations
weigh as much as play data, however long they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

_MOST_ITERATIONS, _CONVERGED, _LARGEST_LOGIT = 15, 1e-3, 30.0

Features = Float[np.ndarray, "row feature"]


@dataclass(frozen=True)
class RandomFeatures:
    """Sines and cosines along random directions (Rahimi and Recht 2007): a Gaussian kernel.

    Attributes:
        directions: radians a unit of the entries.
        shift: of the entries, environment units.
        scale: of the entries, environment units.
        num_unmoved: directions, the last ones, that see only entries that nobody moves.
    """

    directions: Float[np.ndarray, "entry direction"]
    shift: Float[np.ndarray, "entry"]
    scale: Float[np.ndarray, "entry"]
    num_unmoved: int = 0

    @classmethod
    def draw(
        cls,
        shift: Float[np.ndarray, "entry"],
        scale: Float[np.ndarray, "entry"],
        *,
        num_directions: int,
        generator: np.random.Generator,
        frequency: float | None = None,
        seen: Sequence[int] = (),
        unmoved: Sequence[int] = (),
    ) -> "RandomFeatures":
        """Features of a kernel of half the typical distance of two rows, or of 1 / frequency.

        Args:
            shift: means of the entries.
            scale: deviations of the entries.
            num_directions: half as many as features.
            generator: of the directions.
            frequency: radians a deviation; 2 over the root of the number of entries if None.
            seen: entries that the features see; all if none is named.
            unmoved: entries that nobody moves; as many directions again see these alone.
        """
        known = list(seen or range(len(shift)))
        width = 2 / np.sqrt(len(known)) if frequency is None else frequency
        directions = np.zeros((len(shift), num_directions))
        directions[known] = width * generator.standard_normal((len(known), num_directions))
        if not unmoved:
            return cls(directions, np.asarray(shift), np.asarray(scale))
        alone, known = np.zeros_like(directions), list(unmoved)
        drawn = generator.standard_normal((len(known), num_directions))
        alone[known] = 2 / np.sqrt(len(known)) * drawn
        every = np.concatenate([directions, alone], 1)
        return cls(every, np.asarray(shift), np.asarray(scale), num_directions)

    @property
    def of_unmoved(self) -> Bool[np.ndarray, "feature"]:
        """Whether each feature sees only entries that nobody moves."""
        count = self.directions.shape[1]
        return np.tile(np.arange(count) >= count - self.num_unmoved, 2)

    def __call__(self, rows: Float[np.ndarray, "*axes entry"]) -> Float[np.ndarray, "*axes all"]:
        """Sines, then cosines, of rows in environment units, of length 1; float32."""
        standard = ((rows - self.shift) / self.scale).astype(np.float32)
        angles = standard @ self.directions.astype(np.float32)
        length = np.float32(1 / np.sqrt(self.directions.shape[1]))
        return length * np.concatenate([np.sin(angles), np.cos(angles)], -1)


def fit_logit(
    features: Features,
    shown: Float[np.ndarray, "row"],
    played: Float[np.ndarray, "row"],
    *,
    ridge: float,
) -> Float[np.ndarray, "feature"]:
    """The weights of features whose sum is the log-ratio of ``shown`` to ``played`` rows.

    Both classes weigh 1 in all. Their logistic loss plus ``ridge / 2`` times the squared weights
    is minimised by Newton's method; the constant term is free and not returned.

    Args:
        features: of each row.
        shown: how much each row counts as a demonstration; their sum does not matter.
        played: how much each counts as play data; the same.
        ridge: weight of the squared weights.
    """
    kept = np.flatnonzero((shown > 0) | (played > 0))
    design = np.concatenate([features[kept], np.ones((len(kept), 1))], 1).astype(np.float64)
    ours, theirs = shown[kept] / shown.sum(), played[kept] / played.sum()
    penalty = np.full(design.shape[1], ridge)
    penalty[-1] = 1e-9
    weights = np.zeros(design.shape[1])
    for _ in range(_MOST_ITERATIONS):
        logits = np.clip(design @ weights, -_LARGEST_LOGIT, _LARGEST_LOGIT)
        chance = 1 / (1 + np.exp(-logits))
        slope = design.T @ (theirs * chance - ours * (1 - chance)) + penalty * weights
        curve = (design * ((ours + theirs) * chance * (1 - chance))[:, None]).T @ design
        step = np.linalg.solve(curve + np.diag(penalty), slope)
        weights -= step
        if np.abs(step).max() < _CONVERGED:
            break
    return weights[:-1]
