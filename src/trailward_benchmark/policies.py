"""Train a ladder of policies in any environment: TQC of sb3-contrib, with snapshots along the way.

TQC: Kuznetsov et al. 2020, arXiv 2005.04269.
"""

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import nn

from trailward.acting.network_policy import (
    BOUNDS,
    NetworkPolicy,
    describe_returns,
    ladder,
    save_ladder,
)
from trailward.acting.rollout import rollout
from trailward.checkpoint import load_state, save_state
from trailward.environments import Environment
from trailward.errors import DataError, SettingsError, at_least
from trailward.optional import import_extra
from trailward.progress import Report
from trailward.running.interruption import Checkpoints

STATE = "training.safetensors"
SNAPSHOTS = "snapshots"
_REPLAY = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
_MAY_CHANGE = ("num_steps", "checkpoint_every")
_EVALUATION_SEED, _PACKAGING_SEED = 1_000_000_000, 1_100_000_000


@dataclass(frozen=True)
class PolicyTrainingConfig:
    """How the policies are trained.

    Attributes:
        num_steps: environment steps.
        snapshot_every: environment steps between snapshots; each begins new episodes, so where
            episodes have 1000 steps a multiple of ``1000 * num_envs`` cuts none short.
        checkpoint_every: snapshots between checkpoints.
        num_envs: environments side by side.
        num_updates: gradient steps each time that all environments took one step.
        num_random_steps: environment steps of uniformly random actions at the beginning.
        learning_rate: learning rate of actor, critics and entropy weight.
        batch_size: transitions in a gradient step.
        width: width of both hidden layers of actor and critics.
        num_quantiles: quantiles of each of the two critics.
        num_dropped: quantiles of each critic that are dropped, the highest; the paper found 0 best
            on HalfCheetah, and 2 to 5 of 25 on others.
        num_replay: transitions that are remembered.
        num_evaluated: episodes whose mean return is a snapshot's.
        seed: seed for weights, starts and actions.
    """

    num_steps: int = 1_000_000
    snapshot_every: int = 20_000
    checkpoint_every: int = 3
    num_envs: int = 4
    num_updates: int = 2
    num_random_steps: int = 10_000
    learning_rate: float = 1e-3
    batch_size: int = 256
    width: int = 256
    num_quantiles: int = 10
    num_dropped: int = 0
    num_replay: int = 1_000_000
    num_evaluated: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(0, self, "num_steps", "num_random_steps", "num_dropped", "seed")
        at_least(1, self, "checkpoint_every", "num_envs", "num_updates", "batch_size", "width")
        at_least(1, self, "snapshot_every", "num_quantiles", "num_replay", "num_evaluated")
        if self.snapshot_every % self.num_envs:
            remedy = f"it must be a multiple of num_envs, {self.num_envs}"
            raise SettingsError(place="snapshot_every", value=self.snapshot_every, remedy=remedy)


def train_policies(
    environment: Environment,
    config: PolicyTrainingConfig,
    folder: str | os.PathLike[str],
    report: Report = lambda done, **figures: None,
) -> None:
    """Train a policy and keep snapshots of it, from the untrained one to the last.

    The randomness between two snapshots is a function of the seed and the first one's step alone;
    so, started again in a folder that holds a checkpoint, training goes on from it and ends with
    the same bits as if it had never stopped.

    Args:
        environment: where; its own reward is learnt.
        config: how; ``num_steps`` may grow from one call to the next.
        folder: gets ``snapshots``, a model folder each, and the checkpoint.
        report: told the environment steps done and the snapshot's mean return.

    Raises:
        MissingExtraError: if sb3-contrib or MuJoCo is not installed.
        CheckpointError: if the folder's checkpoint is of other settings.
    """
    folder = Path(folder)
    with _own_randomness():
        model = _build(environment, config)
        envs = [environment.make() for _ in range(config.num_evaluated)]
        kept = _state(model, environment, config)
        if (folder / STATE).exists():
            facts = load_state(folder / STATE, **kept, like={"pos": 0, "full": False})
            model.num_timesteps = facts["step"]
            model.replay_buffer.pos, model.replay_buffer.full = facts["pos"], facts["full"]
        else:
            _snapshot(model, environment, envs, folder, report)
            _checkpoint(model, folder, kept)
        due = Checkpoints(config.checkpoint_every * config.snapshot_every, config.num_steps)
        while model.num_timesteps < config.num_steps:
            model.set_random_seed(config.seed * 1_000_003 + model.num_timesteps)
            model._last_obs = None  # so that it begins new episodes
            model.learn(config.snapshot_every, reset_num_timesteps=False)
            _snapshot(model, environment, envs, folder, report)
            if due.due(model.num_timesteps):
                _checkpoint(model, folder, kept)


def snapshots(folder: str | os.PathLike[str]) -> list[NetworkPolicy]:
    """What :func:`train_policies` left in a folder so far, in order of training step.

    Raises:
        DataError: if there is none.
    """
    found = sorted((Path(folder) / SNAPSHOTS).glob("step_*[0-9]"))
    if not found:
        remedy = "make some with 'trailward policies'"
        raise DataError(f"{folder} holds no snapshots", place=str(folder), remedy=remedy)
    return [policy for path in found for policy in ladder(path)]


