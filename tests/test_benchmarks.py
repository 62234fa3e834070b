"""Every benchmark command runs and ends with the promised JSON object."""

import functools
import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trailward_benchmark.grid import Grid
from trailward_benchmark.table import Comparison
from trailward_benchmark.verbs import Benchmark

ROOT = Path(__file__).parents[1]
Figures = dict[str, Any]


def umaze(figures: Figures) -> None:
    for key in ("erc", "learn_seconds", "return_fraction"):
        assert set(figures[key]) == {"mse", "mmd_gaussian", "mmd_matern"}
        assert all(isinstance(value, float) for value in figures[key].values())
    assert 0 <= figures["dynamics_error_16"] < 3
    assert figures["thesis_umaze"]["seconds_per_gradient_step"] > 0


def large_maze(figures: Figures) -> None:
    assert figures["best_cell_runs"] == 3
    assert 0 <= figures["wall_fraction"] < 0.5
    assert 0 < figures["erc_corner"] < 1
    for policy in ("", "_unguided", "_per_step", "_demonstrator"):
        assert 0 <= figures[f"ordered_task_success{policy}"] <= 1


def readings(figures: Figures) -> None:
    assert len(figures["tasks"]) == len(figures["shapes"]) == 6
    for found in figures["tasks"].values():
        assert 0 <= found["erc_best_reading"] <= found["erc_default"] <= 1
        assert set(found["erc_after_answers"]) == {"0", "5", "10", "20"}
        assert 0 < found["seconds_to_answer"] < 2


def kept(figures: Figures) -> None:
    for found in figures["avoid"].values():
        assert 0 <= found["through"] <= 1
        assert found["dip"] == 1
    for found in figures["speed"].values():
        assert 0 <= found["too_fast"] <= 1


def ensemble(figures: Figures) -> None:
    assert figures["members"] == 5
    assert figures["cost_ratio"] == figures["seconds_ensemble"] / figures["seconds_one"]
    assert 0 <= figures["erc_ensemble"] <= 1
    assert figures["agreement"] < 1


def halfcheetah(figures: Figures) -> None:
    for regime in ("mixture", "in_support", "out_of_support", "glued"):
        for count in ("5", "1"):
            found = figures["by_demonstrations"][count][regime]
            assert found["demonstrator_return"] > 1000
            assert 0 <= found["erc"] <= 1
            low, high = found["intervals"]["bc_return"]
            assert low <= found["bc_return"] <= high
            assert -1000 < found["plain_clone_return"] < found["demonstrator_return"]
    assert set(figures["erc_by_starts"]) == {"demonstrations", "play", "both"}
    assert figures["decision_ms_10_envs"] > 0


def adversarial(figures: Figures) -> None:
    assert figures["env_steps"] == 4096
    assert figures["random_return"] < -1000
    assert figures["demonstrator_return"] > -200
    for found in (figures["gail"], figures["airl"]):
        assert found["identical_weights"]
        assert found["library_return"] == pytest.approx(found["wrapper_return"], rel=1e-3)


def transfer(figures: Figures) -> None:
    assert set(figures) == {
        "umaze",
        "changed_maze",
        "halfcheetah",
        "heavy_halfcheetah",
        "fallen_halfcheetah",
    }
    for found in figures.values():
        assert {"rl_on_learnt", "rl_on_true", "bc", "old_planner", "random"} <= set(found)
        assert set(found["known"]) == set(found["learnt"]) <= set(found)
        assert all(0 <= share <= 1 for share in found["known"].values())
    quotient = figures["umaze"]["rl_on_learnt"] / figures["umaze"]["rl_on_true"]
    assert figures["umaze"]["rl_on_learnt_over_rl_on_true"] == pytest.approx(quotient)


def gymnasium_env(figures: Figures) -> None:
    for found in (figures["hopper"], figures["walker2d"]):
        assert {"return_fraction", "bc_return", "return", "demonstrator_return"} <= set(found)
        assert 0 <= found["erc_episodes"] == found["erc_mean"] <= 1
        assert len(found["by_seed"]["return"]) == len(figures["seeds"])


def real(figures: Figures) -> None:
    (found,) = figures.values()
    for key in ("learnt", "naive", "regression", "kept"):
        for part in ("", "_first_half"):
            assert 0 <= found[f"auc_{key}{part}"] <= 1
    mean, low, high = found["difference"]
    assert low <= mean <= high
    assert found["draws"] == 4
    assert found["peak_off_m"] < 5


def worlds(figures: Figures) -> None:
    assert figures.pop("seeds") == [0]
    assert set(figures) == {"thermostat", "store", "car"}
    for found in figures.values():
        assert found["bc_return_fraction"] < 1.2
        assert found["return_fraction"] < 1.2
        assert found["by_seed"]["return_fraction"] == [found["return_fraction"]]
        assert 0 < found["minutes"] < 5


