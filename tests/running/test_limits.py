"""What would take more memory than there is is refused by name before any is taken."""

import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from refusals import refused
from tiny import random_walks, tiny_diffuser
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import DenoiserConfig, SamplingConfig
from trailward.diffusion.training import TrainingConfig, train_diffuser
from trailward.errors import SettingsError
from trailward.judging.config import EvaluationConfig
from trailward.learning.config import LearningConfig, SelectionConfig
from trailward.learning.learn_reward import learn_reward
from trailward.rewards import AdditiveSettings
from trailward.running.limits import available_memory, check_memory

SPEC = PlanSpec(horizon=3, stride=1, observation_dim=2, action_dim=2)


def test_there_is_memory() -> None:
    assert 10**8 < available_memory() < 1 << 50
    check_memory(1e6, "this", "lower it")
    with refused(SettingsError, place="this", value=1e18, remedy="lower it") as told:
        check_memory(1e18, "this", "lower it")
    assert "1e+09 GB" in str(told.value)


@pytest.mark.parametrize(
    ("denoiser", "training", "horizon", "place", "value"),
    [
        ({}, {"batch_size": 10**9}, 3, "batch_size 1000000000, horizon 3 and width 8", 576e9),
        ({"width": 10**6}, {}, 3, "width 1000000 and depth 1", (250_000, 250_000)),
        ({}, {"batch_size": 10**6}, 100_000, "horizon 100000 and width 8", 192e11),
    ],
)
def test_a_training_that_does_not_fit_says_so_at_once(
    tmp_path: Path,
    denoiser: dict[str, Any],
    training: dict[str, Any],
    horizon: int,
    place: str,
    value: object,
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    config = DenoiserConfig(**{"network": "mlp", "width": 8, "depth": 1} | denoiser)
    spec = replace(SPEC, horizon=horizon)
    with refused(SettingsError, value=value, remedy="lower one of them") as told:
        train_diffuser(
            random_walks(),
            spec,
            tmp_path / "out",
            denoiser_config=config,
            config=TrainingConfig(**training),
        )
    assert place in told.value.place
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000
    assert not (tmp_path / "out").exists()


def test_a_learning_that_does_not_fit_says_so_at_once(tmp_path: Path) -> None:
    place = "a batch of batch_size 100000000 and 4 sampling steps"
    with refused(SettingsError, place=place, value=768e8):
        learn_reward(
            tiny_diffuser(SPEC),
            random_walks(),
            tmp_path / "out",
            sampling=SamplingConfig(num_steps=4),
            config=LearningConfig(batch_size=10**8, selection=SelectionConfig(num_held_out=0)),
        )
    assert not (tmp_path / "out").exists()


def test_a_reward_that_does_not_fit_says_so_at_once(tmp_path: Path) -> None:
    with refused(SettingsError, value=(10**6, 10**6), remedy="lower its") as told:
        learn_reward(
            tiny_diffuser(SPEC),
            random_walks(),
            tmp_path / "out",
            reward=AdditiveSettings(hidden=(10**6, 10**6)),
            config=LearningConfig(selection=SelectionConfig(num_held_out=0)),
        )
    assert "2e+04 GB" in str(told.value)
    assert not (tmp_path / "out").exists()


def test_plans_that_do_not_fit_are_refused() -> None:
    diffuser = tiny_diffuser(SPEC)
    first = torch.zeros(1, 2).expand(10**10, 2)
    place = "sampling 10000000000 plans at once"
    with refused(SettingsError, place=place, value=96e11, remedy="ask for fewer"):
        diffuser.sample_plans(first, SamplingConfig(num_steps=2), generator=torch.Generator())


@pytest.mark.parametrize(
    ("kind", "name", "value", "limit"),
    [
        (TrainingConfig, "seed", 10**11, "at most 4294967295"),
        (LearningConfig, "seed", 10**11, "at most 4294967295"),
        (EvaluationConfig, "seed", 10**11, "at most"),
        (EvaluationConfig, "num_plans", 10**11, "at most"),
        (DenoiserConfig, "num_diffusion_steps", 10**9, "at most 100000"),
        (DenoiserConfig, "depth", 10**7, "at most 1000"),
    ],
)
def test_numbers_that_cannot_be_are_refused(kind: type, name: str, value: int, limit: str) -> None:
    with refused(SettingsError, place=name, value=value, remedy=limit):
        kind(**{name: value})
    with refused(SettingsError, place="horizon", value=10**8, remedy="at most 100000"):
        replace(SPEC, horizon=10**8)
