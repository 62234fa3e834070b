"""A clone by plain regression: the naive way to act, beside what a reward plans.

It needs no further library and knows discrete actions and angles.
:func:`trailward.baselines.behavioural_cloning.clone` is that of the imitation library.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from trailward.acting.named_policy import FunctionPolicy
from trailward.data.angles import lift
from trailward.data.choices import decode
from trailward.data.dataset import Dataset
from trailward.data.normalizer import fit_gaussian
from trailward.diffusion.fitting import fit
from trailward.randomness import generator
from trailward.typing import Observations, Scalar

_WIDTH, _BATCH_SIZE, _LEARNING_RATE = 256, 64, 1e-3


def plain_clone(demonstrations: Dataset, *, seed: int = 0, num_steps: int = 3000) -> FunctionPolicy:
    """The demonstrator's action as a function of the observation: two tanh layers of 256.

    Both are normalised. The loss is the squared error, or the cross-entropy where actions are
    choices; Adam at a learning rate of 0.001 that falls to 0, batches of 64.

    Args:
        demonstrations: environment units, with actions.
        seed: of weights and batches.
        num_steps: gradient steps.

    Returns:
        A policy of observations as they were recorded; of choices it gives the numbers.

    Raises:
        DivergedError: if the loss ends up not finite.
    """
    episodes, columns = demonstrations.episodes, demonstrations.columns
    seen, done = (
        torch.tensor(np.concatenate(rows), dtype=torch.float64)
        for rows in ([e.observations[:-1] for e in episodes], [e.actions for e in episodes])
    )
    before, after = fit_gaussian(seen), fit_gaussian(done)
    inputs, wanted = before.normalize(seen), after.normalize(done)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(seen.shape[1], _WIDTH), nn.Tanh(), nn.Linear(_WIDTH, _WIDTH), nn.Tanh(),
            nn.Linear(_WIDTH, done.shape[1]),
        )  # fmt: skip
    draw = generator(seed, "plain clone: batches")

    def loss(step: int) -> Scalar:
        picks = torch.randint(len(seen), (_BATCH_SIZE,), generator=draw)
        if columns.choices:
            return functional.cross_entropy(network(inputs[picks]), done[picks].float())
        return functional.mse_loss(network(inputs[picks]), wanted[picks])

    fit(network.parameters(), loss, num_steps=num_steps, learning_rate=_LEARNING_RATE)

    @torch.no_grad()
    def act(observations: Observations) -> np.ndarray:
        given = torch.as_tensor(lift(columns, observations), dtype=torch.float64)
        found = network(before.normalize(given))
        return decode(columns, (found if columns.choices else after.unnormalize(found)).numpy())

    return FunctionPolicy(act)
