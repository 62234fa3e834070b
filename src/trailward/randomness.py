"""The one way to derive random numbers from a seed.

Each use has a stream of its own, which is a function of the seed, of what the numbers are for, and
of the step. So no two uses share numbers, and what a step draws does not depend on what came
before: training that is interrupted goes on with the same bits.
"""

import hashlib

import numpy as np
import torch

from trailward.errors import SettingsError


def sequence(seed: int, purpose: str, *place: int) -> np.random.SeedSequence:
    """The seed sequence of one use.

    Args:
        seed: of the experiment.
        purpose: what the numbers are for, such as ``"learning: noise"``.
        place: where in it, such as the step, the member or the episode; each at least 0.

    Raises:
        SettingsError: if the seed or a place is negative.
    """
    if min(seed, *place, 0) < 0:
        msg, remedy = f"seed is {seed} and place {place}", "neither may be below 0"
        raise SettingsError(msg, place="seed", value=(seed, *place), remedy=remedy)
    digest = hashlib.sha256(purpose.encode()).digest()
    return np.random.SeedSequence([seed, int.from_bytes(digest[:8], "little"), *place])


def generator(
    seed: int, purpose: str, *place: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A PyTorch generator for one use; arguments as of :func:`sequence`."""
    state = int(sequence(seed, purpose, *place).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator(device).manual_seed(state)


def numpy_generator(seed: int, purpose: str, *place: int) -> np.random.Generator:
    """A NumPy generator for one use; arguments as of :func:`sequence`."""
    return np.random.default_rng(sequence(seed, purpose, *place))


def seeds(seed: int, purpose: str, count: int, *place: int) -> list[int]:
    """Different seeds (32 bits) for parts that take a number, as many as asked for."""
    return sequence(seed, purpose, *place).generate_state(count).tolist()
