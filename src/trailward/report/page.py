"""An evaluation as pictures, a table and one self-contained HTML page."""

import base64
import html
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from trailward.checkpoint import read_arrays, read_json, readable
from trailward.data.episode import LARGEST
from trailward.diffusion.training import logged_losses
from trailward.environments import Caption, Environment, Evaluation, Row
from trailward.judging.behaviour import clone_does_no_worse
from trailward.report import figures as draw
from trailward.report.data_figures import place_figure, separation_figure, shares_figure
from trailward.report.readings import readings_figure
from trailward.running.files import png_of, write_file

_ERC = Caption(
    "Does the learnt reward rank as the true one does?",
    "Each dot is a window (left) or a whole episode (right) of play data.",
)
_LOSS = Caption(
    "Learning", "The objective between guided plans and demonstrations, by gradient step."
)
_DYNAMICS = Caption(
    "Can the plans be executed?",
    "Distance between planned and executed position when a plan is followed without replanning, "
    "with the 95% interval.",
)
_SEPARATION = Caption(
    "Does it hold demonstrations for better than play data?",
    "AUC: the probability that a demonstration's reward is above play data's; 1 is best, 1/2 is "
    "chance.",
)
_SHARES = Caption(
    "What does the reward look at?",
    "The share of the reward's variance over play data that is lost when an entry is shuffled.",
)
_PLACE = Caption(
    "The learnt reward, and where it comes from",
    "Colour: reward of staying there, everything else as it is in the middle of the play data; "
    "blank where no play data is near. White: the demonstrations it was learnt from. Of an "
    "ensemble also how far its members are apart, in deviations of their rewards. Last: plans "
    "that the reward guides, from the rings on.",
)

_READINGS = Caption(
    "What do the demonstrations leave open?",
    "The same demonstrations, read in several ways: what play data's states are worth in each, "
    "brighter is more, and the recorded piece that it likes best. If demonstrators avoid a place, "
    "the last picture shows it, with the demonstrations.",
)

Panels = dict[str, tuple[Caption, Figure]]
"""Pictures with what stands over each, by the name of their file."""


def write_report(
    evaluation: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    environment: Environment | None,
    reward_folder: str | os.PathLike[str] | None = None,
) -> Path:
    """Draw everything that an evaluation holds.

    Args:
        evaluation: folder with ``evaluation.json`` and ``evaluation.npz``.
        out: folder that gets ``index.html``, with all pictures inside it, and the PNG files.
        environment: where it was judged; None for an evaluation by data alone.
        reward_folder: the learnt reward's, for the loss curve.

    Returns:
        The page.

    Raises:
        FileNotFoundError: if the evaluation is not there.
        CheckpointError: if it is damaged.
    """
    folder, out = Path(evaluation), Path(out)
    if not (folder / "evaluation.json").is_file():
        msg = f"{folder} holds no evaluation.json; make one with 'trailward evaluate'"
        raise FileNotFoundError(msg)
    again = "make it again with 'trailward evaluate'"
    figures = read_json(folder / "evaluation.json", remedy=again)
    found = Evaluation(figures, read_arrays(folder / "evaluation.npz", remedy=again))
    loss = {} if reward_folder is None else _loss_panel(reward_folder)
    with readable(folder, again, wrong="this is no whole evaluation"):
        for name, array in found.arrays.items():
            if np.issubdtype(array.dtype, np.number) and (np.abs(array) > LARGEST).any():
                raise ValueError(f"'{name}' holds values above {LARGEST:g}")
        panels = _panels(found, environment) | _readings_panel(found) | loss
        drawn = {name: (caption, png_of(each, dpi=110)) for name, (caption, each) in panels.items()}
        page = _page(figures, drawn, environment)
    for name, (_, picture) in drawn.items():
        write_file(out / f"{name}.png", picture)
    return write_file(out / "index.html", page)


def table(figures: Mapping[str, Any], environment: Environment | None) -> list[Row]:
    """The main figures as rows: what, value with its interval, what it means.

    Args:
        figures: of an evaluation.
        environment: where it was judged, which adds rows of its own; None if by data alone.
    """
    if environment is None:
        return _rows_without_truth(figures)
    returns = figures["return"]
    of_clone = "of the demonstrations, naive"
    if clone_does_no_worse(returns):
        of_clone = "takes seconds, and does no worse"
    rows = [
        Row(f"Return, {name}", _interval(returns[key]), meaning)
        for key, name, meaning in (
            ("unguided", "unguided planner", "play data as it is"),
            ("learnt", "learnt reward", "the same planner, guided"),
            ("clone", "plain clone", of_clone),
            ("demonstrator", "demonstrator", "from the same starts"),
        )
        if key in returns
    ]
    if "score" in figures:
        score = f"{figures['score']['learnt']:.1f}"
        rows.append(Row("Normalised score, learnt reward", score, "0 random, 100 expert"))
    if figures["return_fraction"]:
        meaning = "0: unguided, 1: demonstrator"
        rows.append(Row("Return fraction", _interval(figures["return_fraction"]), meaning))
    for name, share in (figures.get("success") or {}).items():
        rows.append(Row(f"Task done, {name}", f"{100 * share:.0f} %", "of roll-outs"))
    rows += _correlation_rows(figures)
    rows += _ensemble_rows(figures)
    if "dynamics_error" in figures:
        rows.append(_dynamics_row(figures))
    rows += environment.rows(figures)
    time = f"{figures['decision_ms']:.0f} ms"
    return [*rows, Row("A planning decision", time, "for 1 environment")]


