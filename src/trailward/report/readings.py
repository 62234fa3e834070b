"""Pictures of what demonstrations leave open: the readings side by side, and a question."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trailward.data.dataset import Dataset, Windows
from trailward.data.entries import observations_of, place_entries
from trailward.environments.drawing import DEMONSTRATIONS, GUIDED, PLAY, Arrays
from trailward.learning.answers import Question
from trailward.learning.learnt_reward import LearntReward
from trailward.randomness import generator, numpy_generator

_NUM_DOTS, _NUM_PIECES, _SIDE = 4000, 1000, 2.9


def readings_arrays(learnt: LearntReward, play: Dataset) -> dict[str, np.ndarray]:
    """What :func:`readings_figure` draws; empty if the reward has no readings.

    Args:
        learnt: the reward.
        play: environment units.

    Returns:
        ``readings``: names; ``reading_dots`` and ``reading_rewards``: states of play data in two
        entries, and what they are worth in each reading; ``reading_preferred``: the recorded
        piece that each reading likes best; ``reading_weights``: how likely each is, if anybody
        has answered; ``reading_chosen``.
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
    with torch.no_grad():
        rewards = model.every(model.names, flat[dots.to(flat.device)].unsqueeze(0))[:, 0]
    return {
        "readings": np.array(model.names),
        "reading_dots": observations.flatten(0, 1)[dots][:, entries].numpy(),
        "reading_rewards": rewards.cpu().numpy(),
        "reading_preferred": observations[best][..., entries].numpy(),
        "reading_weights": model.weights.cpu().numpy(),
        "reading_chosen": np.array(model.chosen),
    }


def readings_figure(arrays: Arrays) -> Figure:
    """Each reading over the play data, and the recorded piece that it likes best.

    Args:
        arrays: as of :func:`readings_arrays`.
    """
    names, count = arrays["readings"], len(arrays["readings"])
    columns = min(4, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(_SIDE * columns, _SIDE * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes[count:]:
        ax.set_visible(False)
    weighed, dots = bool(arrays["reading_weights"].any()), arrays["reading_dots"]
    for index, ax in enumerate(axes[:count]):
        order = arrays["reading_rewards"][index].argsort()
        worth = arrays["reading_rewards"][index][order]
        ax.scatter(*dots[order].T, c=worth, s=4, cmap="viridis", linewidths=0)
        piece = arrays["reading_preferred"][index]
        ax.plot(piece[:, 0], piece[:, 1], color=DEMONSTRATIONS, lw=1.6)
        ax.plot(*piece[-1], "o", ms=5, color=DEMONSTRATIONS)
        title = str(names[index])
        title += " (chosen)" if title == str(arrays["reading_chosen"]) else ""
        title += f", {arrays['reading_weights'][index]:.0%}" if weighed else ""
        ax.set_title(title, fontsize=9)
        _plain(ax)
    return figure


def question_figure(question: Question, learnt: LearntReward, play: Dataset) -> Figure:
    """The two pieces of a question side by side, over play data; a ring where each begins.

    Args:
        question: what is asked.
        learnt: the reward that it is asked about.
        play: environment units.
    """
    entries = list(drawn_entries(learnt, play))
    dots = observations_of(play)[:, entries]
    dots = dots[:: max(1, len(dots) // _NUM_DOTS)]
    figure = Figure(figsize=(2 * 4.0, 4.0), layout="constrained")
    pieces: Sequence[Any] = (question.first, question.second)
    panels = zip(figure.subplots(1, 2), ("first", "second"), pieces, strict=True)
    for ax, title, piece in panels:
        path = learnt.spec.split(piece[None])[0][0][:, entries].numpy()
        ax.plot(dots[:, 0], dots[:, 1], ".", ms=2, color=PLAY, alpha=0.3)
        ax.plot(path[:, 0], path[:, 1], "o-", ms=4, color=GUIDED)
        ax.plot(*path[0], "o", ms=8, color="white", mec="black", zorder=3)
        ax.set_title(title)
        _plain(ax)
    return figure


def drawn_entries(learnt: LearntReward, play: Dataset) -> tuple[int, int]:
    """The two entries of the observation to draw: a place, if names tell one that is seen."""
    seen = [entry for entry in learnt.model.inputs.tolist() if entry < play.observation_dim]
    place = place_entries(play)
    if place is not None and set(place) <= set(seen):
        return place
    return (seen[0], seen[1]) if len(seen) > 1 else (0, min(1, play.observation_dim - 1))


def _plain(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    ax.set_aspect("equal", adjustable="datalim")
    ax.spines[:].set_visible(False)
