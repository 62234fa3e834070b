"""The grid: cells run by themselves, nothing finished is lost, and a killed run goes on."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from refusals import refused
from trailward.cli.main import main
from trailward.errors import DataError, SettingsError
from trailward_benchmark import grid as grids
from trailward_benchmark.cell import Cell, Result
from trailward_benchmark.grid import RESULTS, Grid, read_results, run_grid
from trailward_benchmark.methods import METHODS, Outcome
from trailward_benchmark.problems import parse_problem
from trailward_benchmark.report import side_by_side
from trailward_benchmark.verbs import Benchmark

ENDS = ("unguided", "demonstrator")
TUNED = ("ours", "seabo", "bc_denoiser")


def quick(out: Path, **options: object) -> Benchmark:
    command = Benchmark(out, ("umaze/corner",), ENDS, seeds=(0,), num_jobs=2, quick=True)
    return replace(command, **options)


def told(lines: list[str]) -> grids.Say:
    return lines.append


def arguments(command: Benchmark, *more: str) -> list[str]:
    return [
        "benchmark", "--quick", f"--out={command.out}",
        "--problems", *command.problems,
        "--methods", *command.methods,
        "--seeds", *map(str, command.seeds),
        *more,
    ]  # fmt: skip


def finite(figures: dict[str, float | None]) -> bool:
    return all(np.isfinite(value) for value in figures.values() if value is not None)


def here(pending: Sequence[Cell], command: Benchmark) -> Iterator[grids.Done]:
    """Run cells one after another, without a process for each."""
    for cell in pending:
        yield cell, grids.attempted(cell, command.out)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grids, "in_processes", here)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, in_this_process: None) -> set[int]:
    """Cells take no time, and fail where their seed is among these."""
    seeds: set[int] = set()

    def run(cell: Cell, folder: Path) -> Result:
        if cell.seed in seeds:
            raise DataError("its data is damaged")
        return Result({"return": 250.0 + cell.seed}, {"path": np.arange(3)})

    monkeypatch.setattr(grids, "run_cell", run)
    return seeds


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_every_method_runs_in_a_tiny_grid_and_nothing_is_done_twice(tmp_path: Path) -> None:
    command = quick(tmp_path, methods=tuple(METHODS))
    assert main(arguments(command)) == 0
    found = read_results(tmp_path / RESULTS)
    by_method = {line["method"]: line["figures"] for line in found.values()}
    assert set(by_method) == set(METHODS)
    assert all(finite(figures) for figures in by_method.values())
    for method, figures in by_method.items():
        assert -600 < figures["return"] < 600, method
        assert figures["peak_memory_mb"] > 100
        assert (figures["num_env_steps"] > 0) == (method in ("gail", "airl"))
        if method not in (*ENDS, "bc", "bc_wide", "bc_denoiser"):
            assert 0 <= figures["erc"] <= 1
            assert (figures["epic"] is None) == (method == "otr")
    assert by_method["demonstrator"]["return"] > 200
    report = tmp_path / "report"
    assert {picture.name for picture in report.glob("*.png")} == {
        "umaze.png", "umaze-corner-rewards.png", "umaze-corner-behaviour.png",
    }  # fmt: skip
    assert "guided denoising score matching" in (report / "index.html").read_text()
    before = (tmp_path / RESULTS).read_bytes()
    lines: list[str] = []
    run_grid(Grid.of(command), command, told(lines))
    assert (tmp_path / RESULTS).read_bytes() == before
    assert lines == [f"{len(METHODS)} cells, {len(METHODS)} of them done before"]


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_methods_run_on_halfcheetah_too(tmp_path: Path) -> None:
    command = quick(tmp_path, problems=("halfcheetah/mixture",), methods=("demonstrator", *TUNED))
    run_grid(Grid.of(command), command, told([]))
    by_method = {
        line["method"]: line["figures"] for line in read_results(tmp_path / RESULTS).values()
    }
    assert by_method["demonstrator"]["return"] > 1000
    for method in ("ours", "seabo"):
        assert 0 <= by_method[method]["erc"] <= 1
    arrays = np.load(next(tmp_path.glob("cells/*/arrays.npz")), allow_pickle=False)
    assert arrays["velocities"].shape[0] == 2
    tuned = list(tmp_path.glob("cells/**/fine_tuned/training.safetensors"))
    assert len(tuned) == len(TUNED)


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_a_killed_run_keeps_what_is_done_and_goes_on(tmp_path: Path) -> None:
    """The one that is killed starts a process for each cell; the second goes on here."""
    command = quick(tmp_path)
    started = subprocess.Popen(
        [sys.executable, "-m", "trailward.cli.main", *arguments(command, "--num-jobs=1")],
        stderr=subprocess.DEVNULL,
    )
    results, waited = tmp_path / RESULTS, time.monotonic()
    while not (results.exists() and results.read_bytes().endswith(b"\n")):
        assert started.poll() is None
        assert time.monotonic() - waited < 300
        time.sleep(0.05)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    done = results.read_text().splitlines()
    assert 1 <= len(done) < 2
    results.write_text("\n".join(done) + '\n{"key": "cut o')
    grid = Grid.of(command)
    assert len(grid.pending) == 2 - len(done)
    run_grid(grid, command, told([]))
    assert grid.pending == []
    assert results.read_text().splitlines()[: len(done)] == done
    assert len(read_results(results)) == 2


@pytest.mark.slow
def test_a_terminated_run_ends_its_cells_too(tmp_path: Path) -> None:
    command = quick(tmp_path, methods=("ours",))
    started = subprocess.Popen(
        [sys.executable, "-m", "trailward.cli.main", *arguments(command, "--num-jobs=1")],
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    begun = time.monotonic()
    while not (tmp_path / "data").exists():  # a cell is at work
        assert started.poll() is None
        assert time.monotonic() - begun < 120
        time.sleep(0.05)
    started.terminate()
    _, said = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "run it again" in said
    while is_running(started.pid):
        assert time.monotonic() - begun < 240
        time.sleep(0.05)


def is_running(group: int) -> bool:
    """Whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_nothing_that_is_done_is_done_again(tmp_path: Path, broken: set[int]) -> None:
    command = quick(tmp_path, seeds=(0, 1))
    grid = Grid.of(command)
    run_grid(Grid(grid.cells[:3], tmp_path), command, told([]))
    before = (tmp_path / RESULTS).read_text().splitlines()
    assert len(before) == 3
    broken |= {0}  # were one of these run again, it would fail
    run_grid(grid, command, told([]))
    after = (tmp_path / RESULTS).read_text().splitlines()
    assert after[:3] == before
    assert json.loads(after[3])["figures"] == {"return": 251.0}


