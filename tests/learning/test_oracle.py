"""Sampling and learning against closed forms in the linear-Gaussian world, in float64."""

import numpy as np
import pytest
import torch

import oracles
from tiny import seeded
from trailward.data.plan import PlanSpec
from trailward.diffusion.conditioning import Condition, condition_on
from trailward.diffusion.guide import CleanGuide, Guide, NoisyGuide
from trailward.diffusion.sampler import ReverseStep, ddim_step, ddpm_step, sample
from trailward.diffusion.schedule import cosine_schedule
from trailward.objectives.matching import MSE, MMDGaussian, MMDMatern, Objective
from trailward.rewards import LinearReward

SPEC = PlanSpec(horizon=4, stride=1, observation_dim=2, action_dim=1)
SCHEDULE, FINE = cosine_schedule(50), cosine_schedule(200)
TOLERANCE = 0.04
"""Four standard errors of a mean of 20,000 (0.026), and the bias that 200 steps leave."""
FIRST = torch.tensor([[0.3, -0.7], [1.0, 0.2], [-0.4, 0.0]], dtype=torch.float64)
WORLD = oracles.gaussian_world(SPEC, SCHEDULE, known=True)
GUIDES = {
    "clean": (
        lambda reward: CleanGuide(reward, scale=0.3, stop_step=5),
        oracles.LinearGuide(on_clean=0.3, stop_step=5),
    ),
    "noisy": (
        lambda reward: NoisyGuide(reward, scale=0.7, repeats=2, stop_step=3),
        oracles.LinearGuide(on_noisy=0.7, stop_step=3, repeats=2),
    ),
}


def linear_reward() -> LinearReward:
    reward = LinearReward(SPEC).double()
    weights = torch.randn(reward.weight.shape, generator=seeded(1), dtype=torch.float64)
    reward.load_state_dict({"weight": weights})
    return reward


def guided_plans(guide: Guide, num_moves: int) -> torch.Tensor:
    return sample(
        WORLD.denoiser,
        SCHEDULE.moves(num_moves),
        condition_on(SPEC, FIRST),
        generator=seeded(),
        guide=guide,
    )


def closed_form(guide: oracles.LinearGuide, num_moves: int) -> oracles.AffineChain:
    return oracles.guided_chain(WORLD, SCHEDULE.moves(num_moves), condition_on(SPEC, FIRST), guide)


def first_noise() -> np.ndarray:
    noise = torch.randn((len(FIRST), SPEC.horizon, SPEC.transition_dim), generator=seeded())
    return noise.flatten(1).double().numpy()


@pytest.mark.parametrize("reverse_step", [ddpm_step, ddim_step], ids=["ddpm", "ddim"])
def test_unguided_samples_have_the_mean_and_covariance_of_the_play_data(
    reverse_step: ReverseStep,
) -> None:
    world = oracles.gaussian_world(SPEC, FINE, known=False)
    nothing = torch.zeros(20_000, SPEC.horizon, SPEC.transition_dim)
    plans = sample(
        world.denoiser,
        FINE.moves(200),
        Condition(torch.zeros_like(nothing, dtype=torch.bool), nothing),
        generator=seeded(),
        reverse_step=reverse_step,
    )
    flat = plans.flatten(1).double().numpy()
    np.testing.assert_allclose(flat.mean(0), world.mean, atol=TOLERANCE)
    np.testing.assert_allclose(np.cov(flat.T), world.covariance, atol=TOLERANCE)


def test_plans_from_a_known_start_have_the_conditional_mean_and_covariance() -> None:
    world = oracles.gaussian_world(SPEC, FINE, known=True)
    start = FIRST[:1].expand(20_000, -1).float()
    plans = sample(
        world.denoiser,
        FINE.moves(200),
        condition_on(SPEC, start),
        generator=seeded(),
        reverse_step=ddpm_step,
    )
    flat = plans.flatten(1).double().numpy()
    mean, covariance = world.given(FIRST[0].numpy())
    np.testing.assert_allclose(flat[:, :2], start.numpy())
    np.testing.assert_allclose(flat[:, 2:].mean(0), mean, atol=TOLERANCE)
    np.testing.assert_allclose(np.cov(flat[:, 2:].T), covariance, atol=TOLERANCE)


