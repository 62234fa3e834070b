"""Discrete actions: one-hot entries inside, whole numbers outside."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, Shaped

from trailward.data.episode import Columns
from trailward.errors import DataError

MOST = 64
"""Choices at most; larger whole numbers are taken for amounts."""


@dataclass(frozen=True)
class Choices:
    """Actions that are choices, one-hot.

    Attributes:
        values: what each entry stands for: whole numbers.
        encoded: an entry a choice: 1 for the one made, else 0.
    """

    values: tuple[int, ...]
    encoded: Float[np.ndarray, "step choice"]

    def named(self, columns: Columns) -> Columns:
        """The same columns, with an entry of actions for each choice."""
        return named_choices(columns, self.values)


def named_choices(columns: Columns, values: tuple[int, ...]) -> Columns:
    """Columns with an entry of actions for each choice."""
    name = columns.actions[0].partition("=")[0] if columns.actions else "action"
    return replace(columns, actions=tuple(f"{name}={v}" for v in values), choices=values)


def one_hot(
    place: str,
    actions: Shaped[np.ndarray, "..."] | None,
    *,
    num_axes: int = 1,
    count: int | None = None,
) -> Choices | None:
    """Actions that are choices as one-hot entries; None if they are not.

    They are if they are whole numbers by type, one a step, from 0 up to 63 at most.

    Args:
        place: of errors: the file and the field.
        actions: as recorded.
        num_axes: axes before that of the entries: 1 for steps, 2 for episodes of steps.
        count: choices there are, if it is known; else up to the largest that was made.

    Raises:
        DataError: if they are numbers with a single axis, but not choices.
    """
    if actions is None or actions.dtype.kind not in "iufb":
        return None
    alone = actions.ndim == num_axes
    flat = actions[..., 0] if actions.shape[num_axes:] == (1,) else actions
    fits = flat.ndim == num_axes and flat.size > 0 and actions.dtype.kind in "iub"
    if fits and flat.min() >= 0 and flat.max() < (count or MOST):
        whole = flat.astype(np.int64)
        values = tuple(range(count or int(whole.max()) + 1))
        return Choices(values, np.eye(len(values))[whole])
    if alone and flat.size:
        remedy = (
            f"if they are choices, number them from 0 to {MOST - 1} at most, as whole numbers, or "
            "write a one-hot column for each; if amounts, give them a second axis: "
            "actions[:, None]"
        )
        msg = f"{place} has shape {actions.shape}, one {actions.dtype} a step"
        raise DataError(msg, place=place, value=actions.shape, remedy=remedy)
    return None


def decode(columns: Columns, actions: Float[np.ndarray, "*axes action"]) -> np.ndarray:
    """Actions as the environment takes them: whole numbers where they are choices.

    Args:
        columns: of the data or the diffuser.
        actions: environment units; of choices the largest entry counts.

    Returns:
        ``actions`` themselves, or one whole number for each, shape (*axes,).
    """
    if not columns.choices:
        return actions
    return np.array(columns.choices)[np.argmax(actions, axis=-1)]


def encode(columns: Columns, chosen: Int[np.ndarray, "*axes"] | Sequence[int]) -> np.ndarray:
    """The inverse of :func:`decode`, of whole numbers that are among the choices.

    Raises:
        DataError: if one is not.
    """
    given, values = np.asarray(chosen), np.array(columns.choices)
    made = given[..., None] == values
    if not made.any(-1).all():
        wrong = given[~made.any(-1)][0]
        remedy = f"the choices are {', '.join(map(str, columns.choices))}"
        raise DataError(place="actions", value=wrong, remedy=remedy)
    return made.astype(np.float64)
