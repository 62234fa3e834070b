"""What lies beyond a plan's end: a value of states, fitted offline to play data and a reward.

A learnt reward says where it is good to be, and its slope may lead into a wall. The value says how
far it is from there by ways that the play data has shown. It is found by value iteration on a
graph: prototypes are observations drawn from the play data, told apart by the entries that the
reward sees (told apart by velocities too, they would lie so far from one another that ways lead
through walls), an edge is a plan step that somebody made, and

    V(s) = 0                                             at the best place to stay
    V(s) = max over edges s -> s' of V(s') - cost(s)      elsewhere
    cost(s) = 1 + toll(s)                                 of what is avoided, if anything is

which is undiscounted: the relative value of average-reward control with a price on time (Puterman
1994, ch. 8 and 9). So its slope is never flat, however far away, and a place that is merely rather
good is never a reason to stay. A small network is fitted to the graph's values, so that plans can
be guided by its gradient.

Where there is no place to stay, as in a gait, :func:`fit_discounted_value` fits what followed in
the play data: the discounted mean of the rewards from an observation on.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from trailward.data.dataset import Windows
from trailward.data.normalizer import Normalizer
from trailward.data.plan import PlanSpec
from trailward.diffusion.fitting import fit
from trailward.diffusion.networks.fourier_features import FourierFeatures
from trailward.errors import DataError, SettingsError, at_least
from trailward.randomness import generator
from trailward.rewards.contract import RewardModel
from trailward.typing import Past, PerPlan, Plans, Scalar, Stages, StagesOfSteps, StepRewards

_UNREACHED = -1e6
_PULL_ALONE, _STEPS_ALONE = 4.0, 2000
_AT_ONCE, _WINDOWS_A_NODE, _FEWEST_NODES = 20_000, 16, 100


class NoValueError(DataError):
    """Play data that no time to go can be fitted to: too short, or nobody stays anywhere."""


@dataclass(frozen=True)
class ValueConfig:
    """How a value is fitted.

    Attributes:
        num_windows: play windows whose plan steps are the graph's edges.
        num_prototypes: observations that are the graph's nodes, at most. There are no more than a
            16th of the windows, so that ways which cross meet in a node; of fewer than 1,600
            windows every observation may be one.
        width: width of the network's two hidden layers.
        num_frequencies: octaves of sines and cosines of each entry that the network sees.
        num_steps: gradient steps of the network.
        batch_size: observations in a batch.
        learning_rate: Adam's, falling to 0 linearly.
        seed: seed for windows, prototypes, weights and batches.
    """

    num_windows: int = 12_000
    num_prototypes: int = 3000
    width: int = 128
    num_frequencies: int = 4
    num_steps: int = 600
    batch_size: int = 1024
    learning_rate: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(1, self, "num_windows", "num_prototypes", "width", "num_steps", "batch_size")
        at_least(0, self, "num_frequencies", "learning_rate")


DISCOUNTED = ValueConfig(
    width=256, num_frequencies=0, num_steps=3000, batch_size=512, learning_rate=2e-3
)
"""How a discounted value is fitted: it is smooth, and of many entries."""


class Value(RewardModel):
    """The value of each observation of a plan.

    It is a reward model whose plan reward is the mean over plan steps, so that a plan guided by
    it heads for the best place by a way that exists. It either is a time to go, scaled to mean 0
    and deviation 1 on play data, which is added to the reward; or a discounted mean of rewards,
    in their unit, which takes the reward's place. A time to go may take it too (``alone``).

    Args:
        spec: what a plan holds.
        width: of the two hidden layers.
        num_frequencies: octaves of sines and cosines seen of each entry.
        num_stages: values of each observation: one for each stage of a reward with a memory.
        discount: of a discounted mean of rewards, an environment step; 0 for a time to go.
        alone: whether it guides plans in the reward's place; a discounted one always does.
    """

    def __init__(
        self,
        spec: PlanSpec,
        *,
        width: int = 128,
        num_frequencies: int = 4,
        num_stages: int = 1,
        discount: float = 0.0,
        alone: bool = False,
    ) -> None:
        super().__init__(spec, inputs=range(spec.observation_dim))
        self.width, self.num_frequencies = width, num_frequencies
        self.num_stages, self.discount = num_stages, discount
        self.alone = alone or discount > 0
        features = FourierFeatures(spec.observation_dim, num_frequencies)
        self.network = nn.Sequential(
            features,
            nn.Linear(features.num_features, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, num_stages),
        )

    def to_config(self) -> dict[str, Any]:
        """Constructor arguments beside the spec, as JSON values."""
        return {
            "width": self.width,
            "num_frequencies": self.num_frequencies,
            "num_stages": self.num_stages,
            "discount": self.discount,
        } | ({"alone": True} if self.alone and not self.discount else {})

    def step_rewards(self, plan: Plans, past: StagesOfSteps | None = None) -> StepRewards:
        """The value of each plan step's observation in its stage; in the first if None is given."""
        values = self.network(self.spec.split(plan)[0])
        if past is None or self.num_stages == 1:
            return values[..., 0]
        return values.gather(-1, past.expand(plan.shape[:2]).unsqueeze(-1)).squeeze(-1)


