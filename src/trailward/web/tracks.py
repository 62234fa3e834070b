"""Jobs of recorded tracks: read what was dropped, say what is in it, fit, and hand out results."""

import io
import shutil
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trailward.data.dataset import Dataset, read_dataset
from trailward.data.entries import entry_names, place_entries
from trailward.data.episode import Episode
from trailward.data.formats.arrow import column_names
from trailward.data.formats.table import TableLayout
from trailward.data.statistics import DataFacts, inspect_data
from trailward.environments.page import levels_of
from trailward.errors import DataError
from trailward.fitting.fit import fit as fit_recordings
from trailward.judging.config import EvaluationConfig
from trailward.judging.place_map import Walls, read_walls
from trailward.judging.without_truth import guided_plans
from trailward.running.files import write_file
from trailward.web.boards import Board
from trailward.web.worker import Control

ROLES = ("everybody", "some", "walls")
"""What a dropped file can be: all tracks, those of interest, and walls."""

OVERRIDES: dict[str, Any] = {}
"""Choices of a fit that are not left to the data; none but in tests."""

FIT, _ZIP = "fit", "reward.zip"
DOWNLOADS = (
    _ZIP, "map.png", "map.svg", "map.csv", "map.npz", "report.html", "methods.txt", "fit.json",
)  # fmt: skip
"""Files of a fit that people can take with them."""

_LEAST_MINUTES, _MOST_MINUTES, _PIXELS, _MOST_WALLS = 0.05, 30.0, 80, 500
_MOST_TRACKS, _MOST_POINTS, _PREVIEW, _TABLES = 400, 60, 6, (".csv", ".parquet")


@dataclass(frozen=True)
class Tracks(Board):
    """A board of tracks, with the files that were dropped on it."""

    def file(self, role: str) -> Path | None:
        """The file that was dropped as this; None if none was."""
        return next(iter(sorted(self.folder.glob(f"{role}.*"))), None)

    def dataset(self, role: str) -> Dataset | None:
        """The dataset in the file; errors call it by the name that it had.

        Raises:
            DataError: the reader's own.
        """
        file = self.file(role)
        if file is None:
            return None
        facts = self.facts
        layout = TableLayout(**_tuples(facts["layout"] if file.suffix in _TABLES else {}))
        try:
            return read_dataset(file, layout)
        except DataError as error:
            texts = (str(error), error.place, error.remedy)
            msg, place, remedy = (t.replace(str(file), facts["files"][role]) for t in texts)
            raise DataError(msg, place=place, value=error.value, remedy=remedy) from None

    def both(self) -> tuple[Dataset, Dataset | None]:
        """Everybody, and those of interest: of a file of their own, or picked on the map.

        Raises:
            DataError: if nobody is there, or a file cannot be read.
        """
        everybody, facts = self.dataset("everybody"), self.facts
        if everybody is None:
            remedy = "drop a file of them first"
            raise DataError("there are no tracks", place="everybody", remedy=remedy)
        some = self.dataset("some")
        if some is None and facts["picked"]:
            some = everybody.pick(facts["picked"])
        return everybody, some

    def walls(self) -> Walls | None:
        """Walls of a file, or drawn; None if there are none."""
        file = self.file("walls")
        return None if file is None else read_walls(file)


def _tuples(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}


def dropped(control: Control, board: str, role: str, name: str) -> dict[str, Any]:
    """A file has been written to the board's folder: read it, or take it away again.

    Args:
        control: of the job.
        board: whose it is.
        role: one of ``ROLES``.
        name: that it had.
    """
    mine = Tracks(control.root, board)
    before = facts = mine.facts
    forget(mine)
    facts = mine.keep(facts | {"files": facts["files"] | {role: name}})
    if role == "everybody":
        facts = mine.keep(facts | {"picked": [], "layout": {}})
    try:
        return look(control, board)
    except DataError as error:
        file = mine.file(role)
        columns = _columns(file)
        if role == "everybody" and columns:  # people say which column is what
            return facts | {"columns": columns, "preview": _preview(file), "why": str(error)}
        if file is not None:
            file.unlink()
        left = {each: called for each, called in before["files"].items() if each != role}
        mine.keep(before | {"files": left} | ({"picked": []} if role == "everybody" else {}))
        raise


