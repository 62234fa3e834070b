"""Model folders and training states made to harm, or by accident: each is one error, at once."""

import json
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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"denoiser__depth": 10_000_000}, "denoiser.depth is 1e.07, more than the 64 that"),
        ({"denoiser__width": 25_000}, r"asks for a tensor of shape \(.*\), but the weights hold"),
        ({"denoiser__num_diffusion_steps": 10**9}, r"num_diffusion_steps is 1e.09, more than"),
        ({"denoiser__num_diffusion_steps": 900_000}, "num_diffusion_steps is 900000; it must be"),
        ({"spec__horizon": 100_000_000}, "spec.horizon is 1e.08, more than the 1000000 that"),
        ({"spec__horizon": float("nan")}, "spec.horizon is nan"),
        ({"spec__horizon": "3"}, "TypeError"),
        ({"spec__extra": 3}, "TypeError: .*unexpected keyword argument 'extra'"),
        ({"denoiser__width": None}, "TypeError"),
        ({"denoiser__network": "unet", "denoiser__multipliers": [4] * 65}, "multipliers.length"),
        ({"denoiser__network": "unet", "denoiser__multipliers": [900_000]}, "asks for a tensor"),
    ],
)
def test_sizes_are_compared_with_the_weights_before_memory_is_taken(
    diffuser_folder: Path, changes: dict[str, Any], words: str
) -> None:
    change(diffuser_folder / "config.json", **changes)
    before, began = memory_gb(), time.monotonic()
    with pytest.raises(CheckpointError, match=words) as told:
        Diffuser.load(diffuser_folder)
    assert str(diffuser_folder) in str(told.value)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 700
    assert memory_gb() - before < 0.5
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reward__settings__hidden": [60_000, 20_000]}, r"asks for a tensor of shape"),
        ({"reward__settings__num_local": 400_000_000}, "num_local is 4e.08, more than"),
        ({"reward__settings__num_local": 900_000}, "asks for a tensor of shape"),
        (
            {"reward__settings__num_members": 200_000},
            "num_members is 2e.05, more than the 64 that",
        ),
        ({"sampling__num_steps": 10**12}, "sampling.num_steps is 1e.12"),
    ],
)
def test_a_rewards_sizes_are_too(reward_folder: Path, changes: dict[str, Any], words: str) -> None:
    change(reward_folder / "config.json", **changes)
    before = memory_gb()
    with pytest.raises(CheckpointError, match=words):
        LearntReward.load(reward_folder)
    assert memory_gb() - before < 0.5


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[" * 100_000 + "]" * 100_000, "is not JSON: RecursionError"),
        ('{"kind": "diffuser", "spec": ' + "[" * 400 + "]" * 400 + "}", "disagree"),
        ("{", "is not JSON: Expecting property name"),
        ("[1, 2]", "holds a model of kind"),
        ('{"kind": {"a": 1}}', "holds a model of kind"),
        ('{"kind": "diffuser"}', "there is no 'spec'"),
        (b"\xff\xfe", "is not JSON"),
    ],
)
def test_what_is_no_configuration_is_refused(
    diffuser_folder: Path, content: str | bytes, words: str
) -> None:
    content = content if isinstance(content, bytes) else content.encode()
    (diffuser_folder / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        Diffuser.load(diffuser_folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(reward_folder: Path, value: float) -> None:
    path = reward_folder / "weights.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if name.startswith("reward."))
    weights[name].view(-1)[0] = value
    save_file(weights, path)
    with pytest.raises(CheckpointError, match=rf"{name} holds {value}; weights must be finite"):
        LearntReward.load(reward_folder)


def test_a_packaged_or_saved_model_says_which_version_made_it(diffuser_folder: Path) -> None:
    config = json.loads((diffuser_folder / "config.json").read_text())
    assert config["versions"]["trailward"].count(".") == 2
    assert len(fingerprint_of(diffuser_folder)) == 16
    with pytest.raises(CheckpointError, match="holds no model"):
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
    ("damage", "words"),
    [
        (lambda tensors, metadata: metadata.pop("facts"), "there is no 'facts'"),
        (lambda tensors, metadata: metadata.update(facts="[" * 100_000), "RecursionError"),
        (lambda tensors, metadata: metadata.update(identity="[" * 100_000), "RecursionError"),
        (lambda tensors, metadata: metadata.update(identity="[1]"), "the identity is"),
        (facts(lambda _: {}), "there is no 'step'"),
        (facts(lambda found: found | {"step": -1}), "steps done is -1"),
        (facts(lambda found: found | {"step": 10**30}), "steps done is 1000"),
        (facts(lambda found: found | {"step": "2"}), "steps done is 2"),
        (facts(lambda found: found | {"step": True}), "steps done is True"),
        (facts(lambda found: found | {"settings": [1]}), "settings is"),
        (first("network.", torch.zeros(3, 3)), "size mismatch"),
        (first(".step", torch.tensor(0.0)), "is not a number above 0"),
        (first(".step", torch.zeros(2)), "is not a number above 0"),
        (first("exp_avg", torch.zeros(2, 9)), r"has shape \(2, 9\), not"),
        (first("exp_avg", torch.tensor(float("nan"))), "must be finite"),
        (
            lambda tensors, metadata: tensors.update({"optimizer.adam.99.step": torch.ones(1)}),
            "IndexError",
        ),
        (
            lambda tensors, metadata: tensors.update({"optimizer.adam.x.step": torch.ones(1)}),
            "invalid literal",
        ),
    ],
)
def test_a_damaged_state_is_refused_by_name(
    tmp_path: Path, trained: tuple[dict, dict], damage: Callable[[dict, dict], Any], words: str
) -> None:
    tensors, metadata = dict(trained[0]), dict(trained[1])
    damage(tensors, metadata)
    save_file(tensors, tmp_path / STATE, metadata)
    with pytest.raises(CheckpointError, match=words) as told:
        train(tmp_path)
    assert str(tmp_path / STATE) in str(told.value)
    assert "another folder" in str(told.value) or "save" in str(told.value)


def test_a_long_or_missing_file_of_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is missing; make it again"):
        read_json(tmp_path / "a.json", remedy="make it again")
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(60_000_000)
    with pytest.raises(CheckpointError, match="60000000 bytes, more than the 50000000 allowed"):
        read_json(tmp_path / "a.json")


def test_arrays_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.arange(3), y=np.zeros((2, 2)))
    assert read_arrays(path)["x"].tolist() == [0, 1, 2]
    np.savez_compressed(path, x=np.zeros(10**7))
    with pytest.raises(CheckpointError, match=r"no whole \.npz file: it claims to hold 80000128"):
        read_arrays(path)
    np.savez(path, x=np.array([{}], dtype=object))
    with pytest.raises(CheckpointError, match="allow_pickle=False"):
        read_arrays(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(CheckpointError, match="BadZipFile"):
        read_arrays(path)