class RewardToGo(RewardModel):
    """Reward plus value: what plans are guided and chosen by.

    Args:
        reward_model: says where on the plan it is good to be, and what is remembered.
        value: says which way leads on from there; of as many stages.

    Raises:
        SettingsError: if reward and value have other numbers of stages.
    """

    def __init__(self, reward_model: RewardModel, value: Value) -> None:
        own, its = reward_model.num_stages, value.num_stages
        if own != its:
            msg = f"the reward has {own} stages and the value {its}"
            remedy = "fit a value to this reward"
            raise SettingsError(msg, place="num_stages", value=(own, its), remedy=remedy)
        super().__init__(reward_model.spec, inputs=reward_model.inputs.tolist())
        self.per_step = reward_model.per_step
        self.reward_model: Any = reward_model
        self.value, self.num_stages = value, value.num_stages

    def observe(self, steps: Plans, past: Past | None = None) -> Stages:
        """The stage at each step, as the reward itself tells it."""
        return self.reward_model.observe(steps, past)

    def step_rewards(self, plan: Plans, past: StagesOfSteps | None = None) -> StepRewards:
        """The sum of both, step by step; not of a reward of whole plans."""
        stage = self.observe(plan) if past is None else past
        return self.reward_model.step_rewards(plan, stage) + self.value.step_rewards(plan, stage)

    def forward(self, plan: Plans, past: StagesOfSteps | None = None) -> PerPlan:
        """The sum of both."""
        stage = self.observe(plan) if past is None else past
        return self.reward_model(plan, stage) + self.value(plan, stage)


def fit_value(
    reward: RewardModel,
    play: Windows,
    normalizer: Normalizer,
    *,
    alone: bool = False,
    tolls: Callable[[Plans], StepRewards] | None = None,
    config: ValueConfig = ValueConfig(),
) -> Value:
    """Fit a value to a reward on play data.

    The graph's nodes are pairs of a prototype and a stage, and a plan step at which the reward's
    stage changes leads from one stage to the next.

    Args:
        reward: of single steps, model space.
        play: windows of play data, environment units.
        normalizer: of transitions.
        alone: whether it is to guide plans in the reward's place. Nothing else pulls beside it
            then, so its deviation on play data is 4, not 1. What is fitted is minus the root of the
            time to go, which is steep near the best place, where plans are to stop; and the reward
            itself is added, a deviation high.
        tolls: the toll of each plan step beside its time, in plan steps; none if None
            (:mod:`trailward.rewards.avoided`).
        config: how it is fitted.

    Returns:
        The value, frozen.

    Raises:
        NoValueError: if no window is long enough, or nobody ever stayed anywhere.
        TypeError: if the reward is of whole plans.
    """
    plans, mask = play.batch(
        play.draw(config.num_windows, generator(config.seed, "value: windows")), normalizer
    )
    plans = plans[mask.all(1)]
    horizon = play.spec.horizon
    if horizon < 2:
        raise NoValueError(place="horizon", value=horizon, remedy="a value needs at least 2")
    if not len(plans):
        msg = f"no play episode is as long as a plan, {horizon} plan steps"
        raise NoValueError(msg, place="play", value=0, remedy="a value needs longer ones")
    starts = range(reward.num_stages)
    with torch.no_grad():
        rewards = torch.cat([reward.stage_rewards(part) for part in plans.split(_AT_ONCE)])
        stages = _stages(reward, plans)
    flat = play.spec.split(plans)[0].flatten(0, 1)
    order = torch.randperm(len(flat), generator=generator(config.seed, "value: prototypes"))
    carried = len(play) // _WINDOWS_A_NODE
    most = min(config.num_prototypes, carried if carried >= _FEWEST_NODES else len(order))
    picks = order[:most].to(flat.device)
    seen = reward.inputs[reward.inputs < play.spec.observation_dim]
    where = flat[:, seen] if len(seen) else flat
    nodes = nearest(where, where[picks]).reshape(rewards.shape[:2])
    ways, count = nodes.unsqueeze(-1) + len(picks) * stages, len(picks)
    paid = None if tolls is None else tolls(flat[picks].unsqueeze(0))[0].repeat(len(starts))
    values = graph_values(
        ways.movedim(-1, 0).flatten(0, 1),
        rewards.gather(-1, stages).movedim(-1, 0).flatten(0, 1),
        len(starts) * count,
        first_end=(len(starts) - 1) * count,
        tolls=paid,
    )
    # what an observation is worth does not depend on how its window began
    with torch.no_grad():
        now = _stages(reward, plans.flatten(0, 1).unsqueeze(1)).reshape(stages.shape)
    targets = values[nodes.unsqueeze(-1) + count * now]
    value = _fresh(play.spec, config, num_stages=len(starts), alone=alone).to(flat.device)
    if alone:
        nearness = -(targets.amax() - targets).sqrt()
        targets = nearness + nearness.std() * rewards / rewards.abs().amax().clamp(min=1e-8)
        config = replace(config, num_steps=max(config.num_steps, _STEPS_ALONE))
    _regress(value, flat, targets.flatten(0, 1), config)
    if alone:
        _rescale(value.network[-1], flat.new_tensor(_PULL_ALONE), flat.new_zeros(()))
    return value.requires_grad_(requires_grad=False).eval()


