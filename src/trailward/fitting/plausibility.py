"""Whether a diffuser's plans move as the recordings do: checked without an environment."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

_MOST_CROSSINGS = 0.05
_MOST_LEAPS, _LEAP, _LEAST_RATIO, _MOST_RATIO = 0.02, 1.5, 0.75, 1.33

Paths = Float[np.ndarray, "path step entry"]


def compare_movement(
    recorded: Paths, planned: Paths, walls: Float[np.ndarray, "wall 2 2"] | None = None
) -> dict[str, Any]:
    """Leaps, speed and turning of plans beside those of recorded windows.

    A leap is a step more than half as long again as the longest but 0.1% of recorded steps.

    Args:
        recorded: windows, environment units, the entries of a place.
        planned: plans over the same steps.
        walls: that may not be crossed; None if there are none.

    Returns:
        ``leaps`` (a share of planned steps), ``speed`` and ``turning`` (medians, recorded and
        planned: per plan step, and degrees) and, with walls, the share of paths that cross one.
    """
    steps = [np.linalg.norm(np.diff(paths, axis=1), axis=-1) for paths in (recorded, planned)]
    limit = _LEAP * np.quantile(steps[0], 0.999)
    found: dict[str, Any] = {
        "leaps": float((steps[1] > limit).mean()),
        "speed": {
            "recorded": _median_moving(steps[0], steps[0]),
            "planned": _median_moving(steps[1], steps[0]),
        },
        "turning": {"recorded": _turning(recorded), "planned": _turning(planned)},
    }
    if walls is not None:
        found["wall_crossings"] = {
            "recorded": crossing_share(recorded, walls),
            "planned": crossing_share(planned, walls),
        }
    return found


def crossing_share(paths: Paths, walls: Float[np.ndarray, "wall 2 2"]) -> float:
    """The share of paths of which a step crosses a wall."""
    return float(crosses(paths[:, :-1], paths[:, 1:], walls).any(1).mean())


def crosses(
    begin: Float[np.ndarray, "*axes 2"],
    end: Float[np.ndarray, "*axes 2"],
    walls: Float[np.ndarray, "wall 2 2"],
) -> Bool[np.ndarray, "*axes"]:
    """Whether the straight way from one point to another crosses a wall."""
    begin, end = begin[..., None, :], end[..., None, :]
    one, other = walls[:, 0], walls[:, 1]
    apart = _side(one, other, begin) * _side(one, other, end) < 0
    across = _side(begin, end, one) * _side(begin, end, other) < 0
    return np.any(apart & across, axis=-1)


def warnings_of(movement: Mapping[str, Any]) -> list[str]:
    """What is wrong with plans that do not move as recordings do, in words."""
    told = []
    if movement["leaps"] > _MOST_LEAPS:
        told.append(
            f"{movement['leaps']:.0%} of the plans' steps are leaps that nobody made: the diffuser "
            "is not ready. Give it more time (--minutes)."
        )
    speed = movement["speed"]
    ratio = speed["planned"] / speed["recorded"] if speed["recorded"] else 1.0
    if not _LEAST_RATIO <= ratio <= _MOST_RATIO:
        told.append(
            f"Plans are {ratio:.2g} times as fast as the recordings in the median: the diffuser is "
            "not ready. Give it more time (--minutes)."
        )
    crossings = movement.get("wall_crossings")
    if crossings and crossings["planned"] > crossings["recorded"] + _MOST_LEAPS:
        told.append(
            f"{crossings['planned']:.0%} of the plans cross a wall, and {crossings['recorded']:.0%}"
            " of the recordings: do not trust what is said across walls."
        )
    if crossings and crossings["recorded"] > _MOST_CROSSINGS:
        told.append(
            f"{crossings['recorded']:.0%} of the recorded ways cross a wall: check that the walls "
            "are of the same place, in the same units and axes."
        )
    return told


def _median_moving(steps: np.ndarray, recorded: np.ndarray) -> float:
    """The median of steps that are not of someone who stands still."""
    moving = steps[steps > 0.05 * np.quantile(recorded, 0.95)]
    return float(np.median(moving)) if len(moving) else 0.0


def _turning(paths: Paths) -> float:
    """The median angle between one moving step and the next, degrees."""
    steps = np.diff(paths[..., :2], axis=1)
    lengths = np.linalg.norm(steps, axis=-1)
    least = 0.05 * max(float(np.quantile(lengths, 0.95)), 1e-12)
    both = (lengths[:, 1:] > least) & (lengths[:, :-1] > least)
    along = (steps[:, 1:] * steps[:, :-1]).sum(-1)[both]
    cosine = along / (lengths[:, 1:] * lengths[:, :-1])[both]
    return float(np.degrees(np.median(np.arccos(np.clip(cosine, -1, 1))))) if len(cosine) else 0.0


def _side(one: np.ndarray, other: np.ndarray, point: np.ndarray) -> np.ndarray:
    """On which side of the line from one to the other a point is."""
    way, to = other - one, point - one
    return way[..., 0] * to[..., 1] - way[..., 1] * to[..., 0]
