"""Jobs of the running tab: HalfCheetah without a reward, with the learnt one, and as shown."""

import json
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from trailward.acting.planner import Policy
from trailward.acting.rollout import rollout
from trailward.data.episode import Episode
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.environments.halfcheetah.environment import HalfCheetah
from trailward.environments.recipes import Expert, Mixture
from trailward.learning.config import LearningConfig, PlanningConfig, SelectionConfig
from trailward.learning.learn_reward import LearningState, learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.pretrained import model_folder
from trailward.rewards import AdditiveSettings
from trailward.web.boards import board_folder
from trailward.web.learning import planner
from trailward.web.worker import Control

NAMES = ("unguided", "learnt", "demonstrator")
"""Who runs, in the order that the page shows them."""

_STEPS, _PLAY, _LEARNING, _TIME_STEP = 200, 20_000, 80, 0.05
_CAPSULE = 3  # MuJoCo's number of that shape
_SAMPLING = SamplingConfig(num_steps=5, scale=1.0, temperature=0.5)


def race(control: Control, board: str) -> dict[str, Any]:
    """Learn from three runs of an expert, and let all three run from the same start."""
    world = HalfCheetah()
    shown = Expert(num_episodes=3, episode_steps=300).record(world, seed=1)
    play = Mixture(num_steps=_PLAY, episode_steps=500).record(
        world, seed=100, progress=lambda done: control.progress("Recording others", done, _PLAY)
    )
    diffuser = Diffuser.load(model_folder("halfcheetah_mixture"))

    def on_step(state: LearningState) -> bool:
        control.progress("Learning what the expert is after", state.step, _LEARNING)
        return not control.stopped

    learnt = learn_reward(
        diffuser,
        shown,
        play=play,
        reward=AdditiveSettings(hidden=(128, 128)),
        sampling=_SAMPLING,
        config=LearningConfig(
            num_steps=_LEARNING,
            starts="both",
            weight_decay=0.1,
            selection=SelectionConfig(num_held_out=0, patience=1000),
            planning=PlanningConfig(num_candidates=8, choose="reward"),
        ),
        on_step=on_step,
    )
    policies = {
        "unguided": planner(diffuser, None, _SAMPLING, candidates=1),
        "learnt": planner(diffuser, learnt, _SAMPLING, candidates=8),
    }
    runs = {}
    for number, (name, policy) in enumerate(policies.items()):
        control.progress("Running", number, len(policies))
        runs[name] = _run(world, policy)
    runs["demonstrator"] = shown.episodes[0]
    return _keep(control, board, learnt, runs)


def _run(world: HalfCheetah, policy: Policy) -> Episode:
    env = world.make(episode_steps=_STEPS)
    try:
        return rollout([env], policy, seeds=[7], num_steps=_STEPS)[0]
    finally:
        env.close()


def _keep(
    control: Control, board: str, learnt: LearntReward, runs: Mapping[str, Episode]
) -> dict[str, Any]:
    world = HalfCheetah()
    env = world.make()
    try:
        env.reset(seed=0)
        found = {
            "time_step": _TIME_STEP,
            "radii": _radii(env),
            "runs": [
                {
                    "name": name,
                    "frames": _frames(world, env, runs[name]),
                    "true": _rounded(_true_rewards(runs[name])),
                    "learnt": _rounded(learnt.episode_rewards(runs[name])[:_STEPS]),
                }
                for name in NAMES
            ],
        }
    finally:
        env.close()
    folder = board_folder(control.root, board)
    learnt.save(folder / "reward")
    (folder / "reward" / "page.json").write_text(json.dumps(found, allow_nan=False), "utf-8")
    return found


def _true_rewards(episode: Episode) -> np.ndarray:
    rewards = episode.rewards
    return np.zeros(_STEPS) if rewards is None else rewards[:_STEPS]


def _rounded(values: np.ndarray) -> list[float]:
    return np.asarray(values, dtype=np.float64).round(3).tolist()


def _capsules(env: gymnasium.Env) -> tuple[Any, Any, np.ndarray]:
    simulator: Any = env.unwrapped
    kinds = np.asarray(simulator.model.geom_type)
    return simulator.model, simulator.data, np.flatnonzero(kinds == _CAPSULE)


def _radii(env: gymnasium.Env) -> list[float]:
    model, _, capsules = _capsules(env)
    return _rounded(model.geom_size[capsules, 0])


def _frames(world: HalfCheetah, env: gymnasium.Env, episode: Episode) -> list[list[float]]:
    """Both ends of every limb, x and z in metres, at each step; and where the body is."""
    model, data, capsules = _capsules(env)
    speeds = episode.observations[:, 8]
    along = np.concatenate([[0.0], np.cumsum(_TIME_STEP * speeds[1:])])
    frames = []
    for observation, x in zip(episode.observations[: _STEPS + 1], along, strict=False):
        world.set_state(env, observation)
        middles = data.geom_xpos[capsules][:, [0, 2]]
        axes = data.geom_xmat[capsules].reshape(-1, 3, 3)[:, [0, 2], 2]
        reach = axes * model.geom_size[capsules, 1:2]
        ends = np.concatenate([middles - reach, middles + reach], 1).reshape(-1, 4)
        ends[:, [0, 2]] += x
        frames.append([round(float(x), 3), *ends.round(3).reshape(-1).tolist()])
    return frames
