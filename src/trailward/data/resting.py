"""Where demonstrators come to rest, if they do."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

_FAST, _STILL, _MOST = 0.9, 0.25, 0.8

Path = Float[np.ndarray, "time entry"]


def usual_changes(paths: Sequence[Path], stride: int) -> Float[np.ndarray, "entry"]:
    """What each entry changes by over a stride, in all but a tenth of them.

    Where an entry hardly ever changes, its deviation.

    Args:
        paths: in any units, in which the result is too.
        stride: rows.
    """
    changes = [np.abs(path[stride:] - path[:-stride]) for path in paths if len(path) > stride]
    if not changes:
        return np.concatenate(paths).std(0).clip(min=1e-6)
    usual = np.quantile(np.concatenate(changes), _FAST, axis=0)
    return np.where(usual > 1e-6, usual, np.concatenate(paths).std(0).clip(min=1e-6))


def resting_place(
    paths: Sequence[Path], unit: Float[np.ndarray, "entry"], stride: int
) -> tuple[Float[np.ndarray, "entry"] | None, str]:
    """Where demonstrators come to rest; or None and the reason.

    They do if most of them hardly move over the last stride, and most of these end within one unit
    of the median of their ends.

    Args:
        paths: of the demonstrations, in any units.
        unit: what counts as far along each entry, such as :func:`usual_changes`.
        stride: rows.

    Returns:
        The place, in the paths' units, and nothing; or None and the reason.
    """
    rests = []
    for path in paths:
        last = path[-(stride + 1) :]
        moved = np.linalg.norm((last - last[-1]) / unit, axis=-1).max()
        if len(last) > stride and moved <= _STILL:
            rests.append(last[-1])
    if len(rests) < _MOST * len(paths):
        moving = len(paths) - len(rests)
        return None, f"{moving} of {len(paths)} demonstrations still move at their end"
    ends = np.stack(rests)
    place = np.quantile(ends, 0.5, axis=0, method="lower")
    together = np.linalg.norm((ends - place) / unit, axis=-1) <= 1
    if together.mean() < _MOST:
        return None, "demonstrators come to rest at several places"
    return place, ""