def _correlation_rows(figures: Mapping[str, Any]) -> list[Row]:
    rows = []
    for name, what in (("windows", "play windows"), ("episodes", "whole play episodes")):
        erc = figures[f"erc_{name}"]
        meaning = f"{erc['pearson']['count']} {what}; 0 is best"
        rows += [
            Row(f"ERC distance, {what}", _interval(erc["distance"]), meaning),
            Row(f"Pearson, {what}", _interval(erc["pearson"]), "1 is best"),
            Row(f"Spearman, {what}", _interval(erc["spearman"]), "1 is best"),
        ]
    for name, erc in figures.get("erc_by_return", {}).items():
        what = f"ERC distance by {name.replace('_', ' ')}"
        rows.append(Row(what, _interval(erc["distance"]), erc["compares"]))
    if figures.get("epic"):
        meaning = f"transitions of {figures['epic']['count']} play episodes; 0 is best"
        rows.append(Row("EPIC distance", _interval(figures["epic"]), meaning))
    if figures.get("step_pearson"):
        steps = _interval(figures["step_pearson"])
        rows.append(Row("Pearson, single steps", steps, "1 is best"))
    return rows


def _dynamics_row(figures: Mapping[str, Any]) -> Row:
    dynamics = figures["dynamics_error"]
    num_plans = figures["evaluation"]["num_plans"]
    meaning = f"unguided {_metres(dynamics['unguided']['at_16'])}; {num_plans} plans"
    far = _metres(dynamics["learnt"]["at_16"])
    return Row("Dynamics error after 16 steps, guided", far, meaning)


def _panels(evaluation: Evaluation, environment: Environment | None) -> Panels:
    """The environment's pictures, and those that every evaluation has."""
    figures, arrays = evaluation.figures, evaluation.arrays
    if environment is None:
        panels: Panels = (
            {"place": (_PLACE, place_figure(arrays, figures))} if "place" in figures else {}
        )
        return panels | {
            "separation": (_SEPARATION, separation_figure(arrays, figures)),
            "shares": (_SHARES, shares_figure(figures)),
        }
    panels = dict(environment.panels(evaluation))
    panels["erc"] = (_ERC, draw.correlation_figure(arrays, figures))
    if "dynamics_error" in figures:
        steps = figures["dynamics_error"]["environment_steps"]
        panels["dynamics"] = (_DYNAMICS, draw.dynamics_figure(arrays, steps))
    return panels


def _readings_panel(evaluation: Evaluation) -> Panels:
    """The readings side by side; none if the reward has but one."""
    if "readings" not in evaluation.arrays:
        return {}
    return {"readings": (_READINGS, readings_figure(evaluation.arrays))}


def _loss_panel(reward_folder: str | os.PathLike[str]) -> Panels:
    """The learning curve; none if nothing was logged."""
    curves = {}
    for tag in ("learn/loss", "learn/held_out_energy"):
        points = list(logged_losses(reward_folder, tag))
        curves |= {tag: points} if points else {}
    return {"loss": (_LOSS, draw.loss_figure(curves))} if curves else {}


def _rows_without_truth(figures: Mapping[str, Any]) -> list[Row]:
    ranks, distance = figures["rank"], figures["held_out_distance"]
    count = figures["num_judged"]
    judged = f"{count} demonstration{'s' * (count > 1)}"
    judged += ", learnt from too" if figures["judged"] == "all" else f", {figures['judged']}"
    best = ", ".join(str(rank) for rank in sorted(ranks["ranks"])[:10])
    far = figures["support"]["far"]
    return [
        Row("Rank of demonstrations", best, f"among {ranks['among']} play episodes; {judged}"),
        Row("AUC, windows", _interval(figures["auc_windows"]), "1 is best, 0.5 is chance"),
        Row("AUC, episodes", _interval(figures["auc_episodes"]), "1 is best, 0.5 is chance"),
        *_track_rows(figures),
        *_naive_rows(figures),
        Row("Distance to demonstrations, guided", f"{distance['guided']:.4g}",
         f"unguided {distance['unguided']:.4g}; 0 is best"),
        Row("Demonstrations away from play data",
         "unknown" if far is None else f"{100 * far:.1f} %",
         "of their observations; 1 % is as play data itself"),
        *_known_rows(figures),
        *_ensemble_rows(figures),
    ]  # fmt: skip


def _naive_rows(figures: Mapping[str, Any]) -> list[Row]:
    rows = []
    for name, parts in figures.get("naive", {}).items():
        found = parts["whole"]
        meaning = f"naive; {found['count']} demonstrations, each left out in turn"
        rows.append(Row(f"Rank, {name}", f"{found.get('rank', found['value']):.3f}", meaning))
    return rows


