"""Policies by name: a saved model of Stable-Baselines3, code of your own, or random actions."""

import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from trailward.acting.network_policy import BOUNDS, NetworkPolicy
from trailward.acting.planner import Policy
from trailward.data.formats.guard import check_size, readable
from trailward.errors import DataError
from trailward.optional import import_extra
from trailward.registry import import_named
from trailward.typing import Actions, Observations

_ACTORS = (
    (r"actor\.latent_pi\.(\d+)\.weight", "actor.mu", True),  # SAC, TQC
    (r"actor\.mu\.(\d+)\.weight", None, True),  # TD3, DDPG
    (r"mlp_extractor\.policy_net\.(\d+)\.weight", "action_net", False),  # PPO, A2C, TRPO
)
"""Hidden layers and the last layer of actors, and whether tanh ends them."""


def named_policy(name: str, space: gymnasium.spaces.Box, *, seed: int) -> Policy:
    """A policy by name.

    Args:
        name: ``random``; a zip file that Stable-Baselines3 saved; or ``module:name`` of a function
            from observations, shape (batch, observation), to actions, or of a class or an object
            with ``reset`` and the same call.
        space: the environment's actions.
        seed: of random actions.

    Raises:
        DataError: if it is none of these.
    """
    if name == "random":
        return RandomPolicy(space, seed)
    if name.endswith(".zip"):
        return read_sb3_policy(Path(name), space)
    if re.fullmatch(r"[\w.]+:[\w.]+", name):
        return _imported(name)
    remedy = (
        "give 'random', a .zip file of Stable-Baselines3, or 'module:name' of a function from "
        "observations to actions"
    )
    raise DataError(f"'{name}' names no policy", place="policy", value=name, remedy=remedy)


@dataclass
class RandomPolicy:
    """Actions drawn uniformly between the bounds.

    Args:
        space: the environment's actions.
        seed: of the draws.

    Raises:
        DataError: if the actions have no bounds.
    """

    space: gymnasium.spaces.Box
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.space.is_bounded():
            msg = f"actions in {self.space} have no bounds to draw between"
            raise DataError(msg, place="actions", value=self.space, remedy="clip them")
        self._num_resets = 0
        self.reset()

    def reset(self) -> None:
        """Go on to other draws: those after each reset follow from the seed."""
        self._generator = np.random.default_rng((self.seed, self._num_resets))
        self._num_resets += 1

    def __call__(self, observations: Observations) -> Actions:
        """One action for each environment."""
        size = (len(observations), *self.space.shape)
        return self._generator.uniform(self.space.low, self.space.high, size)


@dataclass(frozen=True)
class FunctionPolicy:
    """A function from observations to actions, as a policy that remembers nothing."""

    function: Callable[[Observations], Actions]

    def reset(self) -> None:
        """Nothing to forget."""

    def __call__(self, observations: Observations) -> Actions:
        """One action for each environment."""
        return np.asarray(self.function(observations), dtype=np.float64)


def read_sb3_policy(path: Path, space: gymnasium.spaces.Box) -> NetworkPolicy:
    """The deterministic actor of a model that Stable-Baselines3 saved.

    Only the weights are read: nothing that the file holds is executed. So the policy must be dense
    layers (``MlpPolicy``) on observations that were not normalised outside the model.

    Args:
        path: the zip file.
        space: the environment's actions.

    Raises:
        DataError: if the file is not such a model.
    """
    message = "reading policies of Stable-Baselines3 takes it: pip install 'trailward[rl]'"
    saving = import_extra("stable_baselines3.common.save_util", message)
    with readable(path, "a model of Stable-Baselines3", "write it with model.save"):
        with zipfile.ZipFile(path) as archive:
            check_size(path, sum(entry.file_size for entry in archive.infolist()), path)
            about = dict(json.loads(archive.read("data")))
        _, parameters, _ = saving.load_from_zip_file(path, load_data=False, device="cpu")
        weights = {name: tensor.numpy() for name, tensor in parameters["policy"].items()}
        return _network(path, weights, about, space)


def _network(
    path: Path, weights: dict[str, np.ndarray], about: dict[str, Any], space: gymnasium.spaces.Box
) -> NetworkPolicy:
    """The first actor of dense layers among the weights.

    Raises:
        DataError: if there is none.
    """
    for hidden, last, squashed in _ACTORS:
        found = {int(m[1]): name for name in weights if (m := re.fullmatch(hidden, name))}
        if found:
            names = [found[index].removesuffix(".weight") for index in sorted(found)]
            names += [last] if last else []
            layers = [(weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in names]
            default = "relu" if squashed else "tanh"
            given = len(layers[-1][0])
            if given != space.shape[0]:
                takes = f"the environment takes {space.shape[0]}"
                msg = f"{path} gives actions of {given} entries, {takes}"
                raise DataError(msg, place=str(path), value=given)
            facts = {"file": path.name, BOUNDS: [space.low.tolist(), space.high.tolist()]}
            return NetworkPolicy(layers, facts, _activation(about, default), squashed)
    msg, remedy = f"{path} holds no actor of dense layers", "save a model of 'MlpPolicy'"
    raise DataError(msg, place=str(path), value=sorted(weights), remedy=remedy)


def _activation(about: dict[str, Any], default: str) -> str:
    """The activation that the file tells of; the usual one if it is silent."""
    told = str(about.get("policy_kwargs", {}))
    named = re.search(r"activation\.(\w+)'", told)
    return named[1].lower() if named else default


def _imported(name: str) -> Policy:
    module, _, attribute = name.partition(":")
    try:
        found: Any = import_named(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        msg = f"policy '{name}' is not there ({error})"
        remedy = "check the spelling and the import path"
        raise DataError(msg, place="policy", value=name, remedy=remedy) from None
    found = found() if isinstance(found, type) else found
    return found if isinstance(found, Policy) else FunctionPolicy(found)
