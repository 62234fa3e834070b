from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tiny import seeded, shake
from trailward.data.plan import PlanSpec
from trailward.diffusion.conditioning import Condition, condition_on
from trailward.diffusion.denoiser import (
    PARAMETERIZATIONS,
    CleanPrediction,
    NoisePrediction,
    VelocityPrediction,
    denoising_loss,
)
from trailward.diffusion.networks import TemporalTransformer
from trailward.diffusion.schedule import cosine_schedule

SCHEDULE = cosine_schedule(16)
SPEC = PlanSpec(horizon=5, stride=1, observation_dim=2, action_dim=1, with_actions=True)
CLEAN, NOISE = torch.randn((2, 4, 5, 3), generator=seeded()).double()
STEP = torch.tensor([0, 3, 9, 14])
SIGNAL = torch.tensor(SCHEDULE.alpha_bars).double()[STEP].reshape(-1, 1, 1)
NOISY = SIGNAL.sqrt() * CLEAN + (1 - SIGNAL).sqrt() * NOISE
ALL = torch.ones(4, 5, dtype=torch.bool)
NOTHING = Condition(torch.zeros(4, 5, 3, dtype=torch.bool), torch.zeros(4, 5, 3))


class Oracle(nn.Module):
    """A network that answers correctly."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        return self.answer


class EntryByEntry(nn.Module):
    """A network that looks at one entry at a time."""

    def forward(self, noisy: Tensor, step: Tensor) -> Tensor:
        return 0.3 * noisy


def loss(clean: Tensor, denoiser: Callable[[Tensor, Tensor], Tensor], **changes: object) -> Tensor:
    settings = {"step": STEP, "noise": NOISE.float(), "condition": NOTHING, "mask": ALL, **changes}
    mask = settings.pop("mask")
    return denoising_loss(denoiser, SCHEDULE, clean.float(), mask, **settings)


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        (CleanPrediction, CLEAN),
        (NoisePrediction, NOISE),
        (VelocityPrediction, SIGNAL.sqrt() * NOISE - (1 - SIGNAL).sqrt() * CLEAN),
    ],
)
def test_the_true_answer_gives_the_clean_plan(kind: type[nn.Module], answer: Tensor) -> None:
    denoiser = kind(Oracle(answer), SCHEDULE).double()
    torch.testing.assert_close(denoiser(NOISY, STEP), CLEAN, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_parameterizations_save_the_weights_of_the_network_alone(name: str) -> None:
    denoiser = PARAMETERIZATIONS[name](nn.Linear(3, 3), SCHEDULE)
    assert list(denoiser.state_dict()) == ["network.weight", "network.bias"]


def test_the_loss_of_the_true_answer_is_zero() -> None:
    assert loss(CLEAN, CleanPrediction(Oracle(CLEAN.float()), SCHEDULE)) == 0


def test_the_unweighted_loss_is_the_mean_squared_error() -> None:
    zero = CleanPrediction(Oracle(torch.zeros(4, 5, 3)), SCHEDULE)
    expected = CLEAN.square().mean().float()
    torch.testing.assert_close(loss(CLEAN, zero, weighted=False), expected)


def test_the_weight_is_the_signal_to_noise_ratio_within_its_limits() -> None:
    zero = CleanPrediction(Oracle(torch.zeros(4, 5, 3)), SCHEDULE)
    ratio = (SIGNAL / (1 - SIGNAL)).flatten()
    assert (ratio > 5).tolist() == [True, True, False, False]
    assert (ratio < 0.2).tolist() == [False, False, False, True]
    expected = (CLEAN.square().mean((1, 2)) * ratio.clip(0.2, 5.0)).mean().float()
    torch.testing.assert_close(loss(CLEAN, zero), expected)


def test_masked_entries_do_not_enter_the_loss() -> None:
    mask = ALL.clone()
    mask[1, 2:] = mask[3, 4] = False
    other = torch.where(mask.unsqueeze(-1), CLEAN, CLEAN + 100)
    value = loss(CLEAN, EntryByEntry(), mask=mask)
    assert torch.equal(value, loss(other, EntryByEntry(), mask=mask))
    assert not torch.equal(value, loss(other, EntryByEntry()))


def test_a_plan_counts_the_same_however_much_of_it_is_masked() -> None:
    mask = ALL.clone()
    mask[:, 1:] = False
    zero = CleanPrediction(Oracle(torch.zeros(4, 5, 3)), SCHEDULE)
    expected = CLEAN[:, 0].square().mean().float()
    torch.testing.assert_close(loss(CLEAN, zero, mask=mask, weighted=False), expected)


def test_important_entries_count_more_in_the_mean() -> None:
    importance = 0.1 + torch.rand((5, 3), generator=seeded(1))
    zero = CleanPrediction(Oracle(torch.zeros(4, 5, 3)), SCHEDULE)
    mask = ALL.clone()
    mask[2, 1:] = False
    per_plan = [
        (plan.square() * importance)[real].sum() / importance[real].sum()
        for plan, real in zip(CLEAN, mask, strict=True)
    ]
    value = loss(CLEAN, zero, mask=mask, weighted=False, importance=importance)
    torch.testing.assert_close(value, torch.stack(per_plan).mean().float())


@pytest.mark.parametrize("size", [1.0, 7.0])
def test_equal_importance_of_all_entries_changes_nothing(size: float) -> None:
    value = loss(CLEAN, EntryByEntry(), importance=torch.full((5, 3), size))
    torch.testing.assert_close(value, loss(CLEAN, EntryByEntry()))


def test_entries_of_no_importance_do_not_enter_the_loss() -> None:
    importance = torch.ones(5, 3)
    importance[1:, 2] = 0
    other = torch.where(importance.bool(), CLEAN, CLEAN + 100)
    value = loss(CLEAN, EntryByEntry(), importance=importance)
    assert torch.equal(value, loss(other, EntryByEntry(), importance=importance))
    assert loss(CLEAN, EntryByEntry(), importance=torch.zeros(5, 3)) == 0


def test_known_entries_stay_out_however_important_they_are() -> None:
    condition = condition_on(SPEC, CLEAN[:, 0, :2].float())
    usual, important = torch.ones(5, 3), torch.ones(5, 3)
    important[0, :2] = 100
    values = [
        loss(CLEAN, EntryByEntry(), condition=condition, importance=importance)
        for importance in (usual, important)
    ]
    assert torch.equal(*values)


def test_known_entries_do_not_enter_the_loss() -> None:
    condition = condition_on(SPEC, CLEAN[:, 0, :2].float())
    network = shake(TemporalTransformer(3, 5, width=8, depth=1), size=0.5)
    other = torch.where(condition.known, CLEAN + 100, CLEAN)
    value = loss(CLEAN, network, condition=condition)
    assert torch.equal(value, loss(other, network, condition=condition))
    assert not torch.equal(value, loss(other, network))


def test_the_network_sees_known_entries_clean() -> None:
    condition = condition_on(SPEC, CLEAN[:, 0, :2].float())
    seen = []

    def watching(noisy: Tensor, step: Tensor) -> Tensor:
        seen.append(noisy)
        return noisy

    loss(CLEAN, watching, condition=condition)
    assert torch.equal(seen[0][:, 0, :2], CLEAN[:, 0, :2].float())
    torch.testing.assert_close(seen[0][:, 1:], NOISY[:, 1:].float())


def test_windows_without_a_real_step_leave_the_loss_finite() -> None:
    assert loss(CLEAN, EntryByEntry(), mask=~ALL) == 0
