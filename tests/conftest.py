"""Fixtures for all tests: tiny data and models, one thread."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace

import jaxtyping
import pytest
import torch

import tiny
from trailward.data.dataset import Dataset
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import Diffuser
from trailward.rewards import value

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
torch.set_num_threads(1)

MEMORY = "/dev/shm"
if os.path.isdir(MEMORY) and shutil.disk_usage(MEMORY).free > 4e9:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)  # tests write files there, and wait less


LONG = ("web", "cli", "fitting", "learning", "test_docs.py", "test_other_packages.py",
        "test_pretrained.py")  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first: last, one worker would be left alone with them."""
    items.sort(key=lambda item: not any(part in LONG for part in item.path.parts))


@pytest.fixture(autouse=True)
def _same_weights_every_time() -> None:
    torch.manual_seed(0)


@pytest.fixture
def spec() -> PlanSpec:
    return PlanSpec(horizon=5, stride=2, observation_dim=2, action_dim=2)


@pytest.fixture
def action_spec() -> PlanSpec:
    return PlanSpec(horizon=4, stride=2, observation_dim=2, action_dim=2, with_actions=True)


@pytest.fixture
def dataset() -> Dataset:
    return tiny.random_walks()


@pytest.fixture
def diffuser(spec: PlanSpec) -> Diffuser:
    return tiny.tiny_diffuser(spec)


@pytest.fixture
def action_diffuser(action_spec: PlanSpec) -> Diffuser:
    return tiny.tiny_diffuser(action_spec)


@pytest.fixture
def rough_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values are fitted in few steps, where it does not matter how well."""
    regress = value._regress
    monkeypatch.setattr(
        value,
        "_regress",
        lambda fitted, states, targets, config: regress(
            fitted, states, targets, replace(config, num_steps=60)
        ),
    )


@pytest.fixture
def without_type_checks() -> Iterator[None]:
    """As users run it: shapes are not checked by jaxtyping, so the code's own messages show."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
