"""Policies that are trained networks, and ladders of them: from untrained to good."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trailward.acting.planner import Policy
from trailward.checkpoint import load_model, readable, save_model, submodule
from trailward.errors import DataError, SettingsError
from trailward.pretrained import model_folder, packaged
from trailward.typing import Actions, Observations

KIND = "policies"
"""What a ladder's folder says that it is."""

BOUNDS = "bounds"
"""The fact that holds least and greatest actions, where they are not -1 and 1."""

_FORM = ("activation", "squashed")
_ACTIVATIONS = {"relu": lambda values: np.maximum(values, 0), "tanh": np.tanh}


@dataclass(frozen=True)
class NetworkPolicy:
    """The deterministic action of a trained actor: a network of dense layers.

    Args:
        layers: weights, shape (out, in), and bias, shape (out,), of each.
        facts: what is known of it: training step, returns, ``bounds``; JSON values.
        activation: between layers: ``relu`` or ``tanh``.
        squashed: whether the output passes through tanh and is stretched to the bounds.

    Raises:
        SettingsError: if there is no layer, one does not fit the one before, or the activation is
            unknown.
    """

    layers: Sequence[tuple[np.ndarray, np.ndarray]]
    facts: Mapping[str, Any]
    activation: str = "relu"
    squashed: bool = True

    def __post_init__(self) -> None:
        if self.activation not in _ACTIVATIONS:
            remedy = f"choose {' or '.join(_ACTIVATIONS)}"
            raise SettingsError(place="activation", value=self.activation, remedy=remedy)
        if not self.layers:
            raise SettingsError("the policy has no layers", place="layers", value=())
        entries = self.layers[0][0].shape[1]
        for index, (weights, bias) in enumerate(self.layers):
            if weights.shape != (len(bias), entries):
                msg = f"layer {index} has weights {weights.shape} and {len(bias)} biases"
                place, remedy = f"layer {index}", f"the weights must be {(len(bias), entries)}"
                raise SettingsError(msg, place=place, value=weights.shape, remedy=remedy)
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
        """The mean return that it is known to have, not discounted."""
        return float(self.facts["return"]["mean"])

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the greatest action of each entry, environment units."""
        low, high = self.facts.get(BOUNDS, (-1.0, 1.0))
        return np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)

    def reset(self) -> None:
        """It remembers nothing."""

    def __call__(self, observations: Observations) -> Actions:
        """One action for each environment, within the bounds if it is squashed."""
        activate = _ACTIVATIONS[self.activation]
        wanted, found = self.layers[0][0].shape[1], observations.shape[-1]
        if wanted != found:
            what = self.facts.get("file", "the policy")
            msg = f"{what} acts on observations of {wanted} entries, these have {found}"
            raise DataError(msg, place=str(what), value=found)
        hidden = observations.astype(np.float32)
        for weights, bias in self.layers[:-1]:
            hidden = activate(hidden @ weights.T + bias)
        weights, bias = self.layers[-1]
        actions = (hidden @ weights.T + bias).astype(np.float32)
        if not self.squashed:
            return actions.astype(np.float64)
        squashed = np.tanh(actions).astype(np.float64)
        if BOUNDS not in self.facts:
            return squashed
        low, high = self.bounds
        return low + (squashed + 1) / 2 * (high - low)

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
        """The inverse of :meth:`tensors`; the form of the network stands in the facts."""
        layers = [
            (tensors[f"{index}.weight"].numpy(), tensors[f"{index}.bias"].numpy())
            for index in range(len(tensors) // 2)
        ]
        known = {name: value for name, value in facts.items() if name not in _FORM}
        return cls(layers, known, **{name: facts[name] for name in _FORM if name in facts})


@dataclass
class NoisyPolicy:
    """A policy with Gaussian noise on its actions.

    Args:
        policy: whose actions they are.
        noise: standard deviation of the noise on each entry, where half the range between the
            bounds is 1; actions stay within the bounds.
        seed: of the noise.
        bounds: the least and the greatest action of each entry.
    """

    policy: Policy
    noise: float
    seed: int | Sequence[int] = 0
    bounds: tuple[np.ndarray | float, np.ndarray | float] = (-1.0, 1.0)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start the noise anew: the same seed gives the same."""
        self._generator = np.random.default_rng(self.seed)
        self.policy.reset()

    def __call__(self, observations: Observations) -> Actions:
        """One action for each environment, within the bounds."""
        actions = self.policy(observations)
        low, high = self.bounds
        noise = self._generator.standard_normal(actions.shape)
        return np.clip(actions + self.noise * (high - low) / 2 * noise, low, high)


