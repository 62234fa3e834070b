"""GAIL and AIRL: are the baselines the library's? A table, then one JSON object as the last line.

On Pendulum, from 60 episodes of a controller that swings it up, each is trained twice for each
seed: by a script of ``imitation`` and Stable-Baselines3 alone, written as in the library's
examples, and by ``trailward.baselines.adversarial``. Both take the examples' numbers, and 2048
environment steps a round as the library's own script does by default. Returns are means over the
same 50 starts, of policies that take their mean action; ``identical_weights`` says whether the two
learnt the same numbers, those of policy and reward, to the last bit. Finished trainings are kept
(``--out``).

    .venv/bin/python benchmarks/adversarial.py            # about ten minutes a seed, one thread
    .venv/bin/python benchmarks/adversarial.py --quick    # shows that it runs
"""

import json
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import tyro
from imitation.algorithms.adversarial.airl import AIRL
from imitation.algorithms.adversarial.common import AdversarialTrainer
from imitation.algorithms.adversarial.gail import GAIL
from imitation.data.types import Trajectory
from imitation.rewards.reward_nets import BasicRewardNet, BasicShapedRewardNet
from imitation.util import logger
from imitation.util.networks import RunningNorm
from imitation.util.util import make_vec_env
from rich.console import Console
from rich.table import Table
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.ppo import MlpPolicy
from torch import nn

from trailward import Dataset
from trailward.acting.planner import Policy
from trailward.acting.rollout import rollout
from trailward.baselines.adversarial import AdversarialResult, Budget, airl, gail
from trailward_benchmark.jobs import kept

ENV_ID, EPISODE_STEPS = "Pendulum-v1", 200
NUM_EPISODES, FIRST_START = 50, 1000
NUM_ENVS, ROLLOUT_STEPS = 8, 256


@dataclass(frozen=True)
class Benchmark:
    """The library's GAIL and AIRL, and ours, from the same demonstrations."""

    out: Path = Path("runs/benchmark-adversarial")
    """Folder of everything found; finished trainings are kept."""
    seeds: tuple[int, ...] = (0,)
    """Four trainings for each."""
    num_env_steps: int = 300_000
    """Environment steps of each training."""
    quick: bool = False
    """One seed, next to no training."""


class SwingUp:
    """Pumps energy into the pendulum, then holds it upright; a torque is off by 0.5 N m or so."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.reset()

    def reset(self) -> None:
        """Start the errors anew."""
        self._generator = np.random.default_rng(self.seed)

    def __call__(self, observations: np.ndarray) -> np.ndarray:
        """A torque for each of ``cos, sin, angular velocity``."""
        cosine, sine, velocity = observations.T
        angle = np.arctan2(sine, cosine)
        missing = 5 * (1 - cosine) - velocity**2 / 6
        pumping = np.clip(2 * missing, -2, 2) * np.where(velocity < 0, -1, 1)
        torque = np.where(np.abs(angle) < 0.6, -10 * angle - 2.5 * velocity, pumping)
        errors = 0.5 * self._generator.standard_normal(len(torque))
        return np.clip(torque + errors, -2, 2)[:, None]


class Random:
    """Draws torques evenly."""

    def reset(self) -> None:
        """Start the draws anew."""
        self._generator = np.random.default_rng(0)

    def __call__(self, observations: np.ndarray) -> np.ndarray:
        """Torques that have nothing to do with the observations."""
        return self._generator.uniform(-2, 2, (len(observations), 1))


def library_gail(
    rollouts: Sequence[Trajectory],
    env: VecEnv,
    *,
    seed: int,
    num_env_steps: int,
    n_steps: int = ROLLOUT_STEPS,
) -> GAIL:
    """The library's example of GAIL, in another environment."""
    learner = PPO(
        env=env,
        policy=MlpPolicy,
        batch_size=64,
        ent_coef=0.0,
        learning_rate=0.0004,
        gamma=0.95,
        n_epochs=5,
        n_steps=n_steps,
        seed=seed,
        device="cpu",
    )
    reward_net = BasicRewardNet(
        observation_space=env.observation_space,
        action_space=env.action_space,
        normalize_input_layer=RunningNorm,
    )
    trainer = GAIL(
        demonstrations=rollouts,
        demo_batch_size=1024,
        gen_replay_buffer_capacity=512,
        n_disc_updates_per_round=8,
        venv=env,
        gen_algo=learner,
        reward_net=reward_net,
        custom_logger=logger.configure(format_strs=[]),
    )
    trainer.train(num_env_steps)
    return trainer


def library_airl(
    rollouts: Sequence[Trajectory],
    env: VecEnv,
    *,
    seed: int,
    num_env_steps: int,
    n_steps: int = ROLLOUT_STEPS,
) -> AIRL:
    """The library's example of AIRL, in another environment."""
    learner = PPO(
        env=env,
        policy=MlpPolicy,
        batch_size=64,
        ent_coef=0.0,
        learning_rate=0.0005,
        gamma=0.95,
        clip_range=0.1,
        vf_coef=0.1,
        n_epochs=5,
        n_steps=n_steps,
        seed=seed,
        device="cpu",
    )
    reward_net = BasicShapedRewardNet(
        observation_space=env.observation_space,
        action_space=env.action_space,
        normalize_input_layer=RunningNorm,
    )
    trainer = AIRL(
        demonstrations=rollouts,
        demo_batch_size=2048,
        gen_replay_buffer_capacity=512,
        n_disc_updates_per_round=16,
        venv=env,
        gen_algo=learner,
        reward_net=reward_net,
        custom_logger=logger.configure(format_strs=[]),
    )
    trainer.train(num_env_steps)
    return trainer


