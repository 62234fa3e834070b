"""Pictures of an evaluation, one function each, from its arrays to a matplotlib figure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

Arrays = Mapping[str, np.ndarray]
Curves = Mapping[str, Sequence[tuple[int, float]]]

_MARGIN = 0.15
WALL = "#39424e"
PLAY, UNGUIDED, GUIDED, DEMONSTRATIONS = "#9aa5b1", "#c77d0a", "#0b6e6e", "#b3266b"
"""The colour of each in every picture."""
_RUNNERS = (
    ("unguided", "unguided", UNGUIDED),
    ("learnt", "learnt reward", GUIDED),
    ("demonstrator", "demonstrator", DEMONSTRATIONS),
)


def summary_figure(arrays: Arrays) -> Figure:
    """The whole story in a row: what was given, the reward learnt from it, plans before, after."""
    figure, axes = maze_panels(4, arrays["maze"], columns=4)
    draw_maze(axes[0], arrays["maze"])
    draw_paths(axes[0], arrays["play"], PLAY, width=0.7, alpha=0.25)
    draw_paths(axes[0], arrays["demonstrations"], DEMONSTRATIONS, width=1.4, alpha=0.9)
    axes[0].set_title("given: play data, demonstrations")
    draw_maze(axes[1], arrays["maze"])
    axes[1].imshow(arrays["reward_map"], extent=extent(arrays["maze"]), cmap="viridis", zorder=1)
    axes[1].set_title("learnt: the reward")
    for ax, name, title, colour in (
        (axes[2], "plans_unguided", "plans before", UNGUIDED),
        (axes[3], "plans_learnt", "plans guided by it", GUIDED),
    ):
        draw_maze(ax, arrays["maze"])
        draw_plans(ax, arrays[name], colour)
        ax.set_title(title)
    return figure


def reward_figure(arrays: Arrays) -> Figure:
    """Heat-maps of the learnt reward, its value and the true reward, demonstrations over them."""
    titles = {
        "first_reward_map": "learnt reward, first stage",
        "first_value_map": "value, first stage",
        "reward_map": "learnt reward",
        "value_map": "value fitted to it",
        "disagreement_map": "disagreement of the ensemble",
        "true_reward_map": "true reward",
    }
    if "first_reward_map" in arrays:
        titles |= {"reward_map": "learnt reward, last stage", "value_map": "value, last stage"}
    drawn = [name for name in titles if name in arrays]
    figure, axes = maze_panels(len(drawn), arrays["maze"])
    for ax, name in zip(axes, drawn, strict=True):
        draw_maze(ax, arrays["maze"])
        image = ax.imshow(arrays[name], extent=extent(arrays["maze"]), cmap="viridis", zorder=1)
        figure.colorbar(image, ax=ax, fraction=0.046, pad=0.03)
        draw_paths(ax, arrays["demonstrations"], "white", width=1.0, alpha=0.8)
        starts = arrays["demonstrations"][:, 0]
        ax.plot(starts[:, 0], starts[:, 1], "o", ms=4, color="white", mec="black", mew=0.5)
        ax.set_title(titles[name])
    return figure


def trajectories_figure(arrays: Arrays) -> Figure:
    """Play, demonstrations, unguided and guided plans, executed paths: a panel each."""
    panels = (
        ("play", "play data", PLAY, False),
        ("demonstrations", "demonstrations", DEMONSTRATIONS, False),
        ("plans_unguided", "plans, unguided", UNGUIDED, True),
        ("plans_learnt", "plans, learnt reward", GUIDED, True),
        ("executed_learnt", "executed, learnt reward", GUIDED, False),
    )
    figure, axes = maze_panels(len(panels), arrays["maze"])
    for ax, (name, title, colour, dots) in zip(axes, panels, strict=True):
        draw_maze(ax, arrays["maze"])
        if dots:
            draw_plans(ax, arrays[name], colour)
        else:
            draw_paths(ax, arrays[name], colour, width=0.9, alpha=0.35 if name == "play" else 0.75)
        ax.set_title(title)
    return figure


def correlation_figure(arrays: Arrays, figures: Mapping[str, Any]) -> Figure:
    """Learnt against true return, over play windows and over whole play episodes."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    for ax, name in zip(figure.subplots(1, 2), ("windows", "episodes"), strict=True):
        learnt, true = arrays[f"erc_{name}"]
        ax.plot(true, learnt, ".", ms=4, color=GUIDED, alpha=0.35, mec="none")
        erc = figures[f"erc_{name}"]
        ax.set(xlabel="mean true reward", ylabel="mean learnt reward")
        ax.set_title(
            f"{len(true)} play {name}: Pearson {erc['pearson']['value']:.3f}, "
            f"ERC distance {erc['distance']['value']:.3f}",
            fontsize=10,
        )
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def velocity_figure(arrays: Arrays) -> Figure:
    """Forward velocity over time: mean and range of each policy."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    ax = figure.subplots()
    for name, label, colour in _RUNNERS:
        if f"velocities_{name}" not in arrays:
            continue
        speeds = smooth(arrays[f"velocities_{name}"])
        steps = np.arange(speeds.shape[1])
        ax.fill_between(steps, speeds.min(0), speeds.max(0), color=colour, alpha=0.15, lw=0)
        ax.plot(steps, speeds.mean(0), color=colour, label=label, lw=1.6)
    ax.set(xlabel="environment step", ylabel="forward velocity (m/s)")
    ax.legend(frameon=False, ncols=len(_RUNNERS), loc="upper left", bbox_to_anchor=(0, 1.14))
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def reward_by_velocity_figure(arrays: Arrays) -> Figure:
    """Learnt reward against forward velocity, over play steps, and its mean in bins."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    speeds, rewards = arrays["reward_by_velocity"]
    ax.plot(speeds, rewards, ".", ms=3, color=GUIDED, alpha=0.25, mec="none")
    low, high = np.quantile(speeds, [0.005, 0.995])
    edges = np.linspace(low, high, 21)
    bins = np.digitize(speeds, edges)
    centers = [speeds[bins == b].mean() for b in range(1, 21) if (bins == b).any()]
    means = [rewards[bins == b].mean() for b in range(1, 21) if (bins == b).any()]
    ax.plot(centers, means, "o-", ms=4, color=DEMONSTRATIONS, lw=1.5, label="mean")
    ax.set(xlabel="forward velocity (m/s)", ylabel="learnt reward")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def frames_figure(arrays: Arrays) -> Figure:
    """A strip of frames for each policy."""
    strips = [row for row in _RUNNERS if f"frames_{row[0]}" in arrays]
    figure = Figure(figsize=(12, 1.25 * len(strips)), layout="constrained")
    for ax, (name, label, colour) in zip(
        np.atleast_1d(figure.subplots(len(strips), 1)), strips, strict=True
    ):
        ax.imshow(np.concatenate(list(arrays[f"frames_{name}"]), axis=1))
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(label, color=colour)
        ax.spines[:].set_visible(False)
    return figure


