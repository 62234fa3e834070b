"""A clone by plain regression: the naive way to act, beside what a reward plans.

It needs no further library and knows discrete actions and angles.
:func:`trailward.baselines.behavioural_cloning.clone` is that of the imitation library.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from trailward.acting.named_policy import FunctionPolicy
from trailward.data.angles import lift
from trailward.data.choices import decode
from trailward.data.dataset import Dataset

_WIDTH, _BATCH_SIZE, _LEARNING_RATE = 256, 64, 1e-3


def plain_clone(demonstrations: Dataset, *, seed: int = 0, num_steps: int = 3000) -> FunctionPolicy:
    """The demonstrator's action as a function of the observation: two tanh layers of 256.

    Both are normalised. The loss is the squared error, or the cross-entropy where actions are
    choices; AdamW at a learning rate of 0.001 that falls to 0, batches of 64.

    Args:
        demonstrations: environment units, with actions.
        seed: of weights and batches.
        num_steps: gradient steps.

    Returns:
        A policy of observations as they were recorded; of choices it gives the numbers.
    """
    episodes, columns = demonstrations.episodes, demonstrations.columns
    seen, done = (
        torch.tensor(np.concatenate(rows), dtype=torch.float32)
        for rows in ([e.observations[:-1] for e in episodes], [e.actions for e in episodes])
    )
    (shift, scale), (middle, unit) = (_normal(rows) for rows in (seen, done))
    if columns.choices:
        middle, unit = torch.zeros_like(middle), torch.ones_like(unit)
    apart = functional.cross_entropy if columns.choices else functional.mse_loss
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(seen.shape[1], _WIDTH), nn.Tanh(), nn.Linear(_WIDTH, _WIDTH), nn.Tanh(),
            nn.Linear(_WIDTH, done.shape[1]),
        )  # fmt: skip
        optimizer = torch.optim.AdamW(network.parameters(), _LEARNING_RATE, weight_decay=1e-3)
        for step in range(num_steps):
            optimizer.param_groups[0]["lr"] = _LEARNING_RATE * (1 - step / num_steps)
            picks = torch.randint(len(seen), (_BATCH_SIZE,))
            loss = apart(network((seen[picks] - shift) / scale), (done[picks] - middle) / unit)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    @torch.no_grad()
    def act(observations: np.ndarray) -> np.ndarray:
        given = torch.as_tensor(lift(columns, observations), dtype=torch.float32)
        return decode(columns, (middle + unit * network((given - shift) / scale)).numpy())

    return FunctionPolicy(act)


def _normal(rows: Float[Tensor, "row entry"]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each entry."""
    return rows.mean(0), rows.std(0).clamp(min=1e-6)
