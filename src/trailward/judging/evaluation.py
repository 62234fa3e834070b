"""How good a reward and a behaviour are: returns, ERC, best cell, dynamics error, intervals."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from trailward.acting.planner import PlanFollower, Planner, Policy
from trailward.data.dataset import Dataset
from trailward.data.episode import MAX_SEED, DataError, Episode, at_least, at_most
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import Diffuser
from trailward.learning.learnt_reward import LearntReward
from trailward.typing import Observations

_RESAMPLES = 2000
PLANS_AT_ONCE = 50
"""How many plans :func:`dynamics_error` follows side by side."""


@dataclass(frozen=True)
class EvaluationConfig:
    """How much is run to judge a reward.

    Attributes:
        num_episodes: roll-outs of each policy, from the same starts.
        episode_steps: environment steps of a roll-out.
        num_windows: play windows for ERC.
        num_transitions: play transitions for EPIC and the correlation of steps; all of them, if
            there are fewer.
        num_plans: plans for the dynamics error (mazes only), from random play observations.
        num_candidates: plans the planner chooses the best from.
        choose: how it chooses: ``plausible`` or ``reward``.
        replan_every: environment steps between plans; the plans' stride if None.
        seed: of starts, windows and noise.
    """

    num_episodes: int = 20
    episode_steps: int = 300
    num_windows: int = 2000
    num_transitions: int = 2000
    num_plans: int = 200
    num_candidates: int = 1
    choose: str = "plausible"
    replan_every: int | None = None
    seed: int = 1000

    def __post_init__(self) -> None:
        at_least(1, self, "num_episodes", "episode_steps", "num_windows", "num_plans")
        at_least(1, self, "num_transitions", "num_candidates")
        at_most(10_000_000, self, "num_episodes", "episode_steps", "num_windows", "num_plans")
        at_most(10_000_000, self, "num_transitions", "num_candidates")
        at_most(MAX_SEED - 10_000_000, self, "seed")  # an episode has a seed of its own

    @property
    def starts(self) -> range:
        """Seeds of the roll-outs' starts."""
        return range(self.seed, self.seed + self.num_episodes)

    def with_seed(self, seed: int) -> "EvaluationConfig":
        """The same for another seed of an experiment: a thousand starts further for each."""
        return replace(self, seed=self.seed + 1000 * seed)

    def planner(self, diffuser: Diffuser, learnt: LearntReward, *, guided: bool) -> Planner:
        """The planner of the reward, which is judged, or the unguided one beside it."""
        every, seed = self.replan_every, self.seed
        if not guided:
            return Planner(diffuser, learnt.sampling, replan_every=every, seed=seed)
        return Planner.for_reward(
            learnt,
            diffuser,
            num_candidates=self.num_candidates,
            replan_every=every,
            seed=seed,
            choose=self.choose,
        )


