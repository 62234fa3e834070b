"""What ``fit`` chooses by looking at the data, and why, in words."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from trailward.data.dataset import Dataset, check_time_steps
from trailward.data.entries import entry_names, rates_of_change
from trailward.data.resting import resting_place, usual_changes
from trailward.data.unmoved import unmoved_entries
from trailward.errors import DataError, SettingsError

_ANIMALS = ("animal", "animal_id", "individual", "individual-local-identifier", "subject", "file")
_HORIZON, _SHARE, _WIDTH, _DEPTH = 10, 0.75, 64, 2
_ACTING: dict[str, Any] = {
    "horizon": 3,
    "stride": 1,
    "with_actions": True,
    "network": "mlp",
    "width": 128,
    "depth": 3,
    "most_steps": 40_000,
}
"""Of recordings with actions."""

GUIDE = "guide"
"""The way of those who come to rest: plans are guided."""

_GUIDED: dict[str, Any] = {
    "way": GUIDE,
    "horizon": 16,
    "network": "transformer",
    "width": 64,
    "depth": 2,
    "most_steps": 25_600,
    "num_plans": 3,
}
"""Of recordings with actions, whose demonstrators come to rest at one place."""

_GUIDED_SHARE = 0.4


@dataclass(frozen=True)
class Choices:
    """What a fit is made with.

    Attributes:
        time_step: from one row to the next, in ``time_unit``.
        time_unit: ``s`` if the recordings say so, else ``steps``.
        horizon: plan steps.
        stride: rows from one plan step to the next.
        add_rates: whether rates of change are added as entries.
        hold_ends: whether who has left is held where they left.
        with_actions: whether plans hold the actions too, so that they can be acted by.
        unmoved: entries that nobody moves, by number: neither guided nor rewarded.
        features: entries that the reward sees, by number; all if there are none.
        way: how a planner is made: ``guide``, by a diffuser of observations that the reward guides,
            or how a diffuser with actions is fine-tuned (:data:`trailward.fitting.acting.WAYS`);
            these are tried if empty.
        network: of the denoiser.
        width: of the denoiser.
        depth: of the denoiser.
        most_steps: gradient steps of the denoiser, at most.
        num_plans: plans from each row that the forecast is the mean of.
        most_rows: rows that are judged, about, at most.
        num_directions: of the reward's random features.
        weigh_by: ``track``, so that every track counts alike (time spent is not aim), or ``time``.
        ridge: of the logistic regression that the reward is learnt by.
        num_resamples: of the demonstrations, for the interval of the map and its peak.
        seed: for all randomness.
        animal: the attribute that tells who made a demonstration: all of an animal are left out,
            and drawn, together. Each was made by another one if None.
        group_by: the attribute by which demonstrations are grouped; each group gets a reward.
    """

    time_step: float
    time_unit: str
    horizon: int
    stride: int
    add_rates: bool
    hold_ends: bool
    with_actions: bool = False
    unmoved: tuple[int, ...] = ()
    features: tuple[int, ...] = ()
    way: str = ""
    network: str = "transformer"
    width: int = _WIDTH
    depth: int = _DEPTH
    most_steps: int = 6400
    num_plans: int = 6
    most_rows: int = 12_000
    num_directions: int = 128
    weigh_by: Literal["track", "time"] = "track"
    ridge: float = 1e-2
    num_resamples: int = 20
    seed: int = 0
    animal: str | None = None
    group_by: str | None = None

    @property
    def reach(self) -> float:
        """How far a plan reaches, in ``time_unit``."""
        return (self.horizon - 1) * self.stride * self.time_step


def choose(
    play: Dataset, demonstrations: Dataset, overrides: Mapping[str, Any] | None = None
) -> tuple[Choices, list[str]]:
    """What to fit with, and a sentence on each choice.

    Args:
        play: environment units.
        demonstrations: environment units.
        overrides: choices by name that are made already; None stands for none.

    Raises:
        DataError: if the two were recorded at different rates, or a way to plan is named and no
            actions were recorded.
        SettingsError: if there is no such choice, or ``weigh_by`` is neither of the two.
    """
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    unknown = set(given) - {each.name for each in fields(Choices)}
    if unknown:
        remedy = f"choose among {', '.join(each.name for each in fields(Choices))}"
        msg = f"there is no choice '{min(unknown)}'"
        raise SettingsError(msg, place="overrides", value=min(unknown), remedy=remedy)
    step, unit = time_step(play)
    if "time_step" not in given:
        both = {"the demonstrations": demonstrations.provenance, "the play data": play.provenance}
        check_time_steps(both)
    recorded_only = play.action_dim == 0
    found: dict[str, Any] = {
        "time_step": step,
        "time_unit": unit,
        "horizon": _HORIZON,
        "add_rates": recorded_only,
        "hold_ends": recorded_only,
        "animal": next((n for n in _ANIMALS if n in demonstrations.attributes), None),
    }
    if not recorded_only:
        unmoved = unmoved_entries(play)
        found["unmoved"] = unmoved if len(unmoved) < play.observation_dim else ()
        found |= _of_acting(play, demonstrations, given)
    elif "way" in given:
        msg = f"way is '{given['way']}', but no actions were recorded, so there is nothing to plan"
        raise DataError(msg, place="play", value="no actions", remedy="leave the way out")
    else:
        found["stride"] = _stride(demonstrations, _SHARE, given.get("horizon", _HORIZON))
    choices = Choices(**found | given)
    if choices.weigh_by not in ("track", "time"):
        remedy = "it can be 'track' or 'time'"
        raise SettingsError(place="weigh_by", value=choices.weigh_by, remedy=remedy)
    return choices, _sentences(choices, play, demonstrations, set(given))


def _of_acting(
    play: Dataset, demonstrations: Dataset, given: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Choices for recordings with actions: guided plans to where demonstrators come to rest.

    Where they do not, short plans that hold the actions.
    """
    rates = rates_of_change(play)
    places = [entry for entry, of in enumerate(rates) if of is None] or list(range(len(rates)))
    horizon = given.get("horizon", _GUIDED["horizon"])
    stride = given.get("stride", _stride(demonstrations, _GUIDED_SHARE, horizon))
    if not given.get("way"):
        played, shown = (
            [episode.observations[:, places] for episode in data.episodes]
            for data in (play, demonstrations)
        )
        if resting_place(shown, usual_changes(played, stride), stride)[0] is None:
            return _ACTING
    elif given["way"] != GUIDE:
        return _ACTING
    return _GUIDED | {"features": tuple(places), "stride": stride}


