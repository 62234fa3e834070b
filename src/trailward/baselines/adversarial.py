"""GAIL and AIRL: a policy and a discriminator of it from the demonstrator, in turns.

Not offline: the policy is trained by acting in the environment. Ho and Ermon 2016 (arXiv
1606.03476); Fu et al. 2018 (arXiv 1710.11248).
"""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float

from trailward.baselines.imitation_library import (
    NetworkPolicy,
    contained,
    library,
    trajectories,
)
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.errors import DataError, SettingsError, at_least

MakeEnv = Callable[[], gymnasium.Env]


@dataclass(frozen=True)
class NetworkReward:
    """A reward network of the library, environment units in, units of its own out.

    Args:
        network: an ``imitation.rewards.reward_nets.RewardNet``.
    """

    network: Any

    def step_rewards(
        self,
        observations: Float[np.ndarray, "time observation"],
        actions: Float[np.ndarray, "time action"],
        next_observations: Float[np.ndarray, "time observation"],
    ) -> Float[np.ndarray, "time"]:
        """The reward of each transition; none of them counts as the end of an episode."""
        ends = np.zeros(len(observations), dtype=bool)
        rewards = self.network.predict(observations, actions, next_observations, ends)
        return rewards.astype(np.float64)

    def __call__(self, episode: Episode) -> Float[np.ndarray, "time"]:
        """The reward of each of the episode's T environment steps."""
        return self.step_rewards(*episode.transitions)


@dataclass(frozen=True)
class AdversarialResult:
    """What GAIL and AIRL learn.

    Attributes:
        policy: takes its mean action.
        reward: of transitions.
        num_env_steps: what was really spent in the environment: whole rounds only.
    """

    policy: NetworkPolicy
    reward: NetworkReward
    num_env_steps: int


@dataclass(frozen=True)
class Budget:
    """What may be spent in the environment.

    Attributes:
        num_env_steps: environment steps in all; whole rounds of ``num_envs * rollout_steps``.
        num_envs: environments side by side.
        rollout_steps: steps in each of them between two updates.
        episode_steps: after which episodes are cut; those of the demonstrations if None.

    Raises:
        SettingsError: if a count is below 1 or the steps do not make a round.
    """

    num_env_steps: int
    num_envs: int = 8
    rollout_steps: int = 2048
    episode_steps: int | None = None

    def __post_init__(self) -> None:
        at_least(1, self, "num_envs", "rollout_steps")
        if self.episode_steps is not None:
            at_least(1, self, "episode_steps")
        if self.num_env_steps < self.round_steps:
            round_steps = f"{self.num_envs} x {self.rollout_steps} = {self.round_steps}"
            remedy = f"give at least {round_steps}, one round, or fewer num_envs or rollout_steps"
            raise SettingsError(place="num_env_steps", value=self.num_env_steps, remedy=remedy)

    @property
    def round_steps(self) -> int:
        """Environment steps of a round."""
        return self.num_envs * self.rollout_steps


@dataclass(frozen=True)
class Recipe:
    """How the library trains, beside the budget.

    Attributes:
        trainer: module and class in the library.
        reward_net: class of the reward network.
        generator: settings of PPO.
        num_updates: of the reward network in a round.
        batch_size: demonstrated transitions in an update.
        normalized: whether the policy has two layers of 32 on normalised observations, instead of
            two of 64 on observations as they are. It also wraps the reward network as the tuned
            settings do, so that AIRL learns from normalised rewards; the library's GAIL reads the
            network's logits past that wrapper.
    """

    trainer: tuple[str, str]
    reward_net: str
    generator: Mapping[str, Any]
    num_updates: int
    batch_size: int
    normalized: bool = False


