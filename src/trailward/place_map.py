"""A learnt reward as a map over two entries of the observation, where play data is near."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from trailward.dataset import Dataset
from trailward.entries import observations_of
from trailward.evaluation import paths_of, standing_rewards
from trailward.inspection import distances_to
from trailward.learnt_reward import LearntReward
from trailward.uncertainty import disagreement

_PIXELS, _NEAR, _NUM_NEAR, _NUM_PATHS = 100, 0.03, 5_000, 60

Points = Float[np.ndarray, "batch 2"]
Extent = tuple[float, float, float, float]
InWall = Callable[[Points], Bool[np.ndarray, "batch"]]


def map_arrays(
    learnt: LearntReward,
    play: Dataset,
    demonstrations: Dataset,
    place: tuple[int, int],
    *,
    in_wall: InWall | None = None,
) -> dict[str, np.ndarray]:
    """What a picture of the reward over a plane is drawn from.

    Args:
        learnt: the reward.
        play: environment units.
        demonstrations: environment units.
        place: the entries of the observation that are the plane's.
        in_wall: whether points are to be left blank.

    Returns:
        ``reward_map`` and, of an ensemble, ``disagreement_map`` (NaN where no play data is near,
        the first row at the top), ``map_extent`` (left, right, bottom, top), and the paths ``play``
        (60 at most) and ``demonstrations`` in the plane.
    """
    both = np.concatenate([observations_of(play), observations_of(demonstrations)])[:, list(place)]
    low, high = np.quantile(both, [0.001, 0.999], axis=0)
    margin = np.where(high > low, 0.03 * (high - low), 0.5)
    (left, bottom), (right, top) = low - margin, high + margin
    extent = (float(left), float(right), float(bottom), float(top))
    states, blank = standing_plane(play, place, extent, in_wall=in_wall)
    maps = {"reward_map": standing_rewards(learnt, states)}
    if learnt.config.num_members > 1 and not learnt.config.sees_actions:
        known = observations_of(play)
        maps["disagreement_map"] = disagreement(learnt, states, reference=known)
    shape = (_PIXELS, _PIXELS)
    some = np.linspace(0, len(play.episodes) - 1, min(_NUM_PATHS, len(play.episodes))).astype(int)
    return {name: np.where(blank, np.nan, each).reshape(shape) for name, each in maps.items()} | {
        "map_extent": np.array(extent),
        "play": paths_of([play.episodes[index] for index in some])[..., list(place)],
        "demonstrations": paths_of(demonstrations.episodes)[..., list(place)],
    }


def standing_plane(
    play: Dataset, place: Sequence[int], extent: Extent, *, in_wall: InWall | None = None
) -> tuple[Float[np.ndarray, "pixel observation"], Bool[np.ndarray, "pixel"]]:
    """Observations of being at each pixel of a plane, row by row from the top, and the blank ones.

    The other entries are the play data's medians. Pixels are blank that are further from any play
    observation than 3% of the plane's sides.

    Args:
        play: environment units.
        place: the entries of the observation that are the plane's.
        extent: left, right, bottom and top, environment units.
        in_wall: whether points are blank too.
    """
    left, right, bottom, top = extent
    middles = (np.arange(_PIXELS) + 0.5) / _PIXELS
    across, up = left + (right - left) * middles, top - (top - bottom) * middles
    points = np.stack(np.meshgrid(across, up), -1).reshape(-1, 2)
    rows = observations_of(play)
    kept = np.random.default_rng(0).permutation(len(rows))[:_NUM_NEAR]
    sides = np.array([right - left, top - bottom])
    blank = distances_to(points / sides, rows[kept][:, list(place)] / sides) > _NEAR
    if in_wall is not None:
        blank |= in_wall(points)
    states = np.tile(np.median(rows, axis=0), (len(points), 1))
    states[:, list(place)] = points
    return states, blank
