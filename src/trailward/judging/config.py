"""How much is run to judge a reward, and the planner that is judged."""

from dataclasses import dataclass, replace

from trailward.acting.planner import Planner
from trailward.data.episode import MAX_SEED
from trailward.diffusion.diffuser import Diffuser
from trailward.environments import Environment
from trailward.errors import at_least, at_most
from trailward.learning.learnt_reward import LearntReward


@dataclass(frozen=True)
class EvaluationConfig:
    """How much is run to judge a reward.

    Attributes:
        num_episodes: roll-outs of each policy, from the same starts.
        episode_steps: environment steps after which a roll-out is cut, if it has not ended; as many
            as are usual in the environment if None.
        num_windows: play windows for ERC.
        num_transitions: play transitions for EPIC and the correlation of steps; all of them, if
            there are fewer.
        num_plans: plans for the dynamics error, from random play observations; it is measured
            where a simulator can be put into them.
        clone_steps: gradient steps of the plain clone of the demonstrations that is rolled out
            beside the planner; 0 for none.
        seed: seed for starts, windows and noise.
    """

    num_episodes: int = 20
    episode_steps: int | None = None
    num_windows: int = 2000
    num_transitions: int = 2000
    num_plans: int = 200
    clone_steps: int = 3000
    seed: int = 1000

    def __post_init__(self) -> None:
        counts = ["num_episodes", "num_windows", "num_plans", "num_transitions"]
        counts += [] if self.episode_steps is None else ["episode_steps"]
        at_least(1, self, *counts)
        at_least(0, self, "clone_steps")
        at_most(10_000_000, self, *counts, "clone_steps")
        at_most(MAX_SEED - 10_000_000, self, "seed")  # an episode has a seed of its own

    @property
    def starts(self) -> range:
        """Seeds of the roll-outs' starts."""
        return range(self.seed, self.seed + self.num_episodes)

    def with_seed(self, seed: int) -> "EvaluationConfig":
        """The same for another seed of an experiment: a thousand starts further for each."""
        return replace(self, seed=self.seed + 1000 * seed)

    def steps_in(self, environment: Environment) -> int:
        """After how many environment steps a roll-out is cut there."""
        return self.episode_steps or environment.episode_steps

    def planner(self, diffuser: Diffuser, learnt: LearntReward, *, guided: bool) -> Planner:
        """The planner of the reward, as it is deployed, or the unguided one beside it."""
        if guided:
            return Planner.for_reward(learnt, diffuser, seed=self.seed)
        return Planner(diffuser, learnt.sampling, planning=learnt.planning, seed=self.seed)
