"""A learnt reward as a folder: written, and read without executing anything it names."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trailward.checkpoint import (
    CheckpointError,
    load_model,
    prefixed,
    readable,
    save_model,
    size_limit,
    submodule,
)
from trailward.data.episode import Columns
from trailward.data.normalizer import Normalizer
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import Diffuser, sampling_from_config
from trailward.learning.config import PlanningConfig
from trailward.learning.learnt_reward import LearntReward
from trailward.pretrained import model_folder
from trailward.registry import UnknownPartError
from trailward.rewards.avoided import Avoided, TollReward
from trailward.rewards.contract import from_config
from trailward.rewards.known_region import KnownRegion
from trailward.rewards.pace import Pace
from trailward.rewards.readings import AS_IS, Readings
from trailward.rewards.value import Value

FINE_TUNED = "fine_tuned"
"""The folder of a fine-tuned diffuser in that of a reward."""

_FORMAT = 2
_SETTINGS_OF_0_1: dict[str, tuple[str, ...]] = {
    "linear": (),
    "mlp": ("hidden",),
    "conv": ("hidden",),
    "additive": ("features", "sees_actions", "hidden", "num_local", "local_frequency"),
}
_SETTINGS_OF_0_1["staged"] = (*_SETTINGS_OF_0_1["additive"], "memory_radius")


def save(learnt: LearntReward, folder: Path) -> Path:
    """Write a reward's folder; as :meth:`~trailward.learning.learnt_reward.LearntReward.save`."""
    if learnt.is_pessimistic:
        raise TypeError("save the reward itself; pessimistic() makes this of it at any time")
    family = learnt.family
    reward = learnt.model if family is None else family.base  # what is avoided has a family
    weights = prefixed("reward", reward) | _of_readings(family)
    for name in (
        "observation_normalizer",
        "action_normalizer",
        "value",
        "known_region",
        "avoided",
        "pace",
    ):
        part = getattr(learnt, name)
        weights |= {} if part is None else prefixed(name, part)
    config = {
        "kind": "reward",
        "format": _FORMAT,
        "spec": learnt.spec.to_config(),
        "reward": reward.to_config(),
        "readings": None if family is None else family.to_config()["settings"] | {"base": None},
        "sampling": asdict(learnt.sampling),
        "planning": asdict(learnt.planning),
        "value": None if learnt.value is None else learnt.value.to_config(),
        "diffuser_fingerprint": learnt.diffuser_fingerprint,
        "columns": learnt.columns.to_config(),
        "provenance": dict(learnt.provenance),
        "fine_tuned": learnt.fine_tuned is not None,
    }
    if learnt.fine_tuned is not None:
        learnt.fine_tuned.save(folder / FINE_TUNED)
    return save_model(folder, weights, config)


def load(folder: Path, *, device: str | torch.device, allow_import: bool) -> LearntReward:
    """Read a reward's folder; arguments and errors as of ``LearntReward.load``."""
    weights, config = load_model(folder, "reward")
    written, where = config.get("format", 1), f"{folder}: format"
    if not isinstance(written, int) or written < 1:
        msg = f"{folder} says its format is {written!s:.40}"
        raise CheckpointError(msg, place=where, value=written, remedy="save it again")
    if written > _FORMAT:
        msg = f"{folder} was saved by a later version of trailward (format {written})"
        raise CheckpointError(msg, place=where, value=written, remedy="update trailward")
    with readable(folder):
        if written == 1:
            weights, config = _of_version_0_1(folder, weights, config)
        with size_limit(weights, folder):
            learnt = _read(weights, config, device=device, allow_import=allow_import)
    place = config.get("fine_tuned")
    if not place:
        return learnt
    place = folder / (place if isinstance(place, str) else FINE_TUNED)
    return replace(
        learnt, fine_tuned=Diffuser.load(place, device=device, allow_import=allow_import)
    )


