"""Plans from every row."""

import numpy as np
import pytest

from tiny import tiny_diffuser
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import DenoiserConfig
from trailward.judging.forecast import forecast_plans


@pytest.mark.parametrize("num_diffusion_steps", [2, 8])
def test_a_diffuser_of_few_steps_is_sampled_with_all_of_them(num_diffusion_steps: int) -> None:
    config = DenoiserConfig(width=8, depth=1, num_diffusion_steps=num_diffusion_steps)
    spec = PlanSpec(horizon=3, stride=1, observation_dim=2, action_dim=1)
    rows = np.random.default_rng(0).standard_normal((4, 2))
    plans = forecast_plans(tiny_diffuser(spec, config=config), rows, num_plans=2)
    assert plans.shape == (4, 2, 3, 2)
    np.testing.assert_allclose(plans[:, :, 0], np.stack([rows, rows], 1), atol=1e-4)
