"""A reward for each group of demonstrations, such as sexes or sessions, and how they differ.

Each group's demonstrations are fitted by themselves, with the same diffuser. Whether two groups
differ is asked of animals that were left out: one of either group is, both rewards are learnt
without them, and what the first reward says above the second must be more of the first animal.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from trailward.environments.drawing import DEMONSTRATIONS, WALL
from trailward.errors import DataError
from trailward.fitting.fit import Fitted, judge_demonstrations
from trailward.fitting.map import RewardMap, draw_map, find_place
from trailward.fitting.outputs import write_map
from trailward.judging.place_map import Walls
from trailward.running.files import write_figure, write_json

_NORMAL, _CHANCE, _DPI = 1.959964, 0.5, 130


@dataclass(frozen=True)
class Difference:
    """How surely the rewards of two groups tell their animals apart (an AUC; 0.5 is by chance).

    Attributes:
        value: the share of pairs of left-out animals, one of each group, that are told apart.
        low: of the 95% interval: Wilson's, of as many trials as the smaller group has animals.
        high: the same.
        counts: animals of the two groups.
    """

    value: float
    low: float
    high: float
    counts: tuple[int, int]


def fit_groups(fitted: Fitted) -> dict[str, Fitted]:
    """A fit for each group of the demonstrations; none if they are of one group.

    Raises:
        DataError: if a group has but one animal, so that none could be left out.
    """
    recordings = fitted.prepared.recordings
    numbers: dict[str, list[int]] = {}
    for track, group in zip(recordings.demonstrations, recordings.groups or (), strict=False):
        numbers.setdefault(group, []).append(track)
    if len(numbers) < 2:
        return {}
    for group, tracks in numbers.items():
        if len(set(recordings.animals_of(tracks))) < 2:
            msg = f"group '{group}' has demonstrations of one animal only"
            remedy = "give at least 2 animals a group, or group by something else (--group-by)"
            raise DataError(msg, place="group_by", value=group, remedy=remedy)
    return {group: judge_demonstrations(fitted.prepared, own) for group, own in numbers.items()}


def differences(groups: Mapping[str, Fitted]) -> dict[tuple[str, str], Difference]:
    """How much each two groups differ."""
    return {pair: _difference(groups[pair[0]], groups[pair[1]])
            for pair in combinations(groups, 2)}  # fmt: skip


def _difference(one: Fitted, other: Fitted) -> Difference:
    ours, theirs = _without_each(one), _without_each(other)
    told_apart = []
    for own, our_scores in ours:
        for foreign, their_scores in theirs:
            more = our_scores - their_scores
            told_apart.append(more[own].mean() > more[foreign].mean())
    return share_of_pairs(float(np.mean(told_apart)), (len(ours), len(theirs)))


def _without_each(fitted: Fitted) -> list[tuple[list[int], Float[np.ndarray, "track"]]]:
    """For each animal: its tracks, and what all tracks score by the reward learnt without them."""
    judge = fitted.prepared.reward_judge
    animals = fitted.prepared.recordings.animals_of(fitted.shown)
    found = []
    for animal in dict.fromkeys(animals):
        left = [track for track, who in zip(fitted.shown, animals, strict=True) if who == animal]
        reading = judge.values([t for t in fitted.shown if t not in left])[fitted.learnt]
        found.append((left, reading.scores(judge.rows)))
    return found


def share_of_pairs(value: float, counts: tuple[int, int]) -> Difference:
    """A share of pairs with Wilson's interval; its variance is at most that of the fewer's trials.

    Args:
        value: the share (an AUC).
        counts: of either kind.
    """
    trials, square = min(counts), _NORMAL**2
    center = (value + square / (2 * trials)) / (1 + square / trials)
    spread = np.sqrt(value * (1 - value) / trials + square / (4 * trials**2))
    half = float(_NORMAL * spread / (1 + square / trials))
    return Difference(value, max(0.0, center - half), min(1.0, center + half), counts)


def write_groups(
    groups: Mapping[str, Fitted],
    folder: Path,
    *,
    walls: Walls | None = None,
    place: Sequence[str] | None = None,
    pixels: int = 100,
    near: float | None = None,
    y_down: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> list[str]:
    """Write ``groups.json``, ``groups.png`` and a folder ``group-NAME`` for each group.

    Args:
        groups: a fit for each.
        folder: of the fit.
        walls: as of :func:`~trailward.fitting.outputs.write_outputs`, like all that follow.
        place: of the maps.
        pixels: of the maps.
        near: of the maps.
        y_down: of the picture.
        say: told how the groups differ.

    Returns:
        How the groups differ, in sentences.
    """
    sentences = []
    found: dict[str, Any] = {"groups": {}, "differences": []}
    maps: dict[str, RewardMap] = {}
    for number, (group, fitted) in enumerate(groups.items()):
        own = folder / f"group-{_as_name(group, number)}"
        fitted.reward.save(own / "reward")
        entries = find_place(fitted, place)
        each = None if fitted.validation is None else fitted.validation.chances["whole"]
        told: dict[str, Any] = {
            "folder": own.name,
            "demonstrations": len(fitted.shown),
            "chance": None if each is None else asdict(each[fitted.learnt]),
        }
        if entries is not None:
            count = fitted.prepared.choices.num_resamples
            maps[group] = draw_map(
                fitted, entries, pixels=pixels, near=near, walls=walls, num_resamples=count
            )
            write_map(maps[group], own)
            told["peak"] = maps[group].peak.tolist()
            told["peak_radius"] = maps[group].peak_radius
        found["groups"][group] = told
    for (one, other), each in differences(groups).items():
        found["differences"].append({"between": [one, other], **asdict(each)})
        sentences.append(_sentence(one, other, each))
        say(sentences[-1])
    write_json(folder / "groups.json", found)
    if maps:
        write_figure(folder / "groups.png", groups_figure(maps, walls, y_down=y_down), dpi=_DPI)
    return sentences


def _as_name(group: str, number: int) -> str:
    """A folder's name: letters and digits of the group's, and its number."""
    return "-".join([*"".join(c if c.isalnum() else " " for c in group).split(), str(number)])


def _sentence(one: str, other: str, found: Difference) -> str:
    if found.low > _CHANCE:
        verdict = "they differ"
    else:
        verdict = "no difference is shown" + (": animals are few" if found.value > _CHANCE else "")
    return (
        f"The rewards of '{one}' and '{other}' tell {found.value:.2f} [{found.low:.2f}, "
        f"{found.high:.2f}] of pairs of left-out animals apart ({found.counts[0]} and "
        f"{found.counts[1]} animals; chance is 0.5): {verdict}."
    )


def groups_figure(
    maps: Mapping[str, RewardMap], walls: Walls | None = None, *, y_down: bool = False
) -> Figure:
    """The map of each group; of two groups also the difference, where it exceeds its deviation."""
    shown = {group: drawn.values for group, drawn in maps.items()}
    first = next(iter(maps.values()))
    if len(maps) == 2:
        (one, of_one), (other, of_other) = maps.items()
        apart = of_one.values - of_other.values
        sure = np.abs(apart) > 2 * np.hypot(of_one.deviation, of_other.deviation)
        shown[f"{one} minus {other}, where it is above 2 deviations"] = np.where(
            sure, apart, np.nan
        )
    figure = Figure(figsize=(5 * len(shown), 4.2), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(shown), sharex=True, sharey=True))
    left, right, bottom, top = first.extent
    for ax, (title, values) in zip(axes, shown.items(), strict=True):
        colours = "viridis" if title in maps else "RdBu"
        most = np.nanmax(np.abs(values), initial=1e-9)
        limits = {} if title in maps else {"vmin": -most, "vmax": most}
        image = ax.imshow(values, extent=first.extent, cmap=colours, **limits)
        figure.colorbar(image, ax=ax, fraction=0.046, pad=0.02, label="nats")
        if title in maps:
            ax.plot(*maps[title].peak, "+", ms=11, mew=2, color=DEMONSTRATIONS)
        for wall in () if walls is None else walls:
            ax.plot(*wall.T, color=WALL, lw=3, solid_capstyle="round")
        labels = [f"{n} ({u})" if u else n for n, u in zip(first.names, first.units, strict=True)]
        ax.set(xlabel=labels[0], ylabel=labels[1], xlim=(left, right), aspect="equal")
        ax.set_ylim((top, bottom) if y_down else (bottom, top))
        ax.set_title(title, fontsize=10)
        ax.label_outer()
    return figure