def smooth(values: np.ndarray, width: int = 25) -> np.ndarray:
    """The running mean of each row, over as many entries."""
    width = min(width, values.shape[1])
    return np.stack([np.convolve(row, np.ones(width) / width, "valid") for row in values])


def loss_figure(curves: Curves) -> Figure:
    """The objective by gradient step, on learnt and on held-out demonstrations."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    ax = figure.subplots()
    styles = {
        "learn/loss": ("batches", GUIDED, "-"),
        "learn/held_out_energy": ("held out (energy distance)", DEMONSTRATIONS, "o-"),
    }
    for tag, points in curves.items():
        if points:
            label, colour, style = styles[tag]
            ax.plot(*zip(*points, strict=True), style, ms=4, color=colour, label=label, lw=1.3)
    ax.set(xlabel="gradient step", ylabel="objective")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def dynamics_figure(arrays: Arrays, environment_steps: Sequence[int]) -> Figure:
    """Dynamics error by plan step, unguided and guided, with the interval of the mean."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    ax = figure.subplots()
    for name, label, colour in (
        ("unguided", "unguided", UNGUIDED),
        ("learnt", "guided by the learnt reward", GUIDED),
    ):
        errors = arrays[f"dynamics_errors_{name}"]
        mean, spread = errors.mean(0), 1.96 * errors.std(0) / np.sqrt(len(errors))
        ax.plot(environment_steps, mean, "o-", ms=3, color=colour, label=label)
        ax.fill_between(
            environment_steps, mean - spread, mean + spread, color=colour, alpha=0.2, lw=0
        )
    ax.set(xlabel="environment step of the plan", ylabel="distance (m)", ylim=(0, None))
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def dynamics_map_figure(arrays: Arrays) -> Figure:
    """Mean dynamics error by planned position, unguided and guided."""
    figure, axes = maze_panels(2, arrays["maze"])
    names = ("unguided", "learnt")
    maps = [_error_map(arrays, name) for name in names]
    top = max(np.nanmax(each) for each in maps)
    scale = Normalize(0, top)
    for ax, name, errors in zip(axes, names, maps, strict=True):
        draw_maze(ax, arrays["maze"])
        ax.imshow(errors, extent=extent(arrays["maze"]), cmap="magma_r", norm=scale, zorder=1)
        ax.set_title("unguided" if name == "unguided" else "guided by the learnt reward")
    figure.colorbar(
        ScalarMappable(scale, "magma_r"), ax=axes, fraction=0.03, pad=0.02, label="distance (m)"
    )
    return figure


