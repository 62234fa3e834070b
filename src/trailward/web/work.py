"""What the jobs of the page are: each verb is a function of a board and JSON values."""

import os
from collections.abc import Callable
from typing import Any

import torch

from trailward.diffusion.fitting import DivergedError
from trailward.optional import MissingExtraError
from trailward.web import asking, drawn, learning, planning, running, tracks
from trailward.web.boards import UnknownBoardError

EXPECTED = (DivergedError, MissingExtraError, UnknownBoardError, ValueError, OSError)
"""Errors whose message is for the one who asked; any other is a bug."""

VERBS: dict[str, Callable[..., Any]] = {
    verb.__name__: verb
    for verb in (
        *(drawn.make, drawn.example, drawn.draw, drawn.expert, drawn.remove),
        *(drawn.prepare, drawn.record),
        *(learning.learn, planning.plans, planning.run, planning.judge),
        planning.compare,
        *(asking.question, asking.answer, asking.forget, asking.settle),
        *(running.show, running.race),
        *(tracks.dropped, tracks.arrange, tracks.pick, tracks.wall, tracks.look),
        *(tracks.fit, tracks.download),
    )
}
"""By the name that the server asks for; each takes a ``Control`` and keyword arguments."""


def warm_up() -> None:
    """Load what the first job would wait for."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))  # two processes work side by side
    drawn.warm_up()