@pytest.mark.parametrize("num_moves", [1, 10, 50])
@pytest.mark.parametrize("kind", GUIDES)
def test_the_guided_plan_equals_the_closed_form(kind: str, num_moves: int) -> None:
    make_guide, numbers = GUIDES[kind]
    reward, chain = linear_reward(), closed_form(numbers, num_moves)
    plans = guided_plans(make_guide(reward), num_moves)
    weights = reward.weight.detach().flatten().numpy()
    expected = first_noise() @ chain.from_noise.T + chain.from_weights @ weights + chain.offset
    np.testing.assert_allclose(plans.detach().flatten(1).numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("kind", GUIDES)
def test_guidance_moves_the_plan(kind: str) -> None:
    chain = closed_form(GUIDES[kind][1], 10)
    assert np.abs(chain.from_weights[2:, 2:]).max() > 0.01


@pytest.mark.parametrize("num_moves", [2, 10])
@pytest.mark.parametrize("kind", GUIDES)
def test_the_gradient_of_the_objective_in_the_reward_weights_equals_the_closed_form(
    kind: str, num_moves: int
) -> None:
    make_guide, numbers = GUIDES[kind]
    reward, chain = linear_reward(), closed_form(numbers, num_moves)
    targets = torch.randn((3, 4, 2), generator=seeded(2), dtype=torch.float64)
    MSE()(guided_plans(make_guide(reward), num_moves), targets).backward()
    expected = oracles.squared_error_gradient(
        chain,
        first_noise(),
        reward.weight.detach().flatten().numpy(),
        targets.flatten(1).numpy(),
    )
    assert np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(reward.weight.grad.flatten().numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("objective", [MMDMatern(0.5), MMDMatern(1.5), MMDMatern(2.5)], ids=str)
def test_the_gradient_of_a_matern_mmd_equals_finite_differences(objective: Objective) -> None:
    plans = torch.randn((3, 4, 2), generator=seeded(3), dtype=torch.float64, requires_grad=True)
    targets = torch.randn((5, 4, 2), generator=seeded(4), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: objective(x, targets), plans)


def test_the_gradient_of_the_gaussian_mmd_equals_finite_differences_at_fixed_bandwidths() -> None:
    plans = torch.randn((3, 4, 2), generator=seeded(3), dtype=torch.float64, requires_grad=True)
    targets = torch.randn((5, 4, 2), generator=seeded(4), dtype=torch.float64)
    everything = torch.cat([plans, targets]).detach().flatten(1)
    center = torch.pdist(everything).square().mean()

    def plain(moved: torch.Tensor) -> torch.Tensor:
        def kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            squared = (x.flatten(1)[:, None] - y.flatten(1)[None]).square().sum(-1)
            return sum(torch.exp(-squared / (2.0**j * center)) for j in range(-2, 3)).mean()

        return kernel(moved, moved) + kernel(targets, targets) - 2 * kernel(moved, targets)

    (gradient,) = torch.autograd.grad(MMDGaussian()(plans, targets), plans)
    steps = 1e-5 * torch.eye(24, dtype=torch.float64).reshape(24, 3, 4, 2)
    with torch.no_grad():
        slopes = [(plain(plans + d) - plain(plans - d)) / 2e-5 for d in steps]
    torch.testing.assert_close(gradient.flatten(), torch.stack(slopes), atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("objective", [MSE(), MMDGaussian(), MMDMatern()], ids=str)
@pytest.mark.parametrize("kind", GUIDES)
def test_every_objective_reaches_the_reward_weights_by_the_closed_form_of_the_plan(
    kind: str, objective: Objective
) -> None:
    reward, make_guide = linear_reward(), GUIDES[kind][0]
    targets = torch.randn((3, 4, 2), generator=seeded(2), dtype=torch.float64)
    plans = guided_plans(make_guide(reward), 5)
    (at_plans,) = torch.autograd.grad(objective(plans, targets), plans, retain_graph=True)
    (in_weights,) = torch.autograd.grad(objective(plans, targets), reward.weight)
    chain = closed_form(GUIDES[kind][1], 5)
    expected = at_plans.flatten(1).sum(0).numpy() @ chain.from_weights
    np.testing.assert_allclose(in_weights.flatten().numpy(), expected, atol=1e-10)
