"""Models and training states on disk: safetensors and JSON, never anything that executes.

A model is a folder: ``weights.safetensors`` and ``config.json`` (constructor arguments, versions,
provenance). A training state is one file, replaced in one move, so that an interruption at any
moment leaves the previous one whole.

What is read was perhaps written by somebody else. So a file is taken for what it says only after
its sizes were compared with the weights that it holds, and whatever is wrong with it becomes one
:class:`CheckpointError`.
"""

import hashlib
import json
import math
import os
import platform
import shlex
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from trailward.errors import DataError, RefusedError
from trailward.registry import UnknownPartError
from trailward.running.files import StorageError, write_file, write_json
from trailward.running.limits import AllocationLimit
from trailward.running.logs import CurveLog

WEIGHTS, CONFIG = "weights.safetensors", "config.json"
_PACKAGES = ("trailward", "torch", "numpy", "gymnasium", "gymnasium-robotics", "mujoco", "minari")
_LARGEST = 1_000_000
_LARGEST_RATIO = 1000
_LONGEST_JSON = 50_000_000
_PLACE = "memory.place"
_LARGEST_STEP = 2**53
_COUNTS = {"depth", "num_members", "length", "num_stages"}
_ANEW = "give another folder to begin anew"


class CheckpointError(RefusedError):
    """A saved model or training state that cannot be read; the message names file and remedy."""


def provenance(seed: int | None = None, **facts: Any) -> dict[str, Any]:
    """Where something comes from: the command, the seed and the versions at work now."""
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {"command": command, "seed": seed, "versions": dict(_versions()), **facts}


def save_model(
    folder: str | os.PathLike[str], weights: Mapping[str, Tensor], config: Mapping[str, Any]
) -> Path:
    """Write a model folder; each file is replaced in one move."""
    folder = Path(folder).expanduser()
    write_file(folder / WEIGHTS, save({k: v.contiguous() for k, v in weights.items()}))
    write_json(folder / CONFIG, {**config, "versions": dict(_versions())})
    return folder


def load_model(folder: str | os.PathLike[str], kind: str) -> tuple[dict[str, Tensor], Any]:
    """Weights and configuration of a model folder.

    Args:
        folder: written by :func:`save_model`.  Lists in the configuration come back as tuples.
        kind: what the configuration must say it is under ``kind``.

    Raises:
        CheckpointError: if the folder is missing, incomplete, damaged or of another kind.
    """
    folder = Path(folder).expanduser()
    if not (folder / CONFIG).is_file():
        raise _no_model(folder, CONFIG)
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict) or config.get("kind") != kind:
        found = config.get("kind") if isinstance(config, dict) else config
        msg = f"{folder} holds a model of kind '{found!s:.40}', not '{kind}'"
        raise CheckpointError(msg, place=str(folder), value=found)
    weights, _ = _read(folder / WEIGHTS)
    with readable(folder / CONFIG):
        _check_sizes(folder / CONFIG, config, weights)
        return weights, with_tuples(config)


def read_json(path: Path, *, remedy: str = "save it again") -> Any:
    """The value in a JSON file.

    Raises:
        CheckpointError: if it is not there, not JSON, nested too deep or too long.
    """
    try:
        size = path.stat().st_size
        if size > _LONGEST_JSON:
            msg = f"{path} has {size} bytes, more than the {_LONGEST_JSON} allowed"
            raise CheckpointError(msg, place=str(path), value=size, remedy=remedy)
        return json.loads(path.read_text(encoding="utf-8"))
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing", place=str(path), remedy=remedy) from None
    except (ValueError, RecursionError, OSError) as error:
        told = _in_short(error)
        msg = f"{path} is not JSON: {told}"
        raise CheckpointError(msg, place=str(path), value=told, remedy=remedy) from None