def _error_map(arrays: Arrays, name: str, *, bins_per_cell: int = 4) -> np.ndarray:
    positions = arrays[f"dynamics_planned_{name}"][:, 1:, :2].reshape(-1, 2)
    errors = arrays[f"dynamics_errors_{name}"][:, 1:].reshape(-1)  # the start has no error
    rows, columns = arrays["maze"].shape
    left, right, bottom, top = extent(arrays["maze"])
    edges = (
        np.linspace(bottom, top, rows * bins_per_cell + 1),
        np.linspace(left, right, columns * bins_per_cell + 1),
    )
    where = (positions[:, 1], positions[:, 0])
    total, *_ = np.histogram2d(*where, bins=edges, weights=errors)
    count, *_ = np.histogram2d(*where, bins=edges)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)[::-1]


def maze_panels(count: int, maze: np.ndarray, *, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure of so many maze-shaped panels."""
    columns = min(count, columns)
    rows = -(-count // columns)
    side = 3.6
    figure = Figure(
        figsize=(side * columns, (side * _height_to_width(maze) + 0.3) * rows),
        layout="constrained",
    )
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes[count:]:
        ax.set_visible(False)
    return figure, axes[:count]


def draw_maze(ax: Axes, maze: np.ndarray) -> None:
    """The walls, and axes cut to what is free."""
    walls = np.where(maze == 1, 1.0, np.nan)
    wall_colours = colormaps["gray"].with_extremes(over=WALL)
    ax.imshow(walls, extent=extent(maze), cmap=wall_colours, vmin=0, vmax=0.5, zorder=2)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    rows, columns = np.nonzero(maze == 0)
    left, _, _, top = extent(maze)
    ax.set(
        xlim=(left + columns.min() - _MARGIN, left + columns.max() + 1 + _MARGIN),
        ylim=(top - rows.max() - 1 - _MARGIN, top - rows.min() + _MARGIN),
    )


def _height_to_width(maze: np.ndarray) -> float:
    rows, columns = np.nonzero(maze == 0)
    return (np.ptp(rows) + 1 + 2 * _MARGIN) / (np.ptp(columns) + 1 + 2 * _MARGIN)


def extent(maze: np.ndarray) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a maze's map, metres."""
    rows, columns = maze.shape
    return (-columns / 2, columns / 2, -rows / 2, rows / 2)


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