CHECKS = (
    umaze,
    large_maze,
    readings,
    kept,
    ensemble,
    halfcheetah,
    adversarial,
    transfer,
    gymnasium_env,
    real,
    worlds,
)
"""By the name of the command: what its figures must be."""


def last_line(printed: str) -> Figures:
    return json.loads(printed.splitlines()[-1])


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Figures]:
    """Runs a command as from the shell, but in this process; gives what its last line says."""

    def command(name: str, *arguments: object) -> Figures:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(ROOT / f"benchmarks/{name}.py"), run_name="__main__")
        return last_line(capsys.readouterr().out)

    return command


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("rough_values")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_benchmark_prints_its_figures(
    check: Callable[[Figures], None], run: Callable[..., Figures], tmp_path: Path
) -> None:
    check(run(check.__name__, "--quick", "--out", tmp_path))


@pytest.mark.slow
def test_the_benchmark_of_much_data_prints_its_figures() -> None:
    """In a process of its own, whose memory it tells."""
    command = [sys.executable, ROOT / "benchmarks/large_data.py", "--quick"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    figures = last_line(printed)
    assert figures["num_steps"] == 100_000
    assert 0 < figures["seconds_to_first_step"] < figures["seconds_to_train"]
    assert 0 < figures["peak_memory_gb"] < 4


def test_the_layout_is_as_promised(run: Callable[..., Figures]) -> None:
    figures = run("house")
    assert figures["imports_that_run_up"] <= 1
    assert figures["public_names"] >= 30
    assert figures["public_names_undocumented"] == 0
    assert figures["modules_loaded_by_import"] == 0


@pytest.mark.slow
def test_the_import_and_the_first_page_of_help_load_next_to_nothing(
    run: Callable[..., Figures],
) -> None:
    figures = run("startup")
    assert figures["import"] <= 5
    assert figures["help"] <= 5
    assert figures["learn_help"] > figures["help"]


@functools.cache
def committed() -> Comparison:
    """What the project's lines of results show."""
    return runpy.run_path(str(ROOT / "benchmarks/table.py"))["compared"](
        Grid.of(Benchmark()).cells
    )[0]


def test_the_table_tells_what_is_missing_and_what_is_there(run: Callable[..., Figures]) -> None:
    found = run("table")
    assert set(found["environments"]) == {"umaze", "large", "halfcheetah"}
    assert 0 <= found["missing_cells"] <= 325
    assert 0 <= found["cells_of_earlier_settings"] <= 325
    for methods in found["environments"].values():
        assert {"ours", "bc", "gail", "airl"} <= set(methods)
        for figures in methods.values():
            assert set(figures) == {"return", "erc"}
            for low_to_high in filter(None, figures.values()):
                mean, low, high = low_to_high
                assert low <= mean <= high


def test_trailward_is_ahead_where_the_docs_say_so() -> None:
    for found in committed().to_json()["environments"].values():
        own = found["ours"]
        assert all(own["return"][1] > found[other]["return"][2] for other in ("bc", "gail", "airl"))
        assert all(own["erc"][2] < found[other]["erc"][1] for other in ("gail", "airl"))


def test_readme_and_docs_show_what_the_lines_of_results_say() -> None:
    table = runpy.run_path(str(ROOT / "benchmarks/table.py"))
    for page, shown in (("README.md", "_short"), ("docs/benchmark.md", "_whole")):
        text = (ROOT / page).read_text(encoding="utf-8")
        block = text.partition("<!-- benchmark: begin -->")[2]
        assert block.partition("<!-- benchmark: end -->")[0].strip() == table[shown](committed())


@pytest.mark.slow
@pytest.mark.parametrize(
    "verbs", [["train"], ["learn", "inspect", "collect"]], ids=lambda verbs: verbs[0]
)
def test_verbs_that_are_killed_end_as_if_they_had_not_been(verbs: list[str]) -> None:
    """In a process of its own, which forks: a few kills of each verb, a full disk, SIGTERM."""
    command = [sys.executable, ROOT / "benchmarks/reliability.py", "--quick", "--verbs", *verbs]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    figures = last_line(done.stdout)
    assert figures.pop("kills") >= 5
    both = min(2, len(verbs))
    assert figures.pop("full_disk") in (0, both)  # where a disk may be mounted
    assert figures.pop("two_at_once") == figures.pop("size_limit") == figures.pop("sigterm") == both
    assert not any(figures.values()), done.stdout
    assert done.returncode == 0


@pytest.mark.slow
def test_damaged_and_hostile_files_are_read_or_refused() -> None:
    """In a process of its own, which forks: files of every format, and all that is written."""
    count = 400
    command = [sys.executable, ROOT / "benchmarks/fuzz.py", "--inputs", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    figures = last_line(done.stdout)
    assert figures["inputs"] == count
    assert count / 2 < figures["refused"] < count
    for wrong in ("tracebacks", "hangs", "over_memory", "executed", "files_left"):
        assert figures[wrong] == 0, done.stdout
    assert done.returncode == 0
