"""How sure a learnt reward is: whether its data was there, and where members of an ensemble differ.

Members of an ensemble (:mod:`trailward.rewards.ensemble`) are learnt from other initial weights,
batches and noise. What the demonstrations settle they agree on; where they differ the reward is a
guess.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from trailward.learning.learnt_reward import LearntReward
from trailward.rewards.known_region import Familiarity

_SMALLEST = 1e-12


def is_known(
    learnt: LearntReward,
    observations: Float[np.ndarray, "*axes observation"],
    actions: Float[np.ndarray, "*acts action"] | None = None,
) -> Bool[np.ndarray, "*rewards"]:
    """Whether a reward is known: whether the data that it was learnt from comes near.

    Its pessimistic form (:meth:`~trailward.learning.learnt_reward.LearntReward.pessimistic`) is
    the reward itself there, and the least reward of the data elsewhere.

    Args:
        learnt: the reward.
        observations: environment units; axes as the reward is called with.
        actions: the same; needed by a reward that sees them.

    Raises:
        TypeError: if the reward model rewards whole plans only, or sees actions and there are
            none.
        DataError: if there was no play data to tell where the reward is known, a shape does not
            fit, or a value is not finite.
    """
    region = learnt.pessimistic().known_region
    if region is None:
        raise ValueError("this reward does not know where it holds")
    familiar = replace(learnt, model=Familiarity(learnt.model, region))
    return familiar(observations, actions) > 0


def members(learnt: LearntReward) -> list[LearntReward]:
    """The rewards that an ensemble is the mean of, each as a reward of its own.

    A value and a fine-tuned diffuser are of the mean, so members come without.

    Raises:
        TypeError: if the reward is no ensemble.
    """
    found = learnt.model.members()
    if len(found) < 2:
        raise TypeError("this reward is no ensemble; learn one with num_members 2 or more")
    return [replace(learnt, model=model, value=None, fine_tuned=None) for model in found]


def can_disagree(learnt: LearntReward) -> bool:
    """Whether :func:`disagreement` can tell: of an ensemble that sees no actions."""
    return len(learnt.model.members()) > 1 and not learnt.sees_actions


def disagreement(
    learnt: LearntReward,
    observations: Float[np.ndarray, "*axes observation"],
    *,
    reference: Float[np.ndarray, "*any observation"] | None = None,
) -> Float[np.ndarray, "*axes"]:
    """How far the members of an ensemble are apart at each observation.

    The shift and scale of a learnt reward are free, so each member is first put on the scale on
    which its rewards of the reference have mean 0 and deviation 1. The disagreement is the
    standard deviation over members: at 0 all agree, at 1 they are as far apart as rewards of the
    reference are from each other.

    Args:
        learnt: an ensemble.
        observations: environment units.
        reference: environment units, such as those of play data; ``observations`` if None.

    Raises:
        TypeError: if the reward is no ensemble, or sees actions too.
    """
    reference = observations if reference is None else reference
    told = []
    for member in members(learnt):
        rewards = member.step_rewards(reference)
        spread = max(rewards.std(), _SMALLEST)
        told.append((member.step_rewards(observations) - rewards.mean()) / spread)
    return np.std(told, axis=0)


def agreement(learnt: LearntReward, observations: Float[np.ndarray, "*axes observation"]) -> float:
    """The mean Pearson correlation of pairs of members; 1 is full agreement.

    Args:
        learnt: an ensemble.
        observations: environment units.

    Raises:
        TypeError: if the reward is no ensemble, or sees actions too.
    """
    told = [member.step_rewards(observations).flatten() for member in members(learnt)]
    return float(np.corrcoef(told)[np.triu_indices(len(told), 1)].mean())
