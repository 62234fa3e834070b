"""What may be combined with what when a reward is learnt; everything else is refused at once."""

import math

from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.learning.config import LearningConfig
from trailward.objectives import DirectObjective, Objective, describe_objective
from trailward.rewards.contract import RewardModel
from trailward.running.files import size_in_words
from trailward.running.limits import AllocationLimit, available_memory, check_memory

_COPIES = 5
"""Of a reward's weights while it is learnt: theirs, gradients, Adam's two, and the best."""


def needs_play(
    model: RewardModel, objective: Objective | DirectObjective, config: LearningConfig
) -> bool:
    """Whether the gradient steps themselves depend on play data."""
    return (
        config.value.num_rounds > 1
        or config.value.discount > 0
        or (config.local_penalty > 0 and model.is_penalized)
        or config.starts != "demonstrations"
        or (isinstance(objective, DirectObjective) and objective.needs_play)
    )


def check_data(
    model: RewardModel,
    objective: Objective | DirectObjective,
    config: LearningConfig,
    *,
    num_demonstrations: int,
    has_play: bool,
) -> None:
    """Refuse settings that the data cannot serve.

    Raises:
        ValueError: if no demonstration would be left to learn from, or play data is needed and
            there is none.
    """
    held_out = config.selection.num_held_out
    if held_out >= num_demonstrations:
        msg = (
            f"{held_out} of {num_demonstrations} demonstrations are to be held out; at least one "
            "must remain to learn from"
        )
        raise ValueError(msg)
    if has_play:
        return
    if isinstance(objective, DirectObjective) and objective.needs_play:
        msg = (
            f"objective is '{describe_objective(objective)}', which compares demonstrations with "
            "play data; give play data, or choose 'dlsm' or an objective that samples plans"
        )
        raise ValueError(msg)
    if needs_play(model, objective, config) or config.fine_tuning.num_steps:
        penalized = "has one" if model.is_penalized else "has none"
        msg = (
            f"num_rounds is {config.value.num_rounds}, discount {config.value.discount}, starts "
            f"'{config.starts}', fine_tuning.num_steps {config.fine_tuning.num_steps}, and the "
            f"reward {penalized}: a value, a local part, starts elsewhere and fine-tuning need "
            "play data; give it, or set num_rounds to 1, num_local to 0, starts to "
            "'demonstrations', discount and fine_tuning.num_steps to 0"
        )
        raise ValueError(msg)


def check_combination(
    model: RewardModel, objective: Objective | DirectObjective, config: LearningConfig
) -> None:
    """Refuse what this reward model cannot be learnt with.

    Raises:
        ValueError: names what does not go together, and what to choose instead.
    """
    name = describe_objective(objective)
    if name == "mse" and config.starts != "demonstrations":
        msg = (
            f"starts is '{config.starts}', but 'mse' compares each plan with the demonstration it "
            "starts from: choose 'demonstrations', or another objective"
        )
        raise ValueError(msg)
    value, remembers = config.value, model.num_stages > 1
    if ((value.num_rounds > 1 or value.discount) and not model.per_step) or (
        value.discount and remembers
    ):
        msg = (
            f"a value (num_rounds {value.num_rounds}, discount {value.discount}) needs a reward of "
            f"single observations, a discounted one an additive reward; '{model.name}' is none: "
            "use 'additive'"
        )
        raise ValueError(msg)
    if remembers and config.starts != "demonstrations":
        msg = (
            f"starts is '{config.starts}', but a reward that remembers needs plans to start as "
            "demonstrations do: choose 'demonstrations'"
        )
        raise ValueError(msg)
    if remembers and isinstance(objective, DirectObjective):
        msg = (
            f"objective is '{name}', but the demonstrations call for a reward that remembers, "
            "which is learnt from sampled plans only: choose 'mmd_gaussian' or another that "
            "samples plans, or the reward model 'additive'"
        )
        raise ValueError(msg)


def check_memory_of(
    diffuser: Diffuser,
    sampling: SamplingConfig,
    objective: Objective | DirectObjective,
    config: LearningConfig,
    num_members: int,
) -> None:
    """Refuse settings that take more memory than there is, before any is taken.

    Gradients need what every guided move computed, unless plans are not sampled.

    Raises:
        ValueError: names them, with an estimate.
    """
    moves = 1 if isinstance(objective, DirectObjective) else sampling.num_steps
    width, horizon = diffuser.config.width, diffuser.spec.horizon
    entries = config.batch_size * num_members * horizon * width * moves
    what = f"a batch of batch_size {config.batch_size} and {moves} sampling steps"
    check_memory(4 * entries, what, "lower one of them")


def within_memory() -> AllocationLimit:
    """A context that refuses a reward whose weights take more memory to learn than there is.

    Entering it and making such a reward raises a ValueError with an estimate.
    """
    there = available_memory()

    def refused(shape: tuple[int, ...]) -> ValueError:
        msg = (
            f"the reward takes more memory to learn than is free here ({size_in_words(there)}): "
            f"weights of shape {shape} take {size_in_words(4 * _COPIES * math.prod(shape))}; lower "
            "its widths (--reward.hidden) or the number of its members"
        )
        return ValueError(msg)

    return AllocationLimit(there / (4 * _COPIES), refused)


def check_guided(diffuser: Diffuser, fingerprint: str) -> None:
    """Refuse to plan with another diffuser than a reward was learnt with.

    Raises:
        ValueError: if the fingerprints differ.
    """
    if fingerprint != diffuser.fingerprint:
        msg = (
            f"the reward was learnt with the diffuser {fingerprint}, this is "
            f"{diffuser.fingerprint}; plan with that one"
        )
        raise ValueError(msg)