def package_policies(
    environment: Environment,
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    num: int = 10,
    num_evaluated: int = 20,
    provenance: dict[str, Any] | None = None,
) -> list[NetworkPolicy]:
    """Choose snapshots evenly spread in return, untrained to best, and write them as a ladder.

    Args:
        environment: where they were trained.
        folder: of :func:`train_policies`.
        out: gets ``weights.safetensors`` and ``config.json``.
        num: how many; with the default width ten take 2.9 MB.
        num_evaluated: episodes, others than those they are chosen by, that the returns written
            are of.
        provenance: kept in the ladder's configuration.

    Raises:
        DataError: if there are fewer snapshots than that.
    """
    taken = spread(snapshots(folder), num)
    envs = [environment.make() for _ in range(num_evaluated)]
    reference = environment.reference_returns
    judged = [
        replace(
            policy,
            facts={
                **policy.facts,
                "return": describe_returns(_returns(policy, envs, _PACKAGING_SEED), reference),
            },
        )
        for policy in taken
    ]
    judged.sort(key=lambda policy: policy.mean_return)
    save_ladder(Path(out), judged, provenance or {}, environment=environment.name)
    return judged


def spread(policies: Sequence[NetworkPolicy], num: int) -> list[NetworkPolicy]:
    """The first policy, the best one, and those between nearest to evenly spread returns.

    Raises:
        SettingsError: if there are fewer policies than that, or fewer than two are wanted.
    """
    if not 2 <= num <= len(policies):
        msg = f"{num} of {len(policies)} snapshots cannot be chosen"
        raise SettingsError(msg, place="num", value=num, remedy=f"choose 2 to {len(policies)}")
    returns = np.array([policy.mean_return for policy in policies])
    best = int(returns[1:].argmax()) + 1
    chosen = [0, best]
    for wanted in np.linspace(returns[0], returns[best], num)[1:-1]:
        distance = np.abs(returns - wanted)
        distance[chosen] = np.inf
        chosen.append(int(distance.argmin()))
    return [policies[index] for index in sorted(chosen, key=lambda index: returns[index])]


def _returns(policy: NetworkPolicy, envs: Sequence[gymnasium.Env], seed: int) -> np.ndarray:
    seeds = range(seed, seed + len(envs))
    episodes = rollout(envs, policy, seeds=seeds)
    return np.array([episode.rewards.sum() for episode in episodes if episode.rewards is not None])


def _snapshot(
    model: Any,
    environment: Environment,
    envs: Sequence[gymnasium.Env],
    folder: Path,
    report: Report,
) -> None:
    step = model.num_timesteps
    linear = [layer for layer in model.actor.latent_pi if isinstance(layer, nn.Linear)]
    layers = [
        (layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy())
        for layer in [*linear, model.actor.mu]
    ]
    facts: dict[str, Any] = {"step": step}
    space = model.action_space
    if (space.low != -1).any() or (space.high != 1).any():
        facts[BOUNDS] = [space.low.tolist(), space.high.tolist()]
    returns = _returns(NetworkPolicy(layers, facts), envs, _EVALUATION_SEED)
    facts["return"] = describe_returns(returns, environment.reference_returns)
    policy = NetworkPolicy(layers, facts)
    where = folder / SNAPSHOTS / f"step_{step:07d}"
    save_ladder(where, [policy], {}, environment=environment.name)
    report(step, **{"return": policy.mean_return})


def _state(model: Any, environment: Environment, config: PolicyTrainingConfig) -> dict[str, Any]:
    """Everything that training changes, but for the counts that a checkpoint's facts hold."""
    return {
        "modules": {"policy": model.policy, "replay": _Replay(model)},
        "optimizers": {
            "actor": model.actor.optimizer,
            "critic": model.critic.optimizer,
            "entropy": model.ent_coef_optimizer,
        },
        "identity": {
            "environment": environment.name,
            **{k: v for k, v in asdict(config).items() if k not in _MAY_CHANGE},
        },
    }


def _checkpoint(model: Any, folder: Path, kept: dict[str, Any]) -> None:
    replay = model.replay_buffer
    facts = {"step": model.num_timesteps, "pos": replay.pos, "full": replay.full}
    save_state(folder / STATE, **kept, facts=facts)


class _Replay(nn.Module):
    """The replay buffer's arrays and the entropy weight, as buffers that share their memory."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        for name in _REPLAY:
            self.register_buffer(name, torch.from_numpy(getattr(model.replay_buffer, name)))
        self.register_buffer("entropy", model.log_ent_coef.detach())


def _build(environment: Environment, config: PolicyTrainingConfig) -> Any:
    msg = "training policies needs sb3-contrib: pip install 'trailward[halfcheetah,rl]'"
    contrib = import_extra("sb3_contrib", msg)
    vec_env = import_extra("stable_baselines3.common.vec_env", msg)
    return contrib.TQC(
        "MlpPolicy",
        vec_env.DummyVecEnv([partial(_make_single, environment)] * config.num_envs),
        learning_rate=config.learning_rate,
        buffer_size=config.num_replay,
        learning_starts=config.num_random_steps,
        batch_size=config.batch_size,
        train_freq=1,
        gradient_steps=config.num_updates,
        top_quantiles_to_drop_per_net=config.num_dropped,
        policy_kwargs={
            "net_arch": [config.width, config.width],
            "n_quantiles": config.num_quantiles,
            "optimizer_kwargs": {"fused": True},
        },
        seed=config.seed,
        device="cpu",
    )


def _make_single(environment: Environment) -> gymnasium.Env:
    """Observations of 32 bits, so that the replay buffer takes half the room."""
    env = environment.make()
    space = gymnasium.spaces.Box(-np.inf, np.inf, env.observation_space.shape, np.float32)
    return gymnasium.wrappers.TransformObservation(env, lambda seen: seen.astype(np.float32), space)


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Stable-Baselines3 seeds the generators everyone uses; they come back as they were.

    Products of matrices may be of 16 bits where the processor has units for that: twice as fast.
    """
    kept, state = random.getstate(), np.random.get_state()
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        np.random.set_state(state)
        random.setstate(kept)
