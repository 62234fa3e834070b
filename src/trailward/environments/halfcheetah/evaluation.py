"""Judge a learnt reward and the planner that uses it on HalfCheetah, by the true reward."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

import numpy as np
import torch
from jaxtyping import UInt8

from trailward.acting.planner import Policy
from trailward.acting.rollout import rollout
from trailward.data.dataset import Dataset, Windows
from trailward.data.entries import observations_of
from trailward.data.episode import DataError, Episode
from trailward.diffusion.diffuser import Diffuser
from trailward.environments.halfcheetah.environment import (
    ENV_ID,
    EPISODE_STEPS,
    FORWARD_VELOCITY,
    NetworkPolicy,
    make_env,
    normalized_score,
    set_state,
    transition_rewards,
)
from trailward.judging.disagreement import agreement, can_disagree
from trailward.judging.evaluation import (
    Evaluation,
    EvaluationConfig,
    check_long_enough,
    decision_ms,
    episode_return_correlation,
    judge_behaviour,
)
from trailward.judging.reward_distance import transition_figures
from trailward.learning.learnt_reward import LearntReward

_FRAMES, _EVERY = 8, 4
_SIZE, _CROP = (320, 480), (slice(90, 250), slice(130, 370))


def evaluate_on_halfcheetah(
    learnt: LearntReward,
    diffuser: Diffuser,
    play: Dataset,
    demonstrations: Dataset,
    config: EvaluationConfig,
    *,
    demonstrator: Policy | None = None,
    stage: Callable[[str], None] = lambda name: None,
) -> Evaluation:
    """Returns, ERC, EPIC and pictures, with 95% intervals.

    Args:
        learnt: the reward judged.
        diffuser: the planner's.
        play: episodes that ERC and EPIC are measured over, with their true rewards.
        demonstrations: counted, and shown in place of the demonstrator if there is none.
        config: how much is run.
        demonstrator: the policy that demonstrated; without it there is no return fraction.
        stage: told what is being done.

    Raises:
        DataError: if the data is of another environment, the play data has no recorded rewards, or
            no play episode is as long as a plan.
    """
    for data in (play, demonstrations):
        Windows(data, learnt.spec)  # refuses data of another environment before anything runs
    check_long_enough(play, learnt.spec)
    _ = play.returns  # refuses data without true rewards
    stage("roll-outs")
    envs = [make_env(episode_steps=config.episode_steps) for _ in range(config.num_episodes)]
    policies: dict[str, Policy] = {
        "unguided": config.planner(diffuser, learnt, guided=False),
        "learnt": config.planner(diffuser, learnt, guided=True),
    }
    if demonstrator is not None:
        policies["demonstrator"] = demonstrator
    episodes, behaviour = judge_behaviour(
        policies,
        lambda policy: rollout(envs, policy, seeds=config.starts, num_steps=config.episode_steps),
    )
    stage("correlation with the true reward")
    pairs = _pairs(learnt, play, config)
    speeds = {name: _velocities(found) for name, found in episodes.items()}
    speeds.setdefault("demonstrator", _velocities(demonstrations.episodes))
    facts = {
        "environment": ENV_ID,
        "objective": learnt.provenance.get("objective"),
        "learnt": learnt.provenance.get("learnt"),
        "reward_model": learnt.config.model,
        "num_demonstrations": len(demonstrations.episodes),
        "sampling": asdict(learnt.sampling),
        "evaluation": asdict(config),
    }
    starts = np.stack([episode.observations[0] for episode in episodes["learnt"]])
    figures = (
        facts
        | behaviour
        | {f"erc_{name}": asdict(episode_return_correlation(*pair)) for name, pair in pairs.items()}
        | transition_figures(learnt, transition_rewards, play, config, recorded=True)
    )
    if can_disagree(learnt):
        figures["ensemble_agreement"] = agreement(learnt, observations_of(play))
    figures["decision_ms"] = decision_ms(config.planner(diffuser, learnt, guided=True), starts)
    if config.episode_steps == EPISODE_STEPS:
        figures["score"] = {
            name: float(normalized_score(found["value"]))
            for name, found in behaviour["return"].items()
        }
    stage("pictures")
    arrays = {f"erc_{name}": np.stack(pair) for name, pair in pairs.items()}
    arrays |= {f"velocities_{name}": found for name, found in speeds.items()}
    arrays["reward_by_velocity"] = _by_velocity(learnt, play, config)
    for name, found in episodes.items():
        frames = film(found[0], stage)
        if frames is not None:
            arrays[f"frames_{name}"] = frames
    return Evaluation(figures, arrays)


def demonstrator_of(
    demonstrations: Dataset, policies: Sequence[NetworkPolicy]
) -> NetworkPolicy | None:
    """The policy of a ladder that a dataset says it was recorded from; None if it does not say.

    Raises:
        DataError: if the dataset names a policy that the ladder does not have.
    """
    named = demonstrations.provenance.get("policies", ())
    if len(named) != 1:
        return None
    for policy in policies:
        if policy.facts["step"] == named[0]["step"]:
            return policy
    msg = (
        f"the demonstrations are of the policy of step {named[0]['step']}; the ladder has steps "
        f"{[policy.facts['step'] for policy in policies]}: name theirs with --policies"
    )
    raise DataError(msg)


def film(
    episode: Episode, tell: Callable[[str], None] = lambda line: None
) -> UInt8[np.ndarray, "frame height width 3"] | None:
    """Some frames from the middle of an episode, four environment steps apart.

    Args:
        episode: of HalfCheetah.
        tell: told why there are none.

    Returns:
        None if MuJoCo cannot render on this machine.
    """
    os.environ.setdefault("MUJOCO_GL", "egl")
    middle = max(0, len(episode) // 2 - _FRAMES * _EVERY // 2)
    shown = episode.observations[middle : middle + _FRAMES * _EVERY : _EVERY]
    height, width = _SIZE
    env = make_env(render_mode="rgb_array", height=height, width=width)
    try:
        env.reset(seed=0)
        frames = []
        for observation in shown:
            set_state(env, observation)
            frames.append(np.asarray(env.render(), dtype=np.uint8)[_CROP])
    except Exception as error:  # noqa: BLE001 - each backend of OpenGL fails in its own way
        tell(f"no frames, as MuJoCo cannot render here: {error}")
        return None
    finally:
        env.close()
    return np.stack(frames)


def _pairs(
    learnt: LearntReward, play: Dataset, config: EvaluationConfig
) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    """Mean learnt and true reward of play windows and of whole play episodes."""
    windows = Windows(play, learnt.spec)
    picks = windows.draw(config.num_windows, torch.Generator().manual_seed(config.seed))
    drawn, mask = windows.gather(picks)
    whole = mask.all(1)
    reach = learnt.spec.num_observations - 1
    rewards = np.concatenate([_true_rewards(episode) for episode in play.episodes])
    before = np.cumsum([0, *(len(episode) for episode in play.episodes)])
    first = before[windows.episode[picks][whole]] + windows.first[picks][whole].numpy()
    true = rewards[first[:, None] + np.arange(reach)].mean(1)
    found = {"windows": (learnt.plan_rewards(drawn[whole]), true)}
    means = play.returns / [len(episode) for episode in play.episodes]
    learnt_means = np.array([learnt.mean_reward(episode) for episode in play.episodes])
    return found | {"episodes": (learnt_means, means)}


def _true_rewards(episode: Episode) -> np.ndarray:
    if episode.rewards is None:
        raise DataError("ERC needs play data with recorded rewards; this has none")
    return episode.rewards


def _velocities(episodes: Sequence[Episode]) -> np.ndarray:
    """Forward velocity, m/s, shape (episode, time); the shortest episode sets the time."""
    length = min(len(episode) for episode in episodes)
    return np.stack([e.observations[: length + 1, FORWARD_VELOCITY] for e in episodes])


def _by_velocity(learnt: LearntReward, play: Dataset, config: EvaluationConfig) -> np.ndarray:
    """Forward velocity and learnt reward of play steps (of windows, if it is of whole plans)."""
    if not learnt.is_additive:
        windows = Windows(play, learnt.spec)
        picks = windows.draw(config.num_windows, torch.Generator().manual_seed(config.seed))
        drawn, _ = windows.gather(picks)
        speeds = learnt.spec.split(drawn)[0][..., FORWARD_VELOCITY].mean(1)
        return np.stack([speeds.numpy(), learnt.plan_rewards(drawn)])
    found = [
        np.stack([episode.observations[: len(rewards), FORWARD_VELOCITY], rewards])
        for episode in play.episodes
        for rewards in [learnt.episode_rewards(episode)]
    ]
    both = np.concatenate(found, axis=1)
    generator = np.random.default_rng(config.seed)
    return both[:, generator.permutation(both.shape[1])[: config.num_windows]]
