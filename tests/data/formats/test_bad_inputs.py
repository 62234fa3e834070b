"""Every malformed input gets a clear error, exit code 2, and nothing is written."""

import runpy
from pathlib import Path
from typing import Any

import pytest

TABLE = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks/bad_inputs.py"))


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("case", TABLE["CASES"], ids=lambda case: case.title)
def test_a_malformed_input_is_refused_by_its_reader(case: Any, tmp_path: Path) -> None:
    verdict = TABLE["judge_reader"](case, tmp_path)
    assert verdict.missing == (), verdict.message
    assert verdict.left == ()


@pytest.mark.usefixtures("without_type_checks")
@pytest.mark.parametrize("verb", ["train", "learn"])
@pytest.mark.parametrize("case", TABLE["CASES"][::15], ids=lambda case: case.title)
def test_a_malformed_input_gets_a_clear_error_and_leaves_nothing(
    case: Any, verb: str, tmp_path: Path
) -> None:
    verdict = TABLE["judge"](case, tmp_path, verb)
    assert verdict.missing == (), verdict.message
    assert verdict.left == ()


def test_there_are_many_cases_and_each_asks_for_its_own_words() -> None:
    cases = TABLE["CASES"]
    assert len(cases) >= 25
    assert len({case.title for case in cases}) == len(cases)
    assert all(len(case.words) >= 2 for case in cases)


def test_a_sound_input_would_be_judged_unclear(tmp_path: Path) -> None:
    """The judge does see what a command does: this one trains, and leaves its files."""
    sound = TABLE["Case"](
        "nothing wrong",
        TABLE["parquet"](),
        (),
        ("--training.num-steps=1", "--training.batch-size=2", "--denoiser.width=16"),
    )
    verdict = TABLE["judge"](sound, tmp_path, "train")
    assert "exit code 0" in verdict.missing
    assert any(left.endswith("weights.safetensors") for left in verdict.left)


@pytest.mark.usefixtures("without_type_checks")
def test_sound_demonstrations_of_another_environment_leave_nothing_either(tmp_path: Path) -> None:
    other = TABLE["Case"]("two entries", TABLE["parquet"](), ())
    verdict = TABLE["judge"](other, tmp_path, "learn")
    assert "(2, 0) entries, the plans (4, 2)" in verdict.message
    assert verdict.left == ()
