"""HalfCheetah-v5 of Gymnasium: simulator, scores, and policies of many qualities.

Observations are the 17 entries of :data:`COLUMNS`; actions are six torques in [-1, 1],
relative to the strongest that each joint's motor can give.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trailward.checkpoint import load_model, readable, save_model, submodule
from trailward.data.episode import Columns
from trailward.optional import import_extra
from trailward.pretrained import model_folder
from trailward.typing import Actions, Observations

ENV_ID = "HalfCheetah-v5"

EPISODE_STEPS = 1000
"""Environment steps of an episode whose return the scores are about."""

RANDOM_RETURN, EXPERT_RETURN = -280.179, 12135.0
"""The returns that D4RL calls 0 and 100 (arXiv 2004.07219)."""

_UNITS = {
    "height of the front tip": "m",
    "pitch of the front tip": "rad",
    "back thigh": "rad",
    "back shin": "rad",
    "back foot": "rad",
    "front thigh": "rad",
    "front shin": "rad",
    "front foot": "rad",
    "forward velocity": "m/s",
    "upward velocity": "m/s",
    "pitch velocity": "rad/s",
    "back thigh velocity": "rad/s",
    "back shin velocity": "rad/s",
    "back foot velocity": "rad/s",
    "front thigh velocity": "rad/s",
    "front shin velocity": "rad/s",
    "front foot velocity": "rad/s",
}
_JOINTS = ("back thigh", "back shin", "back foot", "front thigh", "front shin", "front foot")

COLUMNS = Columns(tuple(_UNITS), tuple(f"{joint} torque" for joint in _JOINTS), _UNITS)
"""What the entries of observations and actions are."""

FORWARD_VELOCITY = 8
"""The entry of an observation that the environment's reward is made of, but for 0.1 of the squared
action."""

CONTROL_COST = 0.1
"""What the environment takes off the reward for each unit of squared action."""

LADDER = "halfcheetah_policies"
"""The packaged ladder's name."""

_KIND = "policies"


def make_env(*, episode_steps: int = EPISODE_STEPS, **options: Any) -> gymnasium.Env:
    """HalfCheetah-v5; it never ends by itself, only after ``episode_steps``.

    Args:
        episode_steps: environment steps.
        options: further arguments of ``gymnasium.make``, such as ``render_mode``.

    Raises:
        MissingExtraError: if MuJoCo is not installed.
    """
    mujoco = import_extra(
        "mujoco", "HalfCheetah needs MuJoCo: pip install 'trailward[halfcheetah]'"
    )
    mujoco.set_mju_user_warning(lambda message: None)  # Gymnasium's model has an old attribute
    try:
        return gymnasium.make(ENV_ID, max_episode_steps=episode_steps, **options)
    finally:
        mujoco.set_mju_user_warning(None)


def set_state(env: gymnasium.Env, observation: np.ndarray) -> None:
    """Put an environment in the state that an observation shows, at the origin of the track."""
    simulator: Any = env.unwrapped
    positions = simulator.init_qpos.copy()
    positions[0], positions[1:] = 0.0, observation[: len(positions) - 1]
    simulator.set_state(positions, observation[len(positions) - 1 :])


def transition_rewards(
    observations: Observations, actions: Actions, next_observations: Observations
) -> Float[np.ndarray, "batch"]:
    """True reward of each transition, as far as observations tell.

    The forward velocity on arrival less 0.1 of the squared action. The environment rewards the
    mean velocity over the step instead, which no observation holds.

    Args:
        observations: where each begins; plays no part.
        actions: torques in [-1, 1].
        next_observations: where each arrives.
    """
    cost = CONTROL_COST * np.square(actions).sum(-1)
    return next_observations[:, FORWARD_VELOCITY] - cost


def normalized_score(returns: float | np.ndarray) -> Any:
    """D4RL's score: 0 for a return of -280.179, 100 for 12135."""
    return 100 * (returns - RANDOM_RETURN) / (EXPERT_RETURN - RANDOM_RETURN)


def describe_returns(returns: np.ndarray) -> dict[str, int | float]:
    """Count, mean, spread and normalised score of returns, as JSON values.

    Args:
        returns: of episodes of 1000 environment steps, shape (episodes,).
    """
    return {
        "count": len(returns),
        "mean": float(returns.mean()),
        "std": float(returns.std()),
        "min": float(returns.min()),
        "max": float(returns.max()),
        "score": float(normalized_score(returns.mean())),
    }


