"""What train and learn say of data before they begin, and flags of data."""

import json
from pathlib import Path

import numpy as np
import pytest

from trailward.cli.main import main
from trailward.learning.learnt_reward import LearntReward

TRAIN = (
    "--horizon=4", "--stride=2", "--denoiser.width=16", "--denoiser.depth=1",
    "--training.num-steps=1", "--training.batch-size=2", "--training.optimizer=adam",
)  # fmt: skip
LEARN = ("--learning.num-steps=1", "--learning.batch-size=2", "--sampling.num-steps=3")


def tracks(path: Path, step: float = 0.4, *, rows: int = 12, still: bool = False) -> Path:
    lines = ["id,time (s),x,z,vx"]
    walk = np.random.default_rng(0).standard_normal((3, rows, 3)).cumsum(1)
    for animal, places in enumerate(walk):
        for row, (x, z, v) in enumerate(places):
            lines.append(f"{animal},{row * step:.3f},{x:.3f},{z:.3f},{1 if still else v:.3f}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.usefixtures("without_type_checks")
def test_the_way_from_tracks_to_a_reward(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play, out = tracks(tmp_path / "play.csv", still=True), tmp_path / "d"
    assert main(["train", f"--play={play}", f"--out={out}", *TRAIN]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "warning: vx never changes: it carries no information" in told
    other = tracks(tmp_path / "fast.csv", 0.1)
    learn = ["learn", f"--diffuser={out}", f"--out={tmp_path}/r", *LEARN]
    assert main([*learn, f"--demonstrations={other}"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "0.1 s from row to row in the demonstrations, 0.4 s in the play data" in told
    assert "--resample 0.4" in told
    named = ("--reward.features", "z", "x")
    assert main([*learn, f"--demonstrations={other}", "--resample=0.4", *named]) == 0
    assert LearntReward.load(tmp_path / "r").model.settings.features == (1, 0)


@pytest.mark.usefixtures("without_type_checks")
def test_plans_longer_than_every_track_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play = tracks(tmp_path / "play.csv", rows=5)
    assert main(["train", f"--play={play}", f"--out={tmp_path}/d", *TRAIN]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "a plan reaches over 7 observations, the longest episode has 5" in told


def test_flags_of_all_data_stand_without_a_prefix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play = tracks(tmp_path / "play.csv")
    flags = ("--resample=0.2", "--gaps=keep", "--format=table")
    assert main(["inspect", str(play), *flags, f"--out={tmp_path}/o"]) == 0
    found = json.loads((tmp_path / "o/inspection.json").read_text())
    assert found["play"]["time_step"] == 0.2
    assert found["play"]["lengths"] == [22, 22, 22]
    capsys.readouterr()
    assert main(["inspect", str(play), "--format=unheard:Of"]) == 2
    assert "'unheard:Of' is not there" in " ".join(capsys.readouterr().err.split())


@pytest.mark.usefixtures("without_type_checks")
def test_a_tilde_is_the_home_folder_in_every_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    tracks(home / "play.csv")
    assert main(["train", "--play=~/play.csv", "--out=~/d", *TRAIN]) == 0
    learn = ["learn", "--diffuser=~/d", "--demonstrations", "~/play.csv", "--out", "~/r", *LEARN]
    assert main(learn) == 0
    assert LearntReward.load("~/r").spec.observation_dim == 3
    assert list(work.iterdir()) == []
