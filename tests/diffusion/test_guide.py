import pytest
import torch
from torch import Tensor, nn

from refusals import refused
from tiny import seeded
from trailward.diffusion.diffuser import SamplingConfig
from trailward.diffusion.guide import CleanGuide, NoGuide, NoisyGuide, reward_gradient
from trailward.diffusion.schedule import Move, cosine_schedule
from trailward.registry import UnknownPartError

MOVE = Move(step=10, alpha_bar=0.5, alpha_bar_next=0.8)
PLANS = torch.randn((3, 4, 2), generator=seeded())


def quadratic(plan: Tensor) -> Tensor:
    """Its gradient is ``-plan``."""
    return -0.5 * plan.square().sum((1, 2))


def test_the_reward_gradient_of_a_quadratic_is_minus_the_plan() -> None:
    torch.testing.assert_close(reward_gradient(quadratic, PLANS), -PLANS)


def test_the_reward_gradient_works_where_gradients_are_off() -> None:
    with torch.no_grad():
        gradient = reward_gradient(quadratic, PLANS)
    torch.testing.assert_close(gradient, -PLANS)
    assert not gradient.requires_grad


def test_the_reward_gradient_is_differentiable_in_plan_and_weights() -> None:
    weight = torch.tensor(3.0, requires_grad=True)
    plans = PLANS.clone().requires_grad_()
    gradient = reward_gradient(lambda plan: weight * (plan**3).sum((1, 2)), plans)
    in_plan, in_weight = torch.autograd.grad(gradient.sum(), (plans, weight))
    torch.testing.assert_close(in_plan, 18 * PLANS)
    torch.testing.assert_close(in_weight, (3 * PLANS**2).sum())


def test_the_reward_gradient_of_one_plan_ignores_the_others() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 1))
    reward = lambda plan: network(plan).squeeze(-1)
    together = reward_gradient(reward, PLANS)
    alone = torch.cat([reward_gradient(reward, plan[None]) for plan in PLANS])
    torch.testing.assert_close(together, alone)


def test_a_reward_that_ignores_the_plan_gives_no_correction() -> None:
    weight = torch.ones(3, requires_grad=True)
    assert reward_gradient(lambda plan: weight * 2, PLANS).abs().max() == 0


def test_a_frozen_reward_can_guide() -> None:
    network = nn.Linear(2, 1).requires_grad_(False)
    gradient = reward_gradient(lambda plan: network(plan).sum((1, 2)), PLANS)
    torch.testing.assert_close(gradient, network.weight.expand(3, 4, 2))


def test_the_noisy_guide_scales_by_the_posterior_variance() -> None:
    guide = NoisyGuide(quadratic, scale=0.3)
    variance = (1 - 0.8) / (1 - 0.5) * (1 - 0.5 / 0.8)
    torch.testing.assert_close(guide.on_noisy(PLANS, MOVE), -0.3 * variance * PLANS)
    assert guide.on_clean(PLANS, MOVE).abs().max() == 0


def test_the_noisy_guide_can_leave_the_variance_out() -> None:
    guide = NoisyGuide(quadratic, scale=0.3, use_variance=False)
    torch.testing.assert_close(guide.on_noisy(PLANS, MOVE), -0.3 * PLANS)


def test_the_clean_guide_scales_by_horizon_and_noise() -> None:
    guide = CleanGuide(quadratic, scale=0.3, stop_step=0)
    weight = (1 - 0.5) / 0.5**0.5
    torch.testing.assert_close(guide.on_clean(PLANS, MOVE), -0.3 * 4 * weight * PLANS)
    assert guide.on_noisy(PLANS, MOVE).abs().max() == 0


def test_the_clean_guide_weighs_at_most_one() -> None:
    guide, noisiest = CleanGuide(quadratic, scale=1.0, stop_step=0), cosine_schedule(64).moves(1)[0]
    torch.testing.assert_close(guide.on_clean(PLANS, noisiest), -4 * PLANS)


def test_the_clean_guide_gives_a_step_the_gradient_of_its_own_reward() -> None:
    """Whatever the horizon: the mean over time and the factor cancel."""
    reward = lambda plan: (3 * plan[..., 0]).mean(-1)
    for horizon in (1, 4, 32):
        guide, move = CleanGuide(reward, scale=0.5, stop_step=0), Move(9, 1e-6, 0.5)
        correction = guide.on_clean(torch.zeros(1, horizon, 2), move)
        torch.testing.assert_close(correction, torch.tensor([1.5, 0.0]).expand(1, horizon, 2))


@pytest.mark.parametrize("step", [4, 5, 6])
def test_guides_stop_below_their_stop_step(step: int) -> None:
    move = Move(step, 0.5, 0.8)
    guided = step >= 5
    clean = CleanGuide(quadratic, stop_step=5).on_clean(PLANS, move)
    noisy = NoisyGuide(quadratic, stop_step=5).on_noisy(PLANS, move)
    assert bool(clean.abs().max() > 0) == guided
    assert bool(noisy.abs().max() > 0) == guided


def test_no_guide_corrects_nothing() -> None:
    guide = NoGuide()
    assert guide.repeats == 0
    assert guide.on_noisy(PLANS, MOVE).abs().max() == 0
    assert guide.on_clean(PLANS, MOVE).abs().max() == 0


def test_guides_are_built_from_their_settings() -> None:
    clean = SamplingConfig(guide="clean", scale=2.0, stop_step=3).build_guide(quadratic)
    assert clean == CleanGuide(quadratic, 2.0, 3)
    settings = SamplingConfig(guide="noisy", scale=2.0, stop_step=3, repeats=5, use_variance=False)
    assert settings.build_guide(quadratic) == NoisyGuide(quadratic, 2.0, False, 5, 3)


def test_an_unknown_guide_is_refused() -> None:
    with refused(UnknownPartError, place="guides", value="loud", remedy="clean, noisy"):
        SamplingConfig(guide="loud").build_guide(quadratic)
