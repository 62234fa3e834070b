"""The verb ``plan``: plans from an observation, as JSON."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trailward.acting.planner import Planner
from trailward.cli.flags import Say, load_reward
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.judging.evaluation import EvaluationConfig, plan_observations
from trailward.pretrained import model_folder


@dataclass(frozen=True)
class Plan:
    """Sample guided plans from an observation and print them as JSON, in environment units."""

    start: tuple[float, ...]
    """The observation to plan from, environment units."""
    reward: Path | None = None
    """A learnt reward's folder; unguided plans without it."""
    diffuser: str = "umaze"
    """A diffuser's folder, or the name of a packaged one."""
    num_plans: int = 1
    """How many."""
    seed: int = 0
    """Of the plans' noise."""

    def run(self, say: Say) -> list[list[list[float]]]:
        """Sample plans and say their observations as JSON."""
        diffuser = Diffuser.load(model_folder(self.diffuser))
        expected = diffuser.spec.observation_dim
        if len(self.start) != expected:
            msg = (
                f"start has {len(self.start)} entries; the diffuser's observations have {expected}"
            )
            raise ValueError(msg)
        learnt = None if self.reward is None else load_reward(self.reward, diffuser)
        if learnt is None:
            sampling = SamplingConfig(num_steps=min(8, diffuser.schedule.num_steps))
            planner = Planner(diffuser, sampling, replan_every=1, seed=self.seed)
        else:
            config = EvaluationConfig(replan_every=1, seed=self.seed)
            planner = config.planner(diffuser, learnt, guided=True)
        plans = planner.plan(np.tile(np.array(self.start), (self.num_plans, 1)))
        points = plan_observations(diffuser, plans).tolist()
        say(json.dumps({"stride": diffuser.spec.stride, "plans": points}))
        return points
