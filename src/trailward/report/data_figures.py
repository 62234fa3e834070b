"""Pictures of recorded data, and of a reward that no true one is known to judge by."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import MaxNLocator

from trailward.data.dataset import Dataset
from trailward.data.entries import place_entries
from trailward.data.statistics import MOST_OUTSIDE, Support
from trailward.environments.drawing import (
    DEMONSTRATIONS,
    GUIDED,
    PLAY,
    WALL,
    Arrays,
    draw_paths,
    draw_plans,
)

_MOST_PANELS, _MOST_PATHS, _BINS = 24, 60, 40
_MAPS = {
    "reward_map": ("learnt: the reward, and the demonstrations", "viridis"),
    "disagreement_map": ("how far the ensemble's members are apart", "magma_r"),
}


def entries_figure(
    play: Dataset, demonstrations: Dataset | None = None, support: Support | None = None
) -> Figure:
    """How the values of each entry are spread, in play data and demonstrations; and the paths.

    Args:
        play: environment units.
        demonstrations: drawn over it.
        support: marks the entries in which demonstrations leave the play data.
    """
    place = place_entries(play)
    labels = _labels(play)
    shown = labels[: _MOST_PANELS - (place is not None)]
    num_panels = len(shown) + (place is not None)
    columns = min(num_panels, min((4, 3), key=lambda count: -num_panels % count))  # fewest empty
    num_rows = -(-num_panels // columns)
    figure = Figure(figsize=(2.9 * columns, 2.15 * num_rows + 0.4), layout="constrained")
    axes = list(figure.subplots(num_rows, columns, squeeze=False).flat)
    for ax in axes[num_panels:]:
        ax.set_visible(False)
    if place is not None:
        draw_place(axes.pop(0), play, demonstrations, place)
    known, given = _columns(play), None if demonstrations is None else _columns(demonstrations)
    outside = [] if support is None else list(support.outside.values())
    for entry, label in enumerate(shown):
        also = None if given is None or entry >= len(given) else given[entry]
        share = outside[entry] if entry < len(outside) else 0.0
        _histogram(axes[entry], label, known[entry], also, share)
    keys = _keys()[: 1 if demonstrations is None else 2]
    figure.legend(handles=keys, loc="outside upper right", frameon=False, ncols=len(keys))
    if len(shown) < len(labels):
        title = f"the first {len(shown)} of {len(labels)} entries"
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def draw_place(
    ax: Axes, play: Dataset, demonstrations: Dataset | None, place: tuple[int, int]
) -> None:
    """The paths of some episodes in two entries of the observation, such as x and y."""
    across, up = (_labels(play)[entry] for entry in place)
    for data, colour, width, alpha in (
        (play, PLAY, 0.7, 0.5),
        (demonstrations, DEMONSTRATIONS, 1.2, 0.9),
    ):
        if data is not None:
            paths = [episode.observations[:, list(place)] for episode in _some(data.episodes)]
            draw_paths(ax, paths, colour, width=width, alpha=alpha)
    ax.set(xlabel=across, ylabel=up)
    ax.set_aspect("equal", adjustable="datalim")
    ax.spines[["top", "right"]].set_visible(False)


def place_figure(arrays: Arrays, figures: Mapping[str, Any]) -> Figure:
    """Over two entries: the paths given, the reward learnt from them, plans guided by it."""
    left, right, bottom, top = extent = tuple(arrays["map_extent"])
    width = 3.8 * np.clip((right - left) / (top - bottom), 0.5, 2.5)
    maps = [name for name in _MAPS if name in arrays]
    num_columns = min(2 + len(maps), 4 if width < 3.5 else 2)
    num_rows = -(-(2 + len(maps)) // num_columns)
    figure = Figure(figsize=((width + 0.8) * num_columns, 4.2 * num_rows), layout="constrained")
    axes = list(figure.subplots(num_rows, num_columns, sharex=True, sharey=True).flat)
    given, *others, planned = axes[: 2 + len(maps)]
    for ax in axes[2 + len(maps) :]:
        ax.set_visible(False)
    draw_paths(given, arrays["play"], PLAY, width=0.7, alpha=0.5)
    draw_paths(given, arrays["demonstrations"], DEMONSTRATIONS, width=1.3, alpha=0.9)
    given.set_title("given: play data, demonstrations")
    draw_paths(planned, arrays["play"], PLAY, width=0.7, alpha=0.25)
    draw_plans(planned, arrays["plans"], GUIDED)
    planned.set_title("learnt: plans guided by it")
    for ax, name in zip(others, maps, strict=True):
        title, colours = _MAPS[name]
        image = ax.imshow(arrays[name], extent=extent, cmap=colours, zorder=1)
        figure.colorbar(image, ax=ax, fraction=0.046, pad=0.03)
        draw_paths(ax, arrays["demonstrations"], "white", width=1.0, alpha=0.8)
        for line in ax.lines:
            line.set_path_effects([Stroke(linewidth=1.8, foreground=WALL), Normal()])
        ax.set_title(title)
    across, up = figures["place"]
    for ax in (given, *others, planned):
        for wall in arrays.get("walls", ()):
            ax.plot(*wall.T, color=WALL, lw=3, solid_capstyle="round", zorder=5)
        ax.set(xlabel=across, ylabel=up, xlim=extent[:2], ylim=extent[2:], aspect="equal")
        ax.label_outer()
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def separation_figure(arrays: Arrays, figures: Mapping[str, Any]) -> Figure:
    """How the learnt reward of windows and of episodes is spread, in play and demonstrations."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for ax, name in zip(figure.subplots(1, 2), ("window", "episode"), strict=True):
        known, shown = (arrays[f"{name}_rewards_{of}"] for of in ("play", "demonstrations"))
        _histogram(ax, f"mean learnt reward of a{'n' * (name == 'episode')} {name}", known, shown)
        auc = figures[f"auc_{name}s"]
        interval = f"[{auc['low']:.3f}, {auc['high']:.3f}]"
        ax.set_title(f"{name}s: AUC {auc['value']:.3f} {interval}", fontsize=10)
    figure.legend(handles=_keys(), loc="outside lower center", frameon=False, ncols=2)
    return figure


