"""Judge a learnt reward, and the planner that uses it, by the true reward, in any environment.

``trailward evaluate`` writes two files. ``evaluation.json`` has these fields, where a figure is
``{value, low, high, count}``:

- ``environment``, ``task``: where and by what it was judged; ``none`` without a true reward.
- ``objective``, ``reward_model``, ``sampling``, ``planning``, ``evaluation``: how the reward was
  learnt, and settings.
- ``learnt``: ``step``, ``round``, ``best_step``, ``best_loss`` (the held-out energy distance, or
  minus the step if none is held out), ``seconds``; of a staged reward ``memory_error`` and
  ``memory_error_without``.
- ``num_demonstrations``; without a true reward ``num_judged`` and ``judged``, which were judged.
- ``return``, ``rollout_seconds``, ``score`` of ``unguided``, ``learnt``, ``clone`` (a plain one of
  the demonstrations) and ``demonstrator``: figures; wall seconds of the roll-outs; normalised
  scores of whole episodes, where there is such a scale.
- ``return_fraction``, ``epic``, ``step_pearson``: a figure or null.
- ``success``: the share of roll-outs that did the task; null unless that is yes or no.
- ``decision_ms``, ``decision_ms_together``: median milliseconds of a planning decision for one
  environment, and for all ``num_episodes`` side by side.
- ``erc_windows``, ``erc_episodes`` and, where play episodes differ in length, ``erc_by_return``:
  ``pearson``, ``spearman``, ``distance``.
- ``ensemble_agreement`` of ensembles, ``dynamics_error`` where it can be measured, and what the
  environment adds (:meth:`~trailward.environments.Environment.measure`).
- Without a true reward, figures of :func:`~trailward.judging.without_truth.judge_without_truth` and
  ``warnings`` stand in place of ``return`` and what follows, but for ``ensemble_agreement``;
  ``place`` names the entries that the map is drawn over.

``evaluation.npz`` holds the arrays of the pictures. Episodes have the shape (episode, time,
observation), NaN after their end; maps (row, column), the first row at the top.

- ``erc_windows``, ``erc_episodes``: learnt and true reward of each piece, (2, piece).
- ``dynamics_planned_POLICY``, ``dynamics_errors_POLICY``: the plans followed, and their errors.
- Without a true reward: ``window_rewards_play``, ``window_rewards_demonstrations``,
  ``episode_rewards_play``, ``episode_rewards_demonstrations``; of a place ``reward_map``,
  ``disagreement_map``, ``map_extent`` (left, right, bottom, top), ``play``, ``demonstrations``,
  ``plans``, ``walls``.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Float

from trailward.acting.network_policy import normalized_score
from trailward.acting.planner import Planner, Policy
from trailward.acting.rollout import rollout
from trailward.data.dataset import Dataset, Windows
from trailward.data.entries import observations_of
from trailward.data.episode import Episode, paths_of
from trailward.data.plan import PlanSpec
from trailward.diffusion.diffuser import Diffuser
from trailward.environments import Environment, Evaluation, Task, Trial
from trailward.errors import DataError
from trailward.judging.behaviour import decision_ms, judge_behaviour
from trailward.judging.config import EvaluationConfig
from trailward.judging.dynamics import (
    DynamicsError,
    dynamics_error,
    plan_observations,
    windows_of,
)
from trailward.judging.epic import transition_figures
from trailward.judging.erc import COMPARED, correlations_by_return, episode_return_correlation
from trailward.judging.readings import judge_kept
from trailward.learning.disagreement import agreement, can_disagree
from trailward.learning.learnt_reward import LearntReward
from trailward.typing import Observations

Pairs = dict[str, tuple[np.ndarray, np.ndarray]]


def evaluate(
    learnt: LearntReward,
    diffuser: Diffuser,
    environment: Environment,
    task: Task,
    play: Dataset,
    demonstrations: Dataset,
    config: EvaluationConfig,
    *,
    demonstrator: Policy | None = None,
    clone: Policy | None = None,
    stage: Callable[[str], None] = lambda name: None,
) -> Evaluation:
    """Returns, ERC, EPIC, dynamics error and what the environment adds, with 95% intervals.

    Args:
        learnt: the reward judged.
        diffuser: the diffuser that plans.
        environment: where the planner acts.
        task: the true reward; used here and nowhere before.
        play: episodes that ERC and EPIC are measured over.
        demonstrations: what the reward was learnt from: they are counted and drawn.
        config: how much to run.
        demonstrator: the policy that demonstrated; the task's if None. Without any there is no
            return fraction.
        clone: a naive way to act, rolled out beside the planner; none if None.
        stage: told what is being done.

    Raises:
        DataError: if the data is of another environment, the true reward of play data is not
            known, or no play episode is as long as a plan.
    """
    for data in (play, demonstrations):
        Windows(data, learnt.spec)  # refuses data of another environment before anything runs
    check_long_enough(play, learnt.spec)
    play = with_true_rewards(play, task)
    stage("roll-outs")
    reach = (diffuser.spec.horizon - 1) * diffuser.spec.stride
    config = replace(config, episode_steps=config.steps_in(environment))
    simulators = _Simulators(environment, task, config, reach)
    policies: dict[str, Policy] = {**_planners(learnt, diffuser, config)}
    given = {"clone": clone, "demonstrator": demonstrator or task.demonstrator()}
    policies |= {name: policy for name, policy in given.items() if policy is not None}
    episodes, behaviour = judge_behaviour(policies, simulators.run)
    starts = np.stack([episode.observations[0] for episode in episodes["learnt"]])
    plans = {
        name: plan_observations(diffuser, each.plan(starts))
        for name, each in _planners(learnt, diffuser, config).items()
    }
    stage("correlation with the true reward")
    rewards = _judge_rewards(learnt, task, play, config)
    dynamics, followed = Evaluation(), {}
    if environment.position:
        stage("dynamics error")
        dynamics, followed = _dynamics(learnt, diffuser, play, simulators)
    stage("what the environment shows")
    trial = Trial(
        learnt,
        task,
        play,
        demonstrations,
        episodes,
        plans,
        followed,
        num_samples=config.num_windows,
        seed=config.seed,
        tell=stage,
    )
    own = environment.measure(trial)
    facts = facts_of(learnt, demonstrations, config) | {
        "environment": environment.name,
        "task": task.name,
        "success": _success(task, episodes),
        **_decision_times(config.planner(diffuser, learnt, guided=True), starts),
    }
    if simulators.are_whole:
        facts |= _scores(behaviour["return"], environment.reference_returns)
    kept = judge_kept(learnt, paths_of(episodes["learnt"]), play, demonstrations)
    return _joined(Evaluation(facts | behaviour), rewards, dynamics, own, kept)


def _joined(*parts: Evaluation) -> Evaluation:
    """The figures and arrays of all."""
    figures = {name: each for part in parts for name, each in part.figures.items()}
    return Evaluation(figures, {k: each for part in parts for k, each in part.arrays.items()})


def _planners(
    learnt: LearntReward, diffuser: Diffuser, config: EvaluationConfig
) -> dict[str, Planner]:
    """New planners, without and with the reward."""
    return {
        name: config.planner(diffuser, learnt, guided=name == "learnt")
        for name in ("unguided", "learnt")
    }


def facts_of(
    learnt: LearntReward, demonstrations: Dataset, config: EvaluationConfig
) -> dict[str, Any]:
    """What was judged and how, as JSON values."""
    return {
        "objective": learnt.provenance.get("objective"),
        "learnt": learnt.provenance.get("learnt"),
        "reward_model": learnt.model.name,
        "num_demonstrations": len(demonstrations.episodes),
        "sampling": asdict(learnt.sampling),
        "planning": asdict(learnt.planning),
        "evaluation": asdict(config),
    }


def with_true_rewards(data: Dataset, task: Task) -> Dataset:
    """The same episodes with the task's true rewards.

    Raises:
        DataError: if these are not known.
    """
    episodes = [replace(each, rewards=task.step_rewards(each)) for each in data.episodes]
    return replace(data, episodes=episodes)


def check_long_enough(play: Dataset, spec: PlanSpec) -> None:
    """Check that some play episode is as long as a plan, so that windows can be judged.

    Raises:
        DataError: if none is.
    """
    longest = max(len(episode) + 1 for episode in play.episodes)
    if longest < spec.num_observations:
        msg = f"the longest play episode has {longest} observations"
        remedy = (
            f"a plan spans {spec.num_observations}: give longer ones, or train a diffuser of a "
            "shorter horizon or stride"
        )
        raise DataError(msg, place="the longest play episode", value=longest, remedy=remedy)


def reward_pairs(
    learnt: LearntReward, task: Task, play: Dataset, config: EvaluationConfig
) -> Pairs:
    """Mean learnt and true reward of a step, of play windows and of whole play episodes.

    Args:
        learnt: the reward judged.
        task: the true reward; it judges each window as an episode of its own.
        play: with true rewards.
        config: how many windows, and the seed.

    Returns:
        ``windows`` and ``episodes``: the learnt mean of each, and the true one.
    """
    windows = Windows(play, learnt.spec)
    picks = windows.draw(config.num_windows, torch.Generator().manual_seed(config.seed))
    drawn, mask = windows.gather(picks)
    whole = mask.all(1)
    reach = learnt.spec.num_observations - 1
    places = zip(
        windows.episode[picks][whole].tolist(), windows.first[picks][whole].tolist(), strict=True
    )
    true = [
        task.step_rewards(_cut(play.episodes[index], first, first + reach)).mean()
        for index, first in places
    ]
    means = np.array([learnt.mean_reward(episode) for episode in play.episodes])
    lengths = np.array([len(episode) for episode in play.episodes])
    return {
        "windows": (learnt.plan_rewards(drawn[whole]), np.array(true)),
        "episodes": (means, play.returns / lengths),
    }


def _cut(episode: Episode, first: int, end: int) -> Episode:
    rewards = None if episode.rewards is None else episode.rewards[first:end]
    return Episode(episode.observations[first : end + 1], episode.actions[first:end], rewards)


def _judge_rewards(
    learnt: LearntReward, task: Task, play: Dataset, config: EvaluationConfig
) -> Evaluation:
    pairs = reward_pairs(learnt, task, play, config)
    figures: dict[str, Any] = {
        f"erc_{name}": asdict(episode_return_correlation(*pair)) for name, pair in pairs.items()
    }
    true = [episode.rewards for episode in play.episodes if episode.rewards is not None]
    if len({len(rewards) for rewards in true}) > 1:
        means = pairs["episodes"][0]
        least = means.min()
        if learnt.is_additive:
            least = min(learnt.episode_rewards(episode).min() for episode in play.episodes)
        found = correlations_by_return(means, float(least), true)
        figures["erc_by_return"] = {
            name: {"compares": COMPARED[name], **asdict(each)} for name, each in found.items()
        }
    figures |= transition_figures(learnt, task.transition_rewards, play, config)
    if can_disagree(learnt):
        figures["ensemble_agreement"] = agreement(learnt, observations_of(play))
    return Evaluation(figures, {f"erc_{name}": np.stack(pair) for name, pair in pairs.items()})


def _dynamics(
    learnt: LearntReward, diffuser: Diffuser, play: Dataset, simulators: "_Simulators"
) -> tuple[Evaluation, dict[str, Float[np.ndarray, "plan horizon observation"]]]:
    """Dynamics errors from random play observations, and the plans they are of."""
    config = simulators.config
    starts = windows_of(play.episodes, length=1, count=config.num_plans, seed=config.seed)[:, 0]
    steps = np.arange(diffuser.spec.horizon) * diffuser.spec.stride
    figures: dict[str, Any] = {"environment_steps": steps.tolist()}
    arrays, followed = {}, {}
    for name in ("unguided", "learnt"):
        found: DynamicsError = dynamics_error(
            config.planner(diffuser, learnt, guided=name == "learnt"),
            starts,
            simulators.run_from,
            entries=simulators.environment.position,
        )
        by_step = found.errors.mean(0)
        at_16 = float(np.interp(16, steps, by_step)) if steps[-1] >= 16 else None
        figures[name] = {"by_step": by_step.tolist(), "at_16": at_16}
        arrays[f"dynamics_planned_{name}"] = followed[name] = found.planned
        arrays[f"dynamics_errors_{name}"] = found.errors
    return Evaluation({"dynamics_error": figures}, arrays), followed


def _decision_times(planner: Planner, starts: Observations) -> dict[str, float]:
    """Milliseconds of a planning decision for one environment, and for all side by side."""
    return {
        "decision_ms": decision_ms(planner, starts[:1]),
        "decision_ms_together": decision_ms(planner, starts),
    }


def _success(task: Task, episodes: dict[str, list[Episode]]) -> dict[str, float] | None:
    """The share of roll-outs of each policy that did the task; None if that is no question."""
    shares = {}
    for name, found in episodes.items():
        done = [each for each in map(task.succeeded, found) if each is not None]
        if len(done) < len(found):
            return None
        shares[name] = float(np.mean(done))
    return shares


def _scores(
    returns: dict[str, dict[str, float]], reference: tuple[float, float] | None
) -> dict[str, dict[str, float]]:
    """Normalised scores, if the environment has any."""
    if reference is None:
        return {}
    values = {name: normalized_score(found["value"], reference) for name, found in returns.items()}
    return {"score": {name: float(value) for name, value in values.items()}}


@dataclass
class _Simulators:
    """Simulators side by side, made when they are needed: making one may take long.

    Args:
        environment: where policies act.
        task: gives the rewards.
        config: how much to run.
        reach: environment steps that a plan reaches over.
    """

    environment: Environment
    task: Task
    config: EvaluationConfig
    reach: int
    made: list[gymnasium.Env] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Environment steps of a roll-out."""
        return self.config.steps_in(self.environment)

    @property
    def are_whole(self) -> bool:
        """Whether roll-outs are cut where the environment itself would cut them."""
        spec = self.environment.make().spec
        return spec is not None and spec.max_episode_steps == self.steps

    def run(self, policy: Policy) -> list[Episode]:
        """Whole episodes from the evaluation's starts, with true rewards."""
        return self._run(policy, self.config.starts, self.steps, None)

    def run_from(
        self, policy: Policy, starts: Float[np.ndarray, "plan observation"], num_steps: int
    ) -> list[Episode]:
        """Episodes from given observations."""

        def start(env: gymnasium.Env, index: int) -> np.ndarray:
            env.reset(seed=0)
            self.environment.set_state(env, starts[index])
            return starts[index]

        return self._run(policy, [0] * len(starts), num_steps, start)

    def _run(
        self,
        policy: Policy,
        seeds: Sequence[int],
        num_steps: int,
        start: Callable[[gymnasium.Env, int], np.ndarray] | None,
    ) -> list[Episode]:
        self.made += [
            self.environment.make(episode_steps=max(self.steps, self.reach))
            for _ in range(len(self.made), len(seeds))
        ]
        envs = self.made[: len(seeds)]
        found = rollout(envs, policy, seeds=seeds, num_steps=num_steps, start=start)
        return [replace(each, rewards=self.task.step_rewards(each)) for each in found]
