"""How well a way to judge tracks knows demonstrations that it was not shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from trailward.data.tracks import PARTS, TrackRows
from trailward.errors import DataError
from trailward.judging.unnamed import above_unlike

_MOST_FOLDS = 10
_STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.0)
"""The 97.5% quantiles of Student's t with 1, 2, ... degrees of freedom; the last for all more."""

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
    """What left-out demonstrations say of unseen ones.

    Attributes:
        rank: the share of all others that a demonstration ranks above, the mean.
        value: the chance that it ranks above someone unlike it: an AUC
            (:mod:`trailward.judging.unnamed`); with one demonstration the rank, for want of more.
        low: of the 95% interval of the value; None if there is but one.
        high: the same.
        share: of the others, that is alike, as far as ranks tell; None if there is but one.
        count: demonstrations, or animals if they are known.
    """

    rank: float
    value: float
    low: float | None
    high: float | None
    share: float | None
    count: int


@dataclass(frozen=True)
class CrossValidation:
    """What left-out demonstrations say about each reading.

    Attributes:
        chances: by part of the track, then by reading.
        ranks: the share of play tracks that each demonstration, left out, is ranked above; by
            reading, whole tracks, in the order of the demonstrations.
        half_ranks: the same of first halves.
    """

    chances: Mapping[str, Mapping[str, Chance]]
    ranks: Mapping[str, Float[np.ndarray, "demonstration"]]
    half_ranks: Mapping[str, Float[np.ndarray, "demonstration"]]

    def score(self, reading: str) -> float:
        """The mean rank by whole tracks and first halves: where they are, and are heading."""
        return float(np.mean([self.chances[part][reading].rank for part in PARTS]))

    def is_ahead(self, reading: str, other: str, *, least: float) -> bool:
        """Whether a reading's score is above another's by more than ``least``, and than by chance.

        By chance means within Student's 95% interval of the mean difference over demonstrations.
        """
        ranks = [(each[reading] - each[other]) / 2 for each in (self.ranks, self.half_ranks)]
        gains = ranks[0] + ranks[1]
        error = float(gains.std(ddof=1)) / np.sqrt(len(gains)) if len(gains) > 1 else 0.0
        wide = _STUDENT[min(max(len(gains) - 2, 0), len(_STUDENT) - 1)]
        return self.score(reading) - self.score(other) > max(least, wide * error)

    def best(self, readings: Sequence[str] | None = None) -> str:
        """The reading that does best; the first of those that do equally well."""
        return max(readings or list(self.ranks), key=self.score)


def cross_validate(
    judges: Sequence[Judge],
    rows: TrackRows,
    demonstrations: Sequence[int],
    others: Sequence[int],
    *,
    animals: Sequence[str] | None = None,
    num_folds: int = _MOST_FOLDS,
) -> CrossValidation:
    """Leave whole demonstrations out, show the rest, and rank what was left out among the others.

    With at most ``num_folds`` demonstrations each is left out by itself. All demonstrations of an
    animal are left out together, and count as one.

    Args:
        judges: see all rows, and are told which tracks are demonstrations.
        rows: of all tracks.
        demonstrations: numbers of the tracks that are.
        others: numbers of the tracks that are not known to be.
        animals: who made each demonstration; each another one if None.
        num_folds: parts that the demonstrations are left out in.

    Raises:
        DataError: if there are fewer than two demonstrations, or but one animal: none could be
            left out.
    """
    demonstrations = list(demonstrations)
    made_by = [str(track) for track in demonstrations] if animals is None else list(animals)
    who = list(dict.fromkeys(made_by))
    if len(who) < 2:
        what = "demonstrations" if animals is None else "animals that demonstrate"
        remedy = "give at least 2, so that one can be left out"
        raise DataError(place=f"the number of {what}", value=len(who), remedy=remedy)
    by_track = list(zip(demonstrations, made_by, strict=True))
    parts = [who[first::num_folds] for first in range(num_folds)]
    folds = [[track for track, animal in by_track if animal in part] for part in parts]
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
    weights = np.array([1 / made_by.count(animal) for animal in made_by])
    chances = {
        part: {name: chance(found, weights) for name, found in names.items()}
        for part, names in ranks.items()
    }
    return CrossValidation(chances, ranks["whole"], ranks["first half"])


def chance(
    ranks: Float[np.ndarray, "demonstration"],
    weights: Float[np.ndarray, "demonstration"] | None = None,
) -> Chance:
    """What ranks between 0 and 1 say; there is no interval of one.

    Args:
        ranks: the share of others that each demonstration ranks above.
        weights: how much each counts as one of its own; 1 if None.
    """
    weights = np.ones(len(ranks)) if weights is None else weights
    rank, count = float(np.average(ranks, weights=weights)), round(weights.sum())
    if count < 2:
        return Chance(rank, rank, None, None, None, count)
    found = above_unlike(ranks, weights)
    return Chance(rank, found.value, found.low, found.high, found.share, count)


def auc(shown: Float[np.ndarray, "shown"], others: Float[np.ndarray, "other"]) -> float:
    """The probability that one of ``shown`` is above one of ``others``; ties count half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, shown, "left") + np.searchsorted(ordered, shown, "right")
    return float(below.mean() / 2 / len(others))