def _track_rows(figures: Mapping[str, Any]) -> list[Row]:
    rows = []
    for name, parts in figures.get("tracks", {}).items():
        found = parts["whole"]
        rows.append(Row(f"Rank, {name}", f"{found['rank']:.3f}",
                        "share of the other tracks that a demonstration ranks above"))  # fmt: skip
        if found["low"] is not None:
            meaning = f"as about {100 * found['share']:.0f} % of the others seem to be alike"
            rows.append(Row(f"AUC among the unlike, {name}", _interval(found), meaning))
    return rows


def _known_rows(figures: Mapping[str, Any]) -> list[Row]:
    known = figures.get("known")
    if known is None:
        return []
    shown = f"demonstrations {100 * known['demonstrations']:.1f} %; elsewhere it is a guess"
    return [Row("Play data where the reward is known", f"{100 * known['play']:.1f} %", shown)]


def _ensemble_rows(figures: Mapping[str, Any]) -> list[Row]:
    if figures.get("ensemble_agreement") is None:
        return []
    meaning = "mean correlation of its members over play data; 1 is best"
    return [Row("Agreement of the ensemble", f"{figures['ensemble_agreement']:.3f}", meaning)]


def _metres(distance: float | None) -> str:
    return "plans end before" if distance is None else f"{distance:.3f} m"


def _interval(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def _page(
    figures: Mapping[str, Any],
    panels: Mapping[str, tuple[Caption, bytes]],
    environment: Environment | None,
) -> str:
    count = figures["num_demonstrations"]
    where = "recorded data"
    if environment is not None:
        where = f"{figures['environment']}, task {figures['task']}"
    plural = "" if count == 1 else "s"
    subtitle = (
        f"{where}: a reward learnt from {count} demonstration{plural} "
        f"with the {figures['objective']} objective"
    )
    known = "The true reward was used here only, never in learning."
    if environment is None:
        known = "No true reward is known; this is what data alone can tell."
    told = f"In brackets: 95% bootstrap intervals. {known}"
    warnings = "".join(
        f"<p>{html.escape(text)}</p>" for text in figures.get("warnings", {}).values()
    )
    settings = json.dumps(figures["sampling"] | figures["evaluation"], indent=1)
    return html_page(
        "report",
        subtitle,
        [
            section(
                "table",
                "How good is it?",
                told,
                html_table(("figure", "value", "meaning"), table(figures, environment)),
            ),
            *([section("warnings", "Warnings", "", warnings)] if warnings else []),
            *(
                section(name, *caption, html_picture(name, picture))
                for name, (caption, picture) in panels.items()
            ),
            section("settings", "Settings", "", f"<pre>{html.escape(settings)}</pre>"),
        ],
    )


def html_page(what: str, subtitle: str, sections: Sequence[str]) -> str:
    """A page of its own: nothing is loaded from elsewhere.

    Args:
        what: it is, for the title.
        subtitle: what it is about.
        sections: made by :func:`section`.
    """
    return _PAGE.substitute(
        what=html.escape(what), subtitle=html.escape(subtitle), sections="".join(sections)
    )


def section(identity: str, title: str, text: str, content: str) -> str:
    """A heading, a paragraph, and content that is HTML already."""
    paragraph = f"<p>{html.escape(text)}</p>" if text else ""
    return f'<section id="{identity}"><h2>{html.escape(title)}</h2>{paragraph}{content}</section>'


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; a cell between two pairs of asterisks is bold."""
    heads = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def html_picture(name: str, png: bytes) -> str:
    """The content of a PNG file, as part of the page."""
    data = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(name.replace("_", " "))}" src="data:image/png;base64,{data}">'


def _cell(text: str) -> str:
    if text.startswith("**") and text.endswith("**"):
        return f"<b>{html.escape(text[2:-2])}</b>"
    return html.escape(text)


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>trailward $what</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light; --ink: #1c2430; --soft: #5a6675; --line: #e3e7ec; --accent: #0b6e6e; }
body { margin: 0 auto; max-width: 66rem; padding: 2rem 1.25rem 4rem; color: var(--ink);
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { margin: 0; font-size: 1.9rem; letter-spacing: -.02em; }
h1 span { color: var(--accent); }
h2 { margin: 2.75rem 0 .25rem; font-size: 1.25rem; }
p { margin: .2rem 0 1rem; color: var(--soft); }
img { max-width: 100%; height: auto; display: block; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
td, th { padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); text-align: left; }
th { font-weight: 600; color: var(--soft); font-size: .85rem; }
#table td:nth-child(2) { font-weight: 600; white-space: nowrap; }
#warnings p { border-left: 3px solid #c77d0a; padding-left: .75rem; color: var(--ink); }
#table td:nth-child(3) { color: var(--soft); }
pre { background: #f6f8fa; padding: 1rem; border-radius: 6px; overflow-x: auto; font-size: .85rem; }
</style></head><body>
<header><h1><span>trailward</span> $what</h1><p>$subtitle</p></header>
$sections
</body></html>
""")
