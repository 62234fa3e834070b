"""How far a learnt reward is from the true one, transition by transition: EPIC and correlation.

Gleave et al. 2021, "Quantifying Differences in Reward Functions" (arXiv 2006.13900); checked
against the authors' code, https://github.com/HumanCompatibleAI/evaluating-rewards.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from trailward.data.dataset import Dataset
from trailward.environments import RewardFunction
from trailward.errors import DataError, SettingsError
from trailward.judging.config import EvaluationConfig
from trailward.judging.statistics import Estimate, bootstrap
from trailward.learning.learnt_reward import LearntReward
from trailward.typing import Actions, Observations

_ANY = "give at least one environment step"

_ROWS = 2**16
"""Transitions that a reward function is asked about at once."""

_ROUNDING = 1e-6
"""A reward that varies by no more than this share of its own size is constant: that is rounding."""


@dataclass(frozen=True)
class Transitions:
    """Recorded transitions, environment units, and where they are from.

    Attributes:
        observations: where each begins.
        actions: what is done there.
        next_observations: where each arrives.
        episode: number of the episode that each is from; intervals resample episodes.
        rewards: true reward of each, if it was recorded.

    Raises:
        DataError: if there is none, or their numbers differ.
    """

    observations: Observations
    actions: Actions
    next_observations: Observations
    episode: Int[np.ndarray, "batch"]
    rewards: Float[np.ndarray, "batch"] | None = None

    def __post_init__(self) -> None:
        parts = self.observations, self.actions, self.next_observations, self.episode, self.rewards
        counts = [len(part) for part in parts if part is not None]
        if len(set(counts)) > 1:
            msg = f"the parts of transitions have lengths {counts}"
            remedy = "give one of each part for every transition"
            raise DataError(msg, place="parts of transitions", value=counts, remedy=remedy)
        if counts[0] == 0:
            raise DataError(place="the number of transitions", value=0, remedy=_ANY)


def draw_transitions(play: Dataset, *, count: int, seed: int) -> Transitions:
    """Transitions of a dataset, each as likely as any other, none twice.

    Args:
        play: where from.
        count: how many; all of them, if there are fewer.
        seed: of the draw.

    Raises:
        DataError: if there is none to draw.
    """
    lengths = np.array([len(episode) for episode in play.episodes])
    ends = lengths.cumsum()
    picks = np.random.default_rng(seed).permutation(int(ends[-1]))[:count]
    if len(picks) == 0:
        raise DataError(place="the number of transitions", value=0, remedy=_ANY)
    number = np.searchsorted(ends, picks, side="right")
    steps = picks - (ends - lengths)[number]
    drawn = [(play.episodes[index], step) for index, step in zip(number, steps, strict=True)]
    rewards = [e.rewards[step] for e, step in drawn if e.rewards is not None]
    return Transitions(
        np.stack([e.observations[step] for e, step in drawn]),
        np.stack([e.actions[step] for e, step in drawn]),
        np.stack([e.observations[step + 1] for e, step in drawn]),
        number,
        np.array(rewards) if len(rewards) == len(drawn) else None,
    )


def canonical_rewards(
    reward: RewardFunction,
    transitions: Transitions,
    *,
    discount: float = 0.99,
    num_canonical: int = 256,
    seed: int = 0,
) -> Float[np.ndarray, "batch"]:
    """The canonically shaped reward of each transition, but for a constant (Definition 4.1).

    ::

        C(R)(s, a, s') = R(s, a, s') + E[discount R(s', A, S') - R(s, A, S') - discount R(S, A, S')]

    S and S' are independent observations of the transitions, at either end, and A independent
    actions of them. The last term is the same for all and left out. One set of pairs (A, S')
    serves every expectation, so that shaping by a potential cancels exactly, however few they are.

    Args:
        reward: of transitions.
        transitions: the coverage distribution D.
        discount: the paper's gamma: that of the potentials that are not to matter.
        num_canonical: pairs (A, S').
        seed: of the pairs; the same seed, the same pairs.

    Returns:
        Zeros, if all that is left is rounding.

    Raises:
        SettingsError: if there is no pair.
    """
    if num_canonical < 1:
        remedy = "it must be at least 1"
        raise SettingsError(place="num_canonical", value=num_canonical, remedy=remedy)
    generator = np.random.default_rng(seed)
    states = np.concatenate([transitions.observations, transitions.next_observations])
    actions = generator.choice(transitions.actions, num_canonical)
    arrived = generator.choice(states, num_canonical)
    expected = _expected_rewards(reward, states, actions, arrived)
    now, then = np.split(expected, 2)
    plain = reward(transitions.observations, transitions.actions, transitions.next_observations)
    canonical = plain + discount * then - now
    size = max(np.abs(plain).max(), np.abs(expected).max())
    return canonical if canonical.std() > _ROUNDING * size else np.zeros_like(canonical)


def epic_distance(
    learnt: RewardFunction,
    true: RewardFunction,
    transitions: Transitions,
    *,
    discount: float = 0.99,
    num_canonical: int = 256,
    seed: int = 0,
) -> Estimate:
    """EPIC: ``sqrt((1 - pearson) / 2)`` of the canonical rewards; 0 is best, 1 worst.

    Blind to shift, positive scale and shaping by a potential. A reward that is nothing but these
    correlates with nothing: its correlation counts as 0. The interval resamples episodes, and
    keeps the pairs that the expectations are taken over.

    Deviations from the paper, whose coverage distribution is of one's choosing: it is the
    transitions given, and the marginals of states and actions are theirs.

    Args:
        learnt: of transitions.
        true: of transitions.
        transitions: the coverage distribution, and that of the expectations.
        discount: as for :func:`canonical_rewards`.
        num_canonical: as for :func:`canonical_rewards`.
        seed: of the pairs and of the bootstrap.
    """
    canonical = lambda reward: canonical_rewards(
        reward, transitions, discount=discount, num_canonical=num_canonical, seed=seed
    )
    moments = _moments(canonical(learnt), canonical(true), transitions.episode)
    return bootstrap(lambda sums: ((1 - _pearson(sums)) / 2) ** 0.5, moments, seed=seed)


def step_correlation(
    learnt: Float[np.ndarray, "batch"],
    true: Float[np.ndarray, "batch"],
    episode: Int[np.ndarray, "batch"],
    *,
    seed: int = 0,
) -> Estimate:
    """Pearson correlation of rewards, step by step.

    Steps of an episode resemble each other, so the interval resamples episodes with all their
    steps; ``count`` is the number of episodes. Of one episode it has no width and says nothing. A
    constant reward correlates with nothing: its correlation counts as 0.

    Args:
        learnt: learnt reward of each step.
        true: true reward of each step.
        episode: number of the episode that each step is from.
        seed: of the bootstrap.

    Raises:
        DataError: if there are no steps.
    """
    if len(learnt) == 0:
        raise DataError(place="the number of steps", value=0, remedy=_ANY)
    return bootstrap(_pearson, _moments(learnt, true, episode), seed=seed)


def transition_figures(
    learnt: LearntReward, true: RewardFunction | None, play: Dataset, config: EvaluationConfig
) -> dict[str, Any]:
    """``epic`` and ``step_pearson`` over play transitions, as JSON values.

    Args:
        learnt: the reward judged.
        true: the true reward as a function of transitions, for EPIC; None if there is no such
            function.
        play: where transitions are drawn from, with the true reward of every step.
        config: how many, and the seed.

    Returns:
        None where there is no such figure: for both if the learnt reward cannot tell what a
        transition is worth.

    Raises:
        DataError: if the play data has no rewards.
    """
    if not learnt.is_of_transitions:
        return {"epic": None, "step_pearson": None}
    drawn = draw_transitions(play, count=config.num_transitions, seed=config.seed)
    if drawn.rewards is None:
        msg, remedy = "the play data has no rewards", "record them too"
        raise DataError(msg, place="rewards of the play data", remedy=remedy)
    parts = drawn.observations, drawn.actions, drawn.next_observations
    steps = step_correlation(learnt.transition_rewards(*parts), drawn.rewards, drawn.episode)
    distance = None if true is None else epic_distance(learnt.transition_rewards, true, drawn)
    return {
        "epic": None if distance is None else asdict(distance),
        "step_pearson": asdict(steps),
    }


def _expected_rewards(
    reward: RewardFunction,
    states: Float[np.ndarray, "state observation"],
    actions: Float[np.ndarray, "pair action"],
    arrived: Float[np.ndarray, "pair observation"],
) -> Float[np.ndarray, "state"]:
    """The mean reward from each state over pairs of an action and where it leads."""
    at_once, means = max(1, _ROWS // len(actions)), []
    for first in range(0, len(states), at_once):
        block = states[first : first + at_once]
        every = (len(block), 1)
        rewards = reward(
            np.repeat(block, len(actions), axis=0), np.tile(actions, every), np.tile(arrived, every)
        )
        means.append(rewards.reshape(len(block), -1).mean(1, dtype=np.float64))
    return np.concatenate(means)


def _moments(
    learnt: Float[np.ndarray, "batch"],
    true: Float[np.ndarray, "batch"],
    episode: Int[np.ndarray, "batch"],
) -> Float[np.ndarray, "episode 6"]:
    """What :func:`_pearson` needs of each episode: sums over its steps."""
    x, y = _standardized(learnt), _standardized(true)
    _, number = np.unique(episode, return_inverse=True)
    terms = np.ones_like(x), x, y, x * x, y * y, x * y
    return np.stack([np.bincount(number, term) for term in terms], axis=1)


def _standardized(rewards: Float[np.ndarray, "batch"]) -> Float[np.ndarray, "batch"]:
    centered = rewards.astype(np.float64) - rewards.mean(dtype=np.float64)
    spread = centered.std()
    if spread <= _ROUNDING * np.abs(rewards).max():
        return np.zeros_like(centered)
    return centered / spread


def _pearson(moments: Float[np.ndarray, "episode 6"]) -> float:
    """The correlation over all steps of the episodes, 0 if either reward is constant there."""
    count, x, y, xx, yy, xy = moments.sum(0)
    variances = np.array([xx - x * x / count, yy - y * y / count]) / count
    if variances.min() <= _ROUNDING**2:
        return 0.0
    covariance = (xy - x * y / count) / count
    return float(np.clip(covariance / np.sqrt(variances.prod()), -1.0, 1.0))