def load_reward(
    folder: Path, diffuser: str | None = None, *, allow_import: bool = False
) -> tuple[LearntReward, Diffuser]:
    """A reward to plan with, and its diffuser.

    Args:
        folder: the reward's.
        diffuser: folder or packaged name; None for the one that the reward says it was learnt with.
        allow_import: whether a part of another package, such as a reward or a network, may import
            the module that it names.

    Raises:
        CheckpointError: if it was learnt with another diffuser, or that is not there.
    """
    learnt = load(folder, device="cpu", allow_import=allow_import)
    name, place = diffuser or learnt.provenance.get("diffuser"), f"{folder}: diffuser"
    if name is None:
        msg = f"the reward in {folder} names no diffuser"
        raise CheckpointError(msg, place=place, remedy="give it: --diffuser")
    try:
        found = Diffuser.load(model_folder(str(name)), allow_import=allow_import)
    except CheckpointError as error:
        if diffuser is not None or isinstance(error.__cause__, UnknownPartError):
            raise
        why = str(error).removesuffix(f"; {error.remedy}")
        msg = f"{why}; the reward in {folder} was learnt with it"
        remedy = "say where it is: --diffuser"
        raise CheckpointError(msg, place=place, value=str(name), remedy=remedy) from None
    if learnt.diffuser_fingerprint != found.fingerprint:
        msg, given = f"the reward in {folder} was learnt with another diffuser", found.fingerprint
        raise CheckpointError(msg, place=place, value=given, remedy="plan with that one")
    return learnt, found


def _read(
    weights: Mapping[str, Tensor],
    config: Mapping[str, Any],
    *,
    device: str | torch.device,
    allow_import: bool,
) -> LearntReward:
    """The reward without a fine-tuned diffuser."""
    spec = PlanSpec(**config["spec"])
    model = from_config(config["reward"], spec, allow_import=allow_import)
    model.load_state_dict(submodule(weights, "reward"))
    model.to(device).requires_grad_(requires_grad=False)
    family = None
    if config.get("readings") is not None:
        family = Readings.of(model, config["readings"], submodule(weights, "readings"))
        model = model if family.chosen == AS_IS else family
    tolls = submodule(weights, "avoided")
    avoided = Avoided(**tolls).to(device) if tolls else None
    if avoided is not None:
        model = TollReward(model, avoided)
    value = None
    if config.get("value") is not None:
        value = Value(spec, **config["value"])
        value.load_state_dict(submodule(weights, "value"))
        value.to(device).requires_grad_(requires_grad=False)
    observation, action = (
        Normalizer(**submodule(weights, f"{name}_normalizer")).to(device)
        for name in ("observation", "action")
    )
    known, pace = submodule(weights, "known_region"), submodule(weights, "pace")
    return LearntReward(
        model=model,
        observation_normalizer=observation,
        action_normalizer=action,
        sampling=sampling_from_config(config["sampling"], allow_import=allow_import),
        planning=PlanningConfig(**config.get("planning", {})),
        diffuser_fingerprint=config["diffuser_fingerprint"],
        provenance=config["provenance"],
        value=value,
        columns=Columns.from_config(config.get("columns")),
        known_region=KnownRegion(**known).to(device) if known else None,
        family=family,
        avoided=avoided,
        pace=Pace(**pace).to(device) if pace else None,
    )


def _of_readings(family: Readings | None) -> dict[str, Tensor]:
    """What data tells of readings, beside the learnt reward itself."""
    state = {} if family is None else family.state_dict()
    return {f"readings.{name}": v for name, v in state.items() if not name.startswith("base.")}


def _of_version_0_1(
    folder: Path, weights: Mapping[str, Tensor], config: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What version 0.1 wrote, as this version writes it."""
    before = dict(config["reward"])
    kept = _SETTINGS_OF_0_1.get(before["model"])
    if kept is None:
        msg = f"{folder}: the reward model '{before['model']}' was added to version 0.1 by hand"
        remedy = "make it a RewardModel with settings of its own and learn the reward again"
        place = f"{folder}: reward: model"
        raise CheckpointError(msg, place=place, value=before["model"], remedy=remedy)
    settings = {name: before[name] for name in kept if name in before}
    if settings.get("hidden", ()) is None:  # the usual widths
        del settings["hidden"]
    reward: dict[str, Any] = {"model": before["model"], "settings": settings}
    count = before.get("num_members", 1)
    if count > 1:
        member = {"num_members": count, "member": reward}
        reward = {"model": "ensemble", "settings": member}
        renamed = {
            name.replace("reward.members.", "reward.parts.", 1): each
            for name, each in weights.items()
        }
        weights = renamed
    fine_tuned = "tuned" if config.get("tuned") else False
    return dict(weights), {**config, "reward": reward, "fine_tuned": fine_tuned}
