"""Jobs of recorded tracks: read what was dropped, say what is in it, fit, and hand out results."""

import io
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trailward.data.dataset import Dataset, read_dataset
from trailward.data.entries import entry_names, place_entries
from trailward.data.episode import DataError, Episode
from trailward.data.formats.arrow import column_names
from trailward.data.formats.table import TableLayout
from trailward.data.plan import PlanSpec
from trailward.data.statistics import DataFacts, inspect_data
from trailward.diffusion.diffuser import DenoiserConfig
from trailward.diffusion.training import TrainingConfig, train_diffuser
from trailward.environments.page import levels_of
from trailward.judging.place_map import map_arrays, read_walls
from trailward.learning.config import LearningConfig, SelectionConfig
from trailward.learning.learn_reward import LearningState, learn_reward
from trailward.learning.learnt_reward import LearntReward
from trailward.rewards import AdditiveSettings, EnsembleSettings
from trailward.web.boards import Board
from trailward.web.worker import Control

ROLES = ("everybody", "some", "walls")
"""What a dropped file can be: all tracks, those of interest, and walls."""

_HORIZON, _TRAINING, _LEARNING = 10, 1200, 150
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
        given: dict[str, Any] = facts["layout"] if file.suffix in _TABLES else {}
        tuples: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in given.items()
        }
        layout = TableLayout(**tuples)
        try:
            return read_dataset(file, layout)
        except DataError as error:
            raise DataError(str(error).replace(str(file), facts["files"][role])) from None

    def both(self) -> tuple[Dataset, Dataset | None]:
        """Everybody, and those of interest: of a file of their own, or picked on the map.

        Raises:
            DataError: if nobody is there, or a file cannot be read.
        """
        everybody, facts = self.dataset("everybody"), self.facts
        if everybody is None:
            raise DataError("drop a file of tracks first")
        some = self.dataset("some")
        if some is None and facts["picked"]:
            kept = [everybody.episodes[index] for index in facts["picked"]]
            some = Dataset(kept, everybody.provenance, everybody.columns)
        return everybody, some


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
        raise DataError(f"tracks are numbered 0 to {count - 1}")
    mine.keep(mine.facts | {"picked": sorted(set(tracks))})
    return look(control, board)