def read_arrays(path: Path, *, remedy: str = "save it again") -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file, never Python objects.

    Raises:
        CheckpointError: if it is not there, damaged, or claims more than a thousand times its size.
    """
    with readable(path, remedy, wrong="this is no whole .npz file"):
        with zipfile.ZipFile(path) as archive:
            claimed = sum(entry.file_size for entry in archive.infolist())
        if claimed > _LARGEST_RATIO * path.stat().st_size:
            raise DataError(f"it claims to hold {claimed} bytes", value=claimed)
        found = {}
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                with file.zip.open(f"{name}.npy") as entry:
                    _check_array(entry, file.zip.getinfo(f"{name}.npy").file_size)
                found[name] = file[name]
        return found


def _check_array(entry: IO[bytes], size: int) -> None:
    """Refuse an array whose header asks for more than there is of it."""
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, _, kind = read[np.lib.format.read_magic(entry)](entry)
    if math.prod(shape) * kind.itemsize > size:
        raise DataError(f"an array of shape {shape} is said to be in {size} bytes", value=shape)


@contextmanager
def readable(
    place: str | os.PathLike[str],
    remedy: str = "save it again",
    *,
    wrong: str = "weights and configuration disagree",
) -> Iterator[None]:
    """Turns whatever goes wrong in building something from a file into one error.

    Args:
        place: the file or folder, for the error.
        remedy: what to do about it.
        wrong: what goes wrong.

    Raises:
        CheckpointError: if anything goes wrong; its place and value are as near as they are told.
    """
    try:
        yield
    except (CheckpointError, StorageError):
        raise
    except UnknownPartError as error:
        told = error.within(place)
        raise CheckpointError(str(told), **vars(told)) from error
    except Exception as error:  # noqa: BLE001 - a file may be wrong in every way
        where, value = str(place), _in_short(error)
        msg = f"{place}: {wrong}: {value}"
        if isinstance(error, RefusedError):
            where, value = f"{place}: {error.place}" if error.place else where, error.value
        raise CheckpointError(msg, place=where, value=value, remedy=remedy) from None


def size_limit(
    weights: Mapping[str, Tensor], place: str | os.PathLike[str]
) -> AbstractContextManager[object]:
    """Refuses, before memory is taken, tensors that are not in proportion to a file's weights.

    Args:
        weights: what the file holds; built from it may be four times as much, and a million more.
        place: the file or folder, for the error.
    """
    held = sum(tensor.numel() for tensor in weights.values())

    def refused(shape: tuple[int, ...]) -> CheckpointError:
        msg = (
            f"{place}: the configuration asks for a tensor of shape {shape}, but the weights "
            f"hold {held} numbers in all"
        )
        return CheckpointError(msg, place=str(place), value=shape, remedy="save the model again")

    return AllocationLimit(4 * held + 1_000_000, refused)


def fingerprint_of(folder: str | os.PathLike[str]) -> str:
    """A hash of the weights of a model folder.

    Raises:
        CheckpointError: if it has none.
    """
    try:
        return hashlib.sha256((Path(folder) / WEIGHTS).read_bytes()).hexdigest()[:16]
    except OSError:
        raise _no_model(folder, WEIGHTS) from None


def _no_model(folder: str | os.PathLike[str], name: str) -> CheckpointError:
    msg = f"{folder} holds no model: there is no {name} in it"
    return CheckpointError(msg, place=str(Path(folder) / name))


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
    tensors = {k: v.clone().contiguous() for k, v in tensors.items()}
    told = {"identity": identity, "facts": facts, "versions": dict(_versions())}
    metadata = {name: json.dumps(value) for name, value in told.items()}
    write_file(path, save(tensors, metadata=metadata))


def load_state(
    path: Path,
    *,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    identity: Mapping[str, Any],
    like: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Restore what :func:`save_state` wrote, and return its facts.

    Args:
        path: of the state.
        modules: as they were given to be saved, with weights of any values.
        optimizers: the same.
        identity: JSON values that must be the same as then.
        like: facts of any values; those in the file must be of the same kinds.

    Raises:
        CheckpointError: if the file is damaged or is of other data or settings.
    """
    tensors, metadata = _read(path)
    with readable(path, remedy=_ANEW):
        before, now = json.loads(metadata.get("identity", "{}")), json.loads(json.dumps(identity))
        if not isinstance(before, dict):
            raise DataError(place="identity", value=before)
    for name in before | now:
        old, new = before.get(name), now.get(name)
        if old != new:
            raise CheckpointError(
                f"{path} was written with {name} {old}, now it is {new}",
                place=f"{path}: {name}",
                value=(old, new),
                remedy="to go on give the same settings, to begin anew another folder",
            )
    with readable(path, remedy=_ANEW):
        facts = json.loads(metadata["facts"])
        _check_facts(facts, {"step": 0, **(like or {})})
        for name, module in modules.items():
            module.load_state_dict(submodule(tensors, name))
        for name, optimizer in optimizers.items():
            _restore_optimizer(optimizer, submodule(tensors, f"optimizer.{name}"))
    return facts