METHODS: dict[str, tuple[Callable[..., AdversarialTrainer], Callable[..., AdversarialResult]]] = {
    "gail": (library_gail, gail),
    "airl": (library_airl, airl),
}


def main(benchmark: Benchmark) -> None:
    """Train all, follow all, print what they show."""
    out = benchmark.out / ("quick" if benchmark.quick else "full")
    if benchmark.quick:
        shutil.rmtree(out, ignore_errors=True)
        benchmark = replace(benchmark, seeds=benchmark.seeds[:1], num_env_steps=2 * 2048)
    demonstrations = demonstrate(60)
    cells = {
        method: [cell(method, demonstrations, seed, benchmark, out) for seed in benchmark.seeds]
        for method in METHODS
    }
    result: dict[str, Any] = {
        method: {
            "library_return": float(np.mean([found["library_return"] for found in each])),
            "wrapper_return": float(np.mean([found["wrapper_return"] for found in each])),
            "identical_weights": all(found["identical_weights"] for found in each),
        }
        for method, each in cells.items()
    }
    result["demonstrator_return"] = mean_return(SwingUp(seed=1))
    result["random_return"] = mean_return(Random())
    result["env_steps"] = cells["gail"][0]["env_steps"]
    Console(width=110).print(_table(cells, result))
    print(json.dumps(result))


def demonstrate(num_episodes: int) -> Dataset:
    """Episodes of the controller."""
    envs = [gymnasium.make(ENV_ID) for _ in range(num_episodes)]
    return Dataset(rollout(envs, SwingUp(), seeds=range(num_episodes), num_steps=EPISODE_STEPS))


def cell(
    method: str, demonstrations: Dataset, seed: int, benchmark: Benchmark, out: Path
) -> dict[str, Any]:
    """Train by both scripts and compare; kept as JSON once done."""
    file = out / f"{method}-{seed}-{benchmark.num_env_steps}.json"
    return kept(file, lambda: _trained(method, demonstrations, seed, benchmark))


def _trained(
    method: str, demonstrations: Dataset, seed: int, benchmark: Benchmark
) -> dict[str, Any]:
    library, ours = METHODS[method]
    trainer = library(
        library_trajectories(demonstrations),
        make_vec_env(ENV_ID, rng=np.random.default_rng(seed), n_envs=NUM_ENVS),
        seed=seed,
        num_env_steps=benchmark.num_env_steps,
    )
    result = ours(
        demonstrations,
        lambda: gymnasium.make(ENV_ID),
        seed=seed,
        budget=Budget(benchmark.num_env_steps, NUM_ENVS, ROLLOUT_STEPS),
    )
    return {
        "library_return": library_return(trainer),
        "wrapper_return": mean_return(result.policy),
        "identical_weights": identical(trainer, result),
        "env_steps": result.num_env_steps,
    }


def library_trajectories(demonstrations: Dataset) -> list[Trajectory]:
    """The demonstrations as the library would record them, its observations of single precision."""
    return [
        Trajectory(
            obs=episode.observations.astype(np.float32),
            acts=episode.actions,
            infos=None,
            terminal=True,
        )
        for episode in demonstrations.episodes
    ]


def library_return(trainer: AdversarialTrainer) -> float:
    """What the library's examples print at their end, from the starts of :func:`mean_return`."""
    env = make_vec_env(ENV_ID, rng=np.random.default_rng(0), n_envs=NUM_EPISODES)
    env.seed(FIRST_START)
    found, _ = evaluate_policy(trainer.gen_algo, env, NUM_EPISODES)
    return float(np.mean(found))


def mean_return(policy: Policy) -> float:
    """The mean return of a policy."""
    envs = [gymnasium.make(ENV_ID) for _ in range(NUM_EPISODES)]
    seeds = range(FIRST_START, FIRST_START + NUM_EPISODES)
    return float(
        Dataset(rollout(envs, policy, seeds=seeds, num_steps=EPISODE_STEPS)).returns.mean()
    )


def identical(trainer: AdversarialTrainer, result: AdversarialResult) -> bool:
    """Whether policies and rewards consist of the same numbers, to the last bit."""
    return _same(trainer.policy, result.policy.network) and _same(
        trainer.reward_test, result.reward.network
    )


def _same(one: nn.Module, other: nn.Module) -> bool:
    weights, others = one.state_dict(), other.state_dict()
    return weights.keys() == others.keys() and all(
        weight.equal(others[name]) for name, weight in weights.items()
    )


def _table(cells: dict[str, list[dict[str, Any]]], result: dict[str, Any]) -> Table:
    title = f"{ENV_ID}, returns after {result['env_steps']:,} environment steps"
    table = Table("method", "the library's script", "ours", "identical weights", title=title)
    for method, each in cells.items():
        for found in each:
            returns = (f"{found[key]:.1f}" for key in ("library_return", "wrapper_return"))
            table.add_row(method, *returns, str(found["identical_weights"]))
    for name in ("demonstrator", "random"):
        table.add_row(name, f"{result[f'{name}_return']:.1f}", "", "")
    return table


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "Converting a tensor with requires_grad=True", UserWarning)
    main(tyro.cli(Benchmark))