@dataclass(frozen=True)
class NetworkPolicy:
    """The deterministic action of a trained actor: layers with ReLU between and tanh at the end.

    Args:
        layers: weights, shape (out, in), and bias, shape (out,), of each.
        facts: what is known of it: training step, returns; JSON values.

    Raises:
        ValueError: if there is no layer, or one does not fit the one before.
    """

    layers: Sequence[tuple[np.ndarray, np.ndarray]]
    facts: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("the policy has no layers")
        entries = self.layers[0][0].shape[1]
        for index, (weights, bias) in enumerate(self.layers):
            if weights.shape != (len(bias), entries):
                msg = (
                    f"layer {index} has weights {weights.shape} and {len(bias)} biases; "
                    f"expected ({len(bias)}, {entries})"
                )
                raise ValueError(msg)
            entries = len(bias)

    @property
    def fingerprint(self) -> str:
        """A hash of its weights."""
        digest = hashlib.sha256()
        for weights, bias in self.layers:
            digest.update(weights.tobytes() + bias.tobytes())
        return digest.hexdigest()[:16]

    @property
    def mean_return(self) -> float:
        """The mean return it is known to have, not discounted."""
        return float(self.facts["return"]["mean"])

    def reset(self) -> None:
        """It remembers nothing."""

    def __call__(self, observations: Observations) -> Actions:
        """Torques in [-1, 1], one row an environment."""
        hidden = observations.astype(np.float32)
        for weights, bias in self.layers[:-1]:
            hidden = np.maximum(hidden @ weights.T + bias, 0)
        weights, bias = self.layers[-1]
        return np.tanh(hidden @ weights.T + bias).astype(np.float64)

    def tensors(self) -> dict[str, Tensor]:
        """Its weights by name, as ``weights.safetensors`` holds them."""
        named = {}
        for index, (weights, bias) in enumerate(self.layers):
            named[f"{index}.weight"] = torch.from_numpy(weights)
            named[f"{index}.bias"] = torch.from_numpy(bias)
        return named

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
    ) -> "NetworkPolicy":
        """The inverse of :meth:`tensors`."""
        layers = [
            (tensors[f"{index}.weight"].numpy(), tensors[f"{index}.bias"].numpy())
            for index in range(len(tensors) // 2)
        ]
        return cls(layers, facts)


@dataclass
class NoisyPolicy:
    """A policy with Gaussian noise on its actions.

    Args:
        policy: whose actions they are.
        noise: standard deviation of the noise on each entry; actions stay in [-1, 1].
        seed: of the noise.
    """

    policy: NetworkPolicy
    noise: float
    seed: int | Sequence[int] = 0

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start the noise anew: the same seed gives the same."""
        self._generator = np.random.default_rng(self.seed)
        self.policy.reset()

    def __call__(self, observations: Observations) -> Actions:
        """Torques in [-1, 1], one row an environment."""
        actions = self.policy(observations)
        noise = self._generator.standard_normal(actions.shape)
        return np.clip(actions + self.noise * noise, -1.0, 1.0)


def ladder(folder: Path | None = None) -> list[NetworkPolicy]:
    """Policies in order of return, the worst first.

    Args:
        folder: written by :func:`save_ladder`; the packaged ladder if None.

    Raises:
        CheckpointError: if the folder holds no ladder, or a damaged one.
    """
    folder = model_folder(LADDER, _KIND) if folder is None else folder
    weights, config = load_model(folder, _KIND)
    with readable(folder, "make the ladder again"):
        found = [
            NetworkPolicy.from_tensors(submodule(weights, str(index)), facts)
            for index, facts in enumerate(config["policies"])
        ]
        return sorted(found, key=lambda policy: policy.mean_return)


def save_ladder(
    folder: Path, policies: Sequence[NetworkPolicy], provenance: Mapping[str, Any]
) -> Path:
    """Write policies as :func:`ladder` reads them."""
    weights = {
        f"{index}.{name}": tensor
        for index, policy in enumerate(policies)
        for name, tensor in policy.tensors().items()
    }
    config = {
        "kind": _KIND,
        "environment": ENV_ID,
        "policies": [dict(policy.facts) for policy in policies],
        "provenance": dict(provenance),
    }
    return save_model(folder, weights, config)