def shares_figure(figures: Mapping[str, Any]) -> Figure:
    """The share of the reward that each entry carries, the largest first."""
    shares = sorted(figures["feature_shares"].items(), key=lambda pair: -pair[1])[:_MOST_PANELS]
    figure = Figure(figsize=(7, 0.6 + 0.28 * len(shares)), layout="constrained")
    ax = figure.subplots()
    names, values = zip(*reversed(shares), strict=True)
    bars = ax.barh(names, values, color=GUIDED, height=0.7)
    ax.bar_label(bars, [f"{value:.0%}" for value in values], padding=4)
    ax.set(xticks=[], xlim=(0, 1.12 * max(*values, 1e-9)))
    ax.tick_params(left=False)
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    return figure


def _histogram(
    ax: Axes, label: str, known: np.ndarray, shown: np.ndarray | None, outside: float = 0.0
) -> None:
    both = [known] if shown is None else [known, shown]
    low = min(np.quantile(values, 0.001) for values in both)
    high = max(np.quantile(values, 0.999) for values in both)
    margin = 0.02 * (high - low) or 0.5
    edges = np.linspace(low - margin, high + margin, _BINS + 1)
    ax.stairs(_heights(known, edges), edges, fill=True, color=PLAY, alpha=0.6)
    if shown is not None:
        ax.stairs(_heights(shown, edges), edges, color=DEMONSTRATIONS, lw=1.4)
    ax.set_xlabel(label)
    if outside > MOST_OUTSIDE:
        title = f"{outside:.0%} of demonstrations outside"
        ax.set_title(title, color=DEMONSTRATIONS, fontsize=9, loc="left")
    ax.set_yticks([])
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.spines[["top", "right", "left"]].set_visible(False)


def _heights(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How often values fall into each bin; the highest is 1."""
    counts, _ = np.histogram(values, edges)
    return counts / max(counts.max(), 1)


def _keys() -> list[Artist]:
    """Handles of the legend."""
    return [
        Patch(color=PLAY, alpha=0.6, label="play data"),
        Line2D([], [], color=DEMONSTRATIONS, lw=1.6, label="demonstrations"),
    ]


def _labels(data: Dataset) -> list[str]:
    """Names with units of observations' and actions' entries."""
    names = data.columns.actions or [f"action {entry}" for entry in range(data.action_dim)]
    units = data.columns.units
    actions = [f"{name} ({units[name]})" if name in units else name for name in names]
    return data.columns.observation_labels(data.observation_dim) + actions


def _columns(data: Dataset) -> list[np.ndarray]:
    """The values of each entry of observations and actions."""
    return [
        column
        for name in ("observations", "actions")
        for column in np.concatenate([getattr(e, name) for e in data.episodes]).T
        if len(column)
    ]


def _some(episodes: Sequence) -> list:
    """At most 60 of them, evenly spread."""
    picks = np.linspace(0, len(episodes) - 1, min(_MOST_PATHS, len(episodes))).astype(int)
    return [episodes[index] for index in picks]
