"""Data and models small enough for a test, made without training."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.data.normalizer import Normalizer, fit_limits
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import DenoiserConfig, Diffuser, SamplingConfig
from trailward.diffusion.inverse_dynamics import InverseDynamics
from trailward.learning.learnt_reward import LearntReward
from trailward.rewards import (
    AdditiveSettings,
    RewardModel,
    RewardSettings,
    StagedReward,
    StagedSettings,
    build_reward,
)
from trailward.rewards.staged import Memory


def random_walks(
    lengths: Sequence[int] = (20, 14, 17),
    *,
    observation_dim: int = 2,
    action_dim: int = 2,
    drift: float = 0.0,
    seed: int = 0,
) -> Dataset:
    """Episodes with the given numbers of environment steps; every number in them is different."""
    generator = np.random.default_rng(seed)
    episodes = []
    for length in lengths:
        moves = drift + generator.standard_normal((length + 1, observation_dim))
        actions = generator.standard_normal((length, action_dim))
        episodes.append(Episode(moves.cumsum(0), actions, generator.standard_normal(length)))
    return Dataset(episodes, {"seed": seed, "drift": drift})


def corridor_walks(*stops: float, count: int = 6, stay: int = 6, seed: int = 0) -> Dataset:
    """Walks along a corridor, from random starts to one stop after another, and a stay at the last.

    Stops are the first entries of observations, 0.1 a step; the second ones are small noise.
    """
    generator = np.random.default_rng(seed)
    episodes = []
    for _ in range(count):
        along = [generator.uniform(-0.6, 0.6)]
        for stop in stops:
            while along[-1] != stop:
                along.append(along[-1] + np.clip(stop - along[-1], -0.1, 0.1))
        along += stay * [along[-1]]
        across = 0.02 * generator.standard_normal(len(along))
        path = np.stack([along, across], -1)
        episodes.append(Episode(path, np.diff(path, axis=0)))
    return Dataset(episodes)


def shake(module: nn.Module, *, seed: int = 0, size: float = 0.2) -> nn.Module:
    """Give every weight a random value: fresh networks end in zeros, which would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(size * torch.randn(weight.shape, generator=generator))
    return module


def tiny_diffuser(spec: PlanSpec, *, config: DenoiserConfig | None = None) -> Diffuser:
    """A diffuser whose weights are noise, with the normalizers of random walks."""
    config = config or DenoiserConfig(width=16, depth=1, num_diffusion_steps=8)
    data = random_walks(observation_dim=spec.observation_dim, action_dim=spec.action_dim)
    denoiser, schedule = config.build(spec)
    inverse = InverseDynamics(spec.observation_dim, spec.action_dim, spec.stride)
    return Diffuser(
        spec=spec,
        observation_normalizer=_fit([episode.observations for episode in data.episodes]),
        action_normalizer=_fit([episode.actions for episode in data.episodes]),
        denoiser=shake(denoiser).requires_grad_(False),
        schedule=schedule,
        inverse_dynamics=None
        if spec.with_actions
        else shake(inverse, seed=1).requires_grad_(False),
        config=config,
        provenance={"seed": 0},
    )


def tiny_reward(diffuser: Diffuser, config: RewardSettings | str | None = None) -> LearntReward:
    """A reward of the diffuser's plans whose weights are noise."""
    config = config or AdditiveSettings(hidden=(8,))
    return LearntReward(
        model=shake(build_reward(config, diffuser.spec), seed=2),
        observation_normalizer=diffuser.observation_normalizer,
        action_normalizer=diffuser.action_normalizer,
        sampling=SamplingConfig(num_steps=3, stop_step=0),
        diffuser_fingerprint=diffuser.fingerprint,
        provenance={"objective": "mse"},
    )


STAGED = StagedSettings(hidden=(8,), memory_radius=0.7)


def tiny_staged_reward(diffuser: Diffuser, config: RewardSettings = STAGED) -> LearntReward:
    """The same with two stages; the second begins near the middle of model space."""
    reward = tiny_reward(diffuser, config)
    assert isinstance(reward.model, StagedReward)
    reward.model.memory.place.zero_()
    return reward


class ToldReward(RewardModel):
    """A reward by a function of plans: a number a step or, with a memory, one a step and stage."""

    def __init__(
        self, rewards: Callable[[Tensor], Tensor], spec: PlanSpec, memory: Memory | None = None
    ) -> None:
        super().__init__(spec, inputs=range(spec.observation_dim))
        self.rewards, self.memory = rewards, memory
        self.num_stages = 1 if memory is None else 2

    def observe(self, steps: Tensor, past: Tensor | None = None) -> Tensor:
        if self.memory is None:
            return super().observe(steps, past)
        return self.memory.visited(steps, None if past is None else past > 0).long()

    def step_rewards(self, plan: Tensor, past: Tensor | None = None) -> Tensor:
        if self.memory is None:
            return self.rewards(plan)
        stage = self.observe(plan) if past is None else past.expand(plan.shape[:2])
        return self.rewards(plan).gather(-1, stage.unsqueeze(-1)).squeeze(-1)


class ToldWholeReward(RewardModel):
    """A reward of whole plans by a function of them."""

    per_step = False

    def __init__(self, rewards: Callable[[Tensor], Tensor], spec: PlanSpec) -> None:
        super().__init__(spec)
        self.rewards = rewards

    def forward(self, plan: Tensor, past: Tensor | None = None) -> Tensor:
        return self.rewards(plan)


def given(model: RewardModel, visited: Tensor) -> Callable[[Tensor], Tensor]:
    """The reward of plans before which a place has been visited, or not."""
    return lambda plan: model(plan, visited.long().unsqueeze(1))


def seeded(seed: int = 0) -> torch.Generator:
    """A generator of its own for every draw."""
    return torch.Generator().manual_seed(seed)


def _fit(arrays: Sequence[np.ndarray]) -> Normalizer:
    return fit_limits(torch.from_numpy(np.concatenate(arrays)).float())
