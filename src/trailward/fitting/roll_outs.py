"""Roll-outs of the planner that a fit made: how it does in an environment."""

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trailward.acting.planner import Planner, Policy
from trailward.acting.rollout import rollout
from trailward.baselines.plain_clone import plain_clone
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.environments import Environment
from trailward.errors import DataError
from trailward.judging.statistics import bootstrap_mean
from trailward.learning.learnt_reward import LearntReward
from trailward.randomness import seeds

SAMPLING = SamplingConfig(num_steps=5, stop_step=0, temperature=0.5)
"""How a fine-tuned diffuser plans; unguided."""


@dataclass(frozen=True)
class RollOuts:
    """What is rolled out, and where.

    Attributes:
        environment: where.
        task: the true reward, by name; the usual one if None.
        num_episodes: of each policy, from starts of the environment's.
    """

    environment: Environment
    task: str | None = None
    num_episodes: int = 20

    def check(self, play: Dataset) -> None:
        """Check that plans can be executed.

        Raises:
            DataError: if no actions were recorded.
        """
        if not play.action_dim:
            where = self.environment.name
            remedy = f"give recordings with actions, or leave environment '{where}' out (--env)"
            msg = "no actions were recorded, so nothing can act"
            raise DataError(msg, place="play", value="no actions", remedy=remedy)

    def run(
        self,
        reward: LearntReward,
        diffuser: Diffuser,
        demonstrations: Sequence[Episode],
        *,
        seed: int = 0,
    ) -> dict[str, Any]:
        """Returns of the planner, the diffuser without the reward, a clone, and the demonstrations.

        If the task has a demonstrator, its returns from the same starts are there too.

        Episodes are cut after as many steps as the longest demonstration has.

        Args:
            reward: that plans are made with.
            diffuser: that it was learnt with.
            demonstrations: environment units; left out if their true reward is not known.
            seed: of starts and plans.
        """
        task, count = self.environment.task(self.task), self.num_episodes
        longest = max(len(episode) for episode in demonstrations)
        envs = [self.environment.make(episode_steps=longest) for _ in range(count)]
        starts = seeds(seed, "fit: starts", count)
        policies: dict[str, Policy] = {
            "unguided": Planner(diffuser, SAMPLING, seed=seed),
            "learnt": Planner.for_reward(reward, diffuser, seed=seed),
            "clone": plain_clone(Dataset(demonstrations, {}, diffuser.columns), seed=seed),
        }
        if (expert := task.demonstrator()) is not None:
            policies["demonstrator"] = expert
        returns = {}
        for who, policy in policies.items():
            episodes = rollout(envs, policy, seeds=starts, num_steps=longest)
            returns[who] = np.array([task.step_rewards(each).sum() for each in episodes])
        with contextlib.suppress(DataError):
            shown = [task.step_rewards(each).sum() for each in demonstrations]
            returns["demonstrations"] = np.array(shown)
        figures = {who: asdict(bootstrap_mean(found)) for who, found in returns.items()}
        return {"environment": self.environment.name, "task": task.name, "return": figures}