def test_a_cell_that_fails_leaves_the_others_and_is_tried_again(
    tmp_path: Path, broken: set[int]
) -> None:
    command = quick(tmp_path, methods=("demonstrator",), seeds=(0, 1))
    grid = Grid.of(command)
    broken |= {0}
    lines: list[str] = []
    names = ["umaze/corner/demonstrator/0"]
    with refused(place=str(tmp_path / "failures.log"), value=names):
        run_grid(grid, command, told(lines))
    assert [cell.seed for cell in grid.pending] == [0]
    failed, done = sorted(lines[1:], key=lambda line: "failed" not in line)
    assert failed.startswith("umaze/corner/demonstrator/0 failed: ")
    assert done.startswith("umaze/corner/demonstrator/1: return 2")
    assert "Traceback" in (tmp_path / "failures.log").read_text()
    broken.clear()
    run_grid(grid, command, told([]))
    assert grid.pending == []


@pytest.mark.usefixtures("in_this_process")
def test_what_cannot_be_gone_on_with_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []

    def learn(world: object, folder: Path) -> Outcome:
        found.append(folder.exists())
        return Outcome(seconds=1.0)

    method = replace(METHODS["ours"], run=learn)
    monkeypatch.setattr("trailward_benchmark.cell.METHODS", {**METHODS, "ours": method})
    monkeypatch.setattr("trailward_benchmark.cell.open_world", lambda *given: None)
    command = quick(tmp_path, methods=("ours",))
    grid = Grid.of(command)
    own = tmp_path / "cells" / grid.cells[0].key / "learnt"
    state = own / "reward/learning.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"begun by another version")
    (own / "left").touch()
    run_grid(grid, command, told([]))
    assert grid.pending == []
    assert not (own / "left").exists()
    assert found == [False]


