"""Objectives: what is minimised when a reward is learnt; lower is better.

There are two contracts. An :class:`~trailward.objectives.matching.Objective` compares sampled
plans with demonstrations; a :class:`~trailward.objectives.direct.DirectObjective` samples none.
Wherever a name stands, an object with settings of its own will do: ``MMDMatern(nu=1.5)``.
"""

from dataclasses import asdict, is_dataclass
from typing import Any, cast

from trailward.objectives.direct import DIRECT_OBJECTIVES, DirectObjective
from trailward.objectives.matching import (
    MSE,
    OBJECTIVES,
    EnergyDistance,
    MMDGaussian,
    MMDMatern,
    Objective,
)
from trailward.registry import UnknownPartError

__all__ = [
    "DIRECT_OBJECTIVES",
    "MSE",
    "OBJECTIVES",
    "DirectObjective",
    "EnergyDistance",
    "MMDGaussian",
    "MMDMatern",
    "Objective",
    "describe_objective",
    "find_objective",
]


def find_objective(given: str | Objective | DirectObjective) -> Objective | DirectObjective:
    """The objective of a name, or the object itself.

    Args:
        given: a registered name, ``module:Name`` (an object, or a class that needs no arguments),
            or an objective.

    Raises:
        UnknownPartError: if there is none of the name.
        TypeError: if what is named is no objective.
    """
    found: Any = given
    if isinstance(given, str):
        if ":" not in given and given not in OBJECTIVES and given not in DIRECT_OBJECTIVES:
            known = ", ".join([*OBJECTIVES, *DIRECT_OBJECTIVES])
            msg = f"objective '{given}' is unknown"
            remedy = f"choose one of {known}, or name one of your own as 'module:Name'"
            raise UnknownPartError(msg, place="objective", value=given, remedy=remedy)
        found = (DIRECT_OBJECTIVES if given in DIRECT_OBJECTIVES else OBJECTIVES).find(given)
    made: Any = found() if isinstance(found, type) else found
    if not callable(made):
        raise TypeError(f"{given} is no objective; it must be callable, see trailward.objectives")
    return cast("Objective | DirectObjective", made)


def describe_objective(given: str | Objective | DirectObjective) -> str | dict[str, Any]:
    """An objective as JSON: its registered name, or ``module:Name`` and its settings.

    Args:
        given: a name, which is returned as it is, or an objective. One that equals what a name
            stands for is told by that name; a name may stand for a class, as an installed
            package's may, which is then made without arguments.
    """
    if isinstance(given, str):
        return given
    for name, known in [*OBJECTIVES.items(), *DIRECT_OBJECTIVES.items()]:
        if isinstance(known, type):
            if type(given) is known and _settings(given) == _settings(known()):
                return name
        elif type(known) is type(given) and known == given:
            return name
    kind: Any = given if hasattr(given, "__qualname__") else type(given)
    name, settings = f"{kind.__module__}:{kind.__qualname__}", _settings(given)
    return {"name": name, **settings} if settings else name


def _settings(objective: Any) -> dict[str, Any]:
    if is_dataclass(objective) and not isinstance(objective, type):
        return asdict(objective)
    return {}
