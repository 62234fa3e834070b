"""The learnt reward as one file that PyTorch runs by itself."""

import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from walking import ALONE, NAMED, additive, several_actions, staged, whole_plans

from refusals import refused
from trailward.checkpoint import CheckpointError
from trailward.cli.main import main
from trailward.errors import SettingsError
from trailward.interop import exported
from trailward.interop.exported import export_reward
from trailward.running.folders import FolderError

ALONE_IN_A_PROCESS = """
import json, sys
import numpy as np
import torch

told = {}
for name, num_parts in json.loads(sys.argv[1]).items():
    facts = {"trailward.json": ""}
    reward = torch.export.load(f"{name}.pt2", extra_files=facts).module()
    with np.load(f"{name}.npz") as inputs:
        batches = [[inputs[f"{part}-{n}"] for part in range(num_parts)] for n in (1, 2, 50)]
    found = [reward(*map(torch.from_numpy, batch)).tolist() for batch in batches]
    told[name] = found, json.loads(facts["trailward.json"])
assert not [name for name in sys.modules if name.split(".")[0] == "trailward"]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An additive reward, exported once."""
    return export_reward(additive(), tmp_path_factory.mktemp("exported") / "reward.pt2")


def test_a_process_without_trailward_gets_the_same_rewards(tmp_path: Path) -> None:
    folder, generator = tmp_path / "new", np.random.default_rng(0)
    rewards = {name: replace(make(), columns=NAMED) for name, make in ALONE.items()}
    num_parts = {name: 1 + learnt.sees_actions for name, learnt in rewards.items()}
    draw = lambda count: 4 * generator.standard_normal((count, 2), dtype=np.float32)
    batches = {
        name: {count: [draw(count) for _ in range(parts)] for count in (1, 2, 50)}
        for name, parts in num_parts.items()
    }
    for name, learnt in rewards.items():
        export_reward(learnt, folder / f"{name}.pt2")
        given = batches[name].items()
        arrays = {f"{part}-{n}": x for n, batch in given for part, x in enumerate(batch)}
        np.savez(folder / f"{name}.npz", **arrays)
    done = subprocess.run(
        [sys.executable, "-c", ALONE_IN_A_PROCESS, json.dumps(num_parts)],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name, (found, facts) in json.loads(done.stdout).items():
        for told, batch in zip(found, batches[name].values(), strict=True):
            np.testing.assert_allclose(told, rewards[name](*batch), atol=1e-5, rtol=1e-5)
        assert np.std(found[-1]) > 1e-3
        assert facts["columns"] == NAMED.to_config()
        assert facts["provenance"] == {"objective": "mse"}
        assert facts["sees_actions"] == rewards[name].sees_actions


def test_a_program_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        exported.StepReward, "forward", lambda self, observations: observations[:, 0]
    )
    with refused(CheckpointError, place="exported reward", remedy="folder") as caught:
        export_reward(additive(), tmp_path / "reward.pt2")
    assert caught.value.value > exported.TOLERANCE == 1e-5
    assert list(tmp_path.iterdir()) == []


def test_another_reward_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "reward.pt2"
    export_reward(additive(), path)
    export_reward(additive(), path)
    other = additive()
    with torch.no_grad():
        next(other.model.parameters()).add_(1.0)
    before = path.read_bytes()
    for content in (before, b"", b"PK", b"a text"):
        path.write_bytes(content)
        with refused(FolderError, place=str(path), value="not of this reward", remedy="--out"):
            export_reward(other, path)
        assert path.read_bytes() == content


def test_what_cannot_be_told_step_by_step_is_refused(tmp_path: Path) -> None:
    for learnt, words in [
        (whole_plans(), "'mlp' reward is of whole plans"),
        (staged(), "a staged reward remembers what came before"),
        (several_actions(), "the actions of 2 environment steps"),
    ]:
        with pytest.raises(TypeError, match=words):
            export_reward(learnt, tmp_path / "reward.pt2")
    path = tmp_path / "reward.onnx"
    with refused(SettingsError, place="path", value=str(path), remedy=".pt2"):
        export_reward(additive(), path)


def test_exporting_leaves_the_learnt_reward_as_it_was(tmp_path: Path) -> None:
    learnt = additive()
    export_reward(learnt, tmp_path / "reward.pt2")
    assert all(weight.requires_grad for weight in learnt.model.parameters())


def test_the_file_names_no_folder_of_the_machine(program: Path) -> None:
    with zipfile.ZipFile(program) as archive:
        for name in archive.namelist():
            assert b".py" not in archive.read(name), name


def test_the_command_line_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learnt = additive()
    learnt.save(tmp_path / "reward")
    out = tmp_path / "reward.pt2"
    assert main(["export", f"--reward={tmp_path}/reward", f"--out={out}"]) == 0
    assert "exported reward -> " in capsys.readouterr().err
    places = torch.randn(6, 2)
    found = torch.export.load(out).module()(places)
    np.testing.assert_allclose(found, learnt(places.numpy()), atol=1e-5)


def test_the_command_line_says_what_cannot_be_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    staged().save(tmp_path / "reward")
    assert main(["export", f"--reward={tmp_path}/reward", f"--out={tmp_path}/x.pt2"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "reward: a staged reward remembers what came before" in said
    assert main(["export", f"--reward={tmp_path}/nothing", f"--out={tmp_path}/x.pt2"]) == 2
    assert "holds no model" in capsys.readouterr().err
