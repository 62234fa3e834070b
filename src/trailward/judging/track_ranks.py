"""A learnt reward as ``fit`` reads it: of each row, and of the plans from there."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from trailward.data.dataset import Dataset
from trailward.data.tracks import PARTS, TrackRows
from trailward.diffusion.diffuser import Diffuser
from trailward.judging.cross_validation import Chance, Reading, auc, chance
from trailward.judging.forecast import FORECAST, HERE, forecast_plans
from trailward.learning.learnt_reward import LearntReward
from trailward.randomness import numpy_generator

_MOST_OTHERS, _MOST_ROWS, _NUM_PLANS = 500, 2_000, 2


def read_rows(
    learnt: LearntReward, diffuser: Diffuser, rows: TrackRows, *, seed: int = 0
) -> dict[str, Reading]:
    """What the reward says of rows (``here``), and of unguided plans from them (``forecast``).

    Args:
        learnt: of single observations.
        diffuser: makes the plans.
        rows: environment units.
        seed: of the plans' noise.
    """
    plans = forecast_plans(diffuser, rows.values, num_plans=_NUM_PLANS, seed=seed)
    held = learnt.provenance.get("choices", {}).get("hold_ends", False)
    steps = plans[:, :, -1:] if held else plans
    values = learnt.step_rewards(steps.astype(np.float64)).mean((1, 2))
    here = Reading(learnt.step_rewards(rows.values))
    return {FORECAST: Reading(values, rows.time + 1.0), HERE: here}


def chances_of(
    learnt: LearntReward,
    diffuser: Diffuser,
    play: Dataset,
    demonstrations: Dataset,
    *,
    learnt_from: bool,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """How demonstrations rank among the other tracks, by reading and part of the track.

    Args:
        learnt: the reward; nothing is said of one that is not of single observations.
        diffuser: makes the plans.
        play: environment units; tracks that are demonstrations do not count, and of more than 500
            a random draw does.
        demonstrations: environment units.
        learnt_from: whether the reward was: then there is no interval.
        seed: of the plans' noise.

    Returns:
        By reading and part: figures of :class:`~trailward.judging.cross_validation.Chance`.
    """
    if not learnt.is_additive or learnt.sees_actions or learnt.num_stages > 1:
        return {}
    others = play.without(demonstrations)
    if not others:
        return {}
    if len(others) > _MOST_OTHERS:
        picks = numpy_generator(seed, "ranks: others").permutation(len(others))[:_MOST_OTHERS]
        others = [others[pick] for pick in picks]
    both = replace(play, episodes=[*others, *demonstrations.episodes], attributes={})
    rows = TrackRows.of(both, most=_MOST_ROWS)
    found: dict[str, dict[str, Any]] = {}
    for name, reading in read_rows(learnt, diffuser, rows, seed=seed).items():
        found[name] = {}
        for part in PARTS:
            scores = reading.scores(rows, part)
            ranks = [
                auc(scores[[n]], scores[: len(others)]) for n in range(len(others), len(scores))
            ]
            each = chance(np.array(ranks))
            alone = Chance(each.rank, each.rank, None, None, None, each.count)
            found[name][part] = asdict(alone if learnt_from else each)
    return found
