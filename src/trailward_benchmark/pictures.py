"""Pictures of a grid: methods side by side."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trailward.environments.drawing import Arrays, draw_paths, smooth
from trailward.environments.pointmaze.pictures import draw_maze, extent, maze_panels
from trailward_benchmark.methods import METHODS
from trailward_benchmark.table import SHORT, Comparison

_OURS, _OTHER, _ENDS = "#0b6e6e", "#5a6675", "#b3266b"
_COLUMNS, _HEIGHT = 4, 2.4


def comparison_figure(comparison: Comparison, problems: Sequence[str]) -> Figure:
    """Return and ERC distance of every method, with the interval over seeds."""
    figure = Figure(figsize=(10, 0.9 + 0.36 * len(comparison.methods)), layout="constrained")
    axes = figure.subplots(1, len(SHORT), sharey=True)
    places = np.arange(len(comparison.methods))[::-1]
    for ax, column in zip(axes, SHORT, strict=True):
        for place, method in zip(places, comparison.methods, strict=True):
            found = comparison.estimate(problems, method, column.figure)
            if found is None:
                continue
            colour = _colour(method)
            ax.plot([found.low, found.high], [place, place], color=colour, lw=3, alpha=0.45)
            ax.plot(found.value, place, "o", color=colour, ms=7)
        ax.set_xlabel(column.title + (", 0 is best" if column.better == "lower" else ""))
        ax.grid(axis="x", color="#e3e7ec")
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
    for end in (0, 1):
        axes[0].axvline(end, color=_ENDS, lw=0.8, ls=":")
    axes[0].set_xlabel("return: 0 unguided planner, 1 demonstrator")
    labels = [METHODS[method].label for method in comparison.methods]
    axes[0].set_yticks(places, labels)
    return figure


def reward_figure(arrays: Mapping[str, Arrays]) -> Figure | None:
    """The reward of every method that has one: a map of a maze, or against forward velocity.

    Args:
        arrays: of a cell of each method, by method.
    """
    of_mazes = {name: each for name, each in arrays.items() if "reward_map" in each}
    if of_mazes:
        return _maze_panels(of_mazes, _reward_map)
    of_runs = {name: each for name, each in arrays.items() if "reward_by_velocity" in each}
    return _panels(of_runs, _reward_by_velocity) if of_runs else None


def behaviour_figure(arrays: Mapping[str, Arrays]) -> Figure | None:
    """What every policy did: paths in a maze, or forward velocity over time.

    Args:
        arrays: of a cell of each method, by method.
    """
    in_mazes = {name: each for name, each in arrays.items() if "executed" in each}
    if in_mazes:
        return _maze_panels(in_mazes, _executed)
    runs = {name: each for name, each in arrays.items() if "velocities" in each}
    return _panels(runs, _velocities) if runs else None


def _maze_panels(arrays: Mapping[str, Arrays], draw: Callable[[Axes, str, Arrays], None]) -> Figure:
    maze = next(iter(arrays.values()))["maze"]
    figure, axes = maze_panels(len(arrays), maze, columns=_COLUMNS)
    for ax, (name, each) in zip(axes, arrays.items(), strict=True):
        draw_maze(ax, maze)
        draw(ax, name, each)
        ax.set_title(METHODS[name].label, color=_colour(name))
    return figure


def _panels(arrays: Mapping[str, Arrays], draw: Callable[[Axes, str, Arrays], None]) -> Figure:
    rows = -(-len(arrays) // _COLUMNS)
    figure = Figure(figsize=(12, _HEIGHT * rows), layout="constrained")
    axes = list(figure.subplots(rows, _COLUMNS, squeeze=False, sharex=True).flat)
    for ax in axes[len(arrays) :]:
        ax.set_visible(False)
    for ax, (name, each) in zip(axes, arrays.items(), strict=False):
        draw(ax, name, each)
        ax.set_title(METHODS[name].label, color=_colour(name))
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _reward_map(ax: Axes, name: str, arrays: Arrays) -> None:
    ax.imshow(arrays["reward_map"], extent=extent(arrays["maze"]), cmap="viridis", zorder=1)


def _executed(ax: Axes, name: str, arrays: Arrays) -> None:
    paths = arrays["executed"]
    draw_paths(ax, paths, _colour(name), width=1.0, alpha=0.7)
    ax.plot(*paths[:, 0].T, "o", ms=4, color="white", mec="black", mew=0.7, zorder=4)


def _reward_by_velocity(ax: Axes, name: str, arrays: Arrays) -> None:
    ax.plot(*arrays["reward_by_velocity"], ".", ms=2, color=_colour(name), alpha=0.3, mec="none")
    ax.set(xlabel="forward velocity (m/s)", yticks=[])


def _velocities(ax: Axes, name: str, arrays: Arrays) -> None:
    speeds = smooth(arrays["velocities"])
    steps = np.arange(speeds.shape[1])
    ax.fill_between(steps, speeds.min(0), speeds.max(0), color=_colour(name), alpha=0.15, lw=0)
    ax.plot(steps, speeds.mean(0), color=_colour(name), lw=1.4)
    ax.set(xlabel="environment step", ylabel="m/s")


def _colour(method: str) -> str:
    if method in ("unguided", "demonstrator"):
        return _ENDS
    return _OURS if method == "ours" else _OTHER
