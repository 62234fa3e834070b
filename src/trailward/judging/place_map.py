"""A learnt reward as a map over two entries of the observation, where play data is near."""

import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from trailward.data.dataset import Dataset
from trailward.data.entries import observations_of
from trailward.data.episode import paths_of
from trailward.data.statistics import distances_to
from trailward.errors import DataError
from trailward.learning.disagreement import can_disagree, disagreement
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.standing import standing_rewards

_PIXELS, _NEAR, _NUM_NEAR, _NUM_PATHS = 100, 0.03, 5_000, 60

Extent = tuple[float, float, float, float]
Walls = Float[np.ndarray, "wall 2 2"]
"""Line segments: both ends of each, environment units."""


def read_walls(path: str | os.PathLike[str]) -> Walls:
    """The walls of a map: a CSV file with a header and a row ``x0,y0,x1,y1`` for each.

    Args:
        path: of the file; environment units, those of the two entries that are mapped.

    Raises:
        DataError: if a row is not four finite numbers.
    """
    remedy = "a wall is a row of four finite numbers, x0,y0,x1,y1, under a header"
    try:
        rows = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
    except ValueError as error:
        msg, value = f"{path}: {error}", str(error)
        raise DataError(msg, place=str(path), value=value, remedy=remedy) from None
    if rows.shape[1:] != (4,) or not np.isfinite(rows).all():
        bad = rows[~np.isfinite(rows)].tolist()
        what, value = ("a value of", bad[0]) if bad else ("shape", rows.shape)
        raise DataError(f"{path} has {what} {value}", place=str(path), value=value, remedy=remedy)
    return rows.reshape(-1, 2, 2)


def map_arrays(
    learnt: LearntReward,
    play: Dataset,
    demonstrations: Dataset,
    place: tuple[int, int],
    walls: Walls | None = None,
) -> dict[str, np.ndarray]:
    """What a picture of the reward over a plane is drawn from.

    Args:
        learnt: the reward.
        play: environment units.
        demonstrations: environment units.
        place: the entries of the observation that are the plane's.
        walls: drawn over it.

    Returns:
        ``reward_map`` and, of an ensemble, ``disagreement_map`` (NaN where no play data is near,
        the first row at the top), ``map_extent`` (left, right, bottom, top), the paths ``play``
        (60 at most) and ``demonstrations`` in the plane, and ``walls`` if there are any.
    """
    both = np.concatenate([observations_of(play), observations_of(demonstrations)])[:, list(place)]
    low, high = np.quantile(both, [0.001, 0.999], axis=0)
    margin = np.where(high > low, 0.03 * (high - low), 0.5)
    (left, bottom), (right, top) = low - margin, high + margin
    extent = (float(left), float(right), float(bottom), float(top))
    states, blank = standing_plane(play, place, extent)
    maps = {"reward_map": standing_rewards(learnt, states)}
    if can_disagree(learnt):
        known = observations_of(play)
        maps["disagreement_map"] = disagreement(learnt, states, reference=known)
    shape = (_PIXELS, _PIXELS)
    some = np.linspace(0, len(play.episodes) - 1, min(_NUM_PATHS, len(play.episodes))).astype(int)
    blanked = {name: np.where(blank, np.nan, each).reshape(shape) for name, each in maps.items()}
    if walls is not None:
        blanked["walls"] = walls
    return blanked | {
        "map_extent": np.array(extent),
        "play": paths_of([play.episodes[index] for index in some])[..., list(place)],
        "demonstrations": paths_of(demonstrations.episodes)[..., list(place)],
    }


def standing_plane(
    play: Dataset, place: Sequence[int], extent: Extent
) -> tuple[Float[np.ndarray, "pixel observation"], Bool[np.ndarray, "pixel"]]:
    """Observations of being at each pixel of a plane, row by row from the top, and the blank ones.

    The other entries are the play data's medians. Pixels are blank that are further from any play
    observation than 3% of the plane's sides.

    Args:
        play: environment units.
        place: the entries of the observation that are the plane's.
        extent: left, right, bottom and top, environment units.
    """
    left, right, bottom, top = extent
    middles = (np.arange(_PIXELS) + 0.5) / _PIXELS
    across, up = left + (right - left) * middles, top - (top - bottom) * middles
    points = np.stack(np.meshgrid(across, up), -1).reshape(-1, 2)
    rows = observations_of(play)
    kept = np.random.default_rng(0).permutation(len(rows))[:_NUM_NEAR]
    sides = np.array([right - left, top - bottom])
    blank = distances_to(points / sides, rows[kept][:, list(place)] / sides) > _NEAR
    states = np.tile(np.median(rows, axis=0), (len(points), 1))
    states[:, list(place)] = points
    return states, blank