@dataclass(frozen=True)
class Evaluation:
    """Figures (JSON values) and the arrays that pictures are drawn from."""

    figures: dict[str, Any]
    arrays: dict[str, np.ndarray]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% interval (percentile bootstrap).

    Attributes:
        value: on the whole sample.
        low: 2.5% quantile over resamples.
        high: 97.5% quantile over resamples.
        count: size of the sample.
    """

    value: float
    low: float
    high: float
    count: int


def bootstrap(
    statistic: Callable[[np.ndarray], float], samples: np.ndarray, *, seed: int = 0
) -> Estimate:
    """A statistic of samples (first axis) with its bootstrap interval.

    Raises:
        ValueError: if there are no samples.
    """
    if len(samples) == 0:
        raise ValueError("no samples to estimate from")
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, len(samples), (_RESAMPLES, len(samples)))
    values = [statistic(samples[draw]) for draw in draws]
    low, high = np.nanquantile(values, [0.025, 0.975])
    return Estimate(float(statistic(samples)), float(low), float(high), len(samples))


@dataclass(frozen=True)
class Correlation:
    """Episode return correlation of a learnt with the true reward.

    Attributes:
        pearson: correlation of returns.
        spearman: correlation of their ranks.
        distance: ``sqrt((1 - pearson) / 2)``: 0 is best, 1 worst (arXiv 2006.13900, def. 5.1).
    """

    pearson: Estimate
    spearman: Estimate
    distance: Estimate


def episode_return_correlation(
    learnt: Float[np.ndarray, "episode"], true: Float[np.ndarray, "episode"], *, seed: int = 0
) -> Correlation:
    """ERC over play windows or whole play episodes, with bootstrap intervals.

    Both rewards are undiscounted. A constant reward correlates with
    nothing: its correlation counts as 0.

    Args:
        learnt: return of each window under the learnt reward.
        true: return of each window under the true reward.
        seed: of the bootstrap.
    """
    pairs = np.stack([learnt, true], axis=1)
    ranks = np.stack([_ranks(learnt), _ranks(true)], axis=1)
    return Correlation(
        bootstrap(_pearson, pairs, seed=seed),
        bootstrap(_pearson, ranks, seed=seed),
        bootstrap(lambda p: ((1 - _pearson(p)) / 2) ** 0.5, pairs, seed=seed),
    )


def return_fraction(
    returns: Float[np.ndarray, "episode"],
    unguided: Float[np.ndarray, "episode"],
    demonstrator: Float[np.ndarray, "episode"],
    *,
    seed: int = 0,
) -> Estimate:
    """The mean return on the scale where the unguided planner is 0 and the demonstrator 1.

    Episode i of all three has the same start, so the interval resamples starts; a resample
    without a scale does not count.

    Args:
        returns: of the policy judged.
        unguided: of the unguided planner.
        demonstrator: of the demonstrator.
        seed: of the bootstrap.

    Raises:
        ValueError: if both ends are the same, so that there is no scale.
    """
    low, high = unguided.mean(), demonstrator.mean()
    if np.isclose(low, high):
        raise ValueError(f"unguided and demonstrator both return {low:.4g}: there is no scale")

    def fraction(together: np.ndarray) -> float:
        judged, zero, one = together.mean(0)
        return float((judged - zero) / (one - zero)) if one != zero else float("nan")

    return bootstrap(fraction, np.stack([returns, unguided, demonstrator], axis=1), seed=seed)


def judge_behaviour(
    policies: Mapping[str, Policy], run: Callable[[Policy], list[Episode]]
) -> tuple[dict[str, list[Episode]], dict[str, Any]]:
    """Roll policies out and compare their returns.

    Args:
        policies: ``unguided``, ``learnt`` and, if there is one, ``demonstrator``.
        run: rolls a policy out from the same starts each time, with recorded rewards.

    Returns:
        The episodes by policy, and figures: ``return``, ``return_fraction`` (None without a
        demonstrator, or if it returns what the unguided planner does) and ``rollout_seconds``.
    """
    found, seconds = {}, {}
    for name, policy in policies.items():
        began = time.perf_counter()
        found[name] = run(policy)
        seconds[name] = time.perf_counter() - began
    returns = {name: Dataset(episodes).returns for name, episodes in found.items()}
    ends = returns["unguided"], returns.get("demonstrator", returns["unguided"])
    fraction = None
    if not np.isclose(ends[0].mean(), ends[1].mean()):
        fraction = asdict(return_fraction(returns["learnt"], *ends))
    figures = {
        "return": {k: asdict(bootstrap(lambda r: float(r.mean()), v)) for k, v in returns.items()},
        "return_fraction": fraction,
        "rollout_seconds": seconds,
    }
    return found, figures


def decision_ms(planner: Planner, starts: Observations, *, count: int = 10) -> float:
    """Median milliseconds of a planning decision for as many environments as there are starts."""
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        planner.plan(starts)
        seconds.append(time.perf_counter() - began)
    return 1000 * float(np.median(seconds))


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


def paths_of(episodes: Sequence[Episode]) -> Float[np.ndarray, "episode time observation"]:
    """Observations of episodes in one array, NaN after the end of shorter ones."""
    longest = max(len(e.observations) for e in episodes)
    paths = np.full((len(episodes), longest, episodes[0].observations.shape[1]), np.nan)
    for path, episode in zip(paths, episodes, strict=True):
        path[: len(episode.observations)] = episode.observations
    return paths


def standing_rewards(
    learnt: LearntReward,
    observations: Float[np.ndarray, "batch observation"],
    *,
    stage: int | None = None,
) -> Float[np.ndarray, "batch"]:
    """Learnt reward of staying at each observation (environment units).

    Args:
        learnt: the reward.
        observations: where.
        stage: of a reward with stages; the last one if None.
    """
    if learnt.is_additive and not learnt.config.sees_actions:
        return learnt.step_rewards(
            observations, stage=learnt.num_stages - 1 if stage is None else stage
        )
    states = torch.as_tensor(observations, dtype=torch.float64)
    still = states.new_zeros(len(states), learnt.spec.stride, learnt.spec.action_dim)
    step = learnt.spec.join(states, still)
    return learnt.plan_rewards(step.unsqueeze(1).expand(-1, learnt.spec.horizon, -1))


def check_long_enough(play: Dataset, spec: PlanSpec) -> None:
    """Check that some play episode is as long as a plan, so that windows can be judged.

    Raises:
        DataError: if none is.
    """
    longest = max(len(episode) + 1 for episode in play.episodes)
    if longest < spec.num_observations:
        msg = (
            f"a plan spans {spec.num_observations} observations, the longest play episode has "
            f"{longest}; give longer ones, or train a diffuser of a shorter horizon or stride"
        )
        raise DataError(msg)


def windows_of(
    episodes: Sequence[Episode], *, length: int, count: int, seed: int
) -> Float[np.ndarray, "window length observation"]:
    """Windows of consecutive observations, drawn uniformly from all in the episodes.

    Raises:
        ValueError: if no episode is that long.
    """
    long_enough = [e for e in episodes if len(e.observations) >= length]
    if not long_enough:
        longest = max(len(e.observations) for e in episodes)
        raise ValueError(f"windows of {length} observations; the longest episode has {longest}")
    generator = np.random.default_rng(seed)
    weights = np.array([len(e.observations) - length + 1 for e in long_enough], dtype=float)
    chosen = generator.choice(len(long_enough), count, p=weights / weights.sum())
    starts = [generator.integers(0, int(weights[index])) for index in chosen]
    return np.stack(
        [long_enough[i].observations[s : s + length] for i, s in zip(chosen, starts, strict=True)]
    )


def _pearson(pairs: Float[np.ndarray, "sample 2"]) -> float:
    centered = pairs - pairs.mean(0)
    scale = np.sqrt((centered**2).sum(0)).prod()
    if scale == 0:
        return 0.0
    return float(np.clip((centered[:, 0] * centered[:, 1]).sum() / scale, -1.0, 1.0))


def _ranks(values: Float[np.ndarray, "sample"]) -> Float[np.ndarray, "sample"]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[inverse].astype(np.float64)
