"""The one loop that fits a network by Adam, and the error of training that diverges."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from trailward.typing import Scalar


class DivergedError(RuntimeError):
    """Training met a loss or gradient that is not finite or far too large.

    The message says where, what is kept, and what to change.
    """


def fit(
    parameters: Iterable[nn.Parameter],
    loss: Callable[[int], Scalar],
    *,
    num_steps: int,
    learning_rate: float,
) -> Tensor:
    """Minimise a loss by Adam, with a learning rate that falls to 0 linearly.

    Args:
        parameters: what is fitted, in place.
        loss: of a gradient step, given its number; it draws its own batch.
        num_steps: gradient steps.
        learning_rate: of the first step.

    Returns:
        The loss of each step, shape (num_steps,).

    Raises:
        DivergedError: if the last loss is not finite.
    """
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    losses = []
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / num_steps)
        with torch.enable_grad():
            now = loss(step)
        optimizer.zero_grad()
        now.backward()
        optimizer.step()
        losses.append(now.detach())
    found = torch.stack(losses)
    check_finite(
        "fitting",
        found[-1].item(),
        0.0,
        num_steps - 1,
        remedy=f"a learning rate below {learning_rate}",
    )
    return found


def check_finite(
    what: str, loss: float, norm: float, step: int, *, limit: float = math.inf, remedy: str
) -> None:
    """Refuse a gradient step that would ruin the weights.

    Args:
        what: that is going on, such as ``training``.
        loss: of the step.
        norm: of its gradient.
        step: its number.
        limit: a gradient larger than this has diverged too.
        remedy: what is kept, and what to do.

    Raises:
        DivergedError: if loss or gradient is not finite, or the gradient is above the limit.
    """
    if math.isfinite(loss) and math.isfinite(norm) and norm <= limit:
        return
    allowed = "" if math.isinf(limit) else f" (limit {limit:.3g})"
    found = f"loss {loss:.3g}, gradient norm {norm:.3g}{allowed}"
    raise DivergedError(f"{what} diverged at step {step}: {found}; {remedy}")
