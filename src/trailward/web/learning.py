"""Jobs that learn a reward from what was drawn, and show it as it takes shape."""

import base64
import contextlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from trailward.acting.planner import Planner
from trailward.data.dataset import Dataset, read_dataset, write_dataset
from trailward.data.episode import Episode
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.environments.page import Ground
from trailward.errors import DataError
from trailward.judging.dynamics import plan_observations
from trailward.learning.config import (
    LearningConfig,
    PlanningConfig,
    SelectionConfig,
)
from trailward.learning.learn_reward import learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.run import LearningState
from trailward.rewards import AdditiveSettings
from trailward.rewards.readings import AS_IS, DEFAULT
from trailward.rewards.value import NoValueError
from trailward.web.drawn import ANSWERS, Drawn
from trailward.web.worker import EVERY, Control

SAMPLING = SamplingConfig(scale=0.4, stop_step=4)
DEPLOYED = replace(SAMPLING, scale=0.15)
"""How plans are sampled once a value leads them, which pulls harder than the reward itself. With
the example's reward no plan to one in eight then touches a wall, and what runs stays 0.2 from the
best place; with the scale above, up to seven in ten, and 0.4 to 0.8."""

LEARNING = LearningConfig(
    batch_size=16,
    selection=SelectionConfig(num_held_out=0, patience=1000),
    planning=PlanningConfig(num_candidates=12, choose="reward"),
    reading=AS_IS,
)
"""How the page learns: all demonstrations count, and people see for themselves when to stop. The
reward is read in its default way once it is learnt."""

_NUM_LOCAL, _NUM_PLANS = 64, 6
_LEAST_STEPS, _APART, _SAME_LEVELS = 25, 10, 6.0


def planner(
    diffuser: Diffuser,
    learnt: LearntReward | None,
    sampling: SamplingConfig,
    *,
    candidates: int,
    seed: int = 0,
) -> Planner:
    """A planner that keeps the candidate of highest reward; unguided if there is no reward."""
    planning = replace(LEARNING.planning, num_candidates=candidates)
    if learnt is None:
        return Planner(diffuser, sampling, None, planning, seed)
    led = replace(learnt, sampling=sampling)
    return Planner.for_reward(led, diffuser, planning=planning, seed=seed)


def learn(control: Control, board: str, num_steps: int = 50) -> dict[str, Any]:
    """Learn a reward from the demonstrations, and show it as it takes shape.

    It is there once its map has settled; after that a value is fitted, which leads plans to where
    it is high. Stopped before, plans are led by the reward alone.
    """
    mine = Drawn(control.root, board)
    demonstrations = mine.demonstrations
    if not demonstrations.episodes:
        msg, remedy = "there are no demonstrations", "draw at least one first"
        raise DataError(msg, place="demonstrations", value=0, remedy=remedy)
    _keep_demonstrations(mine, demonstrations)
    diffuser, play = mine.diffuser, mine.play(control)
    place, began = mine.environment.position, time.monotonic()
    picture = Picture(mine.ground, diffuser, demonstrations.episodes, place)
    losses: list[float] = []
    settled, last = Settled(), 0.0

    def on_step(state: LearningState) -> bool:
        nonlocal last
        if state.loss is not None:
            losses.append(round(state.loss, 5))
        if time.monotonic() - last >= EVERY:
            shown = picture.of(state.reward())
            control.progress("Learning", state.step, num_steps, losses=losses, **shown)
            settled.look(state.step, shown["map"]["levels"])
            last = time.monotonic()
        return not control.stopped and not settled.enough

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
    learnt = learnt.with_reading(DEFAULT)
    shown = picture.of(learnt) | {"losses": losses, "seconds": round(time.monotonic() - began, 1)}
    keep_reward(mine, learnt, shown)
    control.emit({"stage": "Finding the ways there", "learnt": shown})
    if not control.stopped:
        with contextlib.suppress(NoValueError):  # nobody stays anywhere in the play data
            led = replace(learnt.with_reading(DEFAULT, play=play), sampling=DEPLOYED)
            keep_reward(mine, led, shown)
    return shown


def _keep_demonstrations(board: Drawn, demonstrations: Dataset) -> None:
    """Write what is learnt from; answers about what others showed are forgotten."""
    folder = board.folder / "demonstrations-v0"
    if folder.exists():
        if read_dataset(folder).fingerprint == demonstrations.fingerprint:
            return
        shutil.rmtree(folder)
    (board.folder / ANSWERS).unlink(missing_ok=True)
    write_dataset(demonstrations, folder)


def keep_reward(board: Drawn, learnt: LearntReward, shown: dict[str, Any]) -> None:
    """Put a reward in the place of the one before, with what the page shows of it."""
    partial = board.folder / "learning"
    shutil.rmtree(partial, ignore_errors=True)
    learnt.save(partial)
    board.write("learning/page.json", shown)
    shutil.rmtree(board.folder / "reward", ignore_errors=True)
    partial.replace(board.folder / "reward")


@dataclass
class Settled:
    """Whether a map still changes: it has settled once it looks as it did some steps before."""

    looks: list[tuple[int, np.ndarray]] = field(default_factory=list)

    def look(self, step: int, levels: str) -> None:
        """Take note of how the map looks after so many steps."""
        pixels = np.frombuffer(base64.b64decode(levels), dtype=np.uint8).astype(np.float32)
        self.looks.append((step, pixels))

    @property
    def enough(self) -> bool:
        """Whether the last map differs by less than 6 of 255 levels from those 10 steps before."""
        step, now = self.looks[-1]
        earlier = [levels for at, levels in self.looks if step - 2 * _APART <= at <= step - _APART]
        changes = [float(np.abs(now - levels).mean()) for levels in earlier]
        return step >= _LEAST_STEPS and bool(changes) and max(changes) < _SAME_LEVELS


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
