import pytest
import torch

from refusals import refused
from tiny import seeded
from trailward.data.normalizer import (
    NORMALIZERS,
    Normalizer,
    fit_gaussian,
    fit_limits,
    join_normalizers,
)
from trailward.data.plan import PlanSpec
from trailward.errors import SettingsError

DATA = torch.tensor([3.0, 0.01, 40.0]) * torch.rand((50, 3), generator=seeded()) - 1


@pytest.mark.parametrize("fit", NORMALIZERS.values(), ids=NORMALIZERS)
def test_unnormalize_inverts_normalize_inside_and_outside_the_fitted_range(fit) -> None:
    normalizer = fit(DATA)
    for values in (DATA, 100 * DATA, DATA - 1000):
        back = normalizer.unnormalize(normalizer.normalize(values))
        torch.testing.assert_close(back.float(), values, rtol=1e-5, atol=1e-5)


def test_limits_become_minus_one_and_one() -> None:
    normalized = fit_limits(DATA).normalize(DATA)
    torch.testing.assert_close(normalized.amin(0), -torch.ones(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalized.amax(0), torch.ones(3), atol=1e-4, rtol=0)


def test_values_outside_the_limits_are_not_clipped() -> None:
    normalizer = fit_limits(torch.tensor([[0.0], [10.0]]))
    assert normalizer.normalize(torch.tensor([[20.0]])).item() == 3


def test_gaussian_gives_mean_zero_and_deviation_one() -> None:
    normalized = fit_gaussian(DATA).normalize(DATA)
    torch.testing.assert_close(normalized.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(normalized.std(0, correction=0), torch.ones(3), atol=1e-3, rtol=0)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.3, 12345.678])
@pytest.mark.parametrize("fit", NORMALIZERS.values(), ids=NORMALIZERS)
def test_a_constant_entry_becomes_zero_and_leaves_the_others_alone(fit, constant: float) -> None:
    data = torch.cat([DATA[:, :1], torch.full((50, 1), constant), DATA[:, 1:]], dim=1)
    normalized, without = fit(data).normalize(data), fit(DATA).normalize(DATA)
    torch.testing.assert_close(normalized[:, 1], torch.zeros(50), atol=2e-3, rtol=0)
    torch.testing.assert_close(normalized[:, [0, 2, 3]], without, atol=1e-4, rtol=0)


@pytest.mark.parametrize("fit", NORMALIZERS.values(), ids=NORMALIZERS)
def test_a_single_sample_can_be_fitted(fit) -> None:
    normalizer = fit(torch.tensor([[2.0, 3.0]]))
    assert normalizer.normalize(torch.tensor([2.0, 4.0])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("size", "offset"),
    [(1e-12, 0), (1e-8, 0), (1e9, 0), (1.0, -7e5), (1.0, 1.7e9), (1e-3, 1.7e9), (1e3, 1e12)],
)
@pytest.mark.parametrize("fit", NORMALIZERS.values(), ids=NORMALIZERS)
def test_entries_of_any_scale_and_offset_keep_what_they_tell(fit, size, offset) -> None:
    """As the same data with scale 1 and offset 0, as far as 64 bits hold the values."""
    plain = DATA.double()
    data = size * plain + offset
    found, expected = fit(data).normalize(data), fit(plain).normalize(plain)
    precision = 1e-6 + 1e-13 * abs(offset) / size
    torch.testing.assert_close(found, expected, atol=precision, rtol=0)
    assert found.dtype == torch.float32
    back = fit(data).unnormalize(found)
    torch.testing.assert_close(back, data, atol=40 * size * (1e-6 + precision), rtol=0)


@pytest.mark.parametrize("fit", NORMALIZERS.values(), ids=NORMALIZERS)
def test_what_changes_by_rounding_alone_is_constant(fit) -> None:
    data = torch.tensor([0.1 + 0.2, 0.3, 0.15 * 2], dtype=torch.float64)[:, None] * 1e8
    assert float(data.max()) > float(data.min())
    assert fit(data).scale.item() == 1


def test_a_normalizer_saved_in_32_bits_is_read() -> None:
    old = {"shift": torch.tensor([0.1]), "scale": torch.tensor([0.3])}
    found = Normalizer(**old)
    assert found.shift.item() == old["shift"].double().item()
    assert found.normalize(torch.tensor([[0.4]])).item() == pytest.approx(1)


def test_any_leading_axes_are_normalized_alike() -> None:
    normalizer = fit_limits(DATA)
    plans = DATA[:24].reshape(2, 3, 4, 3)
    torch.testing.assert_close(
        normalizer.normalize(plans).reshape(24, 3), normalizer.normalize(DATA[:24])
    )


@pytest.mark.parametrize("scale", [[1.0, 0.0], [1.0, -2.0], [1.0, float("nan")]])
def test_a_scale_that_is_not_positive_is_refused(scale: list[float]) -> None:
    low = pytest.approx(scale[1], nan_ok=True)
    with refused(SettingsError, place="scale", value=low, remedy="above 0"):
        Normalizer(torch.zeros(2), torch.tensor(scale))


def test_gradients_pass_everywhere() -> None:
    normalizer, values = fit_limits(DATA), torch.full((1, 3), 1e4, requires_grad=True)
    normalizer.normalize(values).sum().backward()
    torch.testing.assert_close(values.grad[0], (1 / normalizer.scale).float())


def test_joined_normalizers_give_every_action_of_a_chunk_the_same_scale() -> None:
    spec = PlanSpec(2, 3, observation_dim=2, action_dim=1, with_actions=True)
    observation = Normalizer(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    action = Normalizer(torch.tensor([5.0]), torch.tensor([6.0]))
    joined = join_normalizers(observation, action, spec)
    assert joined.shift.tolist() == [1, 2, 5, 5, 5]
    assert joined.scale.tolist() == [3, 4, 6, 6, 6]


def test_joined_normalizers_of_plans_over_states_are_those_of_observations() -> None:
    spec = PlanSpec(2, 3, observation_dim=2, action_dim=1)
    observation = Normalizer(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    joined = join_normalizers(observation, Normalizer(torch.zeros(1), torch.ones(1)), spec)
    assert joined.shift.tolist() == [1, 2]