_GENERATOR = {"batch_size": 64, "ent_coef": 0.0, "gamma": 0.95, "n_epochs": 5}
GAIL = Recipe(
    ("imitation.algorithms.adversarial.gail", "GAIL"),
    "BasicRewardNet",
    {**_GENERATOR, "learning_rate": 4e-4},
    num_updates=8,
    batch_size=1024,
)
AIRL = Recipe(
    ("imitation.algorithms.adversarial.airl", "AIRL"),
    "BasicShapedRewardNet",
    {**_GENERATOR, "learning_rate": 5e-4, "clip_range": 0.1, "vf_coef": 0.1},
    num_updates=16,
    batch_size=2048,
)
_TUNED = {**_GENERATOR, "clip_range": 0.1, "max_grad_norm": 0.8, "vf_coef": 0.11483689492120866}
GAIL_TUNED = Recipe(
    GAIL.trainer,
    GAIL.reward_net,
    {
        **_TUNED,
        "ent_coef": 3.992371122209408e-6,
        "learning_rate": 0.00026250519057717037,
    },
    num_updates=8,
    batch_size=8192,
    normalized=True,
)
"""The library's, tuned to one gait: ``tuned_hps/gail_seals_half_cheetah_best_hp_eval.json``.

Its rounds are of 4096 steps."""
AIRL_TUNED = Recipe(
    AIRL.trainer,
    AIRL.reward_net,
    {
        **_TUNED,
        "ent_coef": 0.0005544771755195421,
        "learning_rate": 0.00047248619386801587,
    },
    num_updates=16,
    batch_size=2048,
    normalized=True,
)
"""Likewise: ``tuned_hps/airl_seals_half_cheetah_best_hp_eval.json``, rounds of 8192 steps."""


def gail(
    demonstrations: Dataset,
    make_env: MakeEnv,
    *,
    seed: int,
    budget: Budget = Budget(800_000),
    recipe: Recipe = GAIL,
    progress: Callable[[int], None] = lambda done: None,
) -> AdversarialResult:
    """Generative adversarial imitation learning, ``imitation.algorithms.adversarial.gail.GAIL``.

    By default everything is as in the library's example: PPO of Stable-Baselines3 with a network
    of two layers of 64, learning rate 0.0004, discount 0.95, batches of 64, 5 epochs a round; a
    reward network of two layers of 32 on normalised observation and action; 8 updates a round of
    1024 demonstrated transitions (or all, if there are fewer) against the 512 latest of the policy.

    The reward is ``-log(1 - D)``, D being the probability that the demonstrator made the
    transition: it ranks behaviour against the policy it was trained with last.

    Args:
        demonstrations: environment units, as the environment returns them.
        make_env: makes a new environment; it is closed afterwards. Its own reward is not used.
        seed: for all randomness.
        budget: what may be spent in the environment; the library's example says that 800,000
            steps match its expert.
        recipe: how to train; of this algorithm.
        progress: told the environment steps done so far.

    Raises:
        MissingExtraError: if the library is not installed.
        DataError: if the demonstrations are not of this environment, or differ in length and no
            ``episode_steps`` is given.
        SettingsError: if the environment's episodes differ in length.
    """
    return _train(recipe, demonstrations, make_env, seed, budget, progress)


def airl(
    demonstrations: Dataset,
    make_env: MakeEnv,
    *,
    seed: int,
    budget: Budget = Budget(2_000_000),
    recipe: Recipe = AIRL,
    progress: Callable[[int], None] = lambda done: None,
) -> AdversarialResult:
    """Adversarial IRL, ``imitation.algorithms.adversarial.airl.AIRL``.

    By default everything is as in the library's example: PPO as for :func:`gail`, but learning
    rate 0.0005, clipping at 0.1 and a value weight of 0.1; a reward network as for :func:`gail`
    plus a potential of the observation that shapes it; 16 updates a round of 2048 demonstrated
    transitions (or all, if there are fewer) against the 512 latest of the policy.

    The reward is the network without the potential: the paper's g.

    Args:
        demonstrations: environment units, as the environment returns them.
        make_env: makes a new environment; it is closed afterwards. Its own reward is not used.
        seed: for all randomness.
        budget: what may be spent in the environment; the library's example says that 2,000,000
            steps match its expert.
        recipe: how to train; of this algorithm.
        progress: told the environment steps done so far.

    Raises:
        MissingExtraError: if the library is not installed.
        DataError: if the demonstrations are not of this environment, or differ in length and no
            ``episode_steps`` is given.
        SettingsError: if the environment's episodes differ in length.
    """
    return _train(recipe, demonstrations, make_env, seed, budget, progress)


