from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from refusals import refused
from tiny import seeded, tiny_reward
from trailward.diffusion.adjoint import Adjoint, checkpointed, full, last, parse_adjoint
from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.errors import SettingsError

NUM_STEPS = 5


def plans_and_gradient(diffuser: Diffuser, guide: str, adjoint: Adjoint) -> tuple[Tensor, Tensor]:
    """Guided plans, and the gradient of their size in all weights of the reward (second order)."""
    reward = tiny_reward(diffuser).model
    sampling = SamplingConfig("ddpm", NUM_STEPS, guide, scale=2.0, stop_step=0)
    first = torch.randn((3, 2), generator=seeded(1))
    plans = diffuser.sample_plans(
        first, sampling, generator=seeded(), reward_model=reward, adjoint=adjoint
    )
    plans.square().mean().backward()
    return plans.detach(), flat_gradient(reward)


def flat_gradient(module: nn.Module) -> Tensor:
    def gradients() -> Iterator[Tensor]:
        for weight in module.parameters():
            yield torch.zeros(weight.numel()) if weight.grad is None else weight.grad.flatten()

    return torch.cat(list(gradients()))


@pytest.mark.parametrize("guide", ["clean", "noisy"])
@pytest.mark.parametrize("adjoint", [checkpointed, last(NUM_STEPS), last(99)])
def test_exact_adjoints_give_the_plans_and_gradient_of_full(
    guide: str, adjoint: Adjoint, diffuser: Diffuser
) -> None:
    plans, gradient = plans_and_gradient(diffuser, guide, full)
    their_plans, their_gradient = plans_and_gradient(diffuser, guide, adjoint)
    assert gradient.norm() > 1e-4
    assert torch.equal(their_plans, plans)
    torch.testing.assert_close(their_gradient, gradient, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("guide", ["clean", "noisy"])
@pytest.mark.parametrize("num_steps", [2, 4])
def test_the_last_steps_alone_give_the_same_plans_and_another_gradient(
    guide: str, num_steps: int, diffuser: Diffuser
) -> None:
    plans, gradient = plans_and_gradient(diffuser, guide, full)
    their_plans, their_gradient = plans_and_gradient(diffuser, guide, last(num_steps))
    torch.testing.assert_close(their_plans, plans, atol=1e-5, rtol=1e-5)
    assert their_gradient.norm() > 0
    assert (their_gradient - gradient).norm() > 1e-3 * gradient.norm()


@pytest.mark.parametrize("num_steps", [1, 2, 3, 6])
def test_no_gradient_comes_from_before_the_last_steps(num_steps: int) -> None:
    gains = [torch.tensor(0.5 + 0.1 * index, requires_grad=True) for index in range(6)]
    plan = torch.ones(1, 1, 1)
    for index, gain in enumerate(gains):
        advance = lambda plan, noise, gain=gain: gain * plan + noise
        plan = last(num_steps)(advance, len(gains) - index)(plan, torch.zeros(1, 1, 1))
    plan.sum().backward()
    assert [gain.grad is not None for gain in gains] == [i >= 6 - num_steps for i in range(6)]


def test_checkpointing_keeps_less_for_the_way_back(diffuser: Diffuser) -> None:
    """A step is forgotten once it is over: what is kept between steps are the plans alone."""
    kept: list[Tensor] = []
    weight = torch.ones(1, requires_grad=True)

    def advance(plan: Tensor, noise: Tensor) -> Tensor:
        return (weight * plan).exp().sin().cos() + noise

    plan, noise = torch.ones(2, 3, 4), torch.zeros(2, 3, 4)
    counts = []
    for adjoint in (full, checkpointed):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            adjoint(advance, 1)(plan, noise)
        counts.append(len(kept))
    assert counts[1] < counts[0]


def test_adjoints_are_found_by_name() -> None:
    assert parse_adjoint("full") is full
    assert parse_adjoint("checkpointed") is checkpointed
    assert parse_adjoint("last:3")(str, 3) is str
    assert parse_adjoint("last:3")(str, 4) is not str


@pytest.mark.parametrize("name", ["", "half", "last", "last:", "last:x", "last:-1", "full:2"])
def test_an_unknown_adjoint_is_refused(name: str) -> None:
    with refused(SettingsError, place="adjoint", value=name, remedy="full, checkpointed or last:K"):
        parse_adjoint(name)


def test_no_steps_to_differentiate_are_refused() -> None:
    with refused(SettingsError, place="num_steps", value=0, remedy="at least 1"):
        last(0)
    with refused(SettingsError, place="num_steps", value=0, remedy="at least 1"):
        parse_adjoint("last:0")
