"""Jobs that use a learnt reward: plans from a place, a run, and a judgement."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from trailward.acting.planner import Policy
from trailward.diffusion.diffuser import SamplingConfig
from trailward.errors import DataError
from trailward.judging.config import EvaluationConfig
from trailward.judging.dynamics import plan_observations
from trailward.judging.evaluate import evaluate
from trailward.learning.learnt_reward import LearntReward
from trailward.web.drawn import Drawn, place_of
from trailward.web.learning import SAMPLING, planner
from trailward.web.worker import Control

_PART = 10
"""Steps between two parts of a run."""

_STAYING = 50
"""The last steps of a run, whose middle is where it stays."""

_MOST_PLANS, _MOST_SCALE, _RUN_CANDIDATES = 32, 20.0, 8
_FIGURES = ("task", "return", "return_fraction", "erc_windows")


def plans(
    control: Control,
    board: str,
    start: Sequence[float],
    scale: float = 1.0,
    candidates: int = 12,
    seed: int = 0,
) -> dict[str, Any]:
    """A fan of plans from a place, at every step from noise to plan, with and without the reward.

    Args:
        control: of the job.
        board: whose reward guides.
        start: x and y.
        scale: of the guide, in units of the scale that the reward was learnt with.
        candidates: plans to sample.
        seed: of the noise.
    """
    mine = Drawn(control.root, board)
    ground, diffuser, learnt = mine.ground, mine.diffuser, mine.reward
    place = list(mine.environment.position)
    observed = np.tile(ground.start(place_of(start)), (_count(candidates), 1))
    first = diffuser.observation_normalizer.normalize(torch.as_tensor(observed).float())
    found: dict[str, Any] = {"start": start, "stride": diffuser.spec.stride}
    for name in ("without", "with") if learnt else ("without",):
        guide = learnt.guide_model if learnt and name == "with" and scale > 0 else None
        steps: list[torch.Tensor] = []
        with torch.no_grad():
            kept = diffuser.sample_plans(
                first,
                _sampling(learnt, scale),
                generator=torch.Generator().manual_seed(seed),
                reward_model=guide,
                adjoint=_recording(steps),
            )
            merit = None if guide is None else guide(kept)
        paths = [plan_observations(diffuser, each)[..., place] for each in steps]
        found[name] = {
            "steps": [each.round(2).tolist() for each in paths],
            "touches": ground.touches(paths[-1]).tolist(),
            "chosen": -1 if merit is None else int(merit.argmax()),
        }
    return found


def run(
    control: Control,
    board: str,
    start: Sequence[float],
    scale: float = 1.0,
    candidates: int = 1,
    seed: int = 0,
) -> dict[str, Any]:
    """Let the planner act in the simulator; its path is told in parts."""
    mine = Drawn(control.root, board)
    ground, learnt = mine.ground, mine.reward
    place = list(mine.environment.position)
    follower = planner(
        mine.diffuser,
        learnt if scale > 0 else None,
        _sampling(learnt, scale),
        candidates=_count(candidates),
        seed=seed,
    )
    path: list[list[float]] = []
    told = 0

    def policy(observations: np.ndarray) -> np.ndarray:
        nonlocal told
        path.append(observations[0, place].round(3).tolist())
        if len(path) - told >= _PART:
            control.emit({"path": path[told:]})
            told = len(path)
        return follower(observations)

    episode = ground.run(_Told(follower, policy), ground.start(place_of(start)))
    reached = episode.observations[:, place]
    stays = ground.say_where(np.median(reached[-_STAYING:], axis=0))
    return {"path": [*path[told:], reached[-1].round(3).tolist()], "stays": stays}


@dataclass(frozen=True)
class _Told:
    """A policy that is watched as it acts."""

    policy: Policy
    act: Callable[[np.ndarray], np.ndarray]

    def reset(self) -> None:
        self.policy.reset()

    def __call__(self, observations: np.ndarray) -> np.ndarray:
        return self.act(observations)


def judge(control: Control, board: str, task: str) -> dict[str, Any]:
    """How good the reward and the planner are, by a true task."""
    mine = Drawn(control.root, board)
    learnt, ground, environment = mine.reward, mine.ground, mine.environment
    if learnt is None:
        raise DataError("there is no reward", place="reward", remedy="learn one first")
    config = EvaluationConfig(
        num_episodes=10, episode_steps=ground.episode_steps, num_plans=20, num_windows=1000
    )
    stages = ["roll-outs", "correlation with the true reward", "dynamics error"]
    evaluation = evaluate(
        learnt,
        mine.diffuser,
        environment,
        environment.task(task),
        mine.play(control),
        mine.demonstrations,
        config,
        stage=lambda name: control.progress(
            f"Judging: {name}", stages.index(name) if name in stages else 0, len(stages)
        ),
    )
    return {name: evaluation.figures[name] for name in (*_FIGURES, *ground.figures)}


def compare(control: Control, board: str) -> dict[str, Any]:
    """How well the reward and the planner foresee a second set of demonstrations.

    Returns:
        ``rank``: the share of play episodes whose mean reward is lower than that of the second
        set's, on average; ``apart``: how far from their ends the planner ends that begins where
        they do, in the environment's units (median); ``count``: how many there are.
    """
    mine = Drawn(control.root, board)
    learnt, ground, second = mine.reward, mine.ground, mine.episodes(second=True)
    if learnt is None or not second:
        msg = "there is no reward, or no path to compare it with"
        remedy = "learn a reward, and draw paths to compare with"
        raise DataError(msg, place="second", value=len(second), remedy=remedy)
    play, place = mine.play(control).episodes, list(mine.environment.position)
    usual = np.array([learnt.mean_reward(episode) for episode in play])
    own = np.array([learnt.mean_reward(episode) for episode in second])
    apart = []
    for number, episode in enumerate(second):
        control.progress("Running from where they begin", number, len(second))
        follower = planner(mine.diffuser, learnt, learnt.sampling, candidates=_RUN_CANDIDATES)
        ran = ground.run(follower, ground.start(episode.observations[0, place]))
        apart.append(np.linalg.norm((ran.observations[-1] - episode.observations[-1])[place]))
        if control.stopped:
            break
    rank = float((own[:, None] > usual).mean())
    return {"rank": rank, "apart": float(np.median(apart)), "count": len(second)}


def _count(candidates: int) -> int:
    return int(np.clip(candidates, 1, _MOST_PLANS))


def _sampling(learnt: LearntReward | None, scale: float) -> SamplingConfig:
    usual = learnt.sampling if learnt else SAMPLING
    return replace(usual, scale=float(np.clip(scale, 0, _MOST_SCALE)) * usual.scale)


def _recording(steps: list[torch.Tensor]) -> Callable[..., Any]:
    """An adjoint that keeps the plans of every reverse step, from noise on."""

    def adjoint(advance: Callable[..., torch.Tensor], left: int) -> Callable[..., torch.Tensor]:
        def advanced(plan: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
            if not steps:
                steps.append(plan)
            steps.append(advance(plan, noise))
            return steps[-1]

        return advanced

    return adjoint
