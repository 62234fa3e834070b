"""How policies behave: returns from the same starts, and how long a decision takes."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float

from trailward.acting.planner import Planner, Policy
from trailward.data.dataset import Dataset
from trailward.data.episode import Episode
from trailward.errors import DataError
from trailward.judging.statistics import Estimate, bootstrap, bootstrap_mean
from trailward.typing import Observations

_TIMED, _LEAST_TIMED, _SECONDS = 10, 3, 2.0


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
        DataError: if both ends are the same, so that there is no scale.
    """
    low, high = unguided.mean(), demonstrator.mean()
    if np.isclose(low, high):
        place = "unguided and demonstrator"
        msg = f"{place} both return {low:.4g}: there is no scale"
        raise DataError(msg, place=place, value=float(low))

    def fraction(together: np.ndarray) -> float:
        judged, zero, one = together.mean(0)
        return float((judged - zero) / (one - zero)) if one != zero else float("nan")

    return bootstrap(fraction, np.stack([returns, unguided, demonstrator], axis=1), seed=seed)


def judge_behaviour(
    policies: Mapping[str, Policy], run: Callable[[Policy], list[Episode]]
) -> tuple[dict[str, list[Episode]], dict[str, Any]]:
    """Roll policies out and compare their returns.

    Args:
        policies: ``unguided``, ``learnt`` and, if there are, ``clone`` and ``demonstrator``.
        run: rolls a policy out from the same starts each time, to whole episodes with true
            rewards.

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
        "return": {k: asdict(bootstrap_mean(v)) for k, v in returns.items()},
        "return_fraction": fraction,
        "rollout_seconds": seconds,
    }
    return found, figures


def clone_does_no_worse(returns: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether the naive way to act returns at least as much as the planner.

    Args:
        returns: figures by policy, such as ``return`` of :func:`judge_behaviour`; without a
            ``clone`` it does not.
    """
    return "clone" in returns and returns["clone"]["value"] >= returns["learnt"]["value"]


def decision_ms(planner: Planner, starts: Observations) -> float:
    """Median milliseconds of a planning decision for as many environments as there are starts.

    Ten are timed, or as many as there are in two seconds if these are at least three.
    """
    seconds: list[float] = []
    while len(seconds) < _TIMED and (len(seconds) < _LEAST_TIMED or sum(seconds) < _SECONDS):
        began = time.perf_counter()
        planner.plan(starts)
        seconds.append(time.perf_counter() - began)
    return 1000 * float(np.median(seconds))
