"""What demonstrations leave open, and what they kept to: arrays to draw, figures, and a warning."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from trailward.data.dataset import Dataset, Windows
from trailward.data.entries import place_entries
from trailward.data.episode import paths_of
from trailward.environments import Evaluation
from trailward.learning.learnt_reward import LearntReward
from trailward.randomness import generator, numpy_generator

_NUM_DOTS, _NUM_PIECES, _NUM_SHOWN = 4000, 1000, 30
_THROUGH, _MOST_BROKEN = 0.5, 0.1

Paths = Float[np.ndarray, "path time observation"]


def readings_arrays(
    learnt: LearntReward, play: Dataset, demonstrations: Dataset | None = None
) -> dict[str, np.ndarray]:
    """What a picture of all readings is drawn from; empty if the reward has no readings.

    Args:
        learnt: the reward.
        play: environment units.
        demonstrations: environment units; drawn over what they avoid.

    Returns:
        ``readings``: names; ``reading_dots`` and ``reading_rewards``: states of play data in two
        entries, and what they are worth in each reading; ``reading_preferred``: the recorded
        piece that each reading likes best; ``reading_weights``: how likely each is, if anybody
        has answered; ``reading_chosen``. If anything is avoided, ``reading_tolls`` of the same
        states and ``reading_shown``, the demonstrations.
    """
    model = learnt.family
    if model is None:
        return {}
    windows = Windows(play, learnt.spec)
    picks = windows.draw(_NUM_PIECES, generator(0, "readings figure: pieces"))
    pieces, _ = windows.gather(picks)
    normal = learnt.normalizer.normalize(pieces.to(learnt.device))
    best = model.plan_rewards(normal).argmax(1).cpu()
    observations, entries = learnt.spec.split(pieces)[0], list(drawn_entries(learnt, play))
    flat = normal.flatten(0, 1)
    order = numpy_generator(0, "readings figure: dots").permutation(len(flat))[:_NUM_DOTS]
    dots = torch.as_tensor(order)
    states = flat[dots.to(flat.device)]
    with torch.no_grad():
        rewards = model.every(model.names, states.unsqueeze(0))[:, 0]
    found = {
        "readings": np.array(model.names),
        "reading_dots": observations.flatten(0, 1)[dots][:, entries].numpy(),
        "reading_rewards": rewards.cpu().numpy(),
        "reading_preferred": observations[best][..., entries].numpy(),
        "reading_weights": model.weights.cpu().numpy(),
        "reading_chosen": np.array(model.chosen),
    }
    if learnt.avoided is not None and demonstrations is not None:
        found["reading_tolls"] = learnt.avoided(states).cpu().numpy()
        found["reading_shown"] = paths_of(demonstrations.episodes[:_NUM_SHOWN])[..., entries]
    return found


def drawn_entries(learnt: LearntReward, play: Dataset) -> tuple[int, int]:
    """The two entries of the observation to draw: a place, if names tell one that is seen."""
    seen = [entry for entry in learnt.model.inputs.tolist() if entry < play.observation_dim]
    place = place_entries(play)
    if place is not None and set(place) <= set(seen):
        return place
    return (seen[0], seen[1]) if len(seen) > 1 else (0, min(1, play.observation_dim - 1))


def judge_kept(
    learnt: LearntReward,
    paths: Paths,
    play: Dataset,
    demonstrations: Dataset,
    *,
    stride: int | None = None,
) -> Evaluation:
    """What demonstrations leave open, to draw, and whether paths break what they all kept.

    Args:
        learnt: the reward judged.
        paths: plans or roll-outs, environment units; NaN beyond a path's end.
        play: environment units.
        demonstrations: environment units.
        stride: rows in which a plan step is made: 1 of plans; as many as of roll-outs if None.
    """
    figures = kept_figures(learnt, paths, stride=stride or learnt.spec.stride)
    warning = about_kept(figures)
    told = {"warnings": {"kept": warning} if warning else {}, "kept": figures}
    return Evaluation(told, readings_arrays(learnt, play, demonstrations))


@torch.no_grad()
def kept_figures(learnt: LearntReward, paths: Paths, *, stride: int) -> dict[str, float]:
    """How often paths break what every demonstration kept; empty if they kept nothing.

    Args:
        learnt: the reward; it knows what was kept.
        paths: plans or roll-outs, environment units; NaN beyond a path's end.
        stride: rows in which a plan step is made: 1 of plans.

    Returns:
        ``through_avoided``: the share of paths that pass a place which is avoided; ``too_fast``:
        the share of steps that are longer than any of a demonstration.
    """
    found, rows = {}, torch.as_tensor(paths).to(learnt.device)
    if learnt.avoided is not None:
        shares = learnt.avoided.shares(learnt.observation_normalizer.normalize(rows))
        shares = shares.nan_to_num(0.0)
        begins = shares[:, 0] > _THROUGH
        passes = (shares > _THROUGH).any(1) & ~begins
        found["through_avoided"] = float(passes.sum() / max(1, int((~begins).sum())))
    if learnt.pace is not None and rows.shape[1] > stride:
        steps = (rows[:, stride:] - rows[:, :-stride])[..., learnt.pace.place].norm(dim=-1)
        steps = steps[steps.isfinite()]
        found["too_fast"] = float((steps > learnt.pace.most).float().mean()) if len(steps) else 0.0
    return found


def about_kept(figures: Mapping[str, Any]) -> str:
    """A warning if plans or roll-outs break what every demonstration kept; empty otherwise.

    Args:
        figures: of :func:`kept_figures`.
    """
    told = {
        "through_avoided": "{:.0%} of them lead through a place that demonstrators avoid",
        "too_fast": "{:.0%} of their steps are faster than any of a demonstration",
    }
    broken = [
        text.format(figures[name])
        for name, text in told.items()
        if figures.get(name, 0.0) > _MOST_BROKEN
    ]
    if not broken:
        return ""
    return (
        f"The planner breaks what every demonstration kept: {' and '.join(broken)}. Look at the "
        "picture of readings before you use it; a planner with more candidates "
        "(--learning.planning.num-candidates) has more to choose from."
    )
