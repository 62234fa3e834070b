"""The map of a learnt reward over two entries: where to, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from trailward.data.entries import entry_names, place_entries
from trailward.errors import DataError
from trailward.fitting.fit import Fitted
from trailward.fitting.plausibility import crosses
from trailward.judging.place_map import Extent, Walls
from trailward.randomness import numpy_generator

_REACH = 2


@dataclass(frozen=True)
class RewardMap:
    """The reward of being at rest in each pixel, where somebody was.

    Attributes:
        values: the first row at the top; NaN where nobody was.
        deviation: over resamples of the demonstrations; the same.
        forecast: the mean forecast of the rows that are there; the same.
        extent: left, right, bottom, top, environment units.
        names: of the two entries.
        units: of the two entries; empty if they are not known.
        peak: where the reward is highest, environment units.
        peaks: where it is highest, for each resample of the demonstrations.
    """

    values: Float[np.ndarray, "row column"]
    deviation: Float[np.ndarray, "row column"]
    forecast: Float[np.ndarray, "row column"]
    extent: Extent
    names: tuple[str, str]
    units: tuple[str, str]
    peak: Float[np.ndarray, "2"]
    peaks: Float[np.ndarray, "resample 2"]

    @property
    def peak_radius(self) -> float:
        """95% of the resamples' peaks are within it of the peak."""
        return float(np.quantile(np.linalg.norm(self.peaks - self.peak, axis=1), 0.95))

    @property
    def geotransform(self) -> Float[np.ndarray, "6"]:
        """Left, pixel width, 0, top, 0, minus pixel height: what GDAL and GeoTIFF call it."""
        left, right, bottom, top = self.extent
        rows, columns = self.values.shape
        return np.array([left, (right - left) / columns, 0, top, 0, -(top - bottom) / rows])

    @property
    def centers(self) -> Float[np.ndarray, "row column 2"]:
        """The middle of each pixel, environment units."""
        left, right, bottom, top = self.extent
        rows, columns = self.values.shape
        across = left + (right - left) * (np.arange(columns) + 0.5) / columns
        up = top - (top - bottom) * (np.arange(rows) + 0.5) / rows
        return np.stack(np.meshgrid(across, up), -1)


def find_place(fitted: Fitted, names: Sequence[str] | None = None) -> tuple[int, int] | None:
    """The two entries to map: those named, or those that look like a place.

    Raises:
        DataError: if a name is none of the data's.
    """
    dataset = fitted.prepared.recordings.dataset
    if names is None:
        return place_entries(dataset)
    known = entry_names(dataset)
    for name in names:
        if name not in known:
            msg, remedy = f"there is no entry '{name}' to map", f"choose among {', '.join(known)}"
            raise DataError(msg, place="place", value=name, remedy=remedy)
    across, up = (known.index(name) for name in names)
    return across, up


