"""Frames and times of rows: gaps, tracks that share an id, steps that differ, resampling."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from trailward.data.formats.roles import TIME, TableLayout, spelt
from trailward.data.formats.rows import Rows, split_unit

_GAP, _SAME = 1.5, 0.05
_FEW = 4
_SECONDS = {
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6,
    "ns": 1e-9, "min": 60.0, "minutes": 60.0, "h": 3600.0, "hours": 3600.0, "d": 86400.0,
    "days": 86400.0,
}  # fmt: skip

Frames = Shaped[np.ndarray, "row"]
Bounds = Int[np.ndarray, "bound"]


def gaps_of(frames: Frames, bounds: Bounds) -> Bool[np.ndarray, "step"]:
    """Which steps from row to row are far longer than usual in their episode.

    More than 1.5 times the median, or than the 90% quantile where steps vary. In episodes of fewer
    than four steps, what is usual in all of them counts.

    Args:
        frames: of rows, one episode after the other.
        bounds: the first row of each episode, and the number of rows.
    """
    steps = np.diff(frames).astype(float)
    found = np.zeros(len(steps), bool)
    inside = np.ones(len(steps), bool)
    inside[bounds[1:-1] - 1] = False
    if not inside.any():
        return found
    everywhere = _usual(steps[inside])
    for first, end in pairwise(bounds.tolist()):
        own = steps[first : end - 1]
        usual = _usual(own) if len(own) >= _FEW else everywhere
        found[first : end - 1] = own > _GAP * usual
    return found


def _usual(steps: Float[np.ndarray, "step"]) -> float:
    return float(max(np.median(steps), np.quantile(steps, 0.9, method="lower")))


def describe_time(
    frames: Frames, bounds: Bounds, gaps: Bool[np.ndarray, "step"], layout: TableLayout
) -> dict[str, Any]:
    """What provenance tells of frames, JSON values; arguments as of :func:`gaps_of`."""
    steps = np.diff(frames).astype(float)
    inside = np.ones(len(steps), bool)
    inside[bounds[1:-1] - 1] = False
    usual = rounded(np.median(steps[inside])) if inside.any() else 0.0
    found: dict[str, Any] = {"count": len(frames), "step": usual, "gaps": int(gaps.sum())}
    if gaps.any():
        found["gaps_were"] = {"cut": "cut", "keep": "kept", "interpolate": "filled"}[layout.gaps]
    return found


def rounded(step: Any) -> float:
    """A step without the rounding of differences, such as 0.4 for 0.40000000000000036."""
    return float(f"{float(step):.9g}")


def differing_steps(frames: Frames, bounds: Bounds) -> dict[str, list[int]]:
    """Episodes by their usual step, where there are several; episodes of two rows tell nothing."""
    groups: dict[float, list[int]] = {}
    episodes = [(first, end) for first, end in pairwise(bounds.tolist()) if end - first > 1]
    for number, (first, end) in enumerate(episodes):
        if end - first < 3:
            continue
        own = float(np.median(np.diff(frames[first:end])))
        alike = (step for step in groups if abs(step - own) <= _SAME * max(step, own))
        groups.setdefault(next(alike, own), []).append(number)
    if len(groups) < 2:
        return {}
    return {f"{step:.6g}": episodes for step, episodes in sorted(groups.items())}


def seconds_of(column: str, unit: str | None, *, is_date: bool) -> float | None:
    """Seconds of one unit of a column; None if it does not hold times."""
    if is_date:
        return 1.0
    unit = unit or split_unit(column)[1]
    if unit is not None:
        return _SECONDS.get(unit.lower())
    return 1.0 if spelt(column) in TIME else None


def regular(
    rows: Rows, frames: Frames, bounds: Bounds, layout: TableLayout
) -> tuple[Rows, Frames, Bounds]:
    """Rows as far apart as the layout asks for, in each episode: gaps filled, then resampled.

    Observations are interpolated; actions and rewards are those of the row before.
    """
    if layout.gaps == "interpolate":
        usual = float(np.median(np.diff(frames)))
        rows, frames, bounds = _retimed(rows, frames, bounds, lambda own: _filled(own, usual))
    if layout.resample is not None:
        step = layout.resample
        rows, frames, bounds = _retimed(
            rows, frames, bounds, lambda own: own[0] + step * np.arange(_count(own, step))
        )
    return rows, frames, bounds


def _count(own: Frames, step: float) -> int:
    return int(np.floor((own[-1] - own[0]) / step + 1e-9)) + 1


def _filled(own: Frames, everywhere: float) -> Frames:
    steps = np.diff(own).astype(float)
    usual = float(np.median(steps)) if len(steps) >= _FEW else everywhere
    missing = np.where(steps > _GAP * usual, np.round(steps / usual).astype(int) - 1, 0)
    times = [np.linspace(own[i], own[i + 1], n + 2)[:-1] for i, n in enumerate(missing)]
    return np.concatenate([*times, own[-1:]])


def _retimed(
    rows: Rows, frames: Frames, bounds: Bounds, times_of: Callable[[Frames], Frames]
) -> tuple[Rows, Frames, Bounds]:
    seen, at, times = [], [], []
    for first, end in pairwise(bounds.tolist()):
        own = frames[first:end].astype(float)
        new = np.asarray(times_of(own), dtype=float)
        entries = rows.observations[first:end].T
        seen.append(np.stack([np.interp(new, own, entry) for entry in entries], -1))
        before = np.searchsorted(own, new + 1e-9 * np.abs(new), side="right") - 1
        at.append(first + before.clip(0, end - first - 1))
        times.append(new)
    index = np.concatenate(at)
    rewards = None if rows.rewards is None else rows.rewards[index]
    found = replace(
        rows, observations=np.concatenate(seen), actions=rows.actions[index], rewards=rewards
    )
    return found, np.concatenate(times), np.cumsum([0, *map(len, times)])