def arrange(
    control: Control,
    board: str,
    episode: str | None = None,
    frame: str | None = None,
    observations: Sequence[str] = (),
) -> dict[str, Any]:
    """Say which column is what; what the other columns are, the reader tells."""
    mine = Tracks(control.root, board)
    before = mine.facts
    given = {"episode": episode, "frame": frame, "observations": list(observations)}
    forget(mine)
    mine.keep(before | {"layout": {k: v for k, v in given.items() if v}, "picked": []})
    try:
        return look(control, board)
    except DataError:
        mine.keep(before)
        raise


def pick(control: Control, board: str, tracks: Sequence[int]) -> dict[str, Any]:
    """Take these tracks, by number, as those of interest."""
    mine = Tracks(control.root, board)
    everybody, _ = mine.both()
    count = len(everybody.episodes)
    if not all(isinstance(index, int) and 0 <= index < count for index in tracks):
        raise DataError(f"tracks are numbered 0 to {count - 1}", place="tracks", value=tracks)
    forget(mine)
    mine.keep(mine.facts | {"picked": sorted(set(tracks))})
    return look(control, board)


def wall(control: Control, board: str, walls: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Take drawn walls, ``[x0, y0, x1, y1]`` each, in the place of those before."""
    mine = Tracks(control.root, board)
    try:
        found = np.array(walls, dtype=np.float64).reshape(-1, 4)
    except (TypeError, ValueError):
        msg, remedy = "a wall does not have four numbers", "give x and y of both its ends"
        raise DataError(msg, place="walls", value=walls, remedy=remedy) from None
    if len(found) > _MOST_WALLS or not np.isfinite(found).all():
        msg = f"walls are finite numbers, and at most {_MOST_WALLS} of them"
        raise DataError(msg, place="walls", value=walls)
    forget(mine)
    facts = mine.facts
    facts["files"] = {role: name for role, name in facts["files"].items() if role != "walls"}
    mine.keep(facts)
    file = mine.folder / "walls.csv"
    file.unlink(missing_ok=True)
    if len(found):
        rows = [",".join(f"{value:.6g}" for value in each) for each in found]
        write_file(file, "\n".join(["x0,y0,x1,y1", *rows, ""]))
    return look(control, board)


def look(control: Control, board: str) -> dict[str, Any]:
    """What is in the files: columns, the first rows, tracks to draw, and findings in words."""
    mine = Tracks(control.root, board)
    everybody, some = mine.both()
    walls = mine.walls()
    found = inspect_data(everybody, some)
    place, names = place_entries(everybody), entry_names(everybody)
    if place is None or len(place) != 2:
        msg, remedy = "no two columns look like a place", "say which columns are x and y"
        raise DataError(msg, place="columns", value=list(names), remedy=remedy)
    file = mine.file("everybody")
    return mine.facts | {
        "columns": _columns(file),
        "preview": _preview(file),
        "names": list(names),
        "units": [everybody.columns.units.get(names[entry], "") for entry in place],
        "place": list(place),
        "tracks": _paths(everybody.episodes, place),
        "num_tracks": len(everybody.episodes),
        "some": [] if some is None else _paths(some.episodes, place),
        "walls": [] if walls is None else walls.tolist(),
        "facts": _facts(found.play),
        "findings": list(found.findings),
    }


def _facts(found: DataFacts) -> dict[str, Any]:
    shortest, median, longest = found.lengths
    entries = [
        {
            "name": entry.name,
            "unit": entry.unit,
            "numbers": [entry.minimum, entry.low, entry.median, entry.high, entry.maximum],
        }
        for entry in found.observations
    ]
    return {
        "num_episodes": found.num_episodes,
        "num_steps": found.num_steps,
        "lengths": [shortest, median, longest],
        "entries": entries,
    }


def _paths(episodes: Sequence[Episode], place: Sequence[int]) -> list[dict[str, Any]]:
    """Tracks to draw, thinned, each with its number."""
    chosen = np.linspace(0, len(episodes) - 1, min(len(episodes), _MOST_TRACKS)).astype(int)
    found = []
    for index in chosen.tolist():
        rows = episodes[index].observations[:, list(place)]
        kept = np.linspace(0, len(rows) - 1, min(len(rows), _MOST_POINTS)).astype(int)
        found.append({"number": index, "path": rows[kept].round(4).tolist()})
    return found


def _columns(file: Path | None) -> list[str]:
    if file is None or file.suffix not in _TABLES:
        return []
    try:
        return list(column_names(file))
    except DataError:
        return []


def _preview(file: Path | None) -> list[list[str]]:
    """The first rows of a CSV file, as they stand there."""
    if file is None or file.suffix != ".csv":
        return []
    with file.open(encoding="utf-8", errors="replace") as lines:
        rows = [line.rstrip("\r\n")[:400] for _, line in zip(range(_PREVIEW), lines, strict=False)]
    return [row.split(",")[:12] for row in rows[1:]]


def fit(control: Control, board: str, minutes: float = 3.0) -> dict[str, Any]:
    """Learn what those of interest are after, beside everybody, and map it.

    What was stopped goes on where it was, as long as the recordings are the same.
    """
    mine = Tracks(control.root, board)
    everybody, some = mine.both()
    place = place_entries(everybody)
    if some is None or place is None:
        remedy = "say whose aims you want to know first"
        raise DataError("nobody is picked", place="some", remedy=remedy)
    if not _LEAST_MINUTES <= minutes <= _MOST_MINUTES:
        remedy = f"choose {_LEAST_MINUTES} to {_MOST_MINUTES}"
        raise DataError(place="minutes", value=minutes, remedy=remedy)
    began, told = time.monotonic(), []

    def say(text: str) -> None:
        if control.stopped:
            raise StoppedError
        told.append(text[:1].upper() + text[1:])
        spent = (time.monotonic() - began) / 60
        control.progress("Fitting", min(spent, minutes), minutes, says=told)

    folder, walls = mine.folder / FIT, mine.walls()
    try:
        fitted = fit_recordings(
            everybody,
            some,
            folder,
            minutes=minutes,
            walls=walls,
            overrides=OVERRIDES,
            say=say,
            pixels=_PIXELS,
        )
    except StoppedError:
        return {}
    recorded = fitted.prepared.recordings.dataset
    plans = guided_plans(fitted.reward, fitted.prepared.diffuser, recorded, EvaluationConfig())
    with np.load(folder / "map.npz", allow_pickle=False) as arrays:
        reward, unsure, extent = (arrays[name] for name in ("reward", "deviation", "extent"))
    shown = {
        "map": levels_of(reward, extent.tolist()),
        "unsure": levels_of(unsure, extent.tolist()),
        "walls": [] if walls is None else walls.tolist(),
        "plans": plans[..., list(place)].round(4).tolist(),
        "says": [each for each in told if not each.startswith("Report")],
        "python": _python(mine, minutes),
        "downloads": [name for name in DOWNLOADS if name == _ZIP or (folder / name).exists()],
    }
    mine.write("page.json", shown)
    return shown


class StoppedError(Exception):
    """Somebody stopped a fit."""


def _python(board: Tracks, minutes: float) -> str:
    """The lines that do the same."""
    facts, names = board.facts, board.facts["files"]
    layout = ", ".join(f"{name}={value!r}" for name, value in _tuples(facts["layout"]).items())
    given = f", TableLayout({layout})" if layout else ""
    lines = ["import trailward as tw", ""]
    if layout:
        lines[1:1] = ["from trailward.data.formats.table import TableLayout"]
    if board.file("walls") is not None:
        lines[1:1] = ["from trailward.judging.place_map import read_walls"]
    lines.append(f'everybody = tw.read_dataset("{names["everybody"]}"{given})')
    if "some" in names:
        lines.append(f'some = tw.read_dataset("{names["some"]}"{given})')
    else:
        lines.append(f"some = everybody.pick({facts['picked']})")
    walls = ', walls=read_walls("walls.csv")' if board.file("walls") is not None else ""
    lines.append(f'fitted = tw.fit(everybody, some, "fit", minutes={minutes:g}{walls}, say=print)')
    return "\n".join(lines) + "\n"


def download(control: Control, board: str, what: str) -> dict[str, Any]:
    """A file of the results; returns its name in the board's folder."""
    mine = Tracks(control.root, board)
    if what not in DOWNLOADS:
        raise DataError(f"there is no '{what[:40]}' to download", place="what", value=what)
    folder = mine.folder / FIT
    if what == _ZIP and (folder / "reward" / "config.json").exists():
        write_file(folder / _ZIP, _zipped(folder / "reward"))
    if not (folder / what).is_file():
        raise DataError("nothing is fitted yet", place=f"{FIT}/{what}")
    return {"file": f"{FIT}/{what}"}


def _zipped(folder: Path) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and not file.is_symlink():
                archive.write(file, Path(folder.name) / file.relative_to(folder))
    return made.getvalue()


def forget(board: Tracks) -> None:
    """Remove what was fitted: the data has changed."""
    shutil.rmtree(board.folder / FIT, ignore_errors=True)
    (board.folder / "page.json").unlink(missing_ok=True)
