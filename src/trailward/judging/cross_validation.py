"""How well a way to judge tracks knows demonstrations that it was not shown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from trailward.data.tracks import PARTS, TrackRows

_MOST_FOLDS = 10
_NORMAL = 1.959964

RowValues = Float[np.ndarray, "row"]


@runtime_checkable
class Judge(Protocol):
    """A way to judge rows of tracks after some tracks were shown as demonstrations."""

    def values(self, shown: Sequence[int]) -> Mapping[str, "Reading"]:
        """Readings by name: what each row is worth, higher is more like the demonstrations.

        Args:
            shown: numbers of the tracks that are demonstrations.
        """
        ...


@dataclass(frozen=True)
class Reading:
    """What rows are worth, and how much each counts in the score of its track.

    Attributes:
        values: of the rows; higher is more like the demonstrations.
        weights: of the rows in their track's mean; alike if None.
        reach: rows of the recording after each row that its value knows of.
    """

    values: RowValues
    weights: RowValues | None = None
    reach: int = 0

    def scores(self, rows: TrackRows, part: str = "whole") -> Float[np.ndarray, "track"]:
        """The score of each track, or of its first half."""
        return rows.means(self.values, self.weights, part=part, reach=self.reach)


@dataclass(frozen=True)
class Chance:
    """How probable it is that an unseen demonstration is ranked above play data (an AUC).

    Attributes:
        value: the mean over demonstrations that were left out.
        low: of the 95% interval; None if there is but one demonstration.
        high: the same.
        count: demonstrations that it is the mean of.
    """

    value: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class CrossValidation:
    """What left-out demonstrations say about each reading.

    Attributes:
        chances: by part of the track, then by reading.
        ranks: the share of play tracks that each demonstration, left out, is ranked above; by
            reading, whole tracks, in the order of the demonstrations.
    """

    chances: Mapping[str, Mapping[str, Chance]]
    ranks: Mapping[str, Float[np.ndarray, "demonstration"]]

    def score(self, reading: str) -> float:
        """The mean of what whole tracks and first halves say: where they are, and are heading."""
        return float(np.mean([self.chances[part][reading].value for part in PARTS]))

    def best(self, readings: Sequence[str] | None = None) -> str:
        """The reading that does best; the first of those that do equally well."""
        return max(readings or list(self.ranks), key=self.score)


def cross_validate(
    judges: Sequence[Judge],
    rows: TrackRows,
    demonstrations: Sequence[int],
    others: Sequence[int],
    *,
    num_folds: int = _MOST_FOLDS,
) -> CrossValidation:
    """Leave whole demonstrations out, show the rest, and rank what was left out among the others.

    With at most ``num_folds`` demonstrations each is left out by itself.

    Args:
        judges: see all rows, and are told which tracks are demonstrations.
        rows: of all tracks.
        demonstrations: numbers of the tracks that are.
        others: numbers of the tracks that are not known to be.
        num_folds: parts that the demonstrations are left out in.

    Raises:
        ValueError: if there are fewer than two demonstrations: none could be left out.
    """
    demonstrations = list(demonstrations)
    if len(demonstrations) < 2:
        raise ValueError(
            f"there is {len(demonstrations)} demonstration; give at least 2, so that one can be "
            "left out"
        )
    folds = [demonstrations[first::num_folds] for first in range(num_folds)]
    shares: dict[str, dict[str, dict[int, float]]] = {part: {} for part in PARTS}
    for fold in filter(None, folds):
        shown = [track for track in demonstrations if track not in fold]
        for judge in judges:
            for name, reading in judge.values(shown).items():
                for part in PARTS:
                    scores = reading.scores(rows, part)
                    found = shares[part].setdefault(name, {})
                    found |= {t: auc(scores[[t]], scores[list(others)]) for t in fold}
    ranks = {
        part: {name: np.array([found[track] for track in demonstrations])
               for name, found in names.items()}
        for part, names in shares.items()
    }  # fmt: skip
    chances = {
        part: {name: chance(found) for name, found in names.items()}
        for part, names in ranks.items()
    }
    return CrossValidation(chances, ranks["whole"])


def chance(ranks: Float[np.ndarray, "demonstration"]) -> Chance:
    """The mean of shares between 0 and 1, with Wilson's interval.

    A share between 0 and 1 varies at most as a coin with the same mean does, so the interval
    (Wilson 1927) holds for it too. It stays wide while demonstrations are few.
    """
    count, value = len(ranks), float(np.mean(ranks))
    if count < 2:
        return Chance(value, None, None, count)
    square = _NORMAL**2
    center = (value + square / (2 * count)) / (1 + square / count)
    spread = math.sqrt(value * (1 - value) / count + square / (4 * count**2))
    half = _NORMAL * spread / (1 + square / count)
    return Chance(value, max(0.0, center - half), min(1.0, center + half), count)


def auc(shown: Float[np.ndarray, "shown"], others: Float[np.ndarray, "other"]) -> float:
    """The probability that one of ``shown`` is above one of ``others``; ties count half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, shown, "left") + np.searchsorted(ordered, shown, "right")
    return float(below.mean() / 2 / len(others))