def _check_facts(facts: Any, like: Mapping[str, Any]) -> None:
    for name, example in like.items():
        value = facts[name] if name == "step" else facts.get(name, example)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(example, bool) or not isinstance(example, int | float):
            fits = isinstance(value, type(example))
        elif isinstance(example, int):
            fits = is_number and isinstance(value, int) and 0 <= value <= _LARGEST_STEP
        else:
            fits = is_number and value == value
        if not fits:
            told = "the number of steps done" if name == "step" else name
            raise DataError(f"{told} is {value!s:.40}", place=name, value=value)


def _restore_optimizer(optimizer: torch.optim.Optimizer, entries: Mapping[str, Tensor]) -> None:
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in entries.items():
        index, _, entry = name.partition(".")
        place = f"optimizer: {name}"
        shape = parameters[int(index)].shape
        if entry == "step" and not (value.numel() == 1 and value.item() >= 1):
            first = value.flatten()[:2].tolist()
            raise DataError(f"{place} is not a number above 0", place=place, value=first)
        if entry != "step" and value.shape != shape:
            msg = f"{place} has shape {tuple(value.shape)}, not {tuple(shape)}"
            raise DataError(msg, place=place, value=tuple(value.shape))
        state.setdefault(int(index), {})[entry] = value
    kinds = {tuple(sorted(each)) for each in state.values()}
    if len(kinds) > 1:
        msg = "the optimizer's numbers are not all there"
        raise DataError(msg, place="optimizer", value=sorted(kinds))
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


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
    changed = {k: (before[k], now[k]) for k in before if k in now and before[k] != now[k]}
    if changed:
        told = ", ".join(f"{name} {new} instead of {old}" for name, (old, new) in changed.items())
        raise CheckpointError(
            f"{path} has {done} steps done, and nothing is left to do with {told}",
            place=str(path),
            value=changed,
            remedy=f"give the same settings, {remedy} to go on, or another folder to begin anew",
        )


@cache
def _versions() -> Mapping[str, str]:
    """Asked for once a process: it takes as long as writing a small model."""
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
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except FileNotFoundError:
        msg = f"{path} is missing; the model was not saved whole"
        raise CheckpointError(msg, place=str(path)) from None
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        told = _in_short(error)
        msg = f"{path} is not a safetensors file or is damaged: {told}"
        raise CheckpointError(msg, place=str(path), value=told, remedy="save it again") from None
    for name, tensor in tensors.items():
        # the place of a memory is infinitely far away until one is found
        bad = torch.isnan(tensor) if name.endswith(_PLACE) else ~torch.isfinite(tensor)
        if bad.any():
            value = tensor[bad].flatten()[0].item()
            remedy = "weights must be finite: save the model again"
            raise CheckpointError(place=f"{path}: {name}", value=value, remedy=remedy)
    return tensors, metadata


