"""A reward that changes once a place has been visited, and how the place is found.

A task such as "go to A before going to B" is one of whole trajectories: what an observation is
worth depends on those before it. One bit of memory is enough to say so,

    stage_t = 1 if any of s_0..s_t was within the radius of the place, else 0,

and a reward of stage and observation holds the task. Which place matters is read off the
demonstrations (:func:`fit_memory`): remembering it must make what the demonstrator did next
predictable from the observation, where it is not without.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from trailward.data.dataset import Dataset, Windows
from trailward.data.normalizer import Normalizer
from trailward.data.plan import PlanSpec
from trailward.errors import at_least
from trailward.rewards.additive import AdditiveReward, AdditiveSettings
from trailward.rewards.contract import REWARDS, RewardModel
from trailward.typing import Past, Plans, Scalar, Stages, StagesOfSteps, StepRewards

Times = Float[Tensor, "batch time entry"]
"""Observations, or plan steps that begin with them, in the order of time; model space."""


@dataclass(frozen=True, kw_only=True)
class StagedSettings(AdditiveSettings):
    """Settings of a reward ``staged``: those of its two additive rewards, and of its memory.

    Attributes:
        memory_radius: how near to the place counts as a visit, model space.
    """

    memory_radius: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(0, self, "memory_radius")

    @property
    def additive(self) -> AdditiveSettings:
        """Those of each stage's reward."""
        own = {each.name: getattr(self, each.name) for each in fields(AdditiveSettings)}
        return AdditiveSettings(**own)


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
        self, observations: Times, before: Bool[Tensor, "batch"] | None = None
    ) -> Bool[Tensor, "batch time"]:
        """Whether the place has been visited at or before each time.

        The straight line from each observation to the next one counts too, so that a plan with
        long strides does not step over the place.

        Args:
            observations: model space.
            before: whether it had been before the first of them; nowhere if None.
        """
        path = observations[..., self.features]
        last = torch.cat([path[:, :1], path[:, :-1]], dim=1)
        way, offset = path - last, self.place - last
        along = (offset * way).sum(-1) / way.square().sum(-1).clamp(min=1e-12)
        nearest = last + along.clamp(0, 1).unsqueeze(-1) * way
        near = (nearest - self.place).norm(dim=-1) < self.radius
        if before is not None:
            near = torch.cat([near[:, :1] | before[:, None], near[:, 1:]], dim=1)
        return near.int().cummax(dim=1).values.bool()


@REWARDS.register("staged")
class StagedReward(RewardModel):
    """Two additive rewards: one until a place has been visited, another from then on.

    It holds tasks of whole trajectories, such as "go to A before B", which no reward of single
    observations can. Which place it is, :func:`fit_memory` reads off the demonstrations before
    the two rewards are learnt; where none is needed, an additive reward is learnt instead.

    Args:
        spec: what a plan holds.
        settings: what the rewards and the memory see, and how large they are.
        changes: single settings, by name.
    """

    num_stages = 2
    Settings = StagedSettings

    def __init__(
        self, spec: PlanSpec, settings: StagedSettings = StagedSettings(), **changes: Any
    ) -> None:
        settings = replace(settings, **changes)
        super().__init__(spec, settings, inputs=settings.inputs(spec))
        self.before = AdditiveReward(spec, settings.additive)
        self.after = AdditiveReward(spec, settings.additive)
        seen = self.inputs[self.inputs < spec.observation_dim].tolist()
        self.memory = Memory(seen, radius=settings.memory_radius)

    def observe(self, steps: Plans, past: Past | None = None) -> Stages:
        """1 from the first visit to the place on."""
        return self.memory.visited(steps, None if past is None else past > 0).long()

    def step_rewards(self, plan: Plans, past: StagesOfSteps | None = None) -> StepRewards:
        """The reward of each plan step in its stage."""
        stage = self.observe(plan) if past is None else past
        return torch.where(stage > 0, self.after.step_rewards(plan), self.before.step_rewards(plan))

    def penalty(self, plan: Plans) -> Scalar:
        """The sum of those of both stages."""
        return self.before.penalty(plan) + self.after.penalty(plan)

    def prepared(
        self, demonstrations: Dataset, normalizer: Normalizer
    ) -> tuple[RewardModel, Mapping[str, float]]:
        """This reward with its place, or the first stage's alone where no memory is needed.

        The figures are ``memory_error`` and ``memory_error_without``
        (:class:`MemoryFit`).
        """
        found = fit_memory(
            demonstrations,
            self.spec,
            normalizer,
            features=self.memory.features.tolist(),
            radius=self.memory.radius,
        )
        facts = {"memory_error": found.error, "memory_error_without": found.error_without}
        if found.place is None or not found.is_needed:
            return self.before, facts
        self.memory.place.copy_(found.place)
        return self, facts


@dataclass(frozen=True)
class MemoryConfig:
    """How the place is found.

    Attributes:
        num_windows: at most this many demonstration windows are predicted, evenly spread.
        num_candidates: at most this many places are tried, evenly spread along the demonstrations.
        num_neighbours: windows that a prediction is the median of.
    """

    num_windows: int = 500
    num_candidates: int = 250
    num_neighbours: int = 5

    def __post_init__(self) -> None:
        at_least(1, self, "num_windows", "num_candidates", "num_neighbours")


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
        config: how the place is looked for.
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
