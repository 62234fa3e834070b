"""Policies by name: files of Stable-Baselines3, code, random actions."""

import importlib
import zipfile
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

import falling
from refusals import refused
from trailward.acting.named_policy import FunctionPolicy, RandomPolicy, named_policy
from trailward.acting.planner import Policy
from trailward.environments.gymnasium_env import GymnasiumEnvironment

SPACE = Box(-2.0, 2.0, (1,), np.float32)
SEEN = np.random.default_rng(0).standard_normal((20, 3))


def trained(module: str, name: str, folder: Path, **settings) -> tuple[Path, np.ndarray]:
    """A model as the library makes and saves it, and what it does, by itself."""
    kind = getattr(importlib.import_module(module), name)
    env = GymnasiumEnvironment(falling.ID).make()
    with torch.random.fork_rng():
        model = kind("MlpPolicy", env, seed=0, device="cpu", **settings)
    path = folder / f"{name}.zip"
    model.save(path)
    actions, _ = model.predict(SEEN.astype(np.float32), deterministic=True)
    return path, actions


@pytest.mark.parametrize(
    ("module", "name", "settings"),
    [
        ("stable_baselines3", "PPO", {"policy_kwargs": {"ortho_init": False}}),
        (
            "stable_baselines3",
            "A2C",
            {"policy_kwargs": {"activation_fn": torch.nn.ReLU, "ortho_init": False}},
        ),
        ("stable_baselines3", "SAC", {"policy_kwargs": {"net_arch": [16, 8]}}),
        ("stable_baselines3", "TD3", {"policy_kwargs": {"net_arch": [16]}}),
        ("sb3_contrib", "TQC", {"policy_kwargs": {"net_arch": [16, 8]}}),
    ],
)
def test_a_saved_model_acts_as_the_library_has_it(
    module: str, name: str, settings: dict, tmp_path: Path
) -> None:
    path, expected = trained(module, name, tmp_path, **settings)
    policy = named_policy(str(path), SPACE, seed=0)
    assert isinstance(policy, Policy)
    np.testing.assert_allclose(np.clip(policy(SEEN), -2, 2), expected, atol=1e-5)
    assert np.abs(expected).max() > 0.01


def test_a_model_of_another_environment_is_refused(tmp_path: Path) -> None:
    path, _ = trained("stable_baselines3", "TD3", tmp_path, policy_kwargs={"net_arch": [4]})
    with refused(place=str(path), value=SPACE.shape[0]):
        named_policy(str(path), Box(-1, 1, (5,)), seed=0)
    with refused(place=path.name, value=7):
        named_policy(str(path), SPACE, seed=0)(np.zeros((2, 7)))


def test_nothing_in_the_file_is_executed(tmp_path: Path) -> None:
    """The part that holds pickled objects is replaced by one that cannot be unpickled."""
    path, expected = trained("stable_baselines3", "PPO", tmp_path)
    spoilt = tmp_path / "spoilt.zip"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(spoilt, "w") as new:
        for name in old.namelist():
            poison = b'{"policy_class": {":type:": "x", ":serialized:": "gASVAAAA"}}'
            new.writestr(name, poison if name == "data" else old.read(name))
    found = named_policy(str(spoilt), SPACE, seed=0)(SEEN)
    np.testing.assert_allclose(np.clip(found, -2, 2), expected, atol=1e-5)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_bytes(b"nothing")
    with refused(place=str(tmp_path / "no.zip"), remedy="model.save"):
        named_policy(str(tmp_path / "no.zip"), SPACE, seed=0)
    with refused(place=str(tmp_path / "none.zip"), value=None, remedy="check the name"):
        named_policy(str(tmp_path / "none.zip"), SPACE, seed=0)


def test_a_function_is_a_policy() -> None:
    policy = named_policy("falling:push", SPACE, seed=0)
    assert policy == FunctionPolicy(falling.push)
    np.testing.assert_array_equal(policy(SEEN), falling.push(SEEN))
    policy.reset()


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("falling:pull", "spelling"), ("nowhere:push", "spelling"), ("push", "give 'random'")],
)
def test_what_is_not_there_is_refused(name: str, remedy: str) -> None:
    with refused(place="policy", value=name, remedy=remedy):
        named_policy(name, SPACE, seed=0)


def test_random_actions_follow_from_the_seed_and_fill_the_bounds() -> None:
    one, again, other = (named_policy("random", SPACE, seed=seed) for seed in (1, 1, 2))
    first = one(np.zeros((500, 3)))
    np.testing.assert_array_equal(first, again(np.zeros((500, 3))))
    assert not np.array_equal(first, other(np.zeros((500, 3))))
    assert first.min() < -1.9
    assert first.max() > 1.9
    one.reset()
    assert not np.array_equal(first, one(np.zeros((500, 3))))  # other episodes, other actions
    unbounded = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
    with refused(place="actions", value=unbounded):
        RandomPolicy(unbounded)
