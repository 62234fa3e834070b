import math

import pytest
import torch
from torch import nn

from refusals import refused
from tiny import seeded, shake
from trailward.diffusion.networks import NETWORKS, ResidualMLP, TemporalTransformer, TemporalUnet
from trailward.diffusion.networks.fourier_features import FourierFeatures, RandomFourierFeatures
from trailward.diffusion.networks.step_embedding import StepEmbedding
from trailward.errors import SettingsError

STEPS = torch.tensor([0, 3, 63])


def build(name: str, transition_dim: int, horizon: int, width: int = 16) -> nn.Module:
    smaller = {"unet": {"multipliers": (1, 2, 2)}}.get(name, {"depth": 1})
    return shake(NETWORKS[name](transition_dim, horizon, width=width, **smaller))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("horizon", [1, 5, 7, 16])
@pytest.mark.parametrize("transition_dim", [1, 6])
def test_networks_take_any_horizon_and_transition(
    name: str, horizon: int, transition_dim: int
) -> None:
    noisy = torch.randn((3, horizon, transition_dim), generator=seeded())
    predicted = build(name, transition_dim, horizon)(noisy, STEPS)
    assert predicted.shape == noisy.shape
    assert torch.isfinite(predicted).all()
    assert predicted.std() > 1e-3


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("width", [8, 24, 32])
def test_networks_take_any_width_that_fits(name: str, width: int) -> None:
    noisy = torch.randn((3, 5, 2), generator=seeded())
    assert build(name, 2, 5, width)(noisy, STEPS).shape == noisy.shape


@pytest.mark.parametrize("name", NETWORKS)
def test_plans_of_a_batch_do_not_see_each_other(name: str) -> None:
    network, noisy = build(name, 2, 7), torch.randn((3, 7, 2), generator=seeded())
    together = network(noisy, STEPS)
    alone = torch.cat([network(noisy[i : i + 1], STEPS[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_plan_step_sees_every_other(name: str) -> None:
    network = build(name, 2, 8)
    noisy = torch.randn((1, 8, 2), generator=seeded()).requires_grad_()
    for step in (0, 7):
        (gradient,) = torch.autograd.grad(network(noisy, STEPS[:1])[0, step].sum(), noisy)
        assert (gradient[0].abs().amax(-1) > 0).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_diffusion_step_matters(name: str) -> None:
    network, noisy = build(name, 2, 5), torch.randn((1, 5, 2), generator=seeded())
    early, late = (network(noisy, torch.tensor([step])) for step in (1, 60))
    assert (early - late).abs().max() > 1e-4


@pytest.mark.parametrize("kind", [TemporalTransformer, ResidualMLP])
def test_a_fresh_network_predicts_zero(kind: type[nn.Module]) -> None:
    noisy = torch.randn((3, 5, 2), generator=seeded())
    assert kind(2, 5, width=8)(noisy, STEPS).abs().max() == 0


def test_the_transformer_knows_where_a_step_is() -> None:
    """Equal tokens at different places give different predictions."""
    predicted = build("transformer", 2, 5)(torch.ones(1, 5, 2), STEPS[:1])[0]
    assert (predicted[1:] - predicted[0]).abs().amax(-1).min() > 1e-4


@pytest.mark.parametrize("width", [6, 7])
def test_a_transformer_width_that_does_not_fit_is_refused(width: int) -> None:
    remedy = "even and a multiple of heads 4"
    with refused(SettingsError, place="width", value=width, remedy=remedy):
        TemporalTransformer(2, 5, width=width)


def test_a_unet_width_that_does_not_fit_is_refused() -> None:
    with refused(SettingsError, place="width", value=12, remedy="multiple of 8"):
        TemporalUnet(2, 5, width=12)


def test_a_fresh_layer_of_the_mlp_does_not_know_the_diffusion_step_yet() -> None:
    """Its modulation starts at zero, so that it is a plain residual layer."""
    network, noisy = ResidualMLP(2, 5, width=8), torch.randn((1, 5, 2), generator=seeded())
    shake(network.out)
    early, late = (network(noisy, torch.tensor([step])) for step in (1, 60))
    assert torch.equal(early, late)
    assert early.std() > 1e-3


@pytest.mark.parametrize("depth", [0, 3])
def test_the_depth_of_the_mlp_is_the_number_of_its_layers(depth: int) -> None:
    assert len(ResidualMLP(2, 5, width=8, depth=depth).blocks) == depth


@pytest.mark.parametrize("width", [7, 12])
def test_an_mlp_width_that_does_not_fit_is_refused(width: int) -> None:
    with refused(SettingsError, place="width", value=width, remedy="multiple of 8"):
        ResidualMLP(2, 5, width=width)


@pytest.mark.parametrize("width", [2, 8, 16])
def test_step_embeddings_tell_all_steps_apart(width: int) -> None:
    embedded = shake(StepEmbedding(width, 8))(torch.arange(64))
    assert torch.pdist(embedded).min() > 0


@pytest.mark.parametrize("axes", [(), (5,), (2, 3)])
@pytest.mark.parametrize("num_frequencies", [0, 1, 4])
def test_fourier_features_keep_the_axes(axes: tuple[int, ...], num_frequencies: int) -> None:
    features = FourierFeatures(3, num_frequencies)
    assert features.num_features == 3 + 6 * num_frequencies
    entries = torch.randn((*axes, 3), generator=seeded())
    assert features(entries).shape == (*axes, features.num_features)


def test_fourier_features_are_sines_and_cosines_at_octaves() -> None:
    entries = [0.25, -0.5]
    angles = [math.pi * octave * entry for entry in entries for octave in (1, 2, 4)]
    expected = [*entries, *map(math.sin, angles), *map(math.cos, angles)]
    torch.testing.assert_close(FourierFeatures(2, 3)(torch.tensor(entries)), torch.tensor(expected))


def test_no_frequencies_leave_the_entries_as_they_are() -> None:
    entries = torch.randn((4, 3), generator=seeded())
    assert torch.equal(FourierFeatures(3, 0)(entries), entries)


def test_random_fourier_features_are_sines_and_cosines_along_their_directions() -> None:
    features = RandomFourierFeatures(2, 5, frequency=3.0)
    entries = torch.randn((4, 6, 2), generator=seeded())
    angles = (entries.unsqueeze(-1) * features.directions).sum(-2)
    torch.testing.assert_close(features(entries), torch.cat([angles.sin(), angles.cos()], -1))
    assert features.num_features == 10


@pytest.mark.parametrize("frequency", [1.0, 8.0])
def test_products_of_random_fourier_features_are_a_gaussian_kernel(frequency: float) -> None:
    features = RandomFourierFeatures(2, 20_000, frequency)
    entries = torch.randn((8, 2), generator=seeded()) / frequency
    found = features(entries)
    kernel = (-(frequency**2) * torch.cdist(entries, entries) ** 2 / 2).exp()
    torch.testing.assert_close(found @ found.T / 20_000, kernel, atol=0.03, rtol=0)


def test_random_directions_are_saved_and_the_octaves_are_not() -> None:
    assert list(RandomFourierFeatures(2, 5, 1.0).state_dict()) == ["directions"]
    assert list(FourierFeatures(2, 5).state_dict()) == []
