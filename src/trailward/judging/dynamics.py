"""Dynamics error: how far executed paths are from the plans that were followed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from trailward.acting.planner import PlanFollower, Planner, Policy
from trailward.data.episode import Episode
from trailward.diffusion.diffuser import Diffuser
from trailward.errors import DataError

PLANS_AT_ONCE = 50
"""How many plans :func:`dynamics_error` follows side by side."""


@dataclass(frozen=True)
class DynamicsError:
    """How far the executed path is from the planned one, followed without replanning.

    Attributes:
        planned: shape (plan, horizon, observation), environment units.
        errors: shape (plan, horizon), distance of the two in the measured entries.
    """

    planned: Float[np.ndarray, "plan horizon observation"]
    errors: Float[np.ndarray, "plan horizon"]


def dynamics_error(
    planner: Planner,
    starts: Float[np.ndarray, "plan observation"],
    run: Callable[[Policy, np.ndarray, int], Sequence[Episode]],
    *,
    entries: Sequence[int],
) -> DynamicsError:
    """Plan from each start, follow the plan to its end without replanning, and compare.

    Args:
        planner: makes the plans, with the guidance it acts with.
        starts: environment units.
        run: runs a policy in the simulator from some starts for a number of environment steps;
            it is given at most ``PLANS_AT_ONCE`` starts at a time.
        entries: of the observation that are measured, such as the position.
    """
    num_steps = (planner.diffuser.spec.horizon - 1) * planner.diffuser.spec.stride
    planned, executed = [], []
    for first in range(0, len(starts), PLANS_AT_ONCE):
        block = starts[first : first + PLANS_AT_ONCE]
        plans = planner.plan(block)
        episodes = run(PlanFollower(planner.diffuser, plans), block, num_steps)
        planned.append(plan_observations(planner.diffuser, plans))
        stride = planner.diffuser.spec.stride
        executed.append(np.stack([episode.observations[::stride] for episode in episodes]))
    paths = np.concatenate(planned)
    apart = paths - np.concatenate(executed)
    return DynamicsError(paths, np.linalg.norm(apart[..., list(entries)], axis=-1))


def plan_observations(
    diffuser: Diffuser, plans: torch.Tensor
) -> Float[np.ndarray, "plan horizon observation"]:
    """The observations of plans, from model space to environment units."""
    observations, _ = diffuser.spec.split(plans)
    units = diffuser.observation_normalizer.unnormalize(observations)
    return units.cpu().numpy().astype(np.float64)


def windows_of(
    episodes: Sequence[Episode], *, length: int, count: int, seed: int
) -> Float[np.ndarray, "window length observation"]:
    """Windows of consecutive observations, drawn uniformly from all in the episodes.

    Raises:
        DataError: if no episode is that long.
    """
    long_enough = [e for e in episodes if len(e.observations) >= length]
    if not long_enough:
        longest = max(len(e.observations) for e in episodes)
        msg = f"the longest episode has {longest} observations"
        remedy = f"give longer ones: a window takes {length}"
        raise DataError(msg, place="the longest episode", value=longest, remedy=remedy)
    generator = np.random.default_rng(seed)
    weights = np.array([len(e.observations) - length + 1 for e in long_enough], dtype=float)
    chosen = generator.choice(len(long_enough), count, p=weights / weights.sum())
    starts = [generator.integers(0, int(weights[index])) for index in chosen]
    return np.stack(
        [long_enough[i].observations[s : s + length] for i, s in zip(chosen, starts, strict=True)]
    )
