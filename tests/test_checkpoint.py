"""Model folders and training states made to harm, or by accident: each is one error, at once."""

import json
import math
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from refusals import refused
from tiny import random_walks, tiny_diffuser, tiny_reward
from trailward.checkpoint import CheckpointError, fingerprint_of, read_arrays, read_json
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import DenoiserConfig, Diffuser
from trailward.diffusion.training import STATE, TrainingConfig, train_diffuser
from trailward.learning.learnt_reward import LearntReward

SPEC = PlanSpec(horizon=3, stride=1, observation_dim=2, action_dim=2)
DENOISER = DenoiserConfig(network="mlp", width=8, depth=1, num_diffusion_steps=4)
TRAINING = TrainingConfig(
    num_steps=2, batch_size=2, optimizer="adam", checkpoint_every=1, num_inverse_dynamics_steps=1
)


@pytest.fixture
def diffuser_folder(tmp_path: Path) -> Path:
    return tiny_diffuser(SPEC, config=DENOISER).save(tmp_path / "diffuser")


@pytest.fixture
def reward_folder(tmp_path: Path) -> Path:
    return tiny_reward(tiny_diffuser(SPEC, config=DENOISER)).save(tmp_path / "reward")


def change(path: Path, **changes: Any) -> None:
    """Change values of a JSON file, named ``section__name``."""
    content = json.loads(path.read_text())
    for place, value in changes.items():
        *sections, name = place.split("__")
        found = content
        for section in sections:
            found = found[section]
        found[name] = value
    path.write_text(json.dumps(content))


def memory_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


NAN = pytest.approx(math.nan, nan_ok=True)


