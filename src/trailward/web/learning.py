"""How the page learns and plans."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from trailward.acting.planner import Planner
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.learning.config import (
    LearningConfig,
    PlanningConfig,
    SelectionConfig,
    ValueSchedule,
)
from trailward.learning.learnt_reward import LearntReward
from trailward.rewards import AdditiveSettings
from trailward.web.worker import Control

REWARD = AdditiveSettings(features=(0, 1), num_local=64)
SAMPLING = SamplingConfig(scale=0.4, stop_step=4)
LEARNING = LearningConfig(
    batch_size=16,
    selection=SelectionConfig(num_held_out=0, patience=1000),
    value=ValueSchedule(num_rounds=2),
    planning=PlanningConfig(num_candidates=12, choose="reward"),
)
"""How the maze tab learns: all demonstrations count, people see for themselves when to stop, and
after half of the steps a value that knows the ways through the maze leads round corners."""

EVERY = 0.2
"""Seconds between two pictures of what is being learnt."""


def planner(
    diffuser: Diffuser,
    learnt: LearntReward | None,
    sampling: SamplingConfig,
    *,
    candidates: int,
    seed: int = 0,
) -> Planner:
    """A planner that keeps the candidate of highest reward; unguided if there is no reward."""
    guide = None if learnt is None else learnt.guide_model
    planning = replace(LEARNING.planning, num_candidates=candidates)
    return Planner(diffuser, sampling, guide, planning, seed)


def told(control: Control, what: str, total: int) -> Callable[..., None]:
    """A report of training that tells the page, a few times a second."""
    last = 0.0

    def report(done: int, **figures: Any) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY or done >= total:
            last = time.monotonic()
            control.progress(what, done, total)

    return report
