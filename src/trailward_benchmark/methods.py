"""The methods that are compared, each from a problem at hand to a policy and a reward."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from trailward.acting.planner import Planner, Policy
from trailward.baselines.adversarial import (
    AIRL,
    AIRL_TUNED,
    GAIL,
    GAIL_TUNED,
    AdversarialResult,
    Budget,
    Recipe,
    airl,
    gail,
)
from trailward.baselines.behavioural_cloning import clone
from trailward.baselines.episode_reward import EpisodeReward, TransitionReward
from trailward.baselines.nearest import NearestReward
from trailward.baselines.optimal_transport import TransportReward
from trailward.baselines.regression import SCALE_FACTORS, RegressionConfig, regress_reward
from trailward.cli.presets import Settings
from trailward.data.episode import Episode
from trailward.diffusion.diffuser import Diffuser
from trailward.diffusion.fine_tuning import FineTuningConfig, Rewards, fine_tune_diffuser
from trailward.learning.config import LearningConfig, PlanningConfig
from trailward.learning.learn_reward import learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.objectives import DirectObjective, find_objective
from trailward.pretrained import model_folder
from trailward.registry import Registry
from trailward.rewards import REWARDS
from trailward.typing import Actions, Observations
from trailward_benchmark.problems import Problem, World

Recipes = Mapping[str, tuple[Recipe, int]]
"""How to train, and the steps of a round, by environment."""

Labels = type[NearestReward] | type[TransportReward]
NUM_BEST_OF = 8
"""Unguided plans that best-of-N chooses from."""

_ENV_STEPS = {"umaze": 200_000, "large": 200_000, "halfcheetah": 800_000}
"""What GAIL and AIRL may spend in the environment: the thesis's budgets."""

_GAIL = {"umaze": (GAIL, 256), "large": (GAIL, 256), "halfcheetah": (GAIL_TUNED, 512)}
_AIRL = {"umaze": (AIRL, 256), "large": (AIRL, 256), "halfcheetah": (AIRL_TUNED, 1024)}
"""Recipe, and steps of a round in each of 8 environments. On HalfCheetah both are the library's,
tuned to it. In mazes, for which it has none, its examples' numbers with its scripts' rounds of
2048 steps: of the 16,384 of its examples, the budget is 12 rounds, too few."""

_CLONING_EPOCHS, _CLONING_WIDTH = 50, 256
_CLONING_STEPS = {"umaze": 500, "large": 500, "halfcheetah": 2000}
"""Gradient steps of cloning by the denoiser; fewer in mazes, whose networks are slower."""


@dataclass(frozen=True)
class Outcome:
    """What a method made.

    Attributes:
        policy: how it behaves; None if it gives a reward only.
        reward: None if it gives a policy only.
        best_of: the policy that takes the best of unguided plans under the reward; None without a
            reward that judges plans.
        seconds: it took to learn, without the time to judge it.
        num_env_steps: it spent in the environment.
        labels: the reward's on the judged play episodes, where it has worked them out already.
        mapped: the reward of any transition, for pictures; None if there is none.
    """

    policy: Policy | None = None
    reward: EpisodeReward | None = None
    best_of: Policy | None = None
    seconds: float = 0.0
    num_env_steps: int = 0
    labels: Sequence[Float[np.ndarray, "_time"]] | None = None
    mapped: TransitionReward | None = None


@dataclass(frozen=True)
class Method:
    """A method by name.

    Attributes:
        label: what tables call it.
        run: learns.
        settings: what its results depend on beside the problem, as JSON values.
    """

    label: str
    run: Callable[[World, Path], Outcome]
    settings: Callable[[Problem, Settings], Mapping[str, Any]] = field(
        default=lambda problem, settings: {}
    )


@dataclass(frozen=True)
class ArrivalReward:
    """A learnt reward as a :class:`~trailward.baselines.episode_reward.TransitionReward`."""

    learnt: LearntReward

    def step_rewards(
        self, observations: Observations, actions: Actions, next_observations: Observations
    ) -> Float[np.ndarray, "time"]:
        """The reward of each transition."""
        return self.learnt.transition_rewards(observations, actions, next_observations)

    def __call__(self, episode: Episode) -> Float[np.ndarray, "time"]:
        """The reward of each of the episode's T environment steps."""
        return self.step_rewards(*episode.transitions)


def _unguided(world: World, folder: Path) -> Outcome:
    return Outcome(_follower(world, world.diffuser))


def _demonstrator(world: World, folder: Path) -> Outcome:
    return Outcome(world.demonstrator)


def _bc(width: int | None, world: World, folder: Path) -> Outcome:
    began = time.perf_counter()
    num_epochs = _num_epochs(world.problem)
    policy = clone(world.demonstrations, seed=world.seed, num_epochs=num_epochs, width=width)
    return Outcome(policy, seconds=time.perf_counter() - began)


