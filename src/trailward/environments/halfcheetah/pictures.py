"""Pictures of HalfCheetah: forward velocities, and frames of roll-outs."""

import numpy as np
from matplotlib.figure import Figure

from trailward.environments import Caption
from trailward.environments.drawing import ACTORS, DEMONSTRATIONS, GUIDED, Arrays, smooth


def panels(arrays: Arrays) -> dict[str, tuple[Caption, Figure]]:
    """All pictures of an evaluation on HalfCheetah, with what stands over each."""
    drawn = {}
    if "frames_learnt" in arrays:
        text = "Frames from the middle of an episode, four environment steps apart."
        drawn["frames"] = (Caption("What it looks like", text), frames_figure(arrays))
    return drawn | {
        "velocity": (
            Caption(
                "Does it run?",
                "Forward velocity over time (running mean of 25 steps): the mean over episodes "
                "and, shaded, the slowest to the fastest.",
            ),
            velocity_figure(arrays),
        ),
        "reward_by_velocity": (
            Caption(
                "The learnt reward against forward velocity",
                "Each dot is a step of play data. The true reward is forward velocity, but for "
                "0.1 of the squared action; learning was never told.",
            ),
            reward_by_velocity_figure(arrays),
        ),
    }


def velocity_figure(arrays: Arrays) -> Figure:
    """Forward velocity over time: mean and range of each policy."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    ax = figure.subplots()
    for name, label, colour in ACTORS:
        if f"velocities_{name}" not in arrays:
            continue
        speeds = smooth(arrays[f"velocities_{name}"])
        steps = np.arange(speeds.shape[1])
        ax.fill_between(steps, speeds.min(0), speeds.max(0), color=colour, alpha=0.15, lw=0)
        ax.plot(steps, speeds.mean(0), color=colour, label=label, lw=1.6)
    ax.set(xlabel="environment step", ylabel="forward velocity (m/s)")
    ax.legend(frameon=False, ncols=len(ACTORS), loc="upper left", bbox_to_anchor=(0, 1.14))
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def reward_by_velocity_figure(arrays: Arrays) -> Figure:
    """Learnt reward against forward velocity, over play steps, and its mean in bins."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    speeds, rewards = arrays["reward_by_velocity"]
    ax.plot(speeds, rewards, ".", ms=3, color=GUIDED, alpha=0.25, mec="none")
    low, high = np.quantile(speeds, [0.005, 0.995])
    edges = np.linspace(low, high, 21)
    bins = np.digitize(speeds, edges)
    centers = [speeds[bins == b].mean() for b in range(1, 21) if (bins == b).any()]
    means = [rewards[bins == b].mean() for b in range(1, 21) if (bins == b).any()]
    ax.plot(centers, means, "o-", ms=4, color=DEMONSTRATIONS, lw=1.5, label="mean")
    ax.set(xlabel="forward velocity (m/s)", ylabel="learnt reward")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def frames_figure(arrays: Arrays) -> Figure:
    """A strip of frames for each policy."""
    strips = [row for row in ACTORS if f"frames_{row[0]}" in arrays]
    figure = Figure(figsize=(12, 1.25 * len(strips)), layout="constrained")
    for ax, (name, label, colour) in zip(
        np.atleast_1d(figure.subplots(len(strips), 1)), strips, strict=True
    ):
        ax.imshow(np.concatenate(list(arrays[f"frames_{name}"]), axis=1))
        ax.set(xticks=[], yticks=[])
        ax.set_ylabel(label, color=colour)
        ax.spines[:].set_visible(False)
    return figure
