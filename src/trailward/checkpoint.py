"""Models and training states on disk: safetensors and JSON, never anything that executes.

A model is a folder: ``weights.safetensors`` and ``config.json`` (constructor arguments, versions,
provenance). A training state is one file, replaced in one move, so that an interruption at any
moment leaves the previous one whole.
"""

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

WEIGHTS, CONFIG = "weights.safetensors", "config.json"
_PACKAGES = ("trailward", "torch", "numpy", "gymnasium", "gymnasium-robotics", "mujoco", "minari")


class CheckpointError(ValueError):
    """A saved model or training state that cannot be read; the message names file and remedy."""


def provenance(seed: int | None = None, **facts: Any) -> dict[str, Any]:
    """Where something comes from: the command, the seed and the versions at work now."""
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {"command": command, "seed": seed, "versions": _versions(), **facts}


def save_model(
    folder: str | os.PathLike[str], weights: Mapping[str, Tensor], config: Mapping[str, Any]
) -> Path:
    """Write a model folder; each file is replaced in one move."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / WEIGHTS, save({k: v.contiguous() for k, v in weights.items()}))
    content = {**config, "versions": _versions()}
    _replace(folder / CONFIG, (json.dumps(content, indent=2) + "\n").encode())
    return folder


def load_model(folder: str | os.PathLike[str], kind: str) -> tuple[dict[str, Tensor], Any]:
    """Weights and configuration of a model folder.

    Args:
        folder: written by :func:`save_model`.  Lists in the configuration come back as tuples.
        kind: what the configuration must say it is under ``kind``.

    Raises:
        CheckpointError: if the folder is missing, incomplete, damaged or of another kind.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{folder} holds no model: there is no {CONFIG} in it") from None
    except ValueError as error:
        raise CheckpointError(f"{folder / CONFIG} is not JSON: {error}; save it again") from None
    if not isinstance(config, dict) or config.get("kind") != kind:
        found = config.get("kind") if isinstance(config, dict) else config
        raise CheckpointError(f"{folder} holds a model of kind '{found}', not '{kind}'")
    return _read(folder / WEIGHTS)[0], _with_tuples(config)


def submodule(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names start with ``prefix.``, without it."""
    return {k[len(prefix) + 1 :]: v for k, v in weights.items() if k.startswith(f"{prefix}.")}


def prefixed(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """A module's weights under ``prefix.``: the inverse of :func:`submodule`."""
    return {f"{prefix}.{k}": v.detach().cpu() for k, v in module.state_dict().items()}


def save_state(
    path: Path,
    *,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    identity: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> None:
    """Write everything a training needs to go on exactly where it was.

    Args:
        path: one file.
        modules: their weights and buffers.
        optimizers: their per-parameter tensors.
        identity: JSON values that must be the same when training goes on.
        facts: JSON values, such as the number of steps done.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= prefixed(name, module)
    for name, optimizer in optimizers.items():
        for index, entries in optimizer.state_dict()["state"].items():
            kept = {f"{name}.{index}.{k}": v.detach().cpu() for k, v in entries.items()}
            tensors |= {f"optimizer.{k}": v for k, v in kept.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.clone().contiguous() for k, v in tensors.items()}
    metadata = {"identity": json.dumps(identity), "facts": json.dumps(facts)}
    _replace(path, save(tensors, metadata=metadata))


def load_state(
    path: Path,
    *,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    identity: Mapping[str, Any],
) -> dict[str, Any]:
    """Restore what :func:`save_state` wrote, and return its facts.

    Raises:
        CheckpointError: if the file is damaged or is of other data or settings.
    """
    tensors, metadata = _read(path)
    before, now = json.loads(metadata.get("identity", "{}")), json.loads(json.dumps(identity))
    for name in before | now:
        if before.get(name) != now.get(name):
            msg = (
                f"{path} was written with {name} {before.get(name)}, now it is {now.get(name)}; "
                "to go on give the same settings, to begin anew another folder"
            )
            raise CheckpointError(msg)
    for name, module in modules.items():
        module.load_state_dict(submodule(tensors, name))
    for name, optimizer in optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for place, value in submodule(tensors, f"optimizer.{name}").items():
            index, _, entry = place.partition(".")
            state.setdefault(int(index), {})[entry] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    return json.loads(metadata["facts"])


def check_of_finished(
    path: Path, done: int, before: Mapping[str, Any], now: Mapping[str, Any], *, remedy: str
) -> None:
    """Refuse settings that would be taken for those of a training that is done.

    Args:
        path: of its state, for the error.
        done: its steps.
        before: settings of its last step; none if they are not known.
        now: those that are asked for.
        remedy: what would leave something to do.

    Raises:
        CheckpointError: if they differ.
    """
    changed = [name for name in before if name in now and before[name] != now[name]]
    if changed:
        told = ", ".join(f"{name} {now[name]} instead of {before[name]}" for name in changed)
        msg = (
            f"{path} has {done} steps done, and nothing is left to do with {told}: give the same "
            f"settings, {remedy} to go on, or another folder to begin anew"
        )
        raise CheckpointError(msg)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; the model was not saved whole") from None
    except SafetensorError as error:
        msg = f"{path} is not a safetensors file or is damaged: {error}; save it again"
        raise CheckpointError(msg) from None


def _with_tuples(value: Any) -> Any:
    """JSON knows lists only; configurations hold tuples."""
    if isinstance(value, dict):
        return {key: _with_tuples(each) for key, each in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def _replace(path: Path, content: bytes) -> None:
    staging = path.with_name(f".{path.name}.writing")
    with staging.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    staging.replace(path)
