import numpy as np
import torch

from tiny import seeded
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.diffusion.inverse_dynamics import InverseDynamics, train_inverse_dynamics


def steady_walks(num_episodes: int) -> Dataset:
    """Short episodes with one action each, which moves the observation by a tenth of it."""
    generator = np.random.default_rng(0)
    starts, velocities = generator.uniform(-1, 1, (2, num_episodes, 1, 2))
    times = 0.1 * np.arange(4.0)[:, None]
    return Dataset(
        [
            Episode(s + times * v, np.repeat(v, 3, 0))
            for s, v in zip(starts, velocities, strict=True)
        ]
    )


def test_it_finds_the_action_that_leads_to_the_target_in_the_time_left() -> None:
    model = InverseDynamics(2, 2, stride=3)
    options = {"num_steps": 800, "batch_size": 128, "learning_rate": 1e-2}
    identity = lambda values: values
    error = train_inverse_dynamics(
        model,
        steady_walks(200),
        normalize_observation=lambda values: 10 * values,
        normalize_action=identity,
        **options,
    )
    assert error < 5e-3
    action = torch.rand((50, 2), generator=seeded()) - 0.5
    for left in (1.0, 3.0):
        found = model(torch.zeros(50, 2), left * action, torch.full((50,), left))
        assert (found - action).square().mean() < 0.01
