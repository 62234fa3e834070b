"""Jobs of boards to draw on: make one, draw, record play data, train a diffuser."""

import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trailward.checkpoint import provenance
from trailward.data.dataset import Dataset, read_dataset, write_dataset
from trailward.data.episode import Episode
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import DenoiserConfig, Diffuser, SamplingConfig
from trailward.diffusion.training import TrainingConfig, train_diffuser
from trailward.environments import DEFAULT_ENVIRONMENT, ENVIRONMENTS, Environment
from trailward.environments.page import Ground
from trailward.errors import DataError
from trailward.learning.learnt_reward import LearntReward
from trailward.pretrained import model_folder
from trailward.running.files import write_arrays
from trailward.web.boards import Board, new_board
from trailward.web.worker import Control

ANSWERS = "answers.jsonl"
"""File of the answers to questions about a board's reward."""

MOST_DRAWINGS, MOST_POINTS = 9, 2000
_PLAY_STEPS, _THINNING = 30_000, 4


@dataclass(frozen=True)
class Drawn(Board):
    """A board to draw on, with what the library knows of it."""

    @property
    def environment(self) -> Environment:
        """Where."""
        facts = self.facts
        return _environment(facts["environment"], json.dumps(facts["settings"]))

    @property
    def ground(self) -> Ground:
        """What is drawn on."""
        return ground_of(self.environment)

    @property
    def diffuser(self) -> Diffuser:
        """The packaged one of the ground, or the board's own."""
        model = self.ground.model
        if model is not None:
            return _diffuser(str(model_folder(model)))
        if not (self.folder / "diffuser" / "config.json").exists():
            msg = "no diffuser is trained here yet"
            raise DataError(msg, place="diffuser", remedy="prepare it first")
        return _diffuser(str(self.folder / "diffuser"))

    @property
    def reward(self) -> LearntReward | None:
        """As last learnt; None if none was."""
        config = self.folder / "reward" / "config.json"
        return _reward(str(config.parent), config.stat().st_mtime_ns) if config.exists() else None

    def episodes(self, *, second: bool = False) -> list[Episode]:
        """What was drawn to learn from, or to compare with (``second``)."""
        found = []
        for drawing in self.facts["drawings"]:
            if drawing.get("second", False) is not second:
                continue
            with np.load(self.episode_file(drawing["number"]), allow_pickle=False) as arrays:
                found.append(Episode(arrays["observations"], arrays["actions"]))
        return found

    def episode_file(self, number: int) -> Path:
        """Where a drawing's recording is."""
        return self.folder / "drawings" / f"{int(number)}.npz"

    @property
    def demonstrations(self) -> Dataset:
        """What was drawn, as the command line reads it."""
        made = provenance(0, what="demonstrations", **self.facts["settings"])
        return Dataset(self.episodes(), made, self.environment.columns)

    def play(self, control: Control) -> Dataset:
        """Play data of the ground, recorded when it is first needed."""
        ground = self.ground
        home = self.root / "play" / ground.name if ground.model else self.folder
        folder = home / "play-v0"
        if not folder.exists():
            found = ground.play(
                lambda done: control.progress("Recording aimless play", done, _PLAY_STEPS),
                num_steps=_PLAY_STEPS,
            )
            partial = home / f"playing{time.time_ns()}-v0"
            made = provenance(100, **found.provenance)
            write_dataset(Dataset(found.episodes, made, found.columns), partial)
            if not folder.exists():
                partial.replace(folder)
        return read_dataset(folder)

    def add(self, source: str, episode: Episode, **more: Any) -> dict[str, Any]:
        """Keep a recording, and tell of it in the facts; returns these."""
        facts = self.facts
        number = facts["next"]
        arrays = {"observations": episode.observations, "actions": episode.actions}
        write_arrays(self.episode_file(number), arrays)
        place = list(self.environment.position)
        path = episode.observations[:, place].round(3)
        shown = {"path": path[::_THINNING].tolist(), "end": path[-1].tolist(), "why": None}
        facts["drawings"].append({"number": number, "source": source, **shown, **more})
        return self.keep(facts | {"next": number + 1})


def ground_of(environment: Environment) -> Ground:
    """What people draw on in an environment.

    Raises:
        DataError: if there is no such thing.
    """
    ground = environment.ground()
    if ground is None:
        msg = f"nothing can be drawn on in '{environment.name}'"
        raise DataError(msg, place="environment", value=environment.name)
    return ground


@lru_cache(maxsize=8)
def _environment(name: str, settings: str) -> Environment:
    if name not in list(ENVIRONMENTS):  # a name from a page imports nothing
        msg = f"there is no environment '{name[:60]}' to draw in"
        raise DataError(msg, place="environment", value=name)
    try:
        return ENVIRONMENTS.find(name)(**json.loads(settings))
    except TypeError as error:
        msg = f"environment '{name}' is not set like that: {error}"
        raise DataError(msg, place="settings", value=json.loads(settings)) from None


@lru_cache(maxsize=4)
def _diffuser(folder: str) -> Diffuser:
    return Diffuser.load(folder)


@lru_cache(maxsize=8)
def _reward(folder: str, written: int) -> LearntReward:
    return LearntReward.load(folder)


