"""PointMaze of gymnasium-robotics: geometry and simulator, for any map.

Observations are ``x, y, vx, vy`` in metres and metres per second; actions are forces in [-1, 1].
A cell is one metre wide; ``(row, column)`` counts from the top left of the map.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from trailward.data.episode import Columns
from trailward.environments.pointmaze.flat_maze import FlatMaze, import_robotics
from trailward.errors import DataError

COLUMNS = Columns(
    ("x", "y", "x velocity", "y velocity"),
    ("x force", "y force"),
    {"x": "m", "y": "m", "x velocity": "m/s", "y velocity": "m/s"},
)
"""What the entries of observations and actions are."""

_CUSTOM = "custom"


@dataclass(frozen=True)
class Maze:
    """A grid of walls (1) and free cells (0), and the geometry of it.

    Args:
        name: what to call it in files and pictures.
        grid: rows of 0 and 1, all of one length, walled all around.

    Raises:
        DataError: if the grid is ragged, open at its border, or has no two connected free cells.
    """

    name: str
    grid: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        place, lengths = f"maze '{self.name}'", [len(row) for row in self.grid]
        if len(set(lengths)) != 1:
            raise DataError(f"the rows of {place} differ in length", place=place, value=lengths)
        gaps = np.array(self.grid) != 1
        gaps[1:-1, 1:-1] = False
        if gaps.any():
            msg, found = f"{place} is open at its border", np.argwhere(gaps).tolist()
            raise DataError(msg, place=place, value=found, remedy="wall it all around")
        if len(self.free_cells) < 2:
            msg = f"{place} has fewer than two free cells"
            raise DataError(msg, place=place, value=self.free_cells)
        unreachable = [c for c in self.free_cells if c not in self._next[self.free_cells[0]]]
        if unreachable:
            msg = f"cell {unreachable[0]} of {place} cannot be reached from the others"
            raise DataError(msg, place=place, value=unreachable[0])

    @cached_property
    def free_cells(self) -> list[tuple[int, int]]:
        """Cells without a wall, row by row."""
        return [(int(row), int(column)) for row, column in np.argwhere(np.array(self.grid) == 0)]

    @property
    def spelling(self) -> str:
        """What :func:`parse_maze` makes it from: its name, or its rows."""
        if self.name != _CUSTOM:
            return self.name
        return "/".join("".join(str(cell) for cell in row) for row in self.grid)

    @property
    def half_extent(self) -> np.ndarray:
        """Half the width and half the height of the map, metres, shape (2,)."""
        return np.array([len(self.grid[0]) / 2, len(self.grid) / 2])

    def center(self, cells: Any) -> np.ndarray:
        """Centres of cells: (..., 2) rows and columns to (..., 2) x and y in metres."""
        cells = np.asarray(cells)
        x = cells[..., 1] + 0.5 - self.half_extent[0]
        y = self.half_extent[1] - cells[..., 0] - 0.5
        return np.stack([x, y], -1)

    def cell(self, positions: np.ndarray) -> np.ndarray:
        """Cells that positions lie in: (..., 2) x and y in metres to (..., 2) row and column."""
        column = np.floor(positions[..., 0] + self.half_extent[0])
        row = np.floor(self.half_extent[1] - positions[..., 1])
        limits = np.array(self.grid).shape
        return np.stack(
            [np.clip(row, 0, limits[0] - 1), np.clip(column, 0, limits[1] - 1)], -1
        ).astype(int)

    def in_wall(self, positions: np.ndarray) -> np.ndarray:
        """Whether each position, (..., 2) metres, lies inside a wall."""
        cells = self.cell(positions)
        return np.array(self.grid)[cells[..., 0], cells[..., 1]] == 1

    def next_cell(self, cell: tuple[int, int], goal: tuple[int, int]) -> tuple[int, int]:
        """The cell after ``cell`` on a shortest way to ``goal`` (itself, if there already)."""
        return self._next[goal].get(cell, goal)

    @cached_property
    def _next(self) -> dict[tuple[int, int], dict[tuple[int, int], tuple[int, int]]]:
        return {goal: self._ways_to(goal) for goal in self.free_cells}

    def _ways_to(self, goal: tuple[int, int]) -> dict[tuple[int, int], tuple[int, int]]:
        towards, queue, free = {goal: goal}, deque([goal]), set(self.free_cells)
        while queue:
            row, column = current = queue.popleft()
            for neighbour in (
                (row + 1, column),
                (row - 1, column),
                (row, column + 1),
                (row, column - 1),
            ):
                if neighbour in free and neighbour not in towards:
                    towards[neighbour] = current
                    queue.append(neighbour)
        return towards


def parse_maze(name_or_grid: str) -> Maze:
    """A maze by name (``umaze``, ``medium``, ``large``, ``open``) or by its rows.

    Args:
        name_or_grid: a name, or rows of 0 and 1 joined by ``/``, such as ``11111/10001/11111``.

    Raises:
        DataError: if it is neither, or the grid is not a usable maze.
    """
    if set(name_or_grid) <= set("01/") and "/" in name_or_grid:
        rows = name_or_grid.split("/")
        return Maze(_CUSTOM, tuple(tuple(int(cell) for cell in row) for row in rows))
    maps = _robotics_maps()
    if name_or_grid not in maps:
        msg = f"maze '{name_or_grid}' is unknown"
        remedy = f"choose one of {', '.join(maps)}, or give rows of 0 and 1 joined by '/'"
        raise DataError(msg, place="maze", value=name_or_grid, remedy=remedy)
    return Maze(name_or_grid, tuple(tuple(row) for row in maps[name_or_grid]))


def make_env(maze: Maze, *, episode_steps: int | None = None, **options: Any) -> gymnasium.Env:
    """PointMaze with this map, returning ``x, y, vx, vy`` alone; its own goal plays no part.

    Args:
        maze: the map.
        episode_steps: environment steps after which an episode is cut; none if None.
        options: further arguments of ``gymnasium.make``, such as ``render_mode``.
    """
    spec = EnvSpec(
        "trailward/PointMaze-v0",
        entry_point=f"{FlatMaze.__module__}:FlatMaze",
        max_episode_steps=episode_steps,
        kwargs={"maze_map": [list(row) for row in maze.grid]},
    )
    return gymnasium.make(spec, **options)


def set_state(env: gymnasium.Env, observation: np.ndarray) -> None:
    """Put the simulator into the state of an observation ``x, y, vx, vy``."""
    env.unwrapped.point_env.set_state(observation[:2], observation[2:])  # pyright: ignore[reportAttributeAccessIssue]


def _robotics_maps() -> dict[str, Sequence[Sequence[int]]]:
    import_robotics()
    from gymnasium_robotics.envs.maze import maps

    return {
        "umaze": maps.U_MAZE,
        "medium": maps.MEDIUM_MAZE,
        "large": maps.LARGE_MAZE,
        "open": maps.OPEN,
    }
