"""What demonstrators avoid: where play data goes between their starts and their end, and they not.

A reward that is a slope or a place has no room for a dip on the way, and a value that counts steps
leads through it. So what is avoided is found by itself. Where demonstrators come to rest at one
place, play data tells how one gets there: on a graph of its plan steps (as that of
:mod:`trailward.rewards.value`), with ``p(s'|s)`` how often one node followed another, somebody who
pays ``q`` for each step and ``c(s)`` for passing ``s`` on the way moves by

    p(s'|s) z(s') / sum p(s''|s) z(s''),    z(s) = exp(-q - c(s)) sum p(s'|s) z(s'),    z(end) = 1

(a linearly solvable Markov decision process, Todorov 2009). ``q`` and ``c`` are those that make
the demonstrations likely, as in maximum entropy inverse reinforcement learning (Ziebart et al.
2008): each place is passed as often as demonstrators pass it, given where they start. How often is
counted by the way made there, so pauses and pace play no part. ``c`` is a sum of bumps, none below
0, and each has to earn its keep: it grows only where demonstrators would be expected twice as
often as they were, and three steps more. So nothing is avoided unless they say so clearly.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from trailward.data.dataset import Dataset, Windows
from trailward.data.normalizer import Normalizer
from trailward.data.plan import PlanSpec
from trailward.randomness import generator
from trailward.rewards.contract import RewardModel
from trailward.rewards.readings import Readings
from trailward.rewards.value import NoValueError, graph_values, nearest, nodes_ahead
from trailward.typing import Past, PerPlan, Plans, Stages, StagesOfSteps, StepRewards

_NUM_WINDOWS, _NUM_NODES, _MOST_PLACES = 4000, 800, 400
_SPACING, _WIDTH = 0.7, 0.5
_UNEXPLAINED, _TIMES = 3.0, 2.0
_LEAST, _MOST, _MARGIN = 1.0, 10.0, 2.0
_NUM_HALVINGS, _NUM_FITS = 14, 80
_AT_ONCE, _NUM_ON_WAYS, _PER_NODE = 2000, 3000, 20
_PULL, _CLOSE = 0.8, 4.0


class Avoided(nn.Module):
    """Places that demonstrators avoid, and the toll of passing them.

    Args:
        places: model space, the entries that the reward sees of the observation.
        tolls: of each place, in plan steps: one goes so far out of one's way to avoid it.
        width: of the bump around each place, entry by entry.
        worth: what a plan step's delay costs, learnt units.
        seen: numbers of these entries.
        nodes: of the graph of play data's plan steps.
        ahead: the node that each node's best way leads to, all tolls counted.
        arrivals: how somebody arrived there from the node, a plan step of play data.
    """

    places: Tensor
    tolls: Tensor
    width: Tensor
    worth: Tensor
    seen: Tensor
    nodes: Tensor
    ahead: Tensor
    arrivals: Tensor

    def __init__(
        self,
        places: Float[Tensor, "place entry"],
        tolls: Float[Tensor, "place"],
        width: Float[Tensor, "entry"],
        worth: Float[Tensor, ""],
        seen: Int[Tensor, "entry"],
        nodes: Float[Tensor, "node entry"],
        ahead: Int[Tensor, "node"],
        arrivals: Float[Tensor, "node step"],
    ) -> None:
        super().__init__()
        own = {"places": places, "tolls": tolls, "width": width, "worth": worth, "seen": seen}
        own |= {"nodes": nodes, "ahead": ahead, "arrivals": arrivals}
        for name, value in own.items():
            self.register_buffer(name, value)

    def forward(self, steps: Float[Tensor, "*axes step"]) -> Float[Tensor, "*axes"]:
        """The toll of each plan step or observation (model space), in plan steps."""
        return _bumps(steps[..., self.seen], self.places, self.width) @ self.tolls

    def shares(self, steps: Float[Tensor, "*axes step"]) -> Float[Tensor, "*axes"]:
        """The toll as a share of that in the middle of a place, 1 at most."""
        return _bumps(steps[..., self.seen], self.places, self.width).amax(-1)

    def ways(self, first: Float[Tensor, "batch 1 transition"], horizon: int) -> Plans:
        """The best way from each first step, a plan step of play data after another, model space.

        Args:
            first: plan steps, shape (batch, 1, entry).
            horizon: plan steps.
        """
        at, found = nearest(first[:, 0, self.seen], self.nodes), [first[:, 0]]
        for _ in range(horizon - 1):
            found.append(self.arrivals[at])
            at = self.ahead[at]
        return torch.stack(found, 1)


class WayRound(RewardModel):
    """Guides plans along the best way that play data knows, round what is avoided.

    The sum of values that guides plans elsewhere would lead straight through: one or two steps
    there, and many beyond that are worth more. So each step of a plan is drawn to where the best
    way from the plan's first observation is at that time.

    Args:
        spec: what a plan holds.
        avoided: with the ways round it.
    """

    per_step = False

    def __init__(self, spec: PlanSpec, avoided: Avoided) -> None:
        super().__init__(spec, inputs=avoided.seen.tolist())
        self.avoided = avoided

    def forward(self, plan: Plans, past: StagesOfSteps | None = None) -> PerPlan:
        """Minus the mean squared distance from the way."""
        way = self.avoided.ways(plan[:, :1].detach(), plan.shape[1])
        apart = (plan - way)[..., self.avoided.seen]
        return -_PULL * apart.square().sum(-1).mean(-1)

    def reference(self, first: Plans, horizon: int) -> Plans:
        """The way itself."""
        return self.avoided.ways(first, horizon)

    def violation(self, plan: Plans) -> PerPlan:
        """How far a plan leads through what is avoided, 0 to 1; not where it begins."""
        toll = self.avoided.shares(plan)
        return (toll - toll[:, :1]).clamp(min=0).amax(1)


class TollReward(RewardModel):
    """A reward less the toll of what is avoided.

    Args:
        model: a reward of single steps with one stage.
        avoided: what is avoided.
    """

    def __init__(self, model: RewardModel, avoided: Avoided) -> None:
        super().__init__(model.spec, inputs=model.inputs.tolist())
        self.model: Any = model
        self.avoided = avoided

    def observe(self, steps: Plans, past: Past | None = None) -> Stages:
        """As the reward itself."""
        return self.model.observe(steps, past)

    def step_rewards(self, plan: Plans, past: StagesOfSteps | None = None) -> StepRewards:
        """The reward of each plan step less its toll."""
        return self.model.step_rewards(plan, past) - self.avoided.worth * self.avoided(plan)

    def members(self) -> tuple[RewardModel, ...]:
        """Those of the reward, all with the same toll."""
        return tuple(TollReward(member, self.avoided) for member in self.model.members())


@torch.no_grad()
def find_avoided(
    readings: Readings, normalizer: Normalizer, play: Windows, demonstrations: Dataset
) -> Avoided | None:
    """What demonstrators avoid on their way to where they come to rest; None if nothing is.

    Args:
        readings: of the learnt reward; they tell where demonstrators come to rest.
        normalizer: of whole transitions.
        play: windows of play data, environment units.
        demonstrations: environment units.
    """
    if not readings.options.radii:
        return None
    plans, mask = play.batch(play.draw(_NUM_WINDOWS, generator(0, "avoided: windows")), normalizer)
    plans = plans[mask.all(1)]
    if len(plans) < 2 or play.spec.horizon < 2:
        return None
    seen, unit = readings.seen, readings.unit
    paths = [_path(each.observations, seen, normalizer) / unit for each in demonstrations.episodes]
    world = _World.of(plans[..., seen] / unit, readings.place / unit)
    shown = _Shown.of(paths, world, readings.place / unit)
    costs, step_cost = _costs(world, shown)
    kept = costs >= _LEAST
    if not bool(kept.any()):
        return None
    rewards = torch.cat([readings.base.step_rewards(part) for part in plans.split(_AT_ONCE)])
    found = Avoided(
        places=world.places[kept] * unit,
        tolls=(_MARGIN * costs[kept] / step_cost).to(unit),
        width=_WIDTH * unit,
        worth=readings.top - rewards.mean(),
        seen=seen,
        nodes=unit.new_zeros(0, len(unit)),
        ahead=seen.new_zeros(0),
        arrivals=unit.new_zeros(0, plans.shape[-1]),
    )
    return _with_ways(found, readings, plans, min(_NUM_ON_WAYS, max(2, len(play) // _PER_NODE)))


def _with_ways(avoided: Avoided, readings: Readings, plans: Plans, num_nodes: int) -> Avoided:
    """The same with the best ways round it to the resting place, on a graph of play data."""
    flat, seen = plans.flatten(0, 1), avoided.seen
    order = torch.randperm(len(flat), generator=generator(0, "avoided: ways"))
    chosen = flat[order[:num_nodes].to(flat.device)]
    avoided.nodes = chosen[:, seen]
    visited = nearest(flat[:, seen], avoided.nodes).reshape(plans.shape[:2])
    nearness = -((plans[..., seen] - readings.place) / readings.unit).norm(dim=-1)
    with contextlib.suppress(NoValueError):  # nobody stays anywhere in the play data
        values = graph_values(visited, nearness, len(chosen), tolls=avoided(chosen))
        avoided.ahead = nodes_ahead(visited, values)
        before, after, arrived = visited[:, :-1], visited[:, 1:], plans[:, 1:]
        on_way = avoided.ahead[before] == after
        avoided.arrivals = chosen[avoided.ahead]
        avoided.arrivals[before[on_way]] = arrived[on_way]
        end, moved = values.argmax(), plans.diff(dim=1).norm(dim=-1)
        still = moved.masked_fill((before != end) | (after != end), torch.inf).argmin()
        rest = arrived.flatten(0, 1)[still].clone()
        rest[seen] = readings.place
        apart = ((avoided.nodes - readings.place) / readings.unit).norm(dim=1)
        close = (apart < 1) & (values >= -_CLOSE)
        avoided.ahead[close], avoided.arrivals[close] = end, rest
    return avoided


@dataclass(frozen=True)
class _World:
    """How play data moves, and where something may be avoided; in units of a fast plan step.

    Attributes:
        nodes: observations of play data.
        moves: how often each node followed each, as shares; who stays does not move.
        places: where something may be avoided.
        bumps: of the places at the nodes.
        lengths: the mean way of a move from each node.
        is_end: whether a node is where demonstrators come to rest.
    """

    nodes: Float[Tensor, "node entry"]
    moves: Float[Tensor, "node node"]
    places: Float[Tensor, "place entry"]
    bumps: Float[Tensor, "node place"]
    lengths: Float[Tensor, "node"]
    is_end: Tensor

    @classmethod
    def of(
        cls, paths: Float[Tensor, "window horizon entry"], end: Float[Tensor, "entry"]
    ) -> "_World":
        flat = paths.flatten(0, 1)
        order = torch.randperm(len(flat), generator=generator(0, "avoided: nodes"))
        nodes = flat[order[:_NUM_NODES].to(flat.device)]
        count = len(nodes)
        visited = nearest(flat, nodes).reshape(paths.shape[:2])
        pairs = (visited[:, :-1] * count + visited[:, 1:]).flatten()
        moves = torch.bincount(pairs, minlength=count**2).reshape(count, count).double()
        moves.fill_diagonal_(0)
        moves = moves / moves.sum(1, keepdim=True).clamp(min=1)
        places = nodes[_spread(nodes)]
        return cls(
            nodes=nodes,
            moves=moves,
            places=places,
            bumps=_bumps(nodes, places, _WIDTH).double(),
            lengths=(moves * torch.cdist(nodes, nodes)).sum(1),
            is_end=(nodes - end).norm(dim=1) < 1,
        )

    def visits(
        self, starts: Float[Tensor, "node"], costs: Float[Tensor, "place"], step_cost: float
    ) -> Float[Tensor, "node"]:
        """The way made at each node until the end is reached, by all who start.

        Args:
            starts: how many start at each node.
            costs: of passing each place.
            step_cost: of each step.
        """
        on = ~self.is_end
        weight = torch.exp(-step_cost - self.bumps @ costs)
        moves = (weight.unsqueeze(1) * self.moves)[on]
        inner = moves[:, on]
        solve = torch.linalg.lu_factor(torch.eye(len(inner)).to(inner) - inner)
        ahead = torch.linalg.lu_solve(*solve, moves[:, self.is_end].sum(1, keepdim=True))[:, 0]
        ahead = ahead.clamp(min=1e-280)
        flow = torch.linalg.lu_solve(*solve, (starts[on] / ahead).unsqueeze(1), adjoint=True)[:, 0]
        found = torch.zeros_like(starts)
        found[on] = flow * ahead
        return found * self.lengths


@dataclass(frozen=True)
class _Shown:
    """What demonstrators did on their way.

    Attributes:
        starts: how many start at each node.
        passed: the way that they make at each place.
        length: of all ways together.
    """

    starts: Float[Tensor, "node"]
    passed: Float[Tensor, "place"]
    length: float

    @classmethod
    def of(
        cls,
        paths: list[Float[Tensor, "time entry"]],
        world: _World,
        end: Float[Tensor, "entry"],
    ) -> "_Shown":
        starts = world.bumps.new_zeros(len(world.nodes))
        passed, length = world.bumps.new_zeros(len(world.places)), 0.0
        for path in paths:
            away = torch.nonzero((path - end).norm(dim=1) >= 1)
            if not len(away):
                continue
            way = path[: int(away.max()) + 2]
            moved = (way[1:] - way[:-1]).norm(dim=1).double()
            starts[nearest(way[:1], world.nodes)] += 1
            passed += moved @ _bumps(way[:-1], world.places, _WIDTH).double()
            length += float(moved.sum())
        starts[world.is_end] = 0
        return cls(starts, passed, length)


def _costs(world: _World, shown: _Shown) -> tuple[Float[Tensor, "place"], float]:
    """What passing each place and what each step costs those who move as was shown."""
    costs, low, high = world.bumps.new_zeros(len(world.places)), 1e-3, 20.0
    step_cost = low
    for _ in range(_NUM_HALVINGS):
        step_cost = (low * high) ** 0.5
        too_long = world.visits(shown.starts, costs, step_cost).sum() > shown.length
        low, high = (step_cost, high) if too_long else (low, step_cost)
    for _ in range(_NUM_FITS):
        visits = world.visits(shown.starts, costs, step_cost)
        expected = visits @ world.bumps
        unexplained = expected - _TIMES * shown.passed - _UNEXPLAINED
        if not bool(costs.any()) and bool((unexplained <= 0).all()):
            break
        step = 0.5 * unexplained / (expected + shown.passed + 2)
        costs = (costs + step).clamp(min=0, max=_MOST)
        longer = float(visits.sum() / max(shown.length, 1e-9)) - 1
        step_cost = max(step_cost * (1 + 0.3 * max(min(longer, 1.0), -1.0)), 0.02)
    return costs, step_cost


def _path(observations: Any, seen: Tensor, normalizer: Normalizer) -> Float[Tensor, "time entry"]:
    """The entries that are seen, model space."""
    entries = torch.as_tensor(observations)[:, seen.cpu()].to(normalizer.shift)
    return ((entries - normalizer.shift[seen]) / normalizer.scale[seen]).float()


def _bumps(
    where: Float[Tensor, "*axes entry"], places: Float[Tensor, "place entry"], width: Any
) -> Float[Tensor, "*axes place"]:
    """1 at each place, falling off around it."""
    apart = ((where.unsqueeze(-2) - places) / width).square().sum(-1)
    return (-apart / 2).exp()


def _spread(nodes: Float[Tensor, "node entry"]) -> Tensor:
    """Numbers of nodes that cover all others, each at some distance from those before."""
    picks, apart = [0], (nodes - nodes[0]).norm(dim=1)
    while float(apart.max()) > _SPACING and len(picks) < _MOST_PLACES:
        picks.append(int(apart.argmax()))
        apart = torch.minimum(apart, (nodes - nodes[picks[-1]]).norm(dim=1))
    return torch.tensor(picks, device=nodes.device)