def _stages(reward: RewardModel, plans: Plans) -> Int[Tensor, "batch horizon stage"]:
    """The stage of each plan step, for each stage that the plan may begin in."""
    starts = torch.arange(reward.num_stages, device=plans.device)
    return torch.stack([reward.observe(plans, start.expand(len(plans))) for start in starts], -1)


def _fresh(spec: PlanSpec, config: ValueConfig, **given: Any) -> Value:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Value(spec, width=config.width, num_frequencies=config.num_frequencies, **given)


def fit_discounted_value(
    reward: RewardModel,
    play: Windows,
    normalizer: Normalizer,
    *,
    discount: float,
    config: ValueConfig = DISCOUNTED,
) -> Value:
    """Fit what followed each observation of the play data.

    ``V(s_t) = (1 - discount) * sum_k discount^k r(s_t+k)``, the Monte Carlo value of whoever made
    the play data (Sutton and Barto 2018, ch. 5), as a mean, so that its unit is the reward's. An
    episode's last reward counts as if it went on.

    Args:
        reward: of single steps, with one stage, model space.
        play: windows of play data, environment units.
        normalizer: of transitions.
        discount: of an environment step, above 0 and below 1.
        config: how it is regressed.

    Returns:
        The value, frozen, in the unit of the rewards.

    Raises:
        DataError: if no episode is long enough.
        SettingsError: if the discount is not as above.
    """
    device = normalizer.shift.device
    if not 0 < discount < 1:
        remedy = "it must be above 0 and below 1"
        raise SettingsError(place="discount", value=discount, remedy=remedy)
    steps = [normalizer.normalize(path) for path in play.steps() if len(path)]
    if not steps:
        msg = (
            f"stride is {play.spec.stride}, but a discounted value needs play episodes of at "
            "least one plan step"
        )
        raise DataError(msg, place="stride", value=play.spec.stride)
    with torch.no_grad():
        rewards = [reward.step_rewards(path.unsqueeze(0))[0] for path in steps]
    length = max(len(path) for path in rewards)
    padded = torch.stack([torch.cat([r, r[-1:].expand(length - len(r))]) for r in rewards])
    onward, values = padded[:, -1], torch.empty_like(padded)
    for time in reversed(range(length)):
        onward = (1 - discount) * padded[:, time] + discount * onward
        values[:, time] = onward
    targets = torch.cat([row[: len(r)] for row, r in zip(values, rewards, strict=True)])
    value = _fresh(play.spec, config, discount=discount).to(device)
    states = play.spec.split(torch.cat(steps))[0]
    _regress(value, states, targets.unsqueeze(-1), config)
    _rescale(value.network[-1], targets.std(), targets.mean())  # back to the rewards' unit
    return value.requires_grad_(requires_grad=False).eval()


