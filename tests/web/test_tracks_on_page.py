"""Tracks dropped on the page are fitted as ``trailward fit`` does, and can be taken away."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refusals import refused
from trailward.web import tracks
from trailward.web.boards import Board, new_board
from trailward.web.worker import Control


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Control, Board, list[Any]]:
    """A board on which those were picked that go to the upper right."""
    root = tmp_path_factory.mktemp("tracks")
    events: list[Any] = []
    control = Control(root, events.append)
    empty = {"kind": "tracks", "files": {}, "layout": {}, "picked": []}
    board = new_board(root, "tracks", empty)
    draw = np.random.default_rng(0)
    lines = ["id,time (s),x (m),y (m)"]
    for track in range(24):
        end = np.array([3.0, 2.0]) if track < 6 else draw.uniform(-3, 3, 2)
        begin = draw.uniform(-3, 3, 2)
        for step in range(16):
            x, y = begin + (end - begin) * min(1.0, step / 12) + draw.normal(0, 0.03, 2)
            lines.append(f"{track},{step},{x:.3f},{y:.3f}")
    (board.folder / "everybody.csv").write_text("\n".join(lines) + "\n")
    tracks.dropped(control, board.name, "everybody", "walks.csv")
    tracks.pick(control, board.name, list(range(6)))
    tracks.wall(control, board.name, [[0, 0, 0, 1]])
    quick = {"most_steps": 60, "num_plans": 4, "num_resamples": 4}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tracks, "OVERRIDES", quick)
        tracks.fit(control, board.name, minutes=0.05)
    return control, board, events


def test_the_map_is_highest_where_those_of_interest_go(fitted: tuple[Any, Board, Any]) -> None:
    _, board, events = fitted
    with np.load(board.folder / "fit" / "map.npz", allow_pickle=False) as arrays:
        assert np.abs(arrays["peak"] - [3, 2]).max() < 1
    shown = board.read("page.json")
    assert shown["map"]["extent"] == shown["unsure"]["extent"]
    assert shown["walls"] == [[[0, 0], [0, 1]]]
    assert np.array(shown["plans"]).shape[-1] == 2
    assert any("rank above" in sentence for sentence in shown["says"])
    stages = [event for event in events if event.get("stage") == "Fitting"]
    assert stages[-1]["says"][0] == stages[0]["says"][0]


def test_the_lines_of_python_do_the_same(
    fitted: tuple[Any, Board, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, board, _ = fitted
    lines = board.read("page.json")["python"]
    folder = board.folder
    (folder / "walks.csv").write_text((folder / "everybody.csv").read_text())
    monkeypatch.chdir(folder)
    asked: list[Any] = []
    monkeypatch.setattr("trailward.fit", lambda *given, **named: asked.extend([given, named]))
    exec(lines, {})
    (everybody, some, out), named = asked
    assert (len(everybody.episodes), len(some.episodes), out) == (24, 6, "fit")
    assert (named["minutes"], named["walls"].tolist()) == (0.05, [[[0, 0], [0, 1]]])


def test_everything_can_be_taken_away_and_nothing_else(fitted: tuple[Any, Board, Any]) -> None:
    control, board, _ = fitted
    for name in board.read("page.json")["downloads"]:
        file = tracks.download(control, board.name, name)["file"]
        assert (board.folder / file).stat().st_size > 100
    with zipfile.ZipFile(io.BytesIO((board.folder / "fit/reward.zip").read_bytes())) as archive:
        assert "reward/config.json" in archive.namelist()
    assert json.loads((board.folder / "fit/fit.json").read_text())["peak"]
    for name in ("../board.json", "board.json", "fit.log"):
        with refused(place="what", value=name):
            tracks.download(control, board.name, name)


def test_what_changes_the_data_makes_the_fit_void(tmp_path: Path) -> None:
    board = new_board(tmp_path, "tracks", {"files": {}, "layout": {}, "picked": []})
    (board.folder / "fit").mkdir()
    board.write("page.json", {})
    with refused(place="everybody", value=None, remedy="drop a file"):
        tracks.wall(Control(tmp_path, lambda message: None), board.name, [[0, 0, 1, 1]])
    assert not (board.folder / "fit").exists()
    assert board.read("page.json") is None
    with refused(place="walls", value=[[0, 0, 1]], remedy="both its ends"):
        tracks.wall(Control(tmp_path, lambda message: None), board.name, [[0, 0, 1]])
