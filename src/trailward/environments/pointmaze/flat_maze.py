"""PointMaze as an environment of its own: flat observations, and no goal to be taken for."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from trailward.optional import import_extra


def import_robotics() -> Any:
    """Gymnasium-Robotics, without what it prints about other environments.

    Raises:
        MissingExtraError: if it is not installed.
    """
    with contextlib.redirect_stderr(io.StringIO()):
        message = "mazes need gymnasium-robotics: pip install 'trailward[maze]'"
        gymnasium_robotics = import_extra("gymnasium_robotics", message)
    gymnasium.register_envs(gymnasium_robotics)
    return gymnasium_robotics


class FlatMaze(gymnasium.Env):
    """Gymnasium-Robotics' PointMaze whose observation is ``x, y, vx, vy`` alone.

    It holds that environment and is none itself, since tools take whatever has its methods for an
    environment of goals.

    Args:
        maze_map: rows of 0 (free) and 1 (wall).
        render_mode: as of ``gymnasium.make``.
        options: further arguments of PointMaze.

    Attributes:
        maze: the simulator's map.
        point_env: the simulator.
    """

    metadata = {  # noqa: RUF012 - as in Gymnasium
        "render_modes": ["human", "rgb_array", "depth_array"],
        "render_fps": 50,
    }

    def __init__(
        self, maze_map: Sequence[Sequence[int]], render_mode: str | None = None, **options: Any
    ) -> None:
        import_robotics()
        made = gymnasium.make(
            "PointMaze_UMaze-v3",
            maze_map=[list(row) for row in maze_map],
            continuing_task=True,
            reset_target=False,
            render_mode=render_mode,
            disable_env_checker=True,
            **options,
        )
        self._inner: Any = made.unwrapped
        Path(self._inner.tmp_xml_file_path).unlink()
        self.maze, self.point_env = self._inner.maze, self._inner.point_env
        self.render_mode = render_mode
        self.action_space = self._inner.action_space
        self.observation_space = self._inner.observation_space["observation"]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode at a free place."""
        super().reset(seed=seed)
        seen, info = self._inner.reset(seed=seed, options=options)
        return seen["observation"], info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One environment step; it never ends by itself."""
        seen, reward, terminated, truncated, info = self._inner.step(action)
        return seen["observation"], float(reward), bool(terminated), bool(truncated), info

    def render(self) -> Any:
        """A picture of the maze."""
        return self._inner.render()

    def close(self) -> None:
        """Let go of the simulator."""
        self._inner.close()