def _check_sizes(path: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Refuse numbers of a configuration that its weights cannot have come from.

    Args:
        path: of the configuration, for the error.
        config: sections of constructor arguments, and of facts, which are not looked at.
        weights: what was saved with it. It takes a tensor at least to make a layer or a member.
    """
    count = max(64, len(weights))
    for section in ("spec", "denoiser", "reward", "value", "sampling"):
        for name, value in _numbers(config.get(section)):
            limit = count if name.rpartition(".")[2] in _COUNTS else _LARGEST
            if not abs(value) <= limit:
                place = f"{path}: {section}{name}"
                told = f"{place} is {value:.4g}"
                remedy = f"its weights allow at most {limit}: save the model again"
                raise CheckpointError(told, place=place, value=value, remedy=remedy)


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _numbers(each, f"{name}.{key}")
    elif isinstance(value, list):
        yield f"{name}.length", len(value)
        for each in value:
            yield from _numbers(each, name)
    elif isinstance(value, int | float):
        yield name, value


def _in_short(error: BaseException) -> str:
    """An error in one line of a few hundred characters."""
    text = " ".join(str(error).split()) or "nothing more is known"
    text = f"there is no {text}" if isinstance(error, KeyError) else text
    text = text if isinstance(error, ValueError | KeyError) else f"{type(error).__name__}: {text}"
    return text if len(text) <= 300 else f"{text[:300]} ..."


def with_tuples(value: Any) -> Any:
    """JSON knows lists only; configurations hold tuples."""
    if isinstance(value, dict):
        return {key: with_tuples(each) for key, each in value.items()}
    return tuple(map(with_tuples, value)) if isinstance(value, list) else value


class RunFolder:
    """Where a training keeps its state and its curves; nowhere if there is no folder.

    Args:
        folder: of the run; None keeps everything in memory.
        name: of the file that holds the state.
        modules: as of :func:`save_state`, and so are the next two.
        optimizers: their per-parameter tensors.
        identity: JSON values that must be the same when training goes on.
    """

    def __init__(
        self,
        folder: Path | None,
        name: str,
        *,
        modules: Mapping[str, nn.Module],
        optimizers: Mapping[str, torch.optim.Optimizer],
        identity: Mapping[str, Any],
    ) -> None:
        self.folder = folder
        self.state = None if folder is None else folder / name
        self._kept: dict[str, Any] = {
            "modules": modules,
            "optimizers": optimizers,
            "identity": identity,
        }
        self._log: CurveLog | None = None

    @property
    def has_state(self) -> bool:
        """Whether there is a state to go on from."""
        return self.state is not None and self.state.exists()

    def load(self, *, like: Mapping[str, Any]) -> dict[str, Any]:
        """Restore the state, and return its facts; nothing if there is none.

        Args:
            like: facts of any values; those in the file must be of the same kinds.

        Raises:
            CheckpointError: if the file is damaged or is of other data or settings.
        """
        if self.state is None or not self.state.exists():
            return {}
        return load_state(self.state, **self._kept, like=like)

    def save(self, facts: Mapping[str, Any]) -> None:
        """Write the state, and the curves so far.

        Args:
            facts: JSON values; ``step`` is the number of steps done.
        """
        if self._log is not None:
            self._log.flush()
        if self.state is not None:
            save_state(self.state, **self._kept, facts=facts)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add values to curves, by their names."""
        if self.folder is None:
            return
        if self._log is None:
            self._log = CurveLog(self.folder, purge_step=step)
        for name, value in values.items():
            self._log.add_scalar(name, value, step)

    def end_curves(self) -> None:
        """Let what is logged from now on take the place of what was."""
        if self._log is not None:
            self._log.__exit__(None)
            self._log = None

    def last_good(self, what: str) -> str:
        """Where the last good one is kept, if there is one; for errors."""
        if self.folder is None:
            return f"no {what} is kept without a folder"
        if self.has_state:
            return f"the last good {what} is kept in {self.folder}"
        return f"there was no {what} in {self.folder} yet"

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._log is not None:
            self._log.__exit__(kind)
