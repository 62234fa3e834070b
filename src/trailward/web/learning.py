"""Jobs that learn a reward from what was drawn, and show it as it takes shape."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trailward.acting.planner import Planner
from trailward.data.dataset import write_dataset
from trailward.data.episode import DataError, Episode
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.environments.page import Ground
from trailward.judging.dynamics import plan_observations
from trailward.learning.config import (
    LearningConfig,
    PlanningConfig,
    SelectionConfig,
    ValueSchedule,
)
from trailward.learning.learn_reward import LearningState, learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.rewards import AdditiveSettings
from trailward.web.drawn import Drawn
from trailward.web.worker import EVERY, Control

SAMPLING = SamplingConfig(scale=0.4, stop_step=4)
LEARNING = LearningConfig(
    batch_size=16,
    selection=SelectionConfig(num_held_out=0, patience=1000),
    value=ValueSchedule(num_rounds=2),
    planning=PlanningConfig(num_candidates=12, choose="reward"),
)
"""How the page learns: all demonstrations count, people see for themselves when to stop, and
after half of the steps a value that knows the ways leads round corners."""

_NUM_LOCAL, _NUM_PLANS = 64, 6


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


def learn(control: Control, board: str, num_steps: int = 80) -> dict[str, Any]:
    """Learn a reward from the demonstrations, and show it as it takes shape."""
    mine = Drawn(control.root, board)
    demonstrations = mine.demonstrations
    if not demonstrations.episodes:
        raise DataError("draw at least one demonstration first")
    folder = mine.folder / "demonstrations-v0"
    shutil.rmtree(folder, ignore_errors=True)
    write_dataset(demonstrations, folder)
    diffuser, play = mine.diffuser, mine.play(control)
    place = mine.environment.position
    began, picture = (
        time.monotonic(),
        Picture(mine.ground, diffuser, demonstrations.episodes, place),
    )
    losses: list[float] = []
    last = 0.0

    def on_step(state: LearningState) -> bool:
        nonlocal last
        if state.loss is not None:
            losses.append(round(state.loss, 5))
        if time.monotonic() - last >= EVERY:
            shown = picture.of(state.reward())
            control.progress("Learning", state.step, num_steps, losses=losses, **shown)
            last = time.monotonic()
        return not control.stopped

    learnt = learn_reward(
        diffuser,
        demonstrations,
        play=play,
        reward=AdditiveSettings(features=place, num_local=_NUM_LOCAL),
        sampling=SAMPLING,
        config=replace(LEARNING, num_steps=num_steps),
        on_step=on_step,
        provenance=demonstrations.provenance,
    )
    shown = picture.of(learnt) | {"losses": losses, "seconds": round(time.monotonic() - began, 1)}
    keep_reward(mine, learnt, shown)
    return shown


def keep_reward(board: Drawn, learnt: LearntReward, shown: dict[str, Any]) -> None:
    """Put a reward in the place of the one before, with what the page shows of it."""
    partial = board.folder / "learning"
    shutil.rmtree(partial, ignore_errors=True)
    learnt.save(partial)
    board.write("learning/page.json", shown)
    shutil.rmtree(board.folder / "reward", ignore_errors=True)
    partial.replace(board.folder / "reward")


@dataclass(frozen=True)
class Picture:
    """The map of a reward and a few plans, as the page draws them."""

    ground: Ground
    diffuser: Diffuser
    episodes: Sequence[Episode]
    place: tuple[int, ...]

    def of(self, learnt: LearntReward) -> dict[str, Any]:
        """What there is to see of a reward."""
        policy = planner(self.diffuser, learnt, learnt.sampling, candidates=1)
        planned = plan_observations(self.diffuser, policy.plan(self._starts()))
        plans = planned[..., list(self.place)].round(3).tolist()
        return {"map": self.ground.picture(learnt), "plans": plans}

    def _starts(self) -> np.ndarray:
        """At rest where demonstrations begin."""
        firsts = [
            self.ground.start(each.observations[0, list(self.place)]) for each in self.episodes
        ]
        return np.stack([firsts[index % len(firsts)] for index in range(_NUM_PLANS)])
