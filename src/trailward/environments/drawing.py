"""What pictures share: the colour of each, and lines for paths and plans."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Arrays = Mapping[str, np.ndarray]

WALL = "#39424e"
PLAY, UNGUIDED, GUIDED, DEMONSTRATIONS = "#9aa5b1", "#c77d0a", "#0b6e6e", "#b3266b"
"""The colour of each in every picture."""

ACTORS = (
    ("unguided", "unguided", UNGUIDED),
    ("learnt", "learnt reward", GUIDED),
    ("demonstrator", "demonstrator", DEMONSTRATIONS),
)
"""Who acts in roll-outs: the name in arrays, the name for people, the colour."""


def smooth(values: np.ndarray, width: int = 25) -> np.ndarray:
    """The running mean of each row, over as many entries."""
    width = min(width, values.shape[1])
    return np.stack([np.convolve(row, np.ones(width) / width, "valid") for row in values])


def draw_paths(
    ax: Axes, paths: Iterable[np.ndarray], colour: str, *, width: float, alpha: float
) -> None:
    """A line for each path, through its first two entries."""
    for path in paths:
        ax.plot(path[:, 0], path[:, 1], color=colour, lw=width, alpha=alpha, zorder=3)


def draw_plans(ax: Axes, plans: np.ndarray, colour: str) -> None:
    """A line with dots for each plan, through its first two entries, and a ring where it starts."""
    draw_paths(ax, plans, colour, width=0.9, alpha=0.75)
    ax.plot(plans[..., 0].T, plans[..., 1].T, ".", ms=3, color=colour, zorder=3)
    starts = plans[:, 0, :2]
    ax.plot(starts[:, 0], starts[:, 1], "o", ms=4, color="white", mec="black", mew=0.7, zorder=4)


def lengths_figure(arrays: Arrays, names: Sequence[str] = ("return", "length")) -> Figure:
    """The return and the length of every roll-out, a row of dots a policy."""
    figure = Figure(figsize=(9, 2.4), layout="constrained")
    actors = [actor for actor in ACTORS if f"return_{actor[0]}" in arrays]
    labels = {"return": "return of the roll-out", "length": "environment steps until it ended"}
    for ax, what in zip(figure.subplots(1, len(names), sharey=True), names, strict=True):
        for place, (name, _, colour) in enumerate(reversed(actors)):
            values = arrays[f"{what}_{name}"]
            ax.plot(values, np.full(len(values), place), "o", ms=6, color=colour, alpha=0.45)
            ax.plot(values.mean(), place, "|", ms=20, mew=2.5, color=colour)
        ax.set(xlabel=labels[what], ylim=(-0.6, len(actors) - 0.4))
        ax.set_yticks(range(len(actors)), [label for _, label, _ in reversed(actors)])
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
    return figure
