"""Inverse dynamics: which action leads from an observation towards a planned one."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trailward.data.dataset import Dataset
from trailward.diffusion.fitting import fit
from trailward.randomness import generator
from trailward.typing import Scalar

_WIDTH = 128


class InverseDynamics(nn.Module):
    """A small network: (observation, target observation, time left) to action, in model space.

    Args:
        observation_dim: entries of an observation.
        action_dim: entries of an action.
        stride: the longest time left it is asked about, environment steps.
    """

    def __init__(self, observation_dim: int, action_dim: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.network = nn.Sequential(
            nn.Linear(2 * observation_dim + 1, _WIDTH),
            nn.Mish(),
            nn.Linear(_WIDTH, _WIDTH),
            nn.Mish(),
            nn.Linear(_WIDTH, action_dim),
        )

    def forward(
        self,
        observation: Float[Tensor, "batch observation"],
        target: Float[Tensor, "batch observation"],
        time_left: Float[Tensor, "batch"],
    ) -> Float[Tensor, "batch action"]:
        """The action to take now.

        Args:
            observation: where the agent is, model space.
            target: where it should be, model space.
            time_left: environment steps until then, 1 to ``stride``.
        """
        left = (time_left / self.stride).unsqueeze(-1)
        return self.network(torch.cat([observation, target - observation, left], dim=-1))


def train_inverse_dynamics(
    model: InverseDynamics,
    dataset: Dataset,
    *,
    normalize_observation: Callable[[Tensor], Tensor],
    normalize_action: Callable[[Tensor], Tensor],
    num_steps: int = 4000,
    batch_size: int = 512,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> float:
    """Regress recorded actions on pairs of observations up to ``stride`` environment steps apart.

    Args:
        model: trained in place.
        dataset: play data, environment units.
        normalize_observation: to model space.
        normalize_action: to model space.
        num_steps: gradient steps.
        batch_size: pairs in a batch.
        learning_rate: of Adam, falling to 0 linearly.
        seed: of the batches.

    Returns:
        The mean squared error of the last tenth of the batches, model space.
    """
    device = next(model.parameters()).device
    lengths = torch.tensor([len(episode) for episode in dataset.episodes])
    starts = torch.cumsum(lengths + 1, 0) - lengths - 1
    observations = normalize_observation(
        torch.cat([torch.as_tensor(e.observations) for e in dataset.episodes])
    ).float()
    recorded = torch.cat([torch.as_tensor(e.actions) for e in dataset.episodes])
    actions = normalize_action(recorded).float()
    episode_of = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    draw = generator(seed, "inverse dynamics: batches")

    def loss(_: int) -> Scalar:
        action_index = torch.randint(len(actions), (batch_size,), generator=draw)
        left = torch.randint(1, model.stride + 1, (batch_size,), generator=draw)
        episode = episode_of[action_index]
        now = action_index + episode  # each earlier episode has one observation more than actions
        then = torch.minimum(now + left, starts[episode] + lengths[episode])
        predicted = model(
            observations[now], observations[then], (then - now).to(device=device, dtype=torch.float)
        )
        return (predicted - actions[action_index]).square().mean()

    losses = fit(model.parameters(), loss, num_steps=num_steps, learning_rate=learning_rate)
    return losses[-max(num_steps // 10, 1) :].mean().item()