def draw_map(
    fitted: Fitted,
    place: tuple[int, int],
    *,
    pixels: int = 100,
    near: float | None = None,
    walls: Walls | None = None,
    num_resamples: int = 20,
) -> RewardMap:
    """Map the reward of being at rest, with everything else at its median.

    Args:
        fitted: the reward.
        place: the two entries.
        pixels: along the longer side.
        near: pixels are known where somebody was so near, environment units; two pixels if None.
        walls: pixels are not known through them.
        num_resamples: of the demonstrations, or animals; 0 leaves the deviation at 0.
    """
    prepared = fitted.prepared
    rows = prepared.rows
    points = rows.values[:, list(place)]
    low, high = points[rows.known].min(0), points[rows.known].max(0)
    size = float((high - low).max()) / pixels
    counts = np.maximum(np.ceil((high - low) / size).astype(int), 1)
    extent = (float(low[0]), float(low[0] + counts[0] * size), float(low[1]),
              float(low[1] + counts[1] * size))  # fmt: skip
    states = np.tile(np.median(rows.values, axis=0), (counts[1], counts[0], 1))
    states[..., prepared.recordings.places :] = 0.0
    blank = np.full(tuple(counts[::-1]), np.nan)
    empty = RewardMap(blank, blank, blank, extent, ("", ""), ("", ""), low, low[None])
    states[..., list(place)] = empty.centers
    visits, total = _visits(points, empty.centers, size, fitted.scores_of_rows())
    reach = _REACH if near is None else max(0, round(near / size))
    count, total = _smeared(visits, total, empty.centers, reach, walls)
    known = count > 0
    forecast = np.where(known, total / np.maximum(count, 1), np.nan)
    features = prepared.features(states)
    resampled = _resampled_weights(fitted, num_resamples)
    maps = np.where(known, np.moveaxis(features @ resampled.T, -1, 0), np.nan)
    values = np.where(known, features @ fitted.weights, np.nan)
    dataset = prepared.recordings.dataset
    names = [entry_names(dataset)[entry] for entry in place]
    units = [dataset.columns.units.get(name, "") for name in names]
    return RewardMap(
        values,
        maps.std(0),
        forecast,
        extent,
        (names[0], names[1]),
        (units[0], units[1]),
        _peak(values, empty.centers),
        np.stack([_peak(each, empty.centers) for each in maps]),
    )


def _visits(
    points: np.ndarray, centers: np.ndarray, size: float, forecasts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many rows are in each pixel, and the sum of their forecasts."""
    shape = centers.shape[:2]
    left, top = centers[0, 0, 0] - size / 2, centers[0, 0, 1] + size / 2
    column = np.clip(((points[:, 0] - left) / size).astype(int), 0, shape[1] - 1)
    row = np.clip(((top - points[:, 1]) / size).astype(int), 0, shape[0] - 1)
    count, total = np.zeros(shape), np.zeros(shape)
    np.add.at(count, (row, column), 1)
    np.add.at(total, (row, column), forecasts)
    return count, total


def _smeared(
    count: np.ndarray, total: np.ndarray, centers: np.ndarray, reach: int, walls: Walls | None
) -> tuple[np.ndarray, np.ndarray]:
    """The sums over the neighbours of each pixel that no wall parts it from."""
    rows, columns = count.shape
    sums = np.zeros((2, rows, columns))
    padded = np.pad(np.stack([count, total]), ((0, 0), (reach, reach), (reach, reach)))
    step = np.array([centers[0, -1, 0] - centers[0, 0, 0], centers[0, 0, 1] - centers[-1, 0, 1]])
    step = step / np.maximum([columns - 1, rows - 1], 1)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            first, begin = down + reach, right + reach
            found = padded[:, first : first + rows, begin : begin + columns]
            if walls is not None and (down or right):
                there = centers + step * [right, -down]
                found = np.where(crosses(centers, there, walls), 0.0, found)
            sums += found
    return sums[0], sums[1]


def _resampled_weights(fitted: Fitted, count: int) -> Float[np.ndarray, "resample feature"]:
    """The reward's weights learnt from resamples of the demonstrations, by whole animals."""
    judge, seed = fitted.prepared.reward_judge, fitted.prepared.choices.seed
    animals = fitted.prepared.recordings.animals_of(fitted.shown)
    tracks: dict[str, list[int]] = {}
    for track, animal in zip(fitted.shown, animals, strict=True):
        tracks.setdefault(animal, []).append(track)
    if len(tracks) == 1 or not count:
        return fitted.weights[None]
    made = list(tracks.values())
    found = []
    for number in range(count):
        generator = numpy_generator(seed, "fit: resamples", number)
        picks = generator.integers(len(made), size=len(made))
        found.append(judge.learn([track for pick in picks for track in made[pick]]))
    return np.stack(found)


def _peak(values: np.ndarray, centers: np.ndarray) -> Float[np.ndarray, "2"]:
    return centers.reshape(-1, 2)[np.nanargmax(values)]