def graph_values(
    nodes: Int[Tensor, "window horizon"],
    rewards: Float[Tensor, "window horizon"],
    num_nodes: int,
    *,
    first_end: int = 0,
    tolls: Float[Tensor, "node"] | None = None,
) -> Float[Tensor, "node"]:
    """Value iteration on the graph of the plan steps seen; see the module's docstring.

    Nodes from which the best place cannot be reached get the lowest value of those that can.

    Args:
        nodes: the node of each plan step.
        rewards: the reward of each plan step.
        num_nodes: nodes in all.
        first_end: nodes from this one on may be the best place: those of the last stage, as
            demonstrations end in it, and learning leaves open how the stages compare.
        tolls: the toll of passing each node, in plan steps; none if None.

    Raises:
        NoValueError: if no plan step ever ends in the node that it began in.
    """
    mean = rewards.new_zeros(num_nodes).scatter_reduce(
        0, nodes.flatten(), rewards.flatten(), "mean", include_self=False
    )
    pairs = torch.unique(nodes[:, :-1].flatten() * num_nodes + nodes[:, 1:].flatten())
    before, after = pairs // num_nodes, pairs % num_nodes
    loops = before[(before == after) & (before >= first_end)]
    if not len(loops):
        msg = "nobody stays anywhere in the play data, so there is no place to head for"
        raise NoValueError(msg, place="play")
    best = loops[mean[loops].argmax()]
    cost = torch.ones_like(mean) if tolls is None else 1 + tolls
    values = torch.full_like(mean, _UNREACHED)
    values[best] = 0.0
    for _ in range(num_nodes):
        onward = torch.full_like(mean, _UNREACHED).scatter_reduce(0, before, values[after], "amax")
        updated = (onward - cost).clamp(min=_UNREACHED)
        updated[best] = 0.0
        if torch.equal(updated, values):
            break
        values = updated
    reached = values > _UNREACHED / 2
    return torch.where(reached, values, values[reached].min())


def nearest(
    states: Float[Tensor, "state entry"], nodes: Float[Tensor, "node entry"]
) -> Int[Tensor, "state"]:
    """The number of the node next to each state."""
    return torch.cat([torch.cdist(part, nodes).argmin(1) for part in states.split(_AT_ONCE)])


def nodes_ahead(
    nodes: Int[Tensor, "window horizon"], values: Float[Tensor, "node"]
) -> Int[Tensor, "node"]:
    """The node that the best way leads to from each node; itself from the best one.

    Args:
        nodes: the node of each plan step.
        values: of :func:`graph_values`.
    """
    count = len(values)
    pairs = torch.unique(nodes[:, :-1].flatten() * count + nodes[:, 1:].flatten())
    before, after = pairs // count, pairs % count
    order = values[after].argsort()
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    best = torch.full_like(nodes, -1).flatten()[:1].repeat(count)
    best = best.scatter_reduce(0, before, rank, "amax")
    ahead = torch.where(best >= 0, after[order[best.clamp(min=0)]], torch.arange(count).to(best))
    ahead[values.argmax()] = values.argmax()
    return ahead


@torch.no_grad()
def _rescale(last: nn.Module, scale: Tensor, shift: Tensor) -> None:
    """Scale and shift what a linear layer gives."""
    for name, weights in last.named_parameters():
        weights.mul_(scale)
        if name == "bias":
            weights.add_(shift)


def _regress(
    value: Value,
    states: Float[Tensor, "state observation"],
    targets: Float[Tensor, "state stage"],
    config: ValueConfig,
) -> None:
    """Fit the network to the graph's values, scaled."""
    spread = (targets - targets.mean(0)).std()  # within a stage: the slope of each stays the same
    scaled = (targets - targets.mean()) / spread.clamp(min=1e-8)
    draw = generator(config.seed, "value: batches")

    def loss(step: int) -> Scalar:
        picks = torch.randint(len(states), (config.batch_size,), generator=draw)
        return (value.network(states[picks]) - scaled[picks]).square().mean()

    fit(
        value.network.parameters(),
        loss,
        num_steps=config.num_steps,
        learning_rate=config.learning_rate,
    )