def _adversarial(
    train: Callable[..., AdversarialResult], recipes: Recipes, world: World, folder: Path
) -> Outcome:
    began = time.perf_counter()
    recipe, rollout_steps = recipes[world.problem.environment]
    found = train(
        world.demonstrations,
        world.make_env,
        seed=world.seed,
        budget=_budget(world.problem, world.settings, rollout_steps),
        recipe=recipe,
    )
    return Outcome(
        found.policy,
        found.reward,
        seconds=time.perf_counter() - began,
        num_env_steps=found.num_env_steps,
        mapped=found.reward,
    )


def _labels(make: Labels, world: World, folder: Path) -> Outcome:
    """Label play data, learn the labels, and plan with what was learnt."""
    began = time.perf_counter()
    settings, reward = world.settings, make(world.demonstrations)
    learning = _learning(settings.objective, settings)
    labels = [reward(episode) for episode in world.play.episodes]
    learnt = regress_reward(
        labels,
        world.play,
        world.diffuser,
        world.demonstrations,
        reward=settings.reward,
        sampling=settings.sampling,
        learning=replace(learning, seed=world.seed),
        config=replace(_regression(world.problem), seed=world.seed),
    )
    if learning.fine_tuning.num_steps:
        tuned = _fine_tuned(world, learnt.rewards_along, learning.fine_tuning, folder)
        learnt = replace(learnt, fine_tuned=tuned)
    seconds = time.perf_counter() - began
    exact = reward if isinstance(reward, TransitionReward) else ArrivalReward(learnt)
    planned = _planned(world, learnt, seconds)
    judged = labels[: len(world.judged.episodes)]
    return replace(planned, reward=reward, labels=judged, mapped=exact)


def _bc_denoiser(world: World, folder: Path) -> Outcome:
    """The diffuser trained further on demonstrations alone; its plans are followed unguided."""
    began = time.perf_counter()
    config = _cloning_by_denoiser(world.problem, world.settings)
    tuned = _fine_tuned(world, lambda episode: np.zeros(len(episode)), config, folder)
    return Outcome(_follower(world, tuned), seconds=time.perf_counter() - began)


def _follower(world: World, diffuser: Diffuser) -> Planner:
    """Follows a diffuser's plans as they come."""
    settings = world.settings
    planning, seed = settings.learning.planning, world.evaluation.seed
    return Planner(diffuser, settings.sampling, planning=planning, seed=seed)


def _fine_tuned(
    world: World, rewards: Callable[[Episode], Rewards], config: FineTuningConfig, folder: Path
) -> Diffuser:
    return fine_tune_diffuser(
        world.diffuser,
        rewards,
        world.play,
        world.demonstrations,
        folder / "fine_tuned",
        config=config,
        seed=world.seed,
    )


def _guided(objective: str, world: World, folder: Path, *, sees_all: bool = False) -> Outcome:
    """Our own: learn a reward with an objective, and plan with it."""
    settings = _seeing_all(world.settings) if sees_all else world.settings
    config = _learning(objective, settings)
    learnt = learn_reward(
        world.diffuser,
        world.demonstrations,
        folder / "reward",
        play=world.play,
        objective=objective,
        reward=settings.reward,
        sampling=settings.sampling,
        config=replace(config, seed=world.seed),
    )
    return _planned(world, learnt, learnt.provenance["learnt"]["seconds"])


def _planned(world: World, learnt: LearntReward, seconds: float) -> Outcome:
    evaluation = world.evaluation
    best_of = Planner(
        world.diffuser,
        replace(learnt.sampling, scale=0.0),
        learnt.guide_model,
        PlanningConfig(
            num_candidates=NUM_BEST_OF,
            choose="reward",
            replan_every=learnt.planning.replan_every,
        ),
        evaluation.seed,
    )
    reward = ArrivalReward(learnt)
    policy = evaluation.planner(world.diffuser, learnt, guided=True)
    return Outcome(policy, reward, best_of, seconds, mapped=reward)


def _budget(problem: Problem, settings: Settings, rollout_steps: int) -> Budget:
    steps = vars(settings.demonstrations)["episode_steps"] or settings.evaluation.steps_in(
        settings.environment
    )
    if problem.quick:
        return Budget(512, num_envs=2, rollout_steps=128, episode_steps=steps)
    num_env_steps = _ENV_STEPS[problem.environment]
    return Budget(num_env_steps, rollout_steps=rollout_steps, episode_steps=steps)


def _planner_settings(problem: Problem, settings: Settings) -> dict[str, Any]:
    planning = settings.learning.planning
    return {
        "diffuser": _fingerprint(str(settings.packaged)),
        "sampling": asdict(settings.sampling),
        "planner": [planning.num_candidates, planning.choose, planning.replan_every],
    }


@cache
def _fingerprint(packaged: str) -> str:
    return Diffuser.load(model_folder(packaged)).fingerprint