def _stride(demonstrations: Dataset, share: float, horizon: int) -> int:
    """The rows of a plan step, for plans that reach over a share of the median demonstration."""
    return max(1, round(share * _median_length(demonstrations) / max(horizon - 1, 1)))


def _median_length(demonstrations: Dataset) -> float:
    return float(np.median([len(episode) + 1 for episode in demonstrations.episodes]))


def time_step(dataset: Dataset) -> tuple[float, str]:
    """The time from one row to the next, and its unit: ``steps`` if no clock was recorded."""
    return (1.0, "steps") if dataset.time_step is None else (dataset.time_step, "s")


def _sentences(
    choices: Choices,
    play: Dataset,
    demonstrations: Dataset,
    given: set[str],
) -> list[str]:
    unit, count = choices.time_unit, len(demonstrations.episodes)
    median = _median_length(demonstrations) * choices.time_step
    chosen = play.action_dim == 0 and "stride" not in given
    told = [
        f"There are {len(play.episodes)} tracks and {count} demonstrations; a demonstration lasts "
        f"{median:.3g} {unit} in the median, a row {choices.time_step:g} {unit}.",
        f"A plan has {choices.horizon} steps of {choices.stride * choices.time_step:.3g} {unit} "
        f"and reaches {choices.reach:.3g} {unit}"
        + (": three quarters of a demonstration." if chosen else "."),
    ]
    told += _sentences_on_acting(choices, play, given)
    if choices.add_rates:
        told.append(
            "Rates of change are added as entries: where someone is heading tells more than where "
            "they are."
        )
    if choices.hold_ends:
        told.append(
            "Tracks are held at their last row: who has left stays where they left, so that the "
            "reward can say where to. If your tracks are cut anywhere, say --no-hold-ends."
        )
    if choices.animal is not None:
        told.append(
            f"'{choices.animal}' tells who made a demonstration: all of one are left out together."
        )
    weights = "every track" if choices.weigh_by == "track" else "every row"
    told.append(
        f"The reward is the log-ratio of demonstrations to play data, with {weights} weighted "
        "alike; it is read by the plans that a diffuser makes from each row."
    )
    return told


def _sentences_on_acting(choices: Choices, play: Dataset, given: set[str]) -> list[str]:
    """Of recordings with actions; none of others."""
    told = []
    if choices.with_actions:
        told.append(
            "Actions were recorded, so plans hold them: the diffuser will be fine-tuned, and can "
            "then act."
        )
    if choices.way == GUIDE:
        if "way" not in given:
            told.append(
                "Demonstrators come to rest at one place, so the planner will head for it. If that "
                "is wrong, say --way imitate."
            )
        told.append(
            "The reward of the planner is of places. Plans are of observations and guided by it; "
            "an inverse-dynamics model finds the actions that follow them."
        )
    if play.columns.choices:
        told.append(
            f"Actions are {len(play.columns.choices)} choices: one-hot inside, whole numbers when "
            "the planner acts."
        )
    if play.columns.angles:
        names = play.columns.observations
        which = ", ".join(names[entry].removeprefix("sin ") for entry, _ in play.columns.angles)
        told.append(
            f"These entries are angles that wrap: {which}. Inside they are sine and cosine."
        )
    if choices.unmoved:
        names = entry_names(play)
        which = ", ".join(names[entry] for entry in choices.unmoved)
        told.append(
            f"Nobody moves these entries: {which}. What follows there depends on no action. The "
            "reward sees them, but rewards and guides only the rest. If that is wrong, say "
            "--unmoved with no number."
        )
    return told
