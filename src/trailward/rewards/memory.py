"""What a reward may remember of a trajectory: whether a place has been visited yet.

A task such as "go to A before going to B" is one of whole trajectories: what an observation is
worth depends on those before it. One bit of memory is enough to say so,

    stage_t = 1 if any of s_0..s_t was within the radius of the place, else 0,

and a reward of stage and observation holds the task. Which place matters is read off the
demonstrations (:func:`fit_memory`): remembering it must make what the demonstrator did next
predictable from the observation, where it is not without.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from trailward.data.dataset import Dataset, Windows
from trailward.data.episode import at_least
from trailward.data.normalizer import Normalizer
from trailward.data.plan import PlanSpec
from trailward.typing import PerPlan, Plans, StageRewards

Remembered = Bool[Tensor, "batch"]
"""Whether the place had been visited before each plan began."""

Times = Float[Tensor, "batch time entry"]
"""Observations, or plan steps that begin with them, in the order of time; model space."""


@dataclass(frozen=True)
class MemoryConfig:
    """How the place is found.

    Attributes:
        num_windows: demonstration windows that are predicted at most, evenly spread.
        num_candidates: places that are tried at most, evenly spread along the demonstrations.
        num_neighbours: windows that a prediction is the median of.
    """

    num_windows: int = 500
    num_candidates: int = 250
    num_neighbours: int = 5

    def __post_init__(self) -> None:
        at_least(1, self, "num_windows", "num_candidates", "num_neighbours")


class Memory(nn.Module):
    """One place, and whether a trajectory has been within a radius of it.

    Args:
        features: entries of the observation that make up a place.
        radius: model space.
    """

    features: Tensor
    place: Tensor

    def __init__(self, features: Sequence[int], *, radius: float = 0.05) -> None:
        super().__init__()
        self.radius = radius
        self.register_buffer("features", torch.tensor(tuple(features)), persistent=False)
        self.register_buffer("place", torch.full((len(features),), torch.inf))

    def visited(
        self, observations: Times, remembered: Remembered | None = None
    ) -> Bool[Tensor, "batch time"]:
        """Whether the place has been visited at or before each time.

        The straight line from each observation to the next one counts too, so that a plan with
        long strides does not step over the place.

        Args:
            observations: model space.
            remembered: what was so before the first of them; nothing if None.
        """
        path = observations[..., self.features]
        before = torch.cat([path[:, :1], path[:, :-1]], dim=1)
        way, offset = path - before, self.place - before
        along = (offset * way).sum(-1) / way.square().sum(-1).clamp(min=1e-12)
        nearest = before + along.clamp(0, 1).unsqueeze(-1) * way
        near = (nearest - self.place).norm(dim=-1) < self.radius
        if remembered is not None:
            near = torch.cat([near[:, :1] | remembered[:, None], near[:, 1:]], dim=1)
        return near.int().cummax(dim=1).values.bool()


@runtime_checkable
class RemembersPast(Protocol):
    """A reward model of plans that depends on what came before them."""

    def __call__(self, plan: Plans) -> PerPlan:
        """The reward of plans before which nothing came."""
        ...

    def remember(
        self, observations: Times, remembered: Remembered | None = None
    ) -> Bool[Tensor, "batch time"]:
        """What is remembered after each of these observations, model space."""
        ...

    def given(self, remembered: Remembered) -> Callable[[Plans], PerPlan]:
        """The reward of plans that begin with this in memory."""
        ...


@dataclass(frozen=True, eq=False)
class WithMemory:
    """Rewards by stage, as a reward model: the mean over time, each observation in its stage.

    Plans are judged in the stage they begin in (:meth:`given`): what happens after a visit is for
    the plans made after it, and the two stages do not pull at one plan against each other.

    Args:
        memory: tells the stage.
        stage_rewards: the reward that each step has in each stage.
    """

    memory: Memory
    stage_rewards: Callable[[Plans], StageRewards]

    def remember(
        self, observations: Times, remembered: Remembered | None = None
    ) -> Bool[Tensor, "batch time"]:
        """Whether the place has been visited at or before each observation, model space."""
        return self.memory.visited(observations, remembered)

    def given(self, remembered: Remembered) -> Callable[[Plans], PerPlan]:
        """The reward of plans that begin with this in memory."""
        stage = remembered.long()

        def reward(plan: Plans) -> PerPlan:
            return self._in_stage(plan, stage.unsqueeze(1).expand(plan.shape[:2])).mean(-1)

        return reward

    def step_rewards(self, plan: Plans) -> Float[Tensor, "batch horizon"]:
        """The reward of each step, in the stage that those before it have led to."""
        return self._in_stage(plan, self.memory.visited(plan).long())

    def __call__(self, plan: Plans) -> PerPlan:
        """The mean of the step rewards."""
        return self.step_rewards(plan).mean(-1)

    def _in_stage(
        self, plan: Plans, stage: Int[Tensor, "batch horizon"]
    ) -> Float[Tensor, "batch horizon"]:
        return self.stage_rewards(plan).gather(-1, stage.unsqueeze(-1)).squeeze(-1)


@dataclass(frozen=True, eq=False)
class MemoryFit:
    """What remembering a place explains of the demonstrations.

    Attributes:
        place: the one that explains most, model space; None if no place is common to all.
        error: mean squared error of predicted windows with its memory, model space.
        error_without: the same without any memory.
        radius: how near counts as a visit, model space.
    """

    place: Float[Tensor, "feature"] | None
    error: float
    error_without: float
    radius: float

    @property
    def is_needed(self) -> bool:
        """Whether the memory takes away at least half of the error, and more than a radius."""
        saved = self.error_without - self.error
        return self.place is not None and saved > max(self.error, self.radius**2)


def fit_memory(
    demonstrations: Dataset,
    spec: PlanSpec,
    normalizer: Normalizer,
    *,
    features: Sequence[int],
    radius: float,
    config: MemoryConfig = MemoryConfig(),
) -> MemoryFit:
    """Find the place whose memory best explains the demonstrations.

    Each window is predicted by the median of its nearest neighbours (by the features of the first
    observation) among the windows of other demonstrations: once without memory, and once among
    those alone that agree on whether the place has been visited. Only places that all
    demonstrations visit are tried.

    Args:
        demonstrations: environment units.
        spec: of the windows.
        normalizer: of observations.
        features: entries of the observation that make up a place.
        radius: how near counts as a visit, model space.
        config: how.
    """
    windows, chosen = Windows(demonstrations, spec), list(features)
    normalizer = Normalizer(normalizer.shift.cpu(), normalizer.scale.cpu())
    kept = torch.arange(0, len(windows), -(-len(windows) // config.num_windows))
    episode, first = windows.episode[kept], windows.first[kept]
    onward = normalizer.normalize(spec.split(windows.gather(kept)[0])[0])[..., chosen]
    apart = torch.cdist(onward[:, 0], onward[:, 0])
    apart = torch.where(episode[:, None] != episode, apart, torch.inf)
    paths = [
        normalizer.normalize(torch.as_tensor(e.observations))[:, chosen]
        for e in demonstrations.episodes
    ]
    onward, along = onward.flatten(1), torch.cat(paths)
    without = _prediction_error(apart, onward, config.num_neighbours)
    best = MemoryFit(None, without, without, radius)
    for place in along[:: -(-len(along) // config.num_candidates)]:
        near = [((path - place).norm(dim=1) < radius).int() for path in paths]
        if all(bool(visits.any()) for visits in near):
            since = pad_sequence([visits.cummax(0).values for visits in near], batch_first=True)
            seen = since[episode, first]
            agree = torch.where(seen[:, None] == seen, apart, torch.inf)
            error = _prediction_error(agree, onward, config.num_neighbours)
            if best.place is None or error < best.error:
                best = MemoryFit(place, error, without, radius)
    return best


def _prediction_error(
    apart: Float[Tensor, "window window"], onward: Float[Tensor, "window entry"], count: int
) -> float:
    """Mean squared error of the median of the nearest windows; those infinitely far do not count.

    A window without any neighbour is predicted by the mean of all.
    """
    distance, nearest = apart.topk(min(count, len(apart)), largest=False)
    neighbours = onward[nearest].masked_fill(distance.isinf().unsqueeze(-1), torch.nan)
    predicted = neighbours.nanmedian(1).values
    predicted = torch.where(predicted.isnan(), onward.mean(0), predicted)
    return (predicted - onward).square().mean().item()
