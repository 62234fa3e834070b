"""From a learnt reward to a planner that acts: a diffuser that is fine-tuned.

It is trained further on the demonstrations. Whether the reward helps it beside them is tried: by
choosing among its plans, or by training it on play data as well, on the episodes that the reward
ranks with the demonstrations, where others have done the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trailward.acting.planner import Planner, Policy
from trailward.baselines.plain_clone import plain_clone
from trailward.data.choices import decode
from trailward.data.episode import Episode
from trailward.diffusion.diffuser import Diffuser
from trailward.diffusion.fine_tuning import FineTuningConfig, fine_tune_diffuser
from trailward.fitting.fit import OF_ACTIONS, Fitted, learnt_reward
from trailward.fitting.roll_outs import SAMPLING
from trailward.learning.config import PlanningConfig
from trailward.learning.learnt_reward import LearntReward

_OF_TIME, _LEAST_STEPS, _OF_TRIAL, _MOST_JUDGED = 0.35, 600, 0.25, 400
_BATCH_SIZE, _LEARNING_RATE = 128, 1.5e-3


@dataclass(frozen=True)
class Way:
    """A way to get a planner from a reward.

    Attributes:
        demonstration_share: of what the diffuser is fine-tuned on; the rest are windows of play
            episodes, drawn as the reward ranks them. Ways that share it share a diffuser.
        num_candidates: plans of which the one of highest reward is followed.
        words: what it is, in words.
        leeway: its error is multiplied by this much before it is compared. Errors are measured
            where demonstrators went; who has learnt from whole episodes of others knows more
            states than these.
        most_steps: gradient steps of fine-tuning, at most. With play data beside the few
            demonstrations there can be more.
    """

    demonstration_share: float
    num_candidates: int
    words: str
    leeway: float = 1.0
    most_steps: int = 3000


ALIKE = "alike"
WAYS = {
    "imitate": Way(1.0, 1, "on the demonstrations alone"),
    "choose": Way(1.0, 8, "on the demonstrations alone, choosing among 8 plans by the reward"),
    ALIKE: Way(
        0.25,
        1,
        "on demonstrations, and on play episodes that the reward ranks with them",
        leeway=0.87,
        most_steps=27_000,
    ),
}
"""What is tried."""


def fine_tuned(
    fitted: Fitted,
    folder: Path | None,
    *,
    seconds: float,
    say: Callable[[str], None] = lambda text: None,
) -> Fitted:
    """The same with a reward that plans: its diffuser is fine-tuned.

    Each of :data:`WAYS` is tried briefly on two thirds of the demonstrations, and the one whose
    actions are nearest to those of the others is kept. Where every demonstration that was left out
    ranks above all play data, nobody there is alike, and ``alike`` is not tried.

    Args:
        fitted: a reward that was learnt from recordings with actions.
        folder: gets the checkpoint; run again, fine-tuning goes on. None keeps none.
        seconds: that the whole fit may take; about a third is for this.
        say: told what is done.
    """
    prepared, choices = fitted.prepared, fitted.prepared.choices
    training = prepared.figures["training"]
    a_step = training["seconds"] / training["losses"][-1][0]
    a_step *= _BATCH_SIZE / OF_ACTIONS["batch_size"]
    left_out = () if _someone_is_alike(fitted) else (ALIKE,)
    ways = {name: way for name, way in WAYS.items() if name not in left_out}
    num_trials = len({way.demonstration_share for way in ways.values()})
    wanted = _OF_TIME * seconds / max(a_step, 1e-4) / (1 + num_trials * _OF_TRIAL)
    wanted = min(choices.most_steps, max(_LEAST_STEPS, int(wanted)))
    way, errors = choices.way or "imitate", {}
    if not choices.way:
        tried = min(wanted, Way.most_steps)
        errors = try_ways(fitted, ways, num_steps=max(1, int(_OF_TRIAL * tried)))
        if errors:
            way = min(ways, key=lambda name: ways[name].leeway * errors[name])
        told = ", ".join(f"{name} {error:.3f}" for name, error in errors.items())
        say(f"how far planned actions are from those of demonstrations left out: {told or '-'}")
    count = min(wanted, WAYS[way].most_steps)
    say(f"the diffuser is fine-tuned {WAYS[way].words}: {count} gradient steps")
    reward = tuned_reward(fitted, fitted.reward, fitted.shown, WAYS[way], count, folder)
    return replace(
        fitted, reward=reward, planning={"way": way, "errors": errors, "num_steps": count}
    )


def _someone_is_alike(fitted: Fitted) -> bool:
    """Whether a play track ranks above a demonstration that was left out."""
    validation = fitted.validation
    return validation is not None and bool((validation.ranks[fitted.learnt] < 1).any())


def try_ways(fitted: Fitted, ways: Mapping[str, Way], *, num_steps: int) -> dict[str, float]:
    """How far actions are from those of demonstrations that were left out, by each way.

    Args:
        fitted: a reward that was learnt from recordings with actions.
        ways: that are tried, by name.
        num_steps: gradient steps of each trial.

    Returns:
        The error of each way, and of a plain clone; none if there is but one demonstration.
    """
    prepared = fitted.prepared
    held = fitted.shown[::3]
    kept = tuple(track for track in fitted.shown if track not in held)
    if not kept:
        return {}
    reward = learnt_reward(prepared, kept, prepared.reward_judge.learn(kept))
    episodes = [prepared.recordings.dataset.episodes[track] for track in held]
    errors, made = {}, {}
    for name, way in ways.items():
        if way.demonstration_share not in made:
            made[way.demonstration_share] = tuned_reward(fitted, reward, kept, way, num_steps)
        planned = replace(made[way.demonstration_share], planning=_planning(way))
        planner = Planner.for_reward(planned, prepared.diffuser)
        errors[name] = action_error(planner, prepared.diffuser, episodes)
    cloned = plain_clone(prepared.recordings.dataset.pick(kept), seed=prepared.choices.seed)
    return errors | {"clone": action_error(cloned, prepared.diffuser, episodes)}


def action_error(policy: Policy, diffuser: Diffuser, episodes: Sequence[Episode]) -> float:
    """How far a policy's actions are from those that were recorded at the same observations.

    Args:
        policy: a planner, or a clone.
        diffuser: of the play data.
        episodes: environment units.

    Returns:
        The root mean square, in deviations of the play data's actions; the share of others, where
        actions are choices.
    """
    seen = np.concatenate([episode.observations[:-1] for episode in episodes])
    done = np.concatenate([episode.actions for episode in episodes])
    some = np.linspace(0, len(seen) - 1, min(len(seen), _MOST_JUDGED)).astype(int)
    planned = policy(seen[some])
    if diffuser.columns.choices:
        return float(np.mean(planned != decode(diffuser.columns, done[some])))
    scale = diffuser.action_normalizer.scale.cpu().numpy()
    return float(np.sqrt(np.square((planned - done[some]) / scale).mean()))


def tuned_reward(
    fitted: Fitted,
    reward: LearntReward,
    shown: Sequence[int],
    way: Way,
    num_steps: int,
    folder: Path | None = None,
) -> LearntReward:
    """A reward with a diffuser fine-tuned to it and to demonstrations.

    Args:
        fitted: with the diffuser, and the recordings.
        reward: the reward.
        shown: numbers of the demonstrations.
        way: how.
        num_steps: gradient steps.
        folder: gets the checkpoint; None keeps none.
    """
    prepared = fitted.prepared
    recordings, diffuser = prepared.recordings, prepared.diffuser
    play = recordings.dataset.pick(fitted.others)
    config = FineTuningConfig(
        num_steps=num_steps,
        batch_size=_BATCH_SIZE,
        learning_rate=_LEARNING_RATE,
        action_weight=OF_ACTIONS["action_weight"],
        demonstration_share=way.demonstration_share,
    )
    tuned = fine_tune_diffuser(
        diffuser,
        reward.rewards_along,
        play,
        recordings.dataset.pick(shown),
        folder,
        config=config,
        seed=prepared.choices.seed,
    )
    return replace(reward, fine_tuned=tuned, sampling=SAMPLING, planning=_planning(way))


def _planning(way: Way) -> PlanningConfig:
    return PlanningConfig(num_candidates=way.num_candidates, choose="reward", replan_every=1)
