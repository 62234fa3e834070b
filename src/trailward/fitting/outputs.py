"""What a fit leaves behind: the reward, the map in every format, figures, and a page to read."""

import html
import io
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from trailward.data.tracks import PARTS
from trailward.environments.drawing import DEMONSTRATIONS, GUIDED, PLAY, WALL, draw_paths
from trailward.fitting.fit import Fitted, warnings_about
from trailward.fitting.map import RewardMap, draw_map, find_place
from trailward.judging.behaviour import clone_does_no_worse
from trailward.judging.cross_validation import Chance
from trailward.judging.naive import NEIGHBOURS, REGRESSION
from trailward.judging.place_map import Walls
from trailward.judging.readings import readings_arrays
from trailward.report.page import html_page, html_picture, html_table, section
from trailward.report.readings import readings_figure as ways_to_read_figure
from trailward.running.files import write_arrays, write_figure, write_file, write_json

_MOST_PATHS, _DPI = 150, 130


def write_outputs(
    fitted: Fitted,
    folder: Path,
    told: Sequence[str],
    *,
    of_groups: Sequence[str] = (),
    walls: Walls | None = None,
    place: Sequence[str] | None = None,
    pixels: int = 100,
    near: float | None = None,
    y_down: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Write the reward, ``fit.json``, the map, the pictures, ``methods.txt`` and the report.

    Args:
        fitted: what was learnt.
        folder: of everything.
        told: what was chosen, in sentences.
        of_groups: how groups differ, in sentences; their picture is in the folder.
        walls: drawn over the map.
        place: names of the two entries to map; those that look like a place if None.
        pixels: of the map's longer side.
        near: the map is drawn where somebody was so near, environment units; two pixels if None.
        y_down: whether the second entry grows downwards, as in pictures.
        say: told the results.
    """
    made_with = {**fitted.reward.provenance, "diffuser": str(folder / "diffuser")}
    replace(fitted.reward, provenance=made_with).save(folder / "reward")
    entries = find_place(fitted, place)
    resamples = fitted.prepared.choices.num_resamples
    drawn = None
    if entries is not None:
        drawn = draw_map(
            fitted, entries, pixels=pixels, near=near, walls=walls, num_resamples=resamples
        )
    figures = figures_of(fitted, drawn)
    write_json(folder / "fit.json", figures)
    pictures = {"readings": readings_figure(fitted)}
    if fitted.planning is not None and fitted.reward.family is not None:
        data = fitted.prepared.recordings.dataset
        play, shown = data.pick(fitted.others), data.pick(fitted.shown)
        arrays = readings_arrays(fitted.reward, play, shown)
        pictures["ways-to-read"] = ways_to_read_figure(arrays)
    if drawn is not None and entries is not None:
        write_map(drawn, folder)
        pictures["map"] = map_figure(fitted, drawn, entries, walls=walls, y_down=y_down)
        for kind in ("svg", "pdf"):
            content = io.BytesIO()
            pictures["map"].savefig(content, format=kind, bbox_inches="tight")
            write_file(folder / f"map.{kind}", content.getvalue())
    for name, figure in pictures.items():
        write_figure(folder / f"{name}.png", figure, dpi=_DPI)
    methods = methods_paragraph(fitted, drawn)
    write_file(folder / "methods.txt", methods + "\n")
    page = _page(fitted, folder, told, methods, drawn, list(pictures), of_groups)
    write_file(folder / "report.html", page)
    for sentence in [*results(fitted, drawn), *warnings_about(fitted)]:
        say(sentence)
    say(f"report -> {folder / 'report.html'}")


def figures_of(fitted: Fitted, drawn: RewardMap | None) -> dict[str, Any]:
    """Everything that was measured, as JSON values."""
    prepared, validation = fitted.prepared, fitted.validation
    found: dict[str, Any] = {
        "choices": asdict(prepared.choices),
        "num_others": len(fitted.others),
        "num_demonstrations": len(fitted.shown),
        "kept": fitted.kept,
        "learnt": fitted.learnt,
        "naive": fitted.naive,
        "warnings": warnings_about(fitted),
        **prepared.figures,
    }
    if validation is not None:
        found["left_out"] = {
            part: {name: asdict(each) for name, each in chances.items()}
            for part, chances in validation.chances.items()
        }
        found["ranks"] = {name: ranks.tolist() for name, ranks in validation.ranks.items()}
        known = prepared.recordings.attributes
        found["ranks_are_of"] = {name: list(values) for name, values in known.items()}
    if len(prepared.recordings.judged):
        found["test"] = {
            name: {part: asdict(fitted.test_chance(name, part)) for part in PARTS}
            for name in fitted.readings
        }
    told = {"planning": fitted.planning, "roll_outs": fitted.roll_outs}
    found |= {name: value for name, value in told.items() if value is not None}
    if drawn is not None:
        found["peak"] = {
            "names": drawn.names,
            "at": drawn.peak.tolist(),
            "radius": drawn.peak_radius,
        }
    return found


def results(fitted: Fitted, drawn: RewardMap | None) -> list[str]:
    """What was found, in sentences."""
    told = []
    if fitted.validation is not None:
        chances = fitted.validation.chances["whole"]
        own = chances[fitted.learnt]
        told.append(
            f"Demonstrations that were left out rank above {own.rank:.3f} of the other tracks by "
            f"the learnt reward, {chances[fitted.naive].rank:.3f} by the best naive map and "
            f"{chances[REGRESSION].rank:.3f} by the regression."
        )
        if own.share is not None:
            told.append(
                f"As ranks tell, a share of about {own.share:.2f} of the others is alike. So an "
                f"unseen one should rank above someone unlike it with a chance of {_said(own)} by "
                "the learnt reward."
            )
        if fitted.ends is not None:
            told.append(
                "Counting which plans end where demonstrations ended, without a reward, gives "
                f"{_said(chances[fitted.ends])}."
            )
    if len(fitted.prepared.recordings.judged):
        found = fitted.test_chance(fitted.learnt)
        told.append(
            f"The {found.count} tracks to judge by rank above {found.rank:.3f} of the others by "
            f"the learnt reward, so above someone unlike them with a chance of {_said(found)}."
        )
    told.append(f"The reading to use is '{fitted.kept}'.")
    if fitted.planning is not None and "reading" in fitted.planning:
        told.append(
            "The reward that is saved, and planned with, was learnt through guided plans; it is "
            f"read as '{fitted.planning['reading']}'. Ranks and the map are of the log-ratio. By "
            "the mean of a track, the two correlate by "
            f"{fitted.planning['agreement']:.2f} on play data."
        )
    if fitted.planning is not None and fitted.planning.get("errors"):
        errors = fitted.planning["errors"]
        if errors["clone"] < min(error for way, error in errors.items() if way != "clone"):
            told.append(
                "The actions of a plain clone are nearer to those of demonstrations left out than "
                f"the planner's ({errors['clone']:.3f} against "
                f"{errors[fitted.planning['way']]:.3f}). It takes seconds, so try it too "
                "(trailward.baselines.plain_clone)."
            )
    if fitted.roll_outs is not None:
        told.append(_roll_out_words(fitted.roll_outs))
    if drawn is not None:
        where = _place_words(drawn)
        told.append(
            f"The reward is highest at {where}; 95% of resamples of the demonstrations put it "
            f"within {drawn.peak_radius:.2g}{_unit(drawn)} of there."
        )
    return told


def _roll_out_words(found: Mapping[str, Any]) -> str:
    """What the planner returned in the environment."""
    means = {who: each["value"] for who, each in found["return"].items()}
    learnt = found["return"]["learnt"]
    named = {
        "demonstrations": "the demonstrations",
        "demonstrator": "a demonstrator from the same starts",
    }
    shown = "".join(f", {name} {means[who]:.4g}" for who, name in named.items() if who in means)
    told = (
        f"In {found['environment']} the planner returns {means['learnt']:.4g} "
        f"[{learnt['low']:.4g}, {learnt['high']:.4g}] in the mean of {learnt['count']} roll-outs, "
        f"the diffuser without the reward {means['unguided']:.4g}, a clone of the demonstrations "
        f"{means['clone']:.4g}{shown}."
    )
    if clone_does_no_worse(found["return"]):
        told += " The clone takes seconds and does no worse: read the reward, act with the clone."
    return told


def write_map(drawn: RewardMap, folder: Path) -> None:
    """The map as ``map.csv`` (a row a known pixel) and ``map.npz`` (arrays with their extent)."""
    known = np.isfinite(drawn.values)
    columns = (drawn.centers[..., 0], drawn.centers[..., 1], drawn.values, drawn.deviation,
               drawn.forecast)  # fmt: skip
    rows = np.stack([column[known] for column in columns], 1)
    head = ",".join((*drawn.names, "reward", "deviation", "forecast"))
    lines = [",".join(f"{value:.6g}" for value in row) for row in rows]
    write_file(folder / "map.csv", "\n".join([head, *lines, ""]))
    arrays = {
        "reward": drawn.values,
        "deviation": drawn.deviation,
        "forecast": drawn.forecast,
        "extent": np.array(drawn.extent),
        "geotransform": drawn.geotransform,
        "peak": drawn.peak,
        "peaks": drawn.peaks,
    }
    write_arrays(folder / "map.npz", arrays)


def map_figure(
    fitted: Fitted,
    drawn: RewardMap,
    place: tuple[int, int],
    *,
    walls: Walls | None = None,
    y_down: bool = False,
) -> Figure:
    """Tracks, the reward, what it says of where people head, and how sure it is."""
    left, right, bottom, top = drawn.extent
    width = 4.2 * float(np.clip((right - left) / max(top - bottom, 1e-9), 0.6, 2.2))
    figure = Figure(figsize=(2 * width + 1.6, 8.6), layout="constrained")
    axes = list(figure.subplots(2, 2, sharex=True, sharey=True).flat)
    recordings = fitted.prepared.recordings
    paths = {
        kind: [recordings.dataset.episodes[track].observations[:, list(place)] for track in tracks]
        for kind, tracks in (("play", fitted.others), ("shown", fitted.shown))
    }
    draw_paths(axes[0], paths["play"][:_MOST_PATHS], PLAY, width=0.7, alpha=0.5)
    draw_paths(axes[0], paths["shown"], DEMONSTRATIONS, width=1.5, alpha=0.95)
    axes[0].set_title("given: all tracks, and the demonstrations")
    for ax, values, title, colours in (
        (axes[1], drawn.values, "reward of being there, at rest", "viridis"),
        (axes[2], drawn.forecast, "forecast: reward of where those here go", "viridis"),
        (axes[3], drawn.deviation, "deviation of the reward between resamples", "magma_r"),
    ):
        image = ax.imshow(values, extent=drawn.extent, cmap=colours, zorder=1)
        figure.colorbar(image, ax=ax, fraction=0.046, pad=0.02, label="nats")
        ax.set_title(title)
    axes[1].plot(*drawn.peak, "+", ms=11, mew=2, color=DEMONSTRATIONS, zorder=6)
    ring = Circle((drawn.peak[0], drawn.peak[1]), drawn.peak_radius, fill=False,
                  color=DEMONSTRATIONS, lw=1.4, zorder=6)  # fmt: skip
    axes[1].add_patch(ring)
    for ax in axes:
        for wall in () if walls is None else walls:
            ax.plot(*wall.T, color=WALL, lw=3, solid_capstyle="round", zorder=5)
        labels = [f"{n} ({u})" if u else n for n, u in zip(drawn.names, drawn.units, strict=True)]
        ax.set(xlabel=labels[0], ylabel=labels[1], xlim=(left, right), aspect="equal")
        ax.set_ylim((top, bottom) if y_down else (bottom, top))
        ax.label_outer()
        ax.spines[["top", "right"]].set_visible(False)
    _scale_bar(axes[0], drawn)
    return figure


def _scale_bar(ax: Axes, drawn: RewardMap) -> None:
    """A bar of a round length, about a fifth of the width."""
    left, right, bottom, top = drawn.extent
    about = (right - left) / 5
    power = 10.0 ** np.floor(np.log10(about))
    length = power * max(each for each in (1, 2, 5) if each * power <= about)
    down = ax.get_ylim()[0] > ax.get_ylim()[1]
    height = (top - bottom) * (0.96 if down else 0.04) + bottom
    begin = left + 0.04 * (right - left)
    ax.plot([begin, begin + length], [height, height], color="black", lw=3, zorder=7)
    text = f"{length:g}{_unit(drawn)}"
    ax.annotate(text, (begin + length / 2, height), (0, 5), textcoords="offset points", ha="center")


def readings_figure(fitted: Fitted) -> Figure:
    """How surely an unseen demonstration ranks above someone unlike it, by each reading."""
    figure = Figure(figsize=(8, 3.1), layout="constrained")
    if fitted.validation is None:
        return figure
    ends = [] if fitted.ends is None else [fitted.ends]
    names = [fitted.learnt, *ends, REGRESSION, fitted.naive, NEIGHBOURS]
    for ax, (part, chances) in zip(
        figure.subplots(1, 2, sharey=True), fitted.validation.chances.items(), strict=True
    ):
        for height, name in enumerate(reversed(names)):
            each = chances[name]
            colour = GUIDED if name == fitted.learnt else PLAY
            ax.plot([each.low, each.high], [height, height], color=colour, lw=3, alpha=0.5)
            ax.plot(each.value, height, "o", color=colour)
        ax.set_title(f"{part} tracks" if part == "whole" else "their first halves", fontsize=10)
        ax.set_yticks(range(len(names)), list(reversed(names)))
        ax.set_xlim(0, 1.02)
        ax.axvline(0.5, color=WALL, lw=0.7, ls=":")
        ax.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("chance that an unseen one ranks above someone unlike it", fontsize=10)
    return figure


def methods_paragraph(fitted: Fitted, drawn: RewardMap | None) -> str:
    """A paragraph for a paper: data, method, settings, versions and figures."""
    prepared, choices = fitted.prepared, fitted.prepared.choices
    unit = choices.time_unit
    training = prepared.figures["training"]
    text = (
        f"We used trailward {version('trailward')} (Python {platform.python_version()}, PyTorch "
        f"{version('torch')}, NumPy {version('numpy')}) on {len(fitted.others)} recorded tracks "
        f"and {len(fitted.shown)} demonstrations, with a row every {choices.time_step:g} {unit}. "
        + ("Rates of change were added to each row. " if choices.add_rates else "")
        + ("Tracks were held at their last row. " if choices.hold_ends else "")
        + f"A diffusion model ({choices.network}, width {choices.width}, depth {choices.depth}) of "
        f"plans with {choices.horizon} steps over {choices.reach:.3g} {unit} was trained for "
        f"{training['losses'][-1][0]} gradient steps. The reward, linear in "
        f"{2 * choices.num_directions} random Fourier features, is the log-ratio of demonstrated "
        f"to recorded windows by ridge logistic regression (ridge {choices.ridge:g}), with every "
        f"{'track' if choices.weigh_by == 'track' else 'row'} weighted alike. "
        f"A row is judged by the mean reward of {choices.num_plans} plans that the model makes "
        "from it, a track by the mean over its rows, later rows weighing more. "
    )
    if fitted.validation is not None:
        each = fitted.validation.chances["whole"]
        by = "whole demonstrations"
        if choices.animal is not None:
            by = f"animals (by '{choices.animal}', {each[fitted.learnt].count} of them)"
        text += (
            f"In cross-validation over {by}, a demonstration that was left out ranked above "
            f"{each[fitted.learnt].rank:.3f} of the other tracks, against "
            f"{each[fitted.naive].rank:.3f} by the best of twelve kernel density maps and "
            f"{each[REGRESSION].rank:.3f} by logistic regression on positions and rates. Others "
            "may be alike without being named; with their share estimated from the ranks, an "
            "unseen one ranks above someone unlike it with a chance of "
            f"{_said(each[fitted.learnt])} (95% credible interval). "
        )
    if fitted.planning is not None and "reading" in fitted.planning:
        text += (
            "For planning, a reward of places was learnt through guided plans of that model "
            f"({fitted.planning['num_steps']} gradient steps) and read as "
            f"'{fitted.planning['reading']}'. "
        )
    if drawn is not None:
        text += (
            f"The reward was highest at {_place_words(drawn)} (95% of {choices.num_resamples} "
            f"bootstrap resamples of the demonstrations within {drawn.peak_radius:.2g}"
            f"{_unit(drawn)}). "
        )
    return text + f"Seed {choices.seed}."


def _page(
    fitted: Fitted,
    folder: Path,
    told: Sequence[str],
    methods: str,
    drawn: RewardMap | None,
    pictures: Sequence[str],
    of_groups: Sequence[str],
) -> str:
    warned = "".join(f"<p>{html.escape(text)}</p>" for text in warnings_about(fitted))
    captions = {
        "map": (
            "Where to",
            "The cross marks where the reward is highest; the ring holds 95% of the peaks that "
            "resamples of the demonstrations give. Blank: nobody was there.",
        ),
        "ways-to-read": (
            "The reward that plans",
            "It was learnt through guided plans. Demonstrations do not tell these readings apart; "
            "the chosen one is saved. The line is the recorded piece that each likes best.",
        ),
        "readings": (
            "Does it know demonstrations that it was not shown?",
            "Each demonstration was left out in turn and ranked among the others, of whom some may "
            "be alike. Dots: the chance that it ranks above someone unlike it. Lines: 95% "
            "intervals. 0.5 is chance.",
        ),
    }
    parts = [
        section("found", "What was found", "", _paragraphs(results(fitted, drawn))),
        *([section("warnings", "Warnings", "", warned)] if warned else []),
        *(section(name, *captions[name], html_picture(name, (folder / f"{name}.png").read_bytes()))
          for name in ("map", "ways-to-read", "readings") if name in pictures),
        *([_groups(folder, of_groups)] if of_groups else []),
    ]  # fmt: skip
    if fitted.validation is not None:
        head = ("reading", "rank", "above the unlike", "of first halves", "")
        parts.append(section("table", "Every reading", "", html_table(head, _rows(fitted))))
    movement = fitted.prepared.figures["movement"]
    if movement is not None:
        shown = f"<pre>{html.escape(json.dumps(movement, indent=1))}</pre>"
        parts.append(section("plans", "Do plans move as the recordings do?", "", shown))
    parts += [
        section("chosen", "What was chosen, and why", "", _paragraphs(told)),
        section("methods", "For a paper", "", _paragraphs([methods])),
        section(
            "settings",
            "Settings",
            "",
            f"<pre>{html.escape(json.dumps(asdict(fitted.prepared.choices), indent=1))}</pre>",
        ),
    ]
    count = len(fitted.shown)
    return html_page("fit", f"a reward learnt from {count} demonstrations", parts)


def _groups(folder: Path, told: Sequence[str]) -> str:
    picture = folder / "groups.png"
    drawn = html_picture("groups", picture.read_bytes()) if picture.exists() else ""
    text = "The map of each group's reward."
    return section("groups", "Do the groups differ?", text, _paragraphs(told) + drawn)


def _rows(fitted: Fitted) -> list[tuple[str, ...]]:
    validation = fitted.validation
    if validation is None:
        return []
    notes: Mapping[str, str] = {fitted.naive: "the best naive map", fitted.kept: "the one to use"}
    names = sorted(validation.ranks, key=validation.score, reverse=True)
    return [
        (
            f"**{name}**" if name == fitted.kept else name,
            f"{validation.chances['whole'][name].rank:.3f}",
            _said(validation.chances["whole"][name]),
            _said(validation.chances["first half"][name]),
            notes.get(name, ""),
        )
        for name in names
    ]


def _paragraphs(texts: Sequence[str]) -> str:
    return "".join(f"<p>{html.escape(text)}</p>" for text in texts)


def _said(each: Chance) -> str:
    interval = "" if each.low is None else f" [{each.low:.2f}, {each.high:.2f}]"
    return f"{each.value:.3f}{interval}"


def _place_words(drawn: RewardMap) -> str:
    pairs = zip(drawn.names, drawn.peak, drawn.units, strict=True)
    return ", ".join(f"{name} = {value:.3g}{' ' * bool(unit)}{unit}" for name, value, unit in pairs)


def _unit(drawn: RewardMap) -> str:
    same = drawn.units[0] == drawn.units[1]
    return f" {drawn.units[0]}" if same and drawn.units[0] else ""
