"""The convex reward: it is the log-ratio where that is known in closed form."""

import numpy as np
import pytest

from trailward.learning.log_ratio import RandomFeatures, fit_logit

GENERATOR = np.random.default_rng(0)


def test_of_two_gaussians_the_logit_is_their_log_ratio() -> None:
    shown, played = (GENERATOR.normal(m, 1, (20_000, 1)) for m in (0.5, -0.5))
    weights = np.repeat([[1.0, 0.0], [0.0, 1.0]], 20_000, axis=0)
    found = fit_logit(np.concatenate([shown, played]), *weights.T, ridge=1e-9)
    assert found[0] == pytest.approx(1.0, abs=0.05)  # log N(x; .5, 1) - log N(x; -.5, 1) = x


def test_how_much_a_class_weighs_in_all_does_not_matter() -> None:
    rows, of = GENERATOR.normal(size=(50, 3)), GENERATOR.random(50) > 0.5
    one = fit_logit(rows, 1.0 * of, 1.0 * ~of, ridge=0.1)
    np.testing.assert_allclose(fit_logit(rows, 9.0 * of, 3.0 * ~of, ridge=0.1), one)


def test_it_is_a_minimum() -> None:
    rows, of = GENERATOR.normal(size=(80, 3)), GENERATOR.random(80) > 0.3
    found = fit_logit(rows, 1.0 * of, 1.0 * ~of, ridge=0.1)

    def loss(weights: np.ndarray) -> float:
        constants = np.linspace(-2, 2, 400)[:, None]
        logits = rows @ weights + constants
        losses = np.logaddexp(0, -logits)[:, of].mean(1) + np.logaddexp(0, logits)[:, ~of].mean(1)
        return float(losses.min() + 0.05 * weights @ weights)

    for change in 0.05 * np.eye(3):
        assert loss(found) < min(loss(found + change), loss(found - change))


def test_features_are_of_a_gaussian_kernel() -> None:
    drawn = RandomFeatures.draw(
        np.zeros(2), np.full(2, 2.0), num_directions=4000, generator=np.random.default_rng(1)
    )
    here, there = np.zeros(2), np.array([1.0, 0.4])
    assert drawn(here) @ drawn(here) == pytest.approx(1, abs=1e-4)
    squared = (2 / np.sqrt(2)) ** 2 * ((there / 2) ** 2).sum()
    assert drawn(here) @ drawn(there) == pytest.approx(np.exp(-squared / 2), abs=0.03)


def test_features_of_what_nobody_moves_see_nothing_else() -> None:
    drawn = RandomFeatures.draw(
        np.zeros(3),
        np.ones(3),
        num_directions=6,
        generator=np.random.default_rng(2),
        unmoved=(1,),
    )
    here, there = np.array([[0.3, 0.7, -1.0]]), np.array([[2.0, 0.7, 5.0]])
    assert drawn.of_unmoved.sum() == drawn.of_unmoved.size // 2 == 12
    alike = np.isclose(drawn(here), drawn(there))[0]
    np.testing.assert_array_equal(alike, drawn.of_unmoved)
    assert np.square(drawn(here)).sum() == pytest.approx(1, abs=1e-5)
