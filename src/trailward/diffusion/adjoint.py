"""How gradients go back through the sampling loop.

An adjoint is told one reverse step as a function, and how many steps are left (1 at the last),
and returns the function to call in its place. Values never depend on it; gradients and memory do.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch.utils.checkpoint import checkpoint

from trailward.errors import SettingsError
from trailward.typing import Plans

Advance = Callable[[Plans, Plans], Plans]
"""One reverse step: the noisy plan and fresh noise in, the less noisy plan out."""


@runtime_checkable
class Adjoint(Protocol):
    """See the module's docstring."""

    def __call__(self, advance: Advance, steps_left: int) -> Advance:
        """The function to call instead of ``advance``."""
        ...


def full(advance: Advance, steps_left: int) -> Advance:
    """Keep every step's intermediate values: exact and fastest, memory grows with the steps."""
    return advance


def checkpointed(advance: Advance, steps_left: int) -> Advance:
    """Keep each step's input and compute the rest again: exact, slower, less memory."""
    return partial(checkpoint, advance, use_reentrant=False)


def last(num_steps: int) -> Adjoint:
    """Differentiate the last ``num_steps`` only (DRaFT-K, arXiv 2309.17400): cheap, biased.

    With ``num_steps`` at least the number of sampling steps it equals :func:`full`.

    Raises:
        SettingsError: if ``num_steps`` is below 1: nothing would be learnt.
    """
    if num_steps < 1:
        msg, remedy = f"the last {num_steps} steps asked for", "give at least 1, to learn from it"
        raise SettingsError(msg, place="num_steps", value=num_steps, remedy=remedy)

    def adjoint(advance: Advance, steps_left: int) -> Advance:
        return advance if steps_left <= num_steps else partial(_constant, advance)

    return adjoint


def parse_adjoint(name: str) -> Adjoint:
    """An adjoint by name: ``full``, ``checkpointed`` or ``last:K``.

    Raises:
        SettingsError: if the name is none of these.
    """
    kind, _, count = name.partition(":")
    if kind == "last" and count.isdigit():
        return last(int(count))
    if name not in ("full", "checkpointed"):
        msg, remedy = f"adjoint '{name}' is unknown", "choose full, checkpointed or last:K"
        raise SettingsError(msg, place="adjoint", value=name, remedy=remedy)
    return full if name == "full" else checkpointed


def _constant(advance: Advance, plan: Plans, noise: Plans) -> Plans:
    with torch.no_grad():
        return advance(plan, noise)
