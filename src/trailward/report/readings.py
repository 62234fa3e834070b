"""Pictures of what demonstrations leave open: the readings side by side, and a question."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trailward.data.dataset import Dataset
from trailward.data.entries import observations_of
from trailward.environments.drawing import DEMONSTRATIONS, GUIDED, PLAY, Arrays, draw_paths
from trailward.judging.readings import drawn_entries
from trailward.learning.answers import Question
from trailward.learning.learnt_reward import LearntReward

_NUM_DOTS, _SIDE = 4000, 2.9


def readings_figure(arrays: Arrays) -> Figure:
    """Each reading over the play data, the recorded piece that it likes best, and what is avoided.

    Args:
        arrays: as of :func:`~trailward.judging.readings.readings_arrays`.
    """
    names, avoids = arrays["readings"], "reading_tolls" in arrays
    count = len(names) + avoids
    columns = min(4, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(_SIDE * columns, _SIDE * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes[count:]:
        ax.set_visible(False)
    weighed, dots = bool(arrays["reading_weights"].any()), arrays["reading_dots"]
    for index, ax in enumerate(axes[: len(names)]):
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
    if avoids:
        ax, order = axes[count - 1], arrays["reading_tolls"].argsort()
        tolls = arrays["reading_tolls"][order]
        ax.scatter(
            *dots[order].T, c=tolls, s=4, cmap="Reds", vmin=-0.25 * tolls.max(), linewidths=0
        )
        draw_paths(ax, arrays["reading_shown"], DEMONSTRATIONS, width=0.8, alpha=0.8)
        ax.set_title("avoided", fontsize=9)
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


def _plain(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    ax.set_aspect("equal", adjustable="datalim")
    ax.spines[:].set_visible(False)
