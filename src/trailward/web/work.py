"""What the jobs of the page are: each verb is a function of a board and JSON values."""

import os
from collections.abc import Callable
from typing import Any

import torch

from trailward.checkpoint import CheckpointError
from trailward.data.episode import DataError
from trailward.diffusion.fitting import DivergedError
from trailward.optional import MissingExtraError
from trailward.web import maze_jobs, running_jobs, track_jobs
from trailward.web.boards import UnknownBoardError

EXPECTED = (
    DataError,
    CheckpointError,
    DivergedError,
    MissingExtraError,
    UnknownBoardError,
    ValueError,
    OSError,
)
"""Errors whose message is for the one who asked; any other is a bug."""

VERBS: dict[str, Callable[..., Any]] = {
    "new_maze": maze_jobs.new_maze,
    "example": maze_jobs.example,
    "draw": maze_jobs.draw,
    "expert": maze_jobs.expert,
    "remove": maze_jobs.remove,
    "plans": maze_jobs.plans,
    "run": maze_jobs.run,
    "prepare": maze_jobs.prepare,
    "record": maze_jobs.record,
    "learn": maze_jobs.learn,
    "judge": maze_jobs.judge,
    "race": running_jobs.race,
    "dropped": track_jobs.dropped,
    "arrange": track_jobs.arrange,
    "pick": track_jobs.pick,
    "fit": track_jobs.fit,
    "look": track_jobs.look,
    "download": track_jobs.download,
}
"""By the name that the server asks for; each takes a ``Control`` and keyword arguments."""


def warm_up() -> None:
    """Load what the first job would wait for."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))  # two processes work side by side
    maze_jobs.warm_up()