def test_a_process_that_dies_is_a_failure_with_its_exit_code() -> None:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=os._exit, args=(3,))
    process.start()
    sender.close()
    assert "exit code 3" in str(grids.received(receiver, process))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_ray_cluster_loses_a_node_and_no_result(tmp_path: Path) -> None:
    command = quick(tmp_path, seeds=(0, 1, 2))
    code = f"""
import subprocess, sys, time
from pathlib import Path
from ray.cluster_utils import Cluster
import psutil  # of Ray's own
head = {{"num_cpus": 0, "include_dashboard": False}}
cluster = Cluster(initialize_head=True, head_node_args=head)
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
run = subprocess.Popen(
    [sys.executable, "-m", "trailward.cli.main", *{arguments(command)!r},
     "--ray", cluster.address, "--memory-per-cell-gb", "0.1"],
    stderr=subprocess.DEVNULL,
)
results = Path({str(tmp_path / RESULTS)!r})
lost = nodes[1].all_processes["raylet"][0].process.pid
def is_at_work():
    of_all = [process.info for process in psutil.process_iter(["ppid", "name"])]
    return {{"ppid": lost, "name": "ray::attempted"}} in of_all
while not (results.exists() and is_at_work()):
    assert run.poll() is None
    time.sleep(0.02)
done = len(results.read_text().splitlines())
cluster.remove_node(nodes[1], allow_graceful=False)
print(done, run.wait())
cluster.shutdown()
"""
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    done, status = map(int, printed.split()[-2:])
    assert status == 0
    assert 0 < done < len(Grid.of(command).cells)  # and one of the others ran on the lost node
    assert Grid.of(command).pending == []
    for line in read_results(tmp_path / RESULTS).values():
        assert finite(line["figures"])


def line_of(cell: Cell, **figures: float) -> str:
    return json.dumps({"key": cell.key, "figures": figures})


def some_cells() -> Sequence[Cell]:
    return Grid.of(quick(Path("unused"))).cells


def test_results_are_kept_and_a_cut_off_line_is_taken_away(tmp_path: Path) -> None:
    first, second = some_cells()
    (tmp_path / RESULTS).write_text(line_of(first, erc=0.5) + "\n" + '{"key": "ab')
    grid = Grid([first, second], tmp_path)
    grid.keep(second, Result({"erc": 0.25}, {"path": np.arange(3)}))
    lines = (tmp_path / RESULTS).read_text().splitlines()
    assert [json.loads(each)["figures"] for each in lines] == [{"erc": 0.5}, {"erc": 0.25}]
    assert np.load(grid.arrays_of(second), allow_pickle=False)["path"].tolist() == [0, 1, 2]


def test_methods_are_drawn_with_the_seed_that_has_most_of_them(tmp_path: Path) -> None:
    cells = Grid.of(quick(tmp_path, seeds=(0, 1))).cells
    grid, maze = Grid(cells, tmp_path), np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
    path = {"executed": np.zeros((1, 5, 2)), "maze": maze}
    grid.keep(cells[0], Result({}, path))
    assert side_by_side(grid, "umaze/corner", whole=True) == {}
    for cell in cells[2:]:
        grid.keep(cell, Result({}, path))
    (drawn,) = side_by_side(grid, "umaze/corner", whole=True).values()
    assert [ax.get_title() for ax in drawn.axes if ax.get_visible()] == [
        METHODS[name].label for name in ENDS
    ]