def _train(
    recipe: Recipe,
    demonstrations: Dataset,
    make_env: MakeEnv,
    seed: int,
    budget: Budget,
    progress: Callable[[int], None],
) -> AdversarialResult:
    episode_steps = budget.episode_steps or _common_length(demonstrations)
    with contained(seed) as logger, _side_by_side(make_env, budget, episode_steps) as envs:
        _check_observations(demonstrations, envs.observation_space)
        learner = library("stable_baselines3").PPO(
            **_policy(recipe),
            env=envs,
            n_steps=budget.rollout_steps,
            seed=seed,
            device="cpu",
            **recipe.generator,
        )
        module, name = recipe.trainer
        trainer = getattr(library(module), name)(
            demonstrations=trajectories(demonstrations, envs.action_space),
            demo_batch_size=min(recipe.batch_size, demonstrations.num_steps),
            gen_replay_buffer_capacity=512,
            n_disc_updates_per_round=recipe.num_updates,
            venv=envs,
            gen_algo=learner,
            reward_net=_reward_net(recipe, envs),
            custom_logger=logger,
        )
        _run(trainer, budget, progress)
    rounds = budget.num_env_steps // budget.round_steps
    return AdversarialResult(
        NetworkPolicy(trainer.policy),
        NetworkReward(trainer.reward_test),
        rounds * budget.round_steps,
    )


def _policy(recipe: Recipe) -> dict[str, Any]:
    if not recipe.normalized:
        return {"policy": "MlpPolicy"}
    policies, norm = library("imitation.policies.base"), library("imitation.util.networks")
    extractor = {
        "features_extractor_class": policies.NormalizeFeaturesExtractor,
        "features_extractor_kwargs": {"normalize_class": norm.RunningNorm},
    }
    return {"policy": policies.FeedForward32Policy, "policy_kwargs": extractor}


def _reward_net(recipe: Recipe, envs: Any) -> Any:
    nets, norm = library("imitation.rewards.reward_nets"), library("imitation.util.networks")
    network = getattr(nets, recipe.reward_net)(
        observation_space=envs.observation_space,
        action_space=envs.action_space,
        normalize_input_layer=norm.RunningNorm,
    )
    return nets.NormalizedRewardNet(network, norm.RunningNorm) if recipe.normalized else network


def _run(trainer: Any, budget: Budget, progress: Callable[[int], None]) -> None:
    """Train, without the library's own progress bar."""
    shown = sys.stderr

    def after(index: int) -> None:
        with contextlib.redirect_stderr(shown):
            progress((index + 1) * budget.round_steps)

    try:
        with contextlib.redirect_stderr(io.StringIO()):
            trainer.train(budget.num_env_steps, after)
    except ValueError as error:
        if "different length" not in str(error):
            raise
        msg = (
            "episodes of the environment differ in length, which would tell the discriminator the "
            "outcome"
        )
        remedy = "make one that never ends by itself"
        raise SettingsError(msg, place="make_env", remedy=remedy) from error


@contextlib.contextmanager
def _side_by_side(make_env: MakeEnv, budget: Budget, episode_steps: int) -> Iterator[Any]:
    make = lambda: gymnasium.wrappers.TimeLimit(make_env(), episode_steps)
    envs = library("stable_baselines3.common.vec_env").DummyVecEnv([make] * budget.num_envs)
    try:
        yield envs
    finally:
        envs.close()


def _common_length(demonstrations: Dataset) -> int:
    lengths = [len(episode) for episode in demonstrations.episodes]
    least, most = min(lengths), max(lengths)
    if least < most:
        raise DataError(
            f"demonstrations have {least} to {most} steps",
            place="demonstrations",
            value=(least, most),
            remedy="say after how many the environment's episodes are cut: "
            "Budget(..., episode_steps=...)",
        )
    return most


def _check_observations(demonstrations: Dataset, space: gymnasium.Space) -> None:
    shown = (demonstrations.observation_dim,)
    if space.shape != shown:
        msg = f"the environment's observations have shape {space.shape}"
        remedy = f"use demonstrations of the same environment, not of observations of shape {shown}"
        raise DataError(msg, place="observations", value=space.shape, remedy=remedy)