def _seeing_all(settings: Settings) -> Settings:
    """The same, but that the reward may see every entry of an observation."""
    return replace(settings, reward=replace(settings.reward, features=None))


def _learning_settings(
    objective: str, problem: Problem, settings: Settings, *, sees_all: bool = False
) -> dict[str, Any]:
    settings = _seeing_all(settings) if sees_all else settings
    learning = asdict(_learning(objective, settings)) | {"objective": objective}
    reward = {"model": REWARDS.name_of(settings.reward.kind), **asdict(settings.reward)}
    best_of = {"num_best_of": NUM_BEST_OF}
    return _planner_settings(problem, settings) | best_of | {"learning": learning, "reward": reward}


def _label_settings(make: Labels, problem: Problem, settings: Settings) -> dict[str, Any]:
    own = {each.name: each.default for each in fields(make) if each.default is not MISSING}
    return {
        **_learning_settings(settings.objective, problem, settings),
        "regression": asdict(_regression(problem)),
        "scale_factors": SCALE_FACTORS,
        "labels": own,
    }


def _cloning_by_denoiser(problem: Problem, settings: Settings) -> FineTuningConfig:
    num_steps = 4 if problem.quick else _CLONING_STEPS[problem.environment]
    weight = settings.training.action_weight
    return FineTuningConfig(num_steps=num_steps, action_weight=weight, demonstration_share=1.0)


def _cloning_by_denoiser_settings(problem: Problem, settings: Settings) -> dict[str, Any]:
    told = asdict(_cloning_by_denoiser(problem, settings))
    return _planner_settings(problem, settings) | {"tuning": told}


def _regression(problem: Problem) -> RegressionConfig:
    return RegressionConfig(num_steps=20) if problem.quick else RegressionConfig()


def _learning(objective: str, settings: Settings) -> LearningConfig:
    """The preset's, but that a diffuser is fine-tuned to the reward alone, without demonstrations.

    Direct objectives have their guide's scale chosen as labels have, where plans are guided.
    """
    learning = settings.learning
    tuning = replace(learning.fine_tuning, demonstration_share=0.0)
    config = replace(learning, fine_tuning=tuning)
    if tuning.num_steps or not isinstance(find_objective(objective), DirectObjective):
        return config
    held_out = max(1, learning.selection.num_held_out)
    selection = replace(learning.selection, num_held_out=held_out, scale_factors=SCALE_FACTORS)
    return replace(config, selection=selection)


def _adversarial_settings(recipes: Recipes, problem: Problem, settings: Settings) -> dict[str, Any]:
    recipe, rollout_steps = recipes[problem.environment]
    return asdict(_budget(problem, settings, rollout_steps)) | {"recipe": asdict(recipe)}


def _num_epochs(problem: Problem) -> int:
    return 1 if problem.quick else _CLONING_EPOCHS


def _guided_method(label: str, objective: str, *, sees_all: bool = False) -> Method:
    run = partial(_guided, objective, sees_all=sees_all)
    return Method(label, run, partial(_learning_settings, objective, sees_all=sees_all))


def _cloning_method(label: str, width: int | None) -> Method:
    return Method(
        label,
        partial(_bc, width),
        lambda problem, settings: {"num_epochs": _num_epochs(problem), "width": width},
    )


def _adversarial_method(
    label: str, train: Callable[..., AdversarialResult], recipes: Recipes
) -> Method:
    run = partial(_adversarial, train, recipes)
    return Method(label, run, partial(_adversarial_settings, recipes))


def _label_method(label: str, make: Labels) -> Method:
    return Method(label, partial(_labels, make), partial(_label_settings, make))


METHODS: Registry[Method] = Registry(
    "methods",
    {
        "unguided": Method("unguided planner", _unguided, _planner_settings),
        "demonstrator": Method("demonstrator", _demonstrator),
        "ours": _guided_method("trailward", "mmd_gaussian"),
        "ours_all": _guided_method("trailward, seeing all", "mmd_gaussian", sees_all=True),
        "relative_reward": _guided_method("relative reward", "relative_reward"),
        "logit": _guided_method("expert-or-play logit", "logit"),
        "dlsm": _guided_method("guided denoising score matching", "dlsm"),
        "bc": _cloning_method("BC", None),
        "bc_wide": _cloning_method("BC, wide and normalised", _CLONING_WIDTH),
        "bc_denoiser": Method("BC by the denoiser", _bc_denoiser, _cloning_by_denoiser_settings),
        "gail": _adversarial_method("GAIL", gail, _GAIL),
        "airl": _adversarial_method("AIRL", airl, _AIRL),
        "seabo": _label_method("SEABO", NearestReward),
        "otr": _label_method("OTR", TransportReward),
    },
)
"""Methods by the name used in flags and results. The first two are the ends of the scale of
returns. ``ours_all`` tells what knowing the features is worth; the usual grid leaves it out."""
