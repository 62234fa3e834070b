"""Jobs of runs to look at: without a reward, with the learnt one, and as it was shown."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trailward.acting.network_policy import ladder_of, recorded_from
from trailward.acting.planner import Planner, Policy
from trailward.acting.rollout import rollout
from trailward.checkpoint import CheckpointError
from trailward.data.episode import Episode
from trailward.diffusion.diffuser import Diffuser
from trailward.environments import ENVIRONMENTS, Environment, find_environment
from trailward.environments.film import Film, film_of, filming_env, radii_of, seconds_of_a_step
from trailward.environments.page import Exhibit
from trailward.errors import DataError
from trailward.learning.files import load_reward
from trailward.learning.learn_reward import learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.learning.run import LearningState
from trailward.pretrained import model_folder
from trailward.web.boards import SHOWN, Board, new_board
from trailward.web.learning import planner
from trailward.web.worker import Control

_SEED, _STEPS = 7, 200


def show(
    control: Control, board: str, environment: str | None = None, shown: str | None = None
) -> dict[str, Any]:
    """A board for runs: of an environment's exhibit, or with a reward that was learnt before.

    Args:
        control: of the job.
        board: plays no part.
        environment: a name.
        shown: one of the folders that the server was started with, by its name.
    """
    if shown is None:
        _exhibit(environment or "")
    else:
        _folder(control, shown)
    facts = {"kind": "running", "environment": environment, "shown": shown}
    return {"board": new_board(control.root, "runs", facts).name}


def race(control: Control, board: str) -> dict[str, Any]:
    """Let all run from the same start; an exhibit's reward is learnt first."""
    mine = Board(control.root, board)
    facts = mine.facts
    if facts["shown"] is None:
        environment, exhibit = _exhibit(facts["environment"])
        cast = _learnt(control, environment, exhibit)
    else:
        cast = _saved(_folder(control, facts["shown"]))
    if control.stopped:
        return {}
    found = _filmed(control, cast)
    cast.learnt.save(mine.folder / "reward")
    mine.write("reward/page.json", found)
    return found


@dataclass(frozen=True)
class _Cast:
    """Who runs where.

    Attributes:
        environment: where.
        learnt: the reward shown below.
        policies: by name, in the order that the page shows them.
        recorded: the demonstrator's run; None if it is one of the policies, or unknown.
        steps: environment steps of each run.
    """

    environment: Environment
    learnt: LearntReward
    policies: Mapping[str, Policy]
    recorded: Episode | None
    steps: int


def _learnt(control: Control, environment: Environment, exhibit: Exhibit) -> _Cast:
    """Learn from an exhibit's demonstrations."""
    shown = exhibit.shown.record(environment, seed=1)
    total = getattr(exhibit.play, "num_steps", 1)
    play = exhibit.play.record(
        environment,
        seed=100,
        progress=lambda done: control.progress("Recording others", done, total),
    )
    diffuser = Diffuser.load(model_folder(exhibit.model))
    num_steps = exhibit.learning.num_steps

    def on_step(state: LearningState) -> bool:
        control.progress("Learning what the expert is after", state.step, num_steps)
        return not control.stopped

    learnt = learn_reward(
        diffuser,
        shown,
        play=play,
        reward=exhibit.reward,
        sampling=exhibit.sampling,
        config=exhibit.learning,
        on_step=on_step,
    )
    candidates = exhibit.learning.planning.num_candidates
    policies = {
        "unguided": planner(diffuser, None, exhibit.sampling, candidates=1),
        "learnt": planner(diffuser, learnt, exhibit.sampling, candidates=candidates),
    }
    return _Cast(environment, learnt, policies, shown.episodes[0], exhibit.episode_steps)


def _saved(folder: Path) -> _Cast:
    """A reward that was learnt before, with its diffuser and its demonstrations' policy.

    Raises:
        DataError: if the reward does not say of which environment it is.
    """
    learnt, diffuser = load_reward(folder)
    about = learnt.provenance.get("demonstrations") or {}
    if "environment" not in about:
        msg = "the reward does not say of which environment its demonstrations are"
        raise DataError(msg, place="environment", remedy="record them with trailward collect")
    name = about["environment"]
    if ":" in name:  # a name from a file imports nothing
        msg = f"environment '{name}' is of a module that the page does not import"
        remedy = "see it with trailward report"
        raise DataError(msg, place="environment", value=name, remedy=remedy)
    environment = find_environment(name, may_import=False)
    policies: dict[str, Policy] = {
        "unguided": Planner(diffuser, learnt.sampling, None, learnt.planning),
        "learnt": Planner.for_reward(learnt, diffuser),
    }
    demonstrator = environment.task(about.get("task")).demonstrator()
    if demonstrator is None:
        with contextlib.suppress(DataError, CheckpointError):  # its policies are not packaged
            demonstrator = recorded_from(about, ladder_of(environment.name))
    if demonstrator is not None:
        policies["demonstrator"] = demonstrator
    return _Cast(environment, learnt, policies, None, _STEPS)


def _exhibit(name: str) -> tuple[Environment, Exhibit]:
    if name not in list(ENVIRONMENTS):  # a name from a page imports nothing
        msg = f"there is no environment '{name[:60]}' to show"
        raise DataError(msg, place="environment", value=name)
    environment = ENVIRONMENTS.find(name)()
    exhibit = environment.exhibit()
    if exhibit is None:
        raise DataError(f"'{name}' has no runs to show", place="environment", value=name)
    return environment, exhibit


def _folder(control: Control, name: str) -> Path:
    """The folder of a name, among those that the server was started with."""
    file = control.root / SHOWN
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if name not in known:
        msg, remedy = f"there is no reward '{name[:60]}' to show", "name it with serve --show"
        raise DataError(msg, place="shown", value=name, remedy=remedy)
    return Path(known[name])


def _filmed(control: Control, cast: _Cast) -> dict[str, Any]:
    """Run everybody before the camera."""
    env = Film(filming_env(cast.environment, episode_steps=cast.steps))
    try:
        runs = []
        for number, (name, policy) in enumerate(cast.policies.items()):
            control.progress("Running", number, len(cast.policies) + 1)
            (episode,) = rollout([env], policy, seeds=[_SEED], num_steps=cast.steps)
            runs.append(_told(name, env.frames, cast, episode))
        if cast.recorded is not None:
            frames = film_of(cast.environment, env.env, cast.recorded, cast.steps)
            runs.append(_told("demonstrator", frames, cast, cast.recorded))
        seconds, radii = seconds_of_a_step(env), radii_of(env)
        return {"of": cast.environment.name, "time_step": seconds, "radii": radii, "runs": runs}
    finally:
        env.close()


def _told(
    name: str, frames: Sequence[dict[str, Any]], cast: _Cast, episode: Episode
) -> dict[str, Any]:
    true = np.zeros(len(episode)) if episode.rewards is None else episode.rewards
    rewards = cast.learnt.rewards_along(episode)
    shown = {"true": _rounded(true[: cast.steps]), "learnt": _rounded(rewards[: cast.steps])}
    return {"name": name, "frames": list(frames), **shown}


def _rounded(values: np.ndarray) -> list[float]:
    return np.asarray(values, dtype=np.float64).round(3).tolist()
