"""What may be combined with what when a reward is learnt; everything else is refused at once."""

import math

from trailward.diffusion.diffuser import Diffuser, SamplingConfig
from trailward.errors import DataError, SettingsError
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
        or config.selection.least_auc > 0
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
        SettingsError: if no demonstration would be left to learn from, or play data is needed and
            there is none.
    """
    held_out, most = config.selection.num_held_out, num_demonstrations - 1
    if held_out > most:
        remedy = f"hold out at most {most} of {num_demonstrations}, so that one is learnt from"
        raise SettingsError(place="num_held_out", value=held_out, remedy=remedy)
    if has_play:
        return
    if isinstance(objective, DirectObjective) and objective.needs_play:
        name = describe_objective(objective)
        msg = f"objective is '{name}', which compares demonstrations with play data"
        remedy = "give play data, or choose 'dlsm' or an objective that samples plans"
        raise SettingsError(msg, place="objective", value=name, remedy=remedy)
    if needs_play(model, objective, config) or config.fine_tuning.num_steps:
        penalized = "has one" if model.is_penalized else "has none"
        msg = (
            f"num_rounds is {config.value.num_rounds}, discount {config.value.discount}, starts "
            f"'{config.starts}', least_auc {config.selection.least_auc}, fine_tuning.num_steps "
            f"{config.fine_tuning.num_steps}, and the reward {penalized}: a value, a local part, "
            "starts elsewhere, an AUC and fine-tuning need play data"
        )
        remedy = (
            "give it, or set num_rounds to 1, num_local to 0, starts to 'demonstrations', "
            "discount, least_auc and fine_tuning.num_steps to 0"
        )
        raise SettingsError(msg, place="play", remedy=remedy)


def check_combination(
    model: RewardModel, objective: Objective | DirectObjective, config: LearningConfig
) -> None:
    """Refuse what this reward model cannot be learnt with.

    Raises:
        SettingsError: names what does not go together, and what to choose instead.
    """
    name, starts = describe_objective(objective), config.starts
    if name == "mse" and starts != "demonstrations":
        why = "'mse' compares each plan with the demonstration it starts from"
        remedy = "choose 'demonstrations', or another objective"
        msg = f"starts is '{starts}', but {why}"
        raise SettingsError(msg, place="starts", value=starts, remedy=remedy)
    value, remembers = config.value, model.num_stages > 1
    if ((value.num_rounds > 1 or value.discount) and not model.per_step) or (
        value.discount and remembers
    ):
        msg = (
            f"a value (num_rounds {value.num_rounds}, discount {value.discount}) needs a reward of "
            f"single observations, a discounted one an additive reward; '{model.name}' is none"
        )
        raise SettingsError(msg, place="reward", value=model.name, remedy="use 'additive'")
    if remembers and starts != "demonstrations":
        why = "a reward that remembers needs plans to start as demonstrations do"
        remedy = "choose 'demonstrations', or the reward 'additive'"
        msg = f"starts is '{starts}', but {why}"
        raise SettingsError(msg, place="starts", value=starts, remedy=remedy)
    if remembers and isinstance(objective, DirectObjective):
        msg = (
            f"objective is '{name}', but the demonstrations call for a reward that remembers, "
            "which is learnt from sampled plans only"
        )
        remedy = "choose 'mmd_gaussian' or another that samples plans, or the reward 'additive'"
        raise SettingsError(msg, place="objective", value=name, remedy=remedy)


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
        SettingsError: names them, with an estimate.
    """
    moves = 1 if isinstance(objective, DirectObjective) else sampling.num_steps
    width, horizon = diffuser.config.width, diffuser.spec.horizon
    entries = config.batch_size * num_members * horizon * width * moves
    what = f"a batch of batch_size {config.batch_size} and {moves} sampling steps"
    check_memory(4 * entries, what, "lower one of them")


def within_memory() -> AllocationLimit:
    """A context that refuses a reward whose weights take more memory to learn than there is.

    Entering it and making such a reward raises a SettingsError with an estimate.
    """
    there = available_memory()

    def refused(shape: tuple[int, ...]) -> SettingsError:
        msg = (
            f"the reward takes more memory to learn than is free here ({size_in_words(there)}): "
            f"weights of shape {shape} take {size_in_words(4 * _COPIES * math.prod(shape))}"
        )
        remedy = "lower its widths (--reward.hidden) or the number of its members"
        return SettingsError(msg, place="reward", value=shape, remedy=remedy)

    return AllocationLimit(there / (4 * _COPIES), refused)


def check_guided(diffuser: Diffuser, fingerprint: str) -> None:
    """Refuse to plan with another diffuser than a reward was learnt with.

    Raises:
        DataError: if the fingerprints differ.
    """
    if fingerprint != (given := diffuser.fingerprint):
        msg = f"the reward was learnt with the diffuser {fingerprint}, this is {given}"
        raise DataError(msg, place="diffuser", value=given, remedy="plan with that one")