def describe_returns(
    returns: np.ndarray, reference: tuple[float, float] | None = None
) -> dict[str, int | float]:
    """Count, mean and spread of returns, as JSON values.

    Args:
        returns: of whole episodes, shape (episodes,).
        reference: the returns that a normalised score calls 0 and 100; without them there is no
            ``score``.
    """
    found: dict[str, int | float] = {
        "count": len(returns),
        "mean": float(returns.mean()),
        "std": float(returns.std()),
        "min": float(returns.min()),
        "max": float(returns.max()),
    }
    if reference is not None:
        found["score"] = normalized_score(found["mean"], reference)
    return found


def normalized_score(returns: Any, reference: tuple[float, float]) -> Any:
    """Returns on a scale on which two reference returns are 0 and 100."""
    zero, hundred = reference
    return 100 * (returns - zero) / (hundred - zero)


def ladder(folder: Path) -> list[NetworkPolicy]:
    """Policies in order of return, the worst first.

    Args:
        folder: written by :func:`save_ladder`.

    Raises:
        CheckpointError: if the folder holds no ladder, or a damaged one.
    """
    weights, config = load_model(folder, KIND)
    with readable(folder, "make the ladder again"):
        found = [
            NetworkPolicy.from_tensors(submodule(weights, str(index)), facts)
            for index, facts in enumerate(config["policies"])
        ]
        return sorted(found, key=lambda policy: policy.mean_return)


def ladder_of(environment: str, folder: Path | None = None) -> list[NetworkPolicy]:
    """The ladder of an environment: that of a folder, or the packaged one.

    Args:
        environment: its name.
        folder: written by :func:`save_ladder`; None for a packaged ladder.

    Raises:
        DataError: if there is no packaged ladder, or the folder's is of another environment.
        CheckpointError: as of :func:`ladder`.
    """
    if folder is not None:
        found = load_model(folder, KIND)[1].get("environment", environment)
        if found != environment:
            msg = f"the policies in {folder} are of '{found}'"
            remedy = f"name the ladder of '{environment}'"
            raise DataError(msg, place=str(folder), value=found, remedy=remedy)
        return ladder(folder)
    for name in packaged(KIND):
        place = model_folder(name, KIND)
        if load_model(place, KIND)[1].get("environment") == environment:
            return ladder(place)
    msg = f"there is no packaged ladder of policies of '{environment}'"
    remedy = (
        f"train one with 'trailward policies --env {environment}', and give its folder 'ladder' as "
        "--policies"
    )
    raise DataError(msg, place="policies", remedy=remedy)


def save_ladder(
    folder: Path,
    policies: Sequence[NetworkPolicy],
    provenance: Mapping[str, Any],
    *,
    environment: str,
) -> Path:
    """Write policies as :func:`ladder` reads them."""
    weights = {
        f"{index}.{name}": tensor
        for index, policy in enumerate(policies)
        for name, tensor in policy.tensors().items()
    }
    config = {
        "kind": KIND,
        "environment": environment,
        "policies": [
            {**policy.facts, **{name: getattr(policy, name) for name in _FORM}}
            for policy in policies
        ],
        "provenance": dict(provenance),
    }
    return save_model(folder, weights, config)


def recorded_from(
    provenance: Mapping[str, Any], policies: Sequence[NetworkPolicy]
) -> NetworkPolicy | None:
    """The policy of a ladder that data says it was recorded from; None if it does not say.

    Args:
        provenance: of the data.
        policies: the ladder.

    Raises:
        DataError: if the data names a policy that the ladder does not have.
    """
    named = provenance.get("policies", ())
    if len(named) != 1:
        return None
    for policy in policies:
        if policy.facts["step"] == named[0]["step"]:
            return policy
    there = [policy.facts["step"] for policy in policies]
    msg = (
        f"the demonstrations are of the policy of step {named[0]['step']}; the ladder has steps "
        f"{there}"
    )
    raise DataError(msg, place="policies", value=there, remedy="name theirs with --policies")
