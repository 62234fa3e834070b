"""Promises about the source itself."""

import ast
import re
from pathlib import Path

import pytest

import trailward
import trailward_benchmark

SOURCE = Path(trailward.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
BENCHMARK = Path(trailward_benchmark.__file__).parent
DIFFERENTIABLE = [
    "diffusion/sampler.py",
    "diffusion/guide.py",
    "diffusion/conditioning.py",
    "data/normalizer.py",
    "diffusion/denoiser.py",
]
IN_PLACE_WRITE = r"^\s*\w+\[.*\] = |^\s*\w+(\[.*\])? [-+*/]= "
EXECUTES = r"import pickle|pickle\.|torch\.(load|save)\(|(?<![\w.])(eval|exec)\(|allow_pickle=True"
CONSTANT_WEIGHTS = "ratio.clamp(_LEAST_WEIGHT, _MOST_WEIGHT)"
"""Of the denoising loss: a function of the schedule alone, no plan passes through it."""

MOST_LINES = 60
"""Of code in a function: blank lines, comments and docstrings do not count."""


def lines_with(pattern: str, text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if re.search(pattern, line)]


def offenders(pattern: str) -> list[str]:
    """Lines of the package that match, each with its file."""
    return [
        f"{file.relative_to(SOURCE)}: {line}"
        for file in FILES
        for line in lines_with(pattern, file.read_text())
    ]


def lengths(text: str) -> dict[str, int]:
    """Lines of code of each function; a function inside another counts in both."""
    return {
        node.name: len(lines_of_code(node, text.splitlines()))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def lines_of_code(function: ast.AST, lines: list[str]) -> set[int]:
    documented = {
        number
        for node in ast.walk(function)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node.value.value, str)
        for number in range(node.lineno, node.end_lineno + 1)
    }
    return {
        number
        for number in range(function.lineno, function.end_lineno + 1)
        if lines[number - 1].strip() and not lines[number - 1].lstrip().startswith("#")
    } - documented


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize(
    "pattern",
    [
        r"no_grad|inference_mode|set_grad_enabled",
        r"\.detach\(|(?<!trailward)\.data\b",
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
    code = "network.eval()\nmodel = torch.load(path)\neval(text)"
    assert lines_with(EXECUTES, code) == ["model = torch.load(path)", "eval(text)"]


def test_nothing_read_from_disk_can_execute() -> None:
    assert offenders(EXECUTES) == []


def test_only_the_command_line_prints() -> None:
    printing = [
        f"{file.relative_to(SOURCE)}: {node.lineno}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]
    assert printing == []


def test_functions_fit_on_a_screen() -> None:
    found = {
        f"{file.relative_to(SOURCE.parent)}: {name}": count
        for file in [*FILES, *sorted(BENCHMARK.rglob("*.py"))]
        for name, count in lengths(file.read_text()).items()
    }
    assert len(found) > 500
    assert {name: count for name, count in found.items() if count > MOST_LINES} == {}


def test_lines_of_code_are_counted_without_words_about_them() -> None:
    code = 'def f(\n    x,\n):\n    """Two\n    lines."""\n\n    # why\n    return x  # x\n'
    assert lengths(code) == {"f": 4}


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = {"utils", "util", "common", "helpers", "helper", "base", "misc", "core"}
    assert [path for path in SOURCE.rglob("*") if path.stem in vague] == []


REFUSALS = (
    "ValueError|DataError|SettingsError|CheckpointError|FolderError|UnknownPartError|NoValueError"
)


def test_tests_look_at_the_fields_of_an_error_not_at_its_sentence() -> None:
    """``refused`` names place, value and remedy (``tests/refusals.py``)."""
    pattern = re.compile(rf"raises\(\s*(?:{REFUSALS}),\s*match=")
    tests = Path(__file__).parent.rglob("*.py")
    assert [str(file) for file in tests if pattern.search(file.read_text())] == []