def look(control: Control, board: str) -> dict[str, Any]:
    """What is in the files: columns, the first rows, tracks to draw, and findings in words."""
    mine = Tracks(control.root, board)
    everybody, some = mine.both()
    found = inspect_data(everybody, some)
    place = place_entries(everybody)
    if place is None or len(place) != 2:
        raise DataError("no two columns look like a place; say which columns are x and y")
    file = mine.file("everybody")
    names = entry_names(everybody)
    return mine.facts | {
        "columns": _columns(file),
        "preview": _preview(file),
        "names": list(names),
        "units": [everybody.columns.units.get(names[entry], "") for entry in place],
        "place": list(place),
        "tracks": _paths(everybody.episodes, place),
        "num_tracks": len(everybody.episodes),
        "some": [] if some is None else _paths(some.episodes, place),
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


def fit(control: Control, board: str) -> dict[str, Any]:
    """Learn what those of interest are after, beside everybody, and map it."""
    mine = Tracks(control.root, board)
    everybody, some = mine.both()
    place = place_entries(everybody)
    if some is None or place is None:
        raise DataError("say whose aims you want to know first")
    forget(mine)
    stride = max(1, round(float(np.median([len(e) for e in some.episodes])) / _HORIZON))
    size, acting = everybody.observation_dim, everybody.action_dim
    spec = PlanSpec(_HORIZON, stride, size, acting, with_actions=False)
    diffuser = train_diffuser(
        everybody,
        spec,
        denoiser_config=DenoiserConfig(width=48, depth=2),
        config=TrainingConfig(num_steps=_TRAINING, batch_size=64, optimizer="adam"),
        report=control.training("Learning how everybody moves", _TRAINING),
    )

    def on_step(state: LearningState) -> bool:
        control.progress("Learning what they seek", state.step, _LEARNING)
        return not control.stopped

    learnt = learn_reward(
        diffuser,
        some,
        play=everybody,
        objective="logit",
        reward=EnsembleSettings(member=AdditiveSettings(features=place), num_members=3),
        config=LearningConfig(
            num_steps=_LEARNING, selection=SelectionConfig(num_held_out=0, patience=1000)
        ),
        on_step=on_step,
    )
    learnt.save(mine.folder / "reward")
    diffuser.save(mine.folder / "diffuser")
    return _shown(mine, learnt, everybody, some, place)


def _shown(
    mine: Tracks, learnt: LearntReward, everybody: Dataset, some: Dataset, place: tuple[int, int]
) -> dict[str, Any]:
    walls = mine.file("walls")
    drawn = None if walls is None else read_walls(walls)
    arrays = map_arrays(learnt, everybody, some, place, drawn)
    np.savez_compressed(mine.folder / "map.npz", allow_pickle=False, **arrays)
    extent = arrays["map_extent"].tolist()
    means = [learnt.mean_reward(episode) for episode in everybody.episodes]
    own = [learnt.mean_reward(episode) for episode in some.episodes]
    above = float(np.mean([np.mean(each > np.array(means)) for each in own]))
    names = mine.facts["files"]
    shown = {
        "map": levels_of(arrays["reward_map"], extent),
        "unsure": levels_of(arrays["disagreement_map"], extent),
        "walls": [] if drawn is None else drawn.tolist(),
        "says": [
            f"on average, the reward puts those of interest above {above:.0%} of all tracks",
            "from recordings alone nobody can tell a slope from a place: the darkest spot may "
            "stand for a direction",
        ],
        "python": _PYTHON.format(
            everybody=names["everybody"], picked=mine.facts["picked"] or names.get("some", "")
        ),
    }
    mine.write("page.json", shown)
    return shown


_PYTHON = """from trailward import LearntReward, read_dataset

everybody = read_dataset("{everybody}")
some = {picked!r}
learnt = LearntReward.load("reward")
print([learnt.mean_reward(episode) for episode in everybody.episodes][:5])
"""


def download(control: Control, board: str, what: str) -> dict[str, Any]:
    """Make a file of the results; returns its name in the board's folder."""
    mine = Tracks(control.root, board)
    makers: Mapping[str, Callable[[Tracks], bytes]] = {
        "reward.zip": _zipped,
        "map.csv": _as_csv,
        "map.npz": _as_npz,
    }
    if what not in makers:
        raise DataError(f"there is no '{what}' to download")
    content = makers[what](mine)
    target = mine.folder / "downloads" / what
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(content)
    return {"file": f"downloads/{what}"}


def _zipped(board: Tracks) -> bytes:
    folder = board.folder / "reward"
    if not (folder / "config.json").exists():
        raise DataError("nothing is fitted yet")
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and not file.is_symlink():
                archive.write(file, Path("reward") / file.relative_to(folder))
    return made.getvalue()


def _map(board: Tracks) -> dict[str, np.ndarray]:
    file = board.folder / "map.npz"
    if not file.exists():
        raise DataError("nothing is fitted yet")
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _as_npz(board: Tracks) -> bytes:
    made = io.BytesIO()
    np.savez_compressed(made, allow_pickle=False, **_map(board))
    return made.getvalue()


def _as_csv(board: Tracks) -> bytes:
    arrays = _map(board)
    left, right, bottom, top = arrays["map_extent"]
    height, width = arrays["reward_map"].shape
    xs = left + (right - left) * (np.arange(width) + 0.5) / width
    ys = top - (top - bottom) * (np.arange(height) + 0.5) / height
    columns = {"reward": arrays["reward_map"]}
    if "disagreement_map" in arrays:
        columns["uncertainty"] = arrays["disagreement_map"]
    lines = ["x,y," + ",".join(columns)]
    for row, y in enumerate(ys):
        for column, x in enumerate(xs):
            values = [float(each[row, column]) for each in columns.values()]
            if np.isfinite(values[0]):
                lines.append(",".join(f"{value:.6g}" for value in (x, y, *values)))
    return ("\n".join(lines) + "\n").encode()


def forget(board: Tracks) -> None:
    """Remove what was fitted: the data has changed."""
    shutil.rmtree(board.folder / "reward", ignore_errors=True)
    for name in ("map.npz", "page.json"):
        (board.folder / name).unlink(missing_ok=True)
