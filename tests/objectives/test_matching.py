import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.special import gamma, kv
from scipy.stats import energy_distance
from torch import Tensor

from refusals import refused
from tiny import seeded
from trailward.errors import SettingsError
from trailward.objectives import describe_objective, find_objective
from trailward.objectives.matching import (
    MSE,
    OBJECTIVES,
    EnergyDistance,
    MMDGaussian,
    MMDMatern,
    Objective,
)

UNPAIRED = {name: objective for name, objective in OBJECTIVES.items() if name != "mse"}


def batch(count: int, seed: int = 0) -> Tensor:
    return torch.randn((count, 4, 3), generator=seeded(seed), dtype=torch.float64)


def squared_distance(x: Tensor, y: Tensor) -> float:
    return sum(
        (a - b) ** 2 for a, b in zip(x.flatten().tolist(), y.flatten().tolist(), strict=True)
    )


def test_mse_is_the_mean_squared_difference() -> None:
    plans, demonstrations = batch(5), batch(5, seed=1)
    expected = np.mean((plans.numpy() - demonstrations.numpy()) ** 2)
    assert MSE()(plans, demonstrations).item() == pytest.approx(expected)


def test_mse_is_zero_only_for_equal_pairs() -> None:
    plans = batch(5)
    assert MSE()(plans, plans.clone()).item() == 0
    assert MSE()(plans, plans.flip(0)).item() > 0.1


def test_mse_refuses_unequal_numbers() -> None:
    shapes = (5, 4, 3), (4, 4, 3)
    with refused(place="plans and demonstrations", value=shapes, remedy="MMD"):
        MSE()(batch(5), batch(4))


def test_the_gaussian_mmd_equals_the_double_loop() -> None:
    plans, demonstrations = batch(4), batch(6, seed=1) + 0.5
    everything = [*plans, *demonstrations]
    pairs = list(itertools.combinations(everything, 2))
    center = sum(squared_distance(x, y) for x, y in pairs) / len(pairs)

    def kernel(x: Tensor, y: Tensor) -> float:
        bandwidths = [factor * center for factor in (0.25, 0.5, 1, 2, 4)]
        return sum(math.exp(-squared_distance(x, y) / b) for b in bandwidths)

    def mean(xs: Tensor, ys: Tensor) -> float:
        return sum(kernel(x, y) for x in xs for y in ys) / (len(xs) * len(ys))

    expected = (
        mean(plans, plans) + mean(demonstrations, demonstrations) - 2 * mean(plans, demonstrations)
    )
    assert MMDGaussian()(plans, demonstrations).item() == pytest.approx(expected, rel=1e-6)


def matern(nu: float, distance: float) -> float:
    """The general Matern kernel of length scale 1 (Rasmussen and Williams 2006, eq. 4.14)."""
    scaled = math.sqrt(2 * nu) * distance
    return 2 ** (1 - nu) / gamma(nu) * scaled**nu * kv(nu, scaled)


@pytest.mark.parametrize("nu", [0.5, 1.5, 2.5])
@pytest.mark.parametrize("length_scale", [1.0, 0.3])
def test_the_matern_mmd_equals_the_double_loop_of_the_general_kernel(
    nu: float, length_scale: float
) -> None:
    plans, demonstrations = batch(4), batch(6, seed=1) + 0.5

    def kernel(x: Tensor, y: Tensor) -> float:
        return matern(nu, math.sqrt(squared_distance(x, y) / x.numel()) / length_scale)

    def within(xs: Tensor) -> float:
        pairs = list(itertools.permutations(xs, 2))
        return sum(kernel(x, y) for x, y in pairs) / len(pairs)

    across = [kernel(x, y) for x in plans for y in demonstrations]
    expected = within(plans) + within(demonstrations) - 2 * sum(across) / len(across)
    value = MMDMatern(nu, length_scale)(plans, demonstrations).item()
    assert value == pytest.approx(expected, abs=1e-6)


def test_the_energy_distance_equals_the_double_loop() -> None:
    plans, demonstrations = batch(4), batch(6, seed=1) + 0.5

    def mean(xs: Tensor, ys: Tensor) -> float:
        distances = [math.sqrt(squared_distance(x, y) / x.numel()) for x in xs for y in ys]
        return sum(distances) / len(distances)

    expected = (
        2 * mean(plans, demonstrations) - mean(plans, plans) - mean(demonstrations, demonstrations)
    )
    value = EnergyDistance()(plans, demonstrations).item()
    assert value == pytest.approx(expected, abs=1e-4)


def test_the_energy_distance_equals_that_of_scipy_in_one_dimension() -> None:
    plans, demonstrations = batch(5)[:, :1, :1], batch(7, seed=1)[:, :1, :1]
    expected = energy_distance(plans.flatten(), demonstrations.flatten()) ** 2
    assert EnergyDistance()(plans, demonstrations).item() == pytest.approx(expected, abs=1e-4)


