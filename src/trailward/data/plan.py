"""What a plan consists of: the only place that joins and splits observations and actions."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trailward.data.episode import as_numbers, check_finite
from trailward.errors import DataError, SettingsError, at_least, at_most


@dataclass(frozen=True)
class PlanSpec:
    """What a plan consists of.

    Attributes:
        horizon: plan steps in a plan.
        stride: environment steps from one plan step to the next.
        observation_dim: entries of an observation.
        action_dim: entries of an action; 0 where none were recorded.
        with_actions: whether a plan step also carries the ``stride`` actions that follow it. If
            not, plans are over states only and an inverse-dynamics model finds the actions.

    Raises:
        SettingsError: if a count is below 1, or a plan is to carry actions and there are none.
    """

    horizon: int
    stride: int
    observation_dim: int
    action_dim: int
    with_actions: bool = False

    def __post_init__(self) -> None:
        at_least(1, self, "horizon", "stride", "observation_dim")
        at_least(0, self, "action_dim")
        at_most(100_000, self, "horizon", "stride", "observation_dim", "action_dim")
        if self.with_actions and self.action_dim == 0:
            remedy = "leave it False, for the data has no actions"
            raise SettingsError(place="with_actions", value=True, remedy=remedy)

    @property
    def transition_dim(self) -> int:
        """Entries of one plan step."""
        return self.observation_dim + self.with_actions * self.stride * self.action_dim

    @property
    def num_observations(self) -> int:
        """Consecutive observations that a window of this plan reaches over."""
        return (self.horizon - 1) * self.stride + 1 + self.with_actions * self.stride

    def join(
        self,
        observations: Float[Tensor, "*axes observation"],
        actions: Float[Tensor, "*axes stride action"] | None = None,
    ) -> Float[Tensor, "*axes transition"]:
        """Put observations and the actions that follow each of them side by side."""
        if not self.with_actions or actions is None:
            return observations
        return torch.cat([observations, actions.flatten(-2)], dim=-1)

    def split(
        self, transitions: Float[Tensor, "*axes transition"]
    ) -> tuple[Float[Tensor, "*axes observation"], Float[Tensor, "*axes stride action"] | None]:
        """The inverse of :meth:`join`; actions are None where plans are over states only."""
        observations = transitions[..., : self.observation_dim]
        if not self.with_actions:
            return observations, None
        actions = transitions[..., self.observation_dim :]
        return observations, actions.unflatten(-1, (self.stride, self.action_dim))

    def to_config(self) -> dict[str, Any]:
        """Constructor arguments, as JSON values."""
        return asdict(self)


def check_batch(
    spec: PlanSpec, observations: Float[np.ndarray, "batch observation"]
) -> Float[np.ndarray, "batch observation"]:
    """Finite observations, float64, one for each environment, as the plans have them.

    Raises:
        DataError: if they are not; names the shape, or the place and the value.
    """
    values = as_numbers("observations", observations)
    if values.ndim != 2 or values.shape[1] != spec.observation_dim:
        remedy = f"give one for each environment: (environments, {spec.observation_dim})"
        msg = f"observations have shape {values.shape}"
        raise DataError(msg, place="observations", value=values.shape, remedy=remedy)
    check_finite("observations", values)
    return np.require(values, requirements=["C", "W"])  # as PyTorch takes them


def action_chunks(
    observations: Float[np.ndarray, "*batch time observation"],
    actions: Float[np.ndarray, "*acts action"],
    stride: int,
) -> Float[np.ndarray, "*batch chunk stride action"]:
    """The ``stride`` actions that follow each observation, where there are enough of them.

    Args:
        observations: of episodes.
        actions: as many along time as observations, or one fewer.
        stride: environment steps of a plan step.

    Raises:
        DataError: if there are more or fewer actions, or fewer than ``stride``.
    """
    count, axes = observations.shape[-2], observations.shape[:-2]
    if actions.shape[:-1] not in [(*axes, count), (*axes, count - 1)]:
        msg = f"observations have shape {observations.shape} and actions {actions.shape}"
        remedy = "give an action for each observation, or for each but the last of an episode"
        raise DataError(msg, place="actions", value=actions.shape, remedy=remedy)
    if actions.shape[-2] < stride:
        count, remedy = actions.shape[-2], f"a plan step takes {stride}"
        msg = f"the episode has {count} actions"
        raise DataError(msg, place="actions", value=count, remedy=remedy)
    return np.lib.stride_tricks.sliding_window_view(actions, stride, axis=-2).swapaxes(-2, -1)