def test_of_two_lines_with_one_key_the_last_counts(tmp_path: Path) -> None:
    (cell, _), path = some_cells(), tmp_path / RESULTS
    path.write_text(line_of(cell, erc=0.5) + "\n" + line_of(cell, erc=0.25) + "\n")
    assert read_results(path)[cell.key]["figures"]["erc"] == 0.25


def test_unknown_names_are_refused_with_what_there_is() -> None:
    with refused(SettingsError, place="method", value="sac", remedy="unguided,"):
        Cell(parse_problem("umaze/corner"), "sac", 0)
    for name in ("umaze", "corner", "halfcheetah/medium", "medium/corner"):
        with refused(SettingsError, place="problem", value=name, remedy="umaze/TASK"):
            parse_problem(name)
    with refused(place="goal", value=(0, 0)):
        parse_problem("umaze/goal:0,0")
    with refused(SettingsError, place="problem", value="large/ordered:3,2-7,9") as told:
        parse_problem("large/ordered:3,2-7,9")
    assert "ordered" in str(told.value)


def test_that_no_node_of_a_cluster_has_room_for_a_cell_is_told() -> None:
    command = Benchmark(cpus_per_cell=2.0, memory_per_cell_gb=3.0)
    small = {"Alive": True, "Resources": {"CPU": 1.0, "memory": 8e9}}
    gone = {"Alive": False, "Resources": {"CPU": 8.0, "memory": 8e9}}
    told = grids.lack_of_room([small, gone], command)
    assert told is not None
    assert "takes 2 CPUs and 3 GB, which no node has (1 with 8.0 GB)" in told
    assert grids.lack_of_room([small, gone | {"Alive": True}], command) is None


def test_a_grid_of_nothing_and_no_jobs_are_refused(tmp_path: Path) -> None:
    for name in ("problems", "methods", "seeds"):
        with refused(SettingsError, place=name, value=(), remedy="at least one"):
            Grid.of(quick(tmp_path, **{name: ()}))
    with refused(SettingsError, place="num_jobs", value=0, remedy="at least 1"):
        Grid.of(quick(tmp_path, num_jobs=0))
    with refused(SettingsError, place="num_jobs", value=2, remedy="ray out"):
        Grid.of(quick(tmp_path, ray="auto"))


def test_a_cell_that_is_named_twice_is_run_once(tmp_path: Path) -> None:
    twice = quick(tmp_path, problems=("umaze/corner",) * 2, seeds=(1, 1, 0))
    assert [(cell.method, cell.seed) for cell in Grid.of(twice).cells] == [
        ("unguided", 1), ("demonstrator", 1), ("unguided", 0), ("demonstrator", 0),
    ]  # fmt: skip


def test_on_halfcheetah_diffusers_are_tuned_to_rewards_alone() -> None:
    for method in ("ours", "logit", "otr"):
        learning = Cell(parse_problem("halfcheetah/mixture"), method, 0).settings["method"]
        tuning = learning["learning"]["fine_tuning"]
        assert (tuning["num_steps"], tuning["demonstration_share"]) == (2000, 0.0), method
        assert learning["learning"]["selection"]["num_held_out"] == 0


def test_a_key_tells_cells_and_settings_apart_but_not_what_is_off() -> None:
    corner = parse_problem("umaze/corner")
    cells = [
        Cell(problem, method, seed)
        for problem in (corner, parse_problem("umaze/goal:3,1"), replace(corner, quick=True))
        for method in METHODS
        for seed in (0, 1)
    ]
    assert len({cell.key for cell in cells}) == len(cells)
    cell = Cell(corner, "ours", 0)
    settings = cell.settings
    more = {**settings, "method": {**settings["method"], "new_option": None, "other": 0.0}}
    changed = {**settings, "method": {**settings["method"], "num_best_of": 9}}
    keys = []
    for each in (more, changed):
        other = Cell(corner, "ours", 0)
        other.__dict__["settings"] = each
        keys.append(other.key)
    assert keys[0] == cell.key
    assert keys[1] != cell.key
