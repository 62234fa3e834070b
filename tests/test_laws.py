"""Laws that hold for every scale, offset, length and moment."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tiny import random_walks
from trailward.data.dataset import Dataset, Windows
from trailward.data.episode import Episode
from trailward.data.normalizer import NORMALIZERS
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import DenoiserConfig
from trailward.diffusion.training import STATE, TrainingConfig, train_diffuser

few = settings(max_examples=25, deadline=None)
EPISODES = some.lists(some.integers(1, 12), min_size=1, max_size=4)


@few
@given(
    kind=some.sampled_from(list(NORMALIZERS)),
    exponent=some.integers(-9, 9),
    offset=some.floats(-1e9, 1e9),
    seed=some.integers(0, 9),
)
def test_normalised_and_back_is_the_same_at_any_scale_and_offset(
    kind: str, exponent: int, offset: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    spread = 10.0**exponent
    values = offset + spread * torch.randn(50, 3, generator=generator, dtype=torch.float64)
    normalizer = NORMALIZERS[kind](values)
    model_space = normalizer.normalize(values)
    assert model_space.abs().max() < 8
    if spread > 1e-12 * abs(offset):  # else 64 bits do not hold it
        assert (model_space.std(0) > 0.1).all()
    error = (normalizer.unnormalize(model_space) - values).abs().max()
    assert error <= 1e-6 * max(spread, 1e-6 * abs(offset))


def walk(length: int, seed: int) -> Episode:
    generator = np.random.default_rng(seed)
    path = generator.standard_normal((length + 1, 2)).cumsum(0)
    return Episode(path, np.diff(path, axis=0))


@few
@given(
    lengths=EPISODES,
    horizon=some.integers(1, 5),
    stride=some.integers(1, 3),
    with_actions=some.booleans(),
)
def test_windows_hold_what_was_recorded_and_masks_say_where(
    lengths: list[int], horizon: int, stride: int, *, with_actions: bool
) -> None:
    episodes = [walk(length, seed) for seed, length in enumerate(lengths)]
    spec = PlanSpec(horizon, stride, 2, 2, with_actions)
    windows = Windows(Dataset(episodes), spec)
    counts = [max(1, length + 1 - spec.num_observations + 1) for length in lengths]
    assert len(windows) == sum(counts)
    found, mask = windows.gather(torch.arange(len(windows)))
    observations, actions = spec.split(found)
    for index in range(len(windows)):
        episode, first = episodes[int(windows.episode[index])], int(windows.first[index])
        for step in range(horizon):
            time = first + step * stride
            needed = time + stride * with_actions
            assert bool(mask[index, step]) == (needed <= len(episode))
            if mask[index, step]:
                recorded = torch.from_numpy(episode.observations[time])
                assert torch.allclose(observations[index, step].double(), recorded, atol=1e-6)
            if mask[index, step] and actions is not None:
                recorded = torch.from_numpy(episode.actions[time : time + stride])
                assert torch.allclose(actions[index, step].double(), recorded, atol=1e-6)


SPEC = PlanSpec(horizon=3, stride=1, observation_dim=2, action_dim=2)
TRAINING = TrainingConfig(
    num_steps=12, batch_size=2, optimizer="adam", checkpoint_every=100, num_inverse_dynamics_steps=1
)


def train(folder: Path, *, every: int = 100) -> dict[str, torch.Tensor]:
    """Train, or go on training; the state at the end."""
    denoiser = DenoiserConfig(network="mlp", width=8, depth=1, num_diffusion_steps=4)
    config = replace(TRAINING, checkpoint_every=every)
    train_diffuser(random_walks(), SPEC, folder, denoiser_config=denoiser, config=config)
    return load_file(folder / STATE)


@settings(max_examples=6, deadline=None)
@given(stop=some.integers(1, 11), every=some.integers(1, 12))
def test_training_resumed_at_any_step_ends_with_the_same_bits(stop: int, every: int) -> None:
    def interrupt(optimizer: object, arguments: object, options: object) -> None:
        done.append(1)
        if len(done) > stop:
            raise KeyboardInterrupt

    done: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        whole = train(Path(folder) / "whole")
        hook = register_optimizer_step_pre_hook(interrupt)
        try:
            with pytest.raises(KeyboardInterrupt):
                train(Path(folder) / "parts", every=every)
        finally:
            hook.remove()
        resumed = train(Path(folder) / "parts", every=every)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
