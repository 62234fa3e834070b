"""Pictures of any evaluation, one function each, from its arrays to a matplotlib figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from trailward.environments.drawing import DEMONSTRATIONS, GUIDED, UNGUIDED, Arrays

Curves = Mapping[str, Sequence[tuple[int, float]]]


def correlation_figure(arrays: Arrays, figures: Mapping[str, Any]) -> Figure:
    """Learnt against true return, over play windows and over whole play episodes."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    for ax, name in zip(figure.subplots(1, 2), ("windows", "episodes"), strict=True):
        learnt, true = arrays[f"erc_{name}"]
        ax.plot(true, learnt, ".", ms=4, color=GUIDED, alpha=0.35, mec="none")
        erc = figures[f"erc_{name}"]
        ax.set(xlabel="mean true reward", ylabel="mean learnt reward")
        ax.set_title(
            f"{len(true)} play {name}: Pearson {erc['pearson']['value']:.3f}, "
            f"ERC distance {erc['distance']['value']:.3f}",
            fontsize=10,
        )
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def loss_figure(curves: Curves) -> Figure:
    """The objective by gradient step, on learnt and on held-out demonstrations."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    ax = figure.subplots()
    styles = {
        "learn/loss": ("batches", GUIDED, "-"),
        "learn/held_out_energy": ("held out (energy distance)", DEMONSTRATIONS, "o-"),
    }
    for tag, points in curves.items():
        if points:
            label, colour, style = styles[tag]
            ax.plot(*zip(*points, strict=True), style, ms=4, color=colour, label=label, lw=1.3)
    ax.set(xlabel="gradient step", ylabel="objective")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def dynamics_figure(arrays: Arrays, environment_steps: Sequence[int]) -> Figure:
    """Dynamics error by plan step, unguided and guided, with the interval of the mean."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    ax = figure.subplots()
    for name, label, colour in (
        ("unguided", "unguided", UNGUIDED),
        ("learnt", "guided by the learnt reward", GUIDED),
    ):
        errors = arrays[f"dynamics_errors_{name}"]
        mean, spread = errors.mean(0), 1.96 * errors.std(0) / np.sqrt(len(errors))
        ax.plot(environment_steps, mean, "o-", ms=3, color=colour, label=label)
        ax.fill_between(
            environment_steps, mean - spread, mean + spread, color=colour, alpha=0.2, lw=0
        )
    ax.set(xlabel="environment step of the plan", ylabel="distance (m)", ylim=(0, None))
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return figure
