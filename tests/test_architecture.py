"""Promises about the source itself."""

import re
from pathlib import Path

import pytest

import trailward

SOURCE = Path(trailward.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
DIFFERENTIABLE = [
    "diffusion/sampler.py",
    "diffusion/guide.py",
    "diffusion/conditioning.py",
    "data/normalizer.py",
    "diffusion/denoiser.py",
]
IN_PLACE_WRITE = r"^\s*\w+\[.*\] = |^\s*\w+(\[.*\])? [-+*/]= "
CONSTANT_WEIGHTS = "ratio.clamp(_LEAST_WEIGHT, _MOST_WEIGHT)"
"""Of the denoising loss: a function of the schedule alone, no plan passes through it."""


def names(files: list[Path]) -> list[str]:
    return [str(file.relative_to(SOURCE)) for file in files]


def lines_with(pattern: str, text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if re.search(pattern, line)]


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize(
    "pattern",
    [
        r"no_grad|inference_mode|set_grad_enabled",
        r"\.detach\(|\.data\b",
        r"\.[a-z]\w*_\(",
        IN_PLACE_WRITE,
        r"\.(clamp|clip)\(|torch\.(clamp|clip)\(",
    ],
    ids=["gradients switched off", "detached", "in-place method", "in-place write", "hard clamp"],
)
def test_gradients_pass_through_sampling_and_guidance(name: str, pattern: str) -> None:
    text = (SOURCE / name).read_text().replace(CONSTANT_WEIGHTS, "")
    assert lines_with(pattern, text) == []


def test_the_patterns_find_what_they_look_for() -> None:
    assert lines_with(r"\.[a-z]\w*_\(", "plan.mul_(2)\nself._step(3)") == ["plan.mul_(2)"]
    code = "plan[:, 0] = 1\na = b[0]\nnoisy += 1\na = b + (c == d)"
    assert lines_with(IN_PLACE_WRITE, code) == ["plan[:, 0] = 1", "noisy += 1"]


@pytest.mark.parametrize("file", FILES, ids=names(FILES))
def test_nothing_read_from_disk_can_execute(file: Path) -> None:
    pattern = (
        r"import pickle|pickle\.|torch\.(load|save)\(|(?<![\w.])(eval|exec)\(|allow_pickle=True"
    )
    assert lines_with(pattern, file.read_text()) == []


@pytest.mark.parametrize("file", FILES, ids=names(FILES))
def test_no_file_is_longer_than_400_lines(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 400


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "base", "misc", "core"}
    assert [path for path in SOURCE.rglob("*") if path.stem in vague] == []


def test_only_the_command_line_prints() -> None:
    printing = [f.name for f in FILES if lines_with(r"(?<![\w.])print\(", f.read_text())]
    assert printing == []
