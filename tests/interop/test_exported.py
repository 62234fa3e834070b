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

from trailward.checkpoint import CheckpointError
from trailward.cli.main import main
from trailward.interop import exported
from trailward.interop.exported import export_reward

ALONE_IN_A_PROCESS = """
import json, sys
import numpy as np
import torch

facts = {"trailward.json": ""}
reward = torch.export.load(sys.argv[1], extra_files=facts).module()
with np.load(sys.argv[2]) as inputs:
    batches = [[inputs[f"{part}-{n}"] for part in range(int(sys.argv[3]))] for n in (1, 2, 50)]
found = [reward(*map(torch.from_numpy, batch)).tolist() for batch in batches]
assert not [name for name in sys.modules if name.split(".")[0] == "trailward"]
print(json.dumps([found, json.loads(facts["trailward.json"])]))
"""


@pytest.mark.parametrize("name", ALONE)
def test_a_process_without_trailward_gets_the_same_rewards(name: str, tmp_path: Path) -> None:
    learnt = replace(ALONE[name](), columns=NAMED)
    path = export_reward(learnt, tmp_path / "new/reward.pt2")
    num_parts, generator = 1 + learnt.config.sees_actions, np.random.default_rng(0)
    draw = lambda count: 4 * generator.standard_normal((count, 2), dtype=np.float32)
    batches = {count: [draw(count) for _ in range(num_parts)] for count in (1, 2, 50)}
    arrays = {f"{part}-{n}": x for n, batch in batches.items() for part, x in enumerate(batch)}
    np.savez(tmp_path / "inputs.npz", **arrays)
    arguments = [str(path), str(tmp_path / "inputs.npz"), str(num_parts)]
    done = subprocess.run(
        [sys.executable, "-c", ALONE_IN_A_PROCESS, *arguments],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, facts = json.loads(done.stdout)
    for rewards, batch in zip(found, batches.values(), strict=True):
        np.testing.assert_allclose(rewards, learnt(*batch), atol=1e-5, rtol=1e-5)
    assert np.std(found[-1]) > 1e-3
    assert facts["columns"] == NAMED.to_config()
    assert facts["provenance"] == {"objective": "mse"}
    assert facts["sees_actions"] == learnt.config.sees_actions


def test_a_program_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        exported.StepReward, "forward", lambda self, observations: observations[:, 0]
    )
    with pytest.raises(CheckpointError, match=r"differs from the learnt one by .* more than 1e-05"):
        export_reward(additive(), tmp_path / "reward.pt2")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_told_step_by_step_is_refused(tmp_path: Path) -> None:
    for learnt, words in [
        (whole_plans(), "'mlp' reward is of whole plans"),
        (staged(), "a staged reward remembers what came before"),
        (several_actions(), "the actions of 2 environment steps"),
    ]:
        with pytest.raises(TypeError, match=words):
            export_reward(learnt, tmp_path / "reward.pt2")
    with pytest.raises(ValueError, match=r"reward\.onnx; .* end in \.pt2"):
        export_reward(additive(), tmp_path / "reward.onnx")


def test_exporting_leaves_the_learnt_reward_as_it_was(tmp_path: Path) -> None:
    learnt = additive()
    export_reward(learnt, tmp_path / "reward.pt2")
    assert all(weight.requires_grad for weight in learnt.model.parameters())


def test_the_file_names_no_folder_of_the_machine(tmp_path: Path) -> None:
    with zipfile.ZipFile(export_reward(additive(), tmp_path / "reward.pt2")) as archive:
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
