"""Jobs of runs to look at: without a reward, with the learnt one, and as it was shown."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from trailward.acting.planner import Policy
from trailward.acting.rollout import rollout
from trailward.data.episode import DataError, Episode
from trailward.diffusion.diffuser import Diffuser
from trailward.environments import ENVIRONMENTS, Environment
from trailward.environments.film import Film, film_of, filming_env, radii_of, seconds_of_a_step
from trailward.environments.page import Exhibit
from trailward.learning.learn_reward import LearningState, learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.pretrained import model_folder
from trailward.web.boards import Board, new_board
from trailward.web.learning import planner
from trailward.web.worker import Control

_SEED = 7


def show(control: Control, board: str, environment: str) -> dict[str, Any]:
    """A board for the runs of an environment.

    Args:
        control: of the job.
        board: plays no part.
        environment: a name.
    """
    _exhibit(environment)
    facts = {"kind": "running", "environment": environment}
    return {"board": new_board(control.root, "runs", facts).name}


def race(control: Control, board: str) -> dict[str, Any]:
    """Learn from an exhibit's demonstrations, and let all run from the same start."""
    mine = Board(control.root, board)
    environment, exhibit = _exhibit(mine.facts["environment"])
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
    learnt.save(mine.folder / "reward")
    candidates = exhibit.learning.planning.num_candidates
    policies = {
        "unguided": planner(diffuser, None, exhibit.sampling, candidates=1),
        "learnt": planner(diffuser, learnt, exhibit.sampling, candidates=candidates),
    }
    steps = exhibit.episode_steps
    found = _filmed(control, environment, learnt, policies, shown.episodes[0], steps)
    mine.write("reward/page.json", found)
    return found


def _exhibit(name: str) -> tuple[Environment, Exhibit]:
    if name not in list(ENVIRONMENTS):  # a name from a page imports nothing
        raise DataError(f"there is no environment '{name[:60]}' to show")
    environment = ENVIRONMENTS.find(name)()
    exhibit = environment.exhibit()
    if exhibit is None:
        raise DataError(f"'{name}' has no runs to show")
    return environment, exhibit


def _filmed(
    control: Control,
    environment: Environment,
    learnt: LearntReward,
    policies: Mapping[str, Policy],
    shown: Episode,
    steps: int,
) -> dict[str, Any]:
    """Run everybody before the camera; the demonstrator's run is a recorded one."""
    env = Film(filming_env(environment, episode_steps=steps))
    try:
        runs = []
        for number, (name, policy) in enumerate(policies.items()):
            control.progress("Running", number, len(policies) + 1)
            (episode,) = rollout([env], policy, seeds=[_SEED], num_steps=steps)
            runs.append(_told(name, env.frames, learnt, episode, steps))
        control.progress("Running", len(policies), len(policies) + 1)
        frames = film_of(environment, env.env, shown, steps)
        runs.append(_told("demonstrator", frames, learnt, shown, steps))
        return {"time_step": seconds_of_a_step(env), "radii": radii_of(env), "runs": runs}
    finally:
        env.close()


def _told(
    name: str, frames: list[dict[str, Any]], learnt: LearntReward, episode: Episode, steps: int
) -> dict[str, Any]:
    true = np.zeros(steps) if episode.rewards is None else episode.rewards[:steps]
    rewards = learnt.episode_rewards(episode)[:steps]
    return {"name": name, "frames": frames, "true": _rounded(true), "learnt": _rounded(rewards)}


def _rounded(values: np.ndarray) -> list[float]:
    return np.asarray(values, dtype=np.float64).round(3).tolist()
