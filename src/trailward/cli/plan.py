"""The verb ``plan``: plans from an observation, as JSON."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from trailward.acting.planner import Planner
from trailward.cli.flags import Say
from trailward.data.angles import lift
from trailward.data.choices import decode
from trailward.data.tracks import added_rates
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.environments import find_environment
from trailward.errors import DataError, SettingsError
from trailward.judging.dynamics import plan_observations
from trailward.learning.files import load_reward
from trailward.pretrained import model_folder


@dataclass(frozen=True)
class Plan:
    """Sample guided plans from an observation and print them as JSON, in environment units.

    Plans that carry actions are printed with them: for each plan step, those until the next.
    """

    start: tuple[float, ...] | None = None
    """The observation to plan from, environment units; without it one that --env starts from. Of a
    fit to tracks, the entries that were recorded will do: it then starts at rest."""
    environment: Annotated[str | None, tyro.conf.arg(name="env", aliases=["--environment"])] = None
    """Environment that a start is drawn from, with the seed, if none is given."""
    reward: Path | None = None
    """A learnt reward's folder; unguided plans without it."""
    diffuser: str | None = None
    """A diffuser's folder, or the name of a packaged one; required without a reward, otherwise the
    one that the reward was learnt with if not given."""
    num_plans: int = 1
    """Number of plans to sample."""
    seed: int = 0
    """Seed for the plans' noise."""
    allow_import: bool = False
    """Whether a part named module:Name in a folder may import its module, which executes it."""

    def run(self, say: Say) -> list[list[list[float]]]:
        """Sample plans and say their observations as JSON."""
        start = self._start()
        planner = self._planner()
        diffuser = planner.diffuser
        start = lift(diffuser.columns, start)
        expected = diffuser.spec.observation_dim
        num_rates = len(added_rates(diffuser.columns))
        if num_rates and len(start) == expected - num_rates:
            start = np.concatenate([start, np.zeros(num_rates)])  # at rest
        if len(start) != expected:
            msg = f"start has {len(start)} entries; the diffuser's observations have {expected}"
            raise SettingsError(msg, place="start", value=len(start))
        diffuser.check_memory(self.num_plans * planner.planning.num_candidates)
        plans = planner.plan(np.tile(start, (self.num_plans, 1)))
        points = plan_observations(diffuser, plans)
        found = {"stride": diffuser.spec.stride, "plans": points.tolist()}
        _, actions = diffuser.spec.split(plans)
        if actions is not None:
            units = diffuser.action_normalizer.unnormalize(actions).cpu().numpy()
            found["actions"] = decode(diffuser.columns, units.astype(np.float64)).tolist()
        if not np.isfinite(points).all():
            place = f"a plan of {self.diffuser or self.reward}"
            raise DataError(place=place, value="not finite", remedy="train it again")
        say(json.dumps(found, allow_nan=False))
        return found["plans"]

    def _planner(self) -> Planner:
        """Guided by the reward, or unguided."""
        if self.reward is not None:
            learnt, diffuser = load_reward(
                self.reward, self.diffuser, allow_import=self.allow_import
            )
            return Planner.for_reward(learnt, diffuser, seed=self.seed)
        if self.diffuser is None:
            msg, remedy = "there is nothing to plan by", "give --reward, --diffuser, or both"
            raise SettingsError(msg, place="--diffuser", remedy=remedy)
        diffuser = Diffuser.load(model_folder(self.diffuser), allow_import=self.allow_import)
        sampling = SamplingConfig(num_steps=min(8, diffuser.schedule.num_steps))
        return Planner(diffuser, sampling, seed=self.seed)

    def _start(self) -> np.ndarray:
        if self.start is not None:
            return np.array(self.start)
        if self.environment is None:
            remedy = "give --start, or an environment as --env"
            raise SettingsError("there is no start", place="--start", remedy=remedy)
        env = find_environment(self.environment).make()
        try:
            return np.array(env.reset(seed=self.seed)[0], dtype=np.float64)
        finally:
            env.close()