def test_the_matern_mmd_is_zero_on_average_for_equal_distributions() -> None:
    values = [MMDMatern()(batch(8, seed=s), batch(8, seed=100 + s)).item() for s in range(50)]
    assert abs(np.mean(values)) < 4 * np.std(values) / math.sqrt(50)
    assert min(values) < 0


@pytest.mark.parametrize("objective", [MMDGaussian(), EnergyDistance()], ids=str)
def test_equal_sets_are_at_distance_zero_in_any_order(objective: Objective) -> None:
    plans = batch(6)
    assert objective(plans, plans.flip(0)).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_grow_with_the_distance(name: str) -> None:
    plans = batch(6)
    values = [OBJECTIVES[name](plans + offset, plans.flip(1)).item() for offset in (0.5, 1, 2)]
    assert values == sorted(values)
    assert values[-1] > 0


@pytest.mark.parametrize("name", UNPAIRED)
def test_unpaired_objectives_do_not_depend_on_the_order(name: str) -> None:
    plans, demonstrations = batch(6), batch(5, seed=1)
    value = UNPAIRED[name](plans, demonstrations)
    torch.testing.assert_close(UNPAIRED[name](plans.flip(0), demonstrations.roll(2, 0)), value)


@pytest.mark.parametrize("name", UNPAIRED)
@pytest.mark.parametrize("num_demonstrations", [2, 9])
def test_unpaired_objectives_take_unequal_numbers(name: str, num_demonstrations: int) -> None:
    assert torch.isfinite(UNPAIRED[name](batch(4), batch(num_demonstrations, seed=1)))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_padded_steps_have_no_influence(name: str) -> None:
    plans, demonstrations = batch(4), batch(4, seed=1)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()
    padded = (~mask).unsqueeze(-1)
    value = OBJECTIVES[name](plans, demonstrations, mask)
    other = OBJECTIVES[name](plans + 100 * padded, demonstrations - 50 * padded, mask)
    assert torch.equal(value, other)
    assert not torch.equal(value, OBJECTIVES[name](plans, demonstrations))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_mask_of_real_steps_only_changes_nothing(name: str) -> None:
    plans, demonstrations = batch(4), batch(4, seed=1)
    everything = torch.ones(4, 4, dtype=torch.bool)
    torch.testing.assert_close(
        OBJECTIVES[name](plans, demonstrations, everything),
        OBJECTIVES[name](plans, demonstrations),
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_demonstrations_without_a_real_step_give_a_finite_value(name: str) -> None:
    nothing = torch.zeros(4, 4, dtype=torch.bool)
    assert torch.isfinite(OBJECTIVES[name](batch(4), batch(4, seed=1), nothing))


@pytest.mark.parametrize("name", UNPAIRED)
def test_masked_unpaired_objectives_refuse_unequal_numbers(name: str) -> None:
    with refused(place="plans and demonstrations", value=(3, 4)):
        UNPAIRED[name](batch(3), batch(4), torch.ones(4, 4, dtype=torch.bool))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_are_finite_where_plans_coincide_with_demonstrations(name: str) -> None:
    plans = batch(4).requires_grad_()
    OBJECTIVES[name](plans, plans.detach().clone()).backward()
    assert torch.isfinite(plans.grad).all()


@pytest.mark.parametrize(("num_plans", "num_demonstrations"), [(1, 4), (4, 1)])
def test_the_unbiased_mmd_needs_pairs(num_plans: int, num_demonstrations: int) -> None:
    counts = num_plans, num_demonstrations
    with refused(place="plans and demonstrations", value=counts, remedy="at least 2"):
        MMDMatern()(batch(num_plans), batch(num_demonstrations))


def test_an_unknown_smoothness_is_refused() -> None:
    with refused(SettingsError, place="nu", value=1.0):
        MMDMatern(nu=1.0)


def test_objectives_by_name_are_objectives() -> None:
    assert all(isinstance(objective, Objective) for objective in OBJECTIVES.values())


@dataclass(frozen=True)
class Scaled:
    """An objective with a setting, registered as a class, as an entry point may name one."""

    by: float = 2.0

    def __call__(self, plans: Tensor, demonstrations: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.by * (plans.mean() - demonstrations.mean()).square()


def test_an_objective_is_saved_by_its_registered_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES._parts, "scaled", Scaled)
    made = find_objective("scaled")
    assert made == Scaled()
    assert describe_objective(made) == "scaled"
    other = describe_objective(Scaled(by=3.0))
    assert other == {"name": f"{__name__}:Scaled", "by": 3.0}
    assert describe_objective(MMDMatern()) == "mmd_matern"
    assert describe_objective(MMDMatern(nu=1.5)) == "mmd_matern32"