class Words(str):
    """Equal to any text that has these words in it: what a library says of a damaged file."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and str(self) in str(other)


@pytest.mark.parametrize(
    ("changes", "place", "value", "remedy"),
    [
        ({"denoiser__depth": 10**7}, "/config.json: denoiser.depth", 10**7, "at most 64:"),
        ({"denoiser__width": 25_000}, "", (6250, 6250), "save"),
        (
            {"denoiser__num_diffusion_steps": 10**9},
            "/config.json: denoiser.num_diffusion_steps",
            10**9,
            "at most 1000000:",
        ),
        ({"denoiser__num_diffusion_steps": 900_000}, ": num_diffusion_steps", 900_000, "save"),
        ({"spec__horizon": 10**8}, "/config.json: spec.horizon", 10**8, "at most 1000000:"),
        ({"spec__horizon": math.nan}, "/config.json: spec.horizon", NAN, "at most 1000000:"),
        ({"spec__horizon": "3"}, "", Words("TypeError"), "save"),
        ({"spec__extra": 3}, "", Words("unexpected keyword argument 'extra'"), "save"),
        ({"denoiser__width": None}, "", Words("TypeError"), "save"),
        (
            {"denoiser__network": "unet", "denoiser__multipliers": [4] * 65},
            "/config.json: denoiser.multipliers.length",
            65,
            "at most 64:",
        ),
        (
            {"denoiser__network": "unet", "denoiser__multipliers": [900_000]},
            "",
            (7_200_000, 2, 5),
            "save",
        ),
    ],
)
def test_sizes_are_compared_with_the_weights_before_memory_is_taken(
    diffuser_folder: Path, changes: dict[str, Any], place: str, value: object, remedy: str
) -> None:
    change(diffuser_folder / "config.json", **changes)
    before, began = memory_gb(), time.monotonic()
    place = f"{diffuser_folder}{place}"
    with refused(CheckpointError, place=place, value=value, remedy=remedy) as told:
        Diffuser.load(diffuser_folder)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 700
    assert memory_gb() - before < 0.5
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("changes", "place", "value", "remedy"),
    [
        ({"reward__settings__hidden": [60_000, 20_000]}, "", (20_000, 60_000), "save"),
        (
            {"reward__settings__num_local": 4 * 10**8},
            "/config.json: reward.settings.num_local",
            4 * 10**8,
            "at most 1000000:",
        ),
        ({"reward__settings__num_local": 900_000}, "", (2, 900_000), "save"),
        (
            {"reward__settings__num_members": 200_000},
            "/config.json: reward.settings.num_members",
            200_000,
            "at most 64:",
        ),
        (
            {"sampling__num_steps": 10**12},
            "/config.json: sampling.num_steps",
            10**12,
            "at most 1000000:",
        ),
    ],
)
def test_a_rewards_sizes_are_too(
    reward_folder: Path, changes: dict[str, Any], place: str, value: object, remedy: str
) -> None:
    change(reward_folder / "config.json", **changes)
    before = memory_gb()
    place = f"{reward_folder}{place}"
    with refused(CheckpointError, place=place, value=value, remedy=remedy):
        LearntReward.load(reward_folder)
    assert memory_gb() - before < 0.5


@pytest.mark.parametrize(
    ("content", "place", "value"),
    [
        ("[" * 100_000 + "]" * 100_000, "/config.json", Words("RecursionError")),
        (
            '{"kind": "diffuser", "spec": ' + "[" * 400 + "]" * 400 + "}",
            "",
            Words("must be a mapping"),
        ),
        ("{", "/config.json", Words("Expecting property name")),
        ("[1, 2]", "", [1, 2]),
        ('{"kind": {"a": 1}}', "", {"a": 1}),
        ('{"kind": "diffuser"}', "", "there is no 'spec'"),
        (b"\xff\xfe", "/config.json", Words("can't decode byte")),
    ],
)
def test_what_is_no_configuration_is_refused(
    diffuser_folder: Path, content: str | bytes, place: str, value: object
) -> None:
    content = content if isinstance(content, bytes) else content.encode()
    (diffuser_folder / "config.json").write_bytes(content)
    with refused(CheckpointError, place=f"{diffuser_folder}{place}", value=value):
        Diffuser.load(diffuser_folder)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers_are_refused(reward_folder: Path, value: float) -> None:
    path = reward_folder / "weights.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if name.startswith("reward."))
    weights[name].view(-1)[0] = value
    save_file(weights, path)
    told = pytest.approx(value, nan_ok=True)
    with refused(CheckpointError, place=f"{path}: {name}", value=told, remedy="finite"):
        LearntReward.load(reward_folder)


def test_a_packaged_or_saved_model_says_which_version_made_it(diffuser_folder: Path) -> None:
    config = json.loads((diffuser_folder / "config.json").read_text())
    assert config["versions"]["trailward"].count(".") == 2
    assert len(fingerprint_of(diffuser_folder)) == 16
    place = str(diffuser_folder.parent / "weights.safetensors")
    with refused(CheckpointError, place=place, value=None):
        fingerprint_of(diffuser_folder.parent)


def train(folder: Path, **changes: Any) -> Diffuser:
    return train_diffuser(random_walks(), SPEC, folder, denoiser_config=DENOISER, config=TRAINING)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], dict]:
    folder = tmp_path_factory.mktemp("trained")
    train(folder)
    with safe_open(folder / STATE, "pt") as file:
        metadata = file.metadata()
    return load_file(folder / STATE), metadata


def facts(change: Callable[[dict], Any]) -> Callable[[dict, dict], None]:
    def damage(tensors: dict, metadata: dict) -> None:
        metadata["facts"] = json.dumps(change(json.loads(metadata["facts"])))

    return damage


def first(name: str, value: Any) -> Callable[[dict, dict], None]:
    def damage(tensors: dict, metadata: dict) -> None:
        tensors[next(key for key in tensors if name in key)] = value

    return damage


@pytest.mark.parametrize(
    ("damage", "place", "value"),
    [
        (lambda tensors, metadata: metadata.pop("facts"), "", "there is no 'facts'"),
        (
            lambda tensors, metadata: metadata.update(facts="[" * 100_000),
            "",
            Words("RecursionError"),
        ),
        (
            lambda tensors, metadata: metadata.update(identity="[" * 100_000),
            "",
            Words("RecursionError"),
        ),
        (lambda tensors, metadata: metadata.update(identity="[1]"), ": identity", [1]),
        (facts(lambda _: {}), "", "there is no 'step'"),
        (facts(lambda found: found | {"step": -1}), ": step", -1),
        (facts(lambda found: found | {"step": 10**30}), ": step", 10**30),
        (facts(lambda found: found | {"step": "2"}), ": step", "2"),
        (facts(lambda found: found | {"step": True}), ": step", True),
        (facts(lambda found: found | {"settings": [1]}), ": settings", [1]),
        (first("network.", torch.zeros(3, 3)), "", Words("size mismatch")),
        (first(".step", torch.tensor(0.0)), ": optimizer: 0.step", [0.0]),
        (first(".step", torch.zeros(2)), ": optimizer: 0.step", [0.0, 0.0]),
        (first("exp_avg", torch.zeros(2, 9)), ": optimizer: 0.exp_avg", (2, 9)),
        (
            first("exp_avg", torch.tensor(math.nan)),
            ": optimizer.adam.0.exp_avg",
            NAN,
        ),
        (
            lambda tensors, metadata: tensors.update({"optimizer.adam.99.step": torch.ones(1)}),
            "",
            Words("IndexError"),
        ),
        (
            lambda tensors, metadata: tensors.update({"optimizer.adam.x.step": torch.ones(1)}),
            "",
            Words("invalid literal"),
        ),
    ],
)
def test_a_damaged_state_is_refused_by_name(
    tmp_path: Path,
    trained: tuple[dict, dict],
    damage: Callable[[dict, dict], Any],
    place: str,
    value: object,
) -> None:
    tensors, metadata = dict(trained[0]), dict(trained[1])
    damage(tensors, metadata)
    save_file(tensors, tmp_path / STATE, metadata)
    with refused(CheckpointError, place=f"{tmp_path / STATE}{place}", value=value) as told:
        train(tmp_path)
    assert "another folder" in told.value.remedy or "save" in told.value.remedy


def test_a_long_or_missing_file_of_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with refused(CheckpointError, place=str(path), value=None, remedy="make it again"):
        read_json(path, remedy="make it again")
    with path.open("wb") as file:
        file.truncate(60_000_000)
    with refused(CheckpointError, place=str(path), value=60_000_000) as told:
        read_json(path)
    assert "50000000" in str(told.value)


def test_arrays_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.arange(3), y=np.zeros((2, 2)))
    assert read_arrays(path)["x"].tolist() == [0, 1, 2]
    np.savez_compressed(path, x=np.zeros(10**7))
    with refused(CheckpointError, place=str(path), value=80_000_128):
        read_arrays(path)
    np.savez(path, x=np.array([{}], dtype=object))
    with refused(CheckpointError, place=str(path), value=Words("allow_pickle=False")):
        read_arrays(path)
    path.write_bytes(path.read_bytes()[:-30])
    with refused(CheckpointError, place=str(path), value=Words("BadZipFile")):
        read_arrays(path)
