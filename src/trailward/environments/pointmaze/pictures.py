"""Pictures of mazes: walls, maps of rewards, paths and plans over them."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from trailward.environments import Caption
from trailward.environments.drawing import (
    DEMONSTRATIONS,
    GUIDED,
    PLAY,
    UNGUIDED,
    WALL,
    Arrays,
    draw_paths,
    draw_plans,
)

_MARGIN = 0.15


def panels(arrays: Arrays) -> dict[str, tuple[Caption, Figure]]:
    """All pictures of an evaluation in a maze, with what stands over each."""
    drawn = {
        "summary": (
            Caption(
                "In one row",
                "What was given, the reward that was learnt from it, and plans from the same "
                "starts (white dots) without and with it.",
            ),
            summary_figure(arrays),
        ),
        "reward": (
            Caption(
                "The learnt reward over the maze, and the true one",
                "Colour: reward of standing still there (and its value, if one was fitted; of an "
                "ensemble, how far its members are apart, in deviations of their rewards). White: "
                "the demonstrations it was learnt from.",
            ),
            reward_figure(arrays),
        ),
        "trajectories": (
            Caption(
                "From play to plan",
                "Play data and demonstrations; plans before and after learning, from the same "
                "starts; and the paths that the planner then executed.",
            ),
            trajectories_figure(arrays),
        ),
    }
    if "dynamics_errors_learnt" in arrays:
        text = "Mean distance between planned and executed position, by planned position."
        caption = Caption("Where plans are hard to execute", text)
        drawn["dynamics_map"] = (caption, dynamics_map_figure(arrays))
    return drawn


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


def dynamics_map_figure(arrays: Arrays) -> Figure:
    """Mean dynamics error by planned position, unguided and guided."""
    figure, axes = maze_panels(2, arrays["maze"])
    names = ("unguided", "learnt")
    maps = [error_map(arrays, name) for name in names]
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


def error_map(arrays: Arrays, name: str, *, bins_per_cell: int = 4) -> np.ndarray:
    """Mean dynamics error of the plans of one policy by planned position, the top row first."""
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