def warm_up() -> None:
    """Load what the first board needs."""
    ground = ground_of(_environment(DEFAULT_ENVIRONMENT, "{}"))
    if ground.model is not None:
        diffuser = _diffuser(str(model_folder(ground.model)))
        first = torch.zeros(2, diffuser.spec.observation_dim)
        diffuser.sample_plans(first, SamplingConfig(), generator=torch.Generator())


def make(
    control: Control, board: str, environment: str, settings: dict[str, str]
) -> dict[str, Any]:
    """A board to draw on.

    Args:
        control: of the job.
        board: plays no part.
        environment: a name.
        settings: of the environment: text.
    """
    if not all(isinstance(value, str) for value in settings.values()):
        raise DataError("settings of an environment are text", place="settings", value=settings)
    ground = ground_of(_environment(environment, json.dumps(settings)))
    facts = {"environment": environment, "settings": settings, **ground.facts}
    more = {"kind": "drawn", "drawings": [], "next": 1, "ready": ground.model is not None}
    return {"board": new_board(control.root, ground.name, facts | more).name}


def example(control: Control, board: str) -> dict[str, Any]:
    """A board of what somebody drew and the page learnt, to look at."""
    source = Path(str(files("trailward.web"))) / "example"
    facts = json.loads((source / "board.json").read_text(encoding="utf-8"))
    made = new_board(control.root, "example", facts)
    for part in ("drawings", "reward"):
        shutil.copytree(source / part, made.folder / part)
    return {"board": made.name}


def draw(
    control: Control,
    board: str,
    line: Sequence[Sequence[float]],
    second: bool = False,  # noqa: FBT001, FBT002
) -> dict[str, Any]:
    """Follow a drawn line in the simulator; what happens becomes a demonstration.

    Args:
        control: of the job.
        board: gets the demonstration.
        line: x and y of its points.
        second: whether it is only to compare with, never to learn from.

    Returns:
        The board's facts. The new drawing says where it ends, and why if that is not where the
        line does.

    Raises:
        DataError: if the line cannot be followed at all.
    """
    mine = Drawn(control.root, board)
    if len(mine.facts["drawings"]) >= MOST_DRAWINGS:
        msg, place = f"there are {MOST_DRAWINGS} demonstrations already", "demonstrations"
        raise DataError(msg, place=place, value=MOST_DRAWINGS, remedy="delete one first")
    points = np.asarray(line, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not 2 <= len(points) <= MOST_POINTS:
        msg = f"a line has 2 to {MOST_POINTS} points of two numbers"
        raise DataError(msg, place="line", value=points.shape)
    if not np.isfinite(points).all():
        raise DataError("the line has a point that is no number", place="line", value=line)
    followed = mine.ground.follow(points)
    at = None if followed.at is None else np.round(followed.at, 3).tolist()
    shown: dict[str, Any] = {"line": points.round(3).tolist(), "why": followed.why, "at": at}
    shown["second"] = bool(second)
    return mine.add("drawn", followed.episode, **shown)


def expert(control: Control, board: str, task: str, count: int) -> dict[str, Any]:
    """Replace all demonstrations by those of somebody who does a task."""
    mine = Drawn(control.root, board)
    if not 1 <= count <= MOST_DRAWINGS:
        raise DataError(place="count", value=count, remedy=f"choose 1 to {MOST_DRAWINGS}")
    found = mine.ground.expert(task, num_episodes=count, seed=mine.facts["next"])
    facts = remove(control, board)
    for episode in found.episodes:
        facts = mine.add("expert", episode)
    return facts


def remove(control: Control, board: str, number: int | None = None) -> dict[str, Any]:
    """Delete a demonstration, or all of them."""
    mine = Drawn(control.root, board)
    facts = mine.facts
    gone = [each for each in facts["drawings"] if number in (None, each["number"])]
    facts["drawings"] = [each for each in facts["drawings"] if each not in gone]
    mine.keep(facts)
    for drawing in gone:
        mine.episode_file(drawing["number"]).unlink(missing_ok=True)
    return facts


def prepare(control: Control, board: str, num_steps: int = 6000) -> dict[str, Any]:
    """Record play data on a ground of the board's own, and train a small diffuser on it."""
    mine = Drawn(control.root, board)
    play = mine.play(control)
    spec = PlanSpec(16, 8, play.observation_dim, play.action_dim, with_actions=False)
    config = TrainingConfig(
        num_steps=num_steps, batch_size=64, optimizer="adam", checkpoint_every=1000
    )
    train_diffuser(
        play,
        spec,
        mine.folder / "diffuser",
        denoiser_config=DenoiserConfig(width=64),
        config=config,
        report=control.training("Learning how things move here", num_steps),
        provenance=provenance(0, play=play.provenance),
    )
    return mine.keep(mine.facts | {"ready": True})


def record(control: Control, board: str) -> dict[str, Any]:
    """Record play data before anybody waits for it, and load what learning needs."""
    Drawn(control.root, board).play(control)
    weight = torch.zeros(1, requires_grad=True)
    weight.sum().backward()
    torch.optim.AdamW([weight]).step()  # the first step of a process loads for seconds
    return {}


def place_of(start: Sequence[float]) -> np.ndarray:
    """Two finite numbers that a page sent.

    Raises:
        DataError: if they are not.
    """
    try:
        x, y = (float(each) for each in start)
    except (TypeError, ValueError):
        raise DataError("a place is two numbers: x and y", place="start", value=start) from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise DataError("a place is two finite numbers: x and y", place="start", value=start)
    return np.array([x, y])
