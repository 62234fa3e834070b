"""Naive ways to judge tracks: what a learnt reward must do better than.

Two maps of where demonstrations were, by time and by path length, at three kernel widths; a
logistic regression on where rows are and how fast they change; and nearest neighbours. Each takes
a second, and none knows where anybody is heading but by the rates. One more does, as it borrows
the plans that the reward is read by: the density of the places where demonstrations ended, at the
places where plans end. What it lacks is a reward.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from trailward.data.dataset import Dataset
from trailward.data.tracks import TrackRows, with_rates
from trailward.judging.cross_validation import Reading, cross_validate
from trailward.learning.log_ratio import RandomFeatures, fit_logit
from trailward.randomness import numpy_generator

WIDTHS = (0.03, 0.06, 0.12)
"""Widths of the maps' kernels: shares of the size of the space that play data covers."""

_FLOOR, _LEAST_DENSITY, _MOST_COMPARED, _AT_ONCE = 1e-3, 1e-6, 4_000, 2_000
_NUM_DIRECTIONS, _RIDGE, _MOST_ROWS = 128, 1e-2, 8_000
REGRESSION, NEIGHBOURS, ENDS = "regression with rates", "nearest neighbours", "density of ends"


@dataclass(frozen=True)
class DensityMaps:
    """The density of demonstrations, and its log ratio to the density of all tracks.

    Attributes:
        rows: places only, without rates.
    """

    rows: TrackRows

    @cached_property
    def _places(self) -> Float[np.ndarray, "row entry"]:
        return self.rows.values / _sides(self.rows.values)

    @cached_property
    def _weights(self) -> dict[str, Float[np.ndarray, "row"]]:
        return {"time": np.ones(len(self._places)), "path length": self.rows.path_lengths + 1e-9}

    @cached_property
    def _of_all(self) -> dict[tuple[str, float], Float[np.ndarray, "row"]]:
        known = np.flatnonzero(self.rows.known)
        return self._densities(known[:: max(1, len(known) // _MOST_COMPARED)])

    def _densities(
        self, picks: Sequence[int] | np.ndarray
    ) -> dict[tuple[str, float], Float[np.ndarray, "row"]]:
        """The kernel density of some rows at all rows, by weighting and width."""
        picks = np.asarray(picks)
        found: dict[tuple[str, float], list[np.ndarray]] = {}
        for some in np.array_split(self._places, -(-len(self._places) // _AT_ONCE)):
            squared = _squared_distances(some, self._places[picks])
            for width in WIDTHS:
                kernel = np.exp(-squared / (2 * width**2))
                for name, weights in self._weights.items():
                    density = kernel @ weights[picks] / weights[picks].sum()
                    found.setdefault((name, width), []).append(density)
        return {key: np.concatenate(parts) for key, parts in found.items()}

    def values(self, shown: Sequence[int]) -> Mapping[str, Reading]:
        """See :class:`~trailward.judging.cross_validation.Judge`."""
        picks = np.flatnonzero(np.isin(self.rows.track, shown))
        readings = {}
        for (name, width), density in self._densities(picks).items():
            of_all = self._of_all[name, width]
            floor = _FLOOR * of_all.max()
            ratio = np.log((density + floor) / (of_all + floor))
            log = np.log(density + _LEAST_DENSITY)
            readings[f"density by {name}, width {width:g}"] = Reading(log)
            readings[f"log ratio by {name}, width {width:g}"] = Reading(ratio)
        return readings


@dataclass(frozen=True)
class EndDensity:
    """How many of the plans from each row end where demonstrations ended.

    Attributes:
        rows: places only, without rates.
        ends: where the plans from each row end.
    """

    rows: TrackRows
    ends: Float[np.ndarray, "row plan entry"]

    @cached_property
    def _sides(self) -> Float[np.ndarray, "entry"]:
        return _sides(self.rows.values)

    def values(self, shown: Sequence[int]) -> Mapping[str, Reading]:
        """See :class:`~trailward.judging.cross_validation.Judge`; later rows weigh more."""
        last = np.cumsum(np.bincount(self.rows.track)) - 1
        goals = self.rows.values[last[list(shown)]] / self._sides
        flat = self.ends.reshape(-1, self.ends.shape[-1]) / self._sides
        squared = _squared_distances(flat, goals)
        found = {}
        for width in WIDTHS:
            near = np.exp(-squared / (2 * width**2)).mean(1)
            shares = near.reshape(self.ends.shape[:2]).mean(1)
            found[f"{ENDS}, width {width:g}"] = Reading(
                np.log(shares + _FLOOR), self.rows.time + 1.0
            )
        return found


@dataclass(frozen=True)
class RateRegression:
    """Logistic regression on random Fourier features of rows with rates, tracks weighted alike.

    Attributes:
        rows: with rates.
        seed: of the features.
    """

    rows: TrackRows
    seed: int = 0

    @cached_property
    def _features(self) -> Float[np.ndarray, "row feature"]:
        values = self.rows.values
        generator = numpy_generator(self.seed, "naive: features")
        drawn = RandomFeatures.draw(
            values.mean(0),
            np.maximum(values.std(0), 1e-9),
            num_directions=_NUM_DIRECTIONS,
            generator=generator,
        )
        return drawn(values)

    def values(self, shown: Sequence[int]) -> Mapping[str, Reading]:
        """See :class:`~trailward.judging.cross_validation.Judge`."""
        weights = np.where(self.rows.known, self.rows.track_weights, 0.0)
        marked = np.where(np.isin(self.rows.track, shown), weights, 0.0)
        found = fit_logit(self._features, marked, weights, ridge=_RIDGE)
        return {REGRESSION: Reading(self._features @ found)}


@dataclass(frozen=True)
class NearestNeighbours:
    """How near the nearest row of a demonstration is, in deviations of each entry.

    Attributes:
        rows: with rates.
    """

    rows: TrackRows
    most: int = field(default=_MOST_COMPARED, repr=False)

    def values(self, shown: Sequence[int]) -> Mapping[str, Reading]:
        """See :class:`~trailward.judging.cross_validation.Judge`; a row is not its own."""
        values = self.rows.values / np.maximum(self.rows.values.std(0), 1e-9)
        picks = np.flatnonzero(np.isin(self.rows.track, shown))
        picks = picks[:: max(1, len(picks) // self.most)]
        nearest = [
            _squared_distances(some, values[picks]).min(1)
            for some in np.array_split(values, -(-len(values) // _AT_ONCE))
        ]
        return {NEIGHBOURS: Reading(-np.sqrt(np.concatenate(nearest)))}


def judge_naively(play: Dataset, demonstrations: Dataset, *, seed: int = 0) -> dict[str, Any]:
    """What the naive ways make of demonstrations that they were not shown.

    Args:
        play: episodes that demonstrations are ranked among, environment units; those that are
            demonstrations are left out.
        demonstrations: each is left out in turn, or a tenth of them.
        seed: of the regression's features.

    Returns:
        By reading, for the best map, the regression and the neighbours: the figures of
        :class:`~trailward.judging.cross_validation.Chance`, of whole episodes and first halves.
        Nothing of one demonstration, which could not be left out, and nothing if play data holds
        no others.
    """
    others = play.without(demonstrations)
    if len(demonstrations.episodes) < 2 or not others:
        return {}
    both = replace(play, episodes=[*others, *demonstrations.episodes], attributes={})
    places, moving = (TrackRows.of(data, most=_MOST_ROWS) for data in (both, with_rates(both)))
    judges = [DensityMaps(places), RateRegression(moving, seed), NearestNeighbours(moving)]
    numbers = range(len(others), len(both.episodes))
    found = cross_validate(judges, moving, numbers, range(len(others)))
    maps = [name for name in found.ranks if is_map(name)]
    return {
        name: {part: asdict(chances[name]) for part, chances in found.chances.items()}
        for name in (found.best(maps), REGRESSION, NEIGHBOURS)
    }


def is_map(reading: str) -> bool:
    """Whether it is one of the naive maps of where demonstrations were."""
    return reading.startswith(("density by ", "log ratio by "))


def _sides(values: Float[np.ndarray, "row entry"]) -> Float[np.ndarray, "entry"]:
    """The size of the space that rows cover, by entry; kernels are a share of it wide."""
    low, high = np.quantile(values, [0.001, 0.999], axis=0)
    sides = np.where(high > low, high - low, 1.0)
    if values.shape[1] == 2:  # one scale for both, so that a metre is a metre
        sides = np.full(2, np.sqrt(sides.prod()))
    return sides * np.sqrt(values.shape[1] / 2)


def _squared_distances(
    some: Float[np.ndarray, "row entry"], others: Float[np.ndarray, "other entry"]
) -> Float[np.ndarray, "row other"]:
    squared = (some**2).sum(1)[:, None] + (others**2).sum(1)[None] - 2 * some @ others.T
    return np.maximum(squared, 0.0)
