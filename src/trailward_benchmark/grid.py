"""The grid: which cells there are, which are done, and running the others here or on Ray."""

import contextlib
import json
import multiprocessing
import os
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from trailward.errors import DataError, SettingsError, above, at_least
from trailward.optional import import_extra
from trailward.progress import progress
from trailward.running.files import write_arrays
from trailward.running.interruption import end_with
from trailward_benchmark.cell import Cell, Result, run_cell
from trailward_benchmark.problems import parse_problem
from trailward_benchmark.verbs import Benchmark

RESULTS = "results.jsonl"
_RETRIES = 5
Say = Callable[[str], None]
Done = tuple[Cell, Result | str]
"""A cell with what it shows, or with what went wrong."""


def read_results(*files: Path) -> dict[str, dict[str, Any]]:
    """Lines of results by key; of several with one key, the last.

    A last line without an end was cut off in writing, and is left out.

    Raises:
        DataError: if another line is not a result.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in files:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):
            try:
                result = json.loads(line)
                found[result["key"]] = result
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                place, remedy = f"{path}, line {number}", "remove the line"
                msg = f"{place} is not a result ({error})"
                raise DataError(msg, place=place, value=line, remedy=remedy) from None
    return found


@dataclass(frozen=True)
class Grid:
    """Cells, and the folder that holds what is made of them.

    Attributes:
        cells: all of them.
        folder: gets ``results.jsonl``, the arrays of pictures, data, and what is learnt.
    """

    cells: Sequence[Cell]
    folder: Path

    @classmethod
    def of(cls, command: Benchmark) -> "Grid":
        """Seed by seed, so that an interrupted one has every method with the first seeds.

        Raises:
            SettingsError: if a problem or method is unknown, there is none, a seed is below 0, what
                a cell takes is not above 0, ``num_jobs`` is below 1, or is given with ``ray``.
            DataError: if a problem's maze has no such task.
        """
        for name in ("problems", "methods", "seeds"):
            if not getattr(command, name):
                raise SettingsError(
                    f"{name} is empty", place=name, value=(), remedy="name at least one"
                )
        if command.num_jobs is not None:
            at_least(1, command, "num_jobs")
            if command.ray:
                raise SettingsError(
                    f"num_jobs is {command.num_jobs}, but it is of this machine, and ray names a "
                    "cluster, where --cpus-per-cell says how many cells fit",
                    place="num_jobs",
                    value=command.num_jobs,
                    remedy="leave num_jobs or ray out",
                )
        if min(command.seeds) < 0:
            msg, remedy = f"seeds are {command.seeds}", "they must be at least 0"
            raise SettingsError(msg, place="seeds", value=command.seeds, remedy=remedy)
        above(0, command, "cpus_per_cell", "memory_per_cell_gb")
        problems = [parse_problem(name, quick=command.quick) for name in command.problems]
        cells = [
            Cell(problem, method, seed)
            for seed in dict.fromkeys(command.seeds)
            for problem in dict.fromkeys(problems)
            for method in dict.fromkeys(command.methods)
        ]
        return cls(cells, command.out)

    @property
    def pending(self) -> list[Cell]:
        """Cells without a result."""
        done = read_results(self.folder / RESULTS)
        return [cell for cell in self.cells if cell.key not in done]

    def keep(self, cell: Cell, result: Result) -> None:
        """Write a cell's result: its arrays first, so that a line means that all is there."""
        write_arrays(self.arrays_of(cell), result.arrays)
        facts = {"key": cell.key, "problem": cell.problem.name, "method": cell.method}
        line = json.dumps({**facts, "seed": cell.seed, "figures": dict(result.figures)})
        _append(self.folder / RESULTS, line)

    def arrays_of(self, cell: Cell) -> Path:
        """Where the arrays of a cell's pictures are."""
        return self.folder / "cells" / cell.key / "arrays.npz"


def run_grid(grid: Grid, command: Benchmark, say: Say) -> None:
    """Run the cells that have no result yet; one that fails leaves the others as they are.

    Args:
        grid: of the command.
        command: says where, and how many at a time.
        say: told of each cell that is done and of failures.

    Raises:
        DataError: when all else is done, if a cell failed; the message names it and the log.
    """
    pending, failed = grid.pending, []
    say(f"{len(grid.cells)} cells, {len(grid.cells) - len(pending)} of them done before")
    running = on_ray(pending, command, say) if command.ray else in_processes(pending, command)
    with progress("cells", len(grid.cells)) as report, contextlib.closing(running):
        count = len(grid.cells) - len(pending)
        report(count)
        for cell, found in running:
            if isinstance(found, Result):
                grid.keep(cell, found)
                count += 1
                report(count)
                say(f"{cell.name}: {_in_short(found)}")
            else:
                failed.append(cell)
                _log(grid, cell, found)
                say(f"{cell.name} failed: {found.strip().splitlines()[-1]}")
    if failed:
        names = [cell.name for cell in failed]
        told, log = ", ".join(names[:5] + ["..."] * (len(names) > 5)), grid.folder / "failures.log"
        raise DataError(
            f"{len(names)} of {len(grid.cells)} cells failed ({told}); what went wrong is in {log}",
            place=str(log),
            value=names,
            remedy="run again to try just these",
        )


def _in_short(result: Result) -> str:
    shown = {name: result.figures.get(name) for name in ("return", "erc", "learn_seconds")}
    return ", ".join(f"{name} {value:.4g}" for name, value in shown.items() if value is not None)


def _append(path: Path, line: str) -> None:
    """Add a line; what is left of one that was cut off in writing is taken away.

    Several grids may share a folder.
    """
    with FileLock(path.with_suffix(".lock")), path.open("ab+") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line.encode() + b"\n")


def _log(grid: Grid, cell: Cell, what: str) -> None:
    grid.folder.mkdir(parents=True, exist_ok=True)
    with (grid.folder / "failures.log").open("a", encoding="utf-8") as file:
        file.write(f"{cell.name} ({cell.key})\n{what}\n")


def in_processes(pending: Sequence[Cell], command: Benchmark) -> Generator[Done, None, None]:
    """Run each cell in a process of its own: its memory is its own, and so is its crash."""
    context = multiprocessing.get_context("spawn")
    cores = os.cpu_count() or 1
    num_jobs = command.num_jobs or cores
    waiting, running = list(reversed(pending)), dict[Connection, tuple[Cell, Any]]()
    try:
        while waiting or running:
            while waiting and len(running) < num_jobs:
                cell = waiting.pop()
                receiver, sender = context.Pipe(duplex=False)
                threads = max(1, cores // num_jobs)
                arguments = (sender, cell, command.out, threads, os.getpid())
                process = context.Process(target=_work, args=arguments, daemon=True)
                process.start()
                sender.close()
                running[receiver] = cell, process
            for receiver in wait(list(running)):
                if isinstance(receiver, Connection):
                    cell, process = running.pop(receiver)
                    yield cell, received(receiver, process)
    finally:
        for _, process in running.values():
            process.terminate()


def received(receiver: Connection, process: Any) -> Result | str:
    """What a process sent before it ended, or how it ended if it sent nothing."""
    with contextlib.closing(receiver):
        try:
            found = receiver.recv()
        except (EOFError, OSError):
            found = None
    process.join()
    return found or f"its process ended with exit code {process.exitcode} and no result"


def _work(sender: Connection, cell: Cell, folder: Path, num_threads: int, parent: int) -> None:
    end_with(parent)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(num_threads)
    with contextlib.closing(sender):
        sender.send(attempted(cell, folder))


def attempted(cell: Cell, folder: Path) -> Result | str:
    """A cell's result, or what it failed with: no failure may end the others."""
    try:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
            return run_cell(cell, folder)
    except Exception:  # noqa: BLE001 - whatever it is, it is this cell's alone
        return traceback.format_exc()


def lack_of_room(nodes: Sequence[Mapping[str, Any]], command: Benchmark) -> str | None:
    """What to tell if no node has room for a cell; None if one has."""
    rooms = [node["Resources"] for node in nodes if node["Alive"]]
    for room in rooms:
        memory = room.get("memory", 0.0) / 1e9
        if room.get("CPU", 0.0) >= command.cpus_per_cell and memory >= command.memory_per_cell_gb:
            return None
    found = [f"{r.get('CPU', 0):g} with {r.get('memory', 0) / 1e9:.1f} GB" for r in rooms]
    return (
        f"a cell takes {command.cpus_per_cell:g} CPUs and {command.memory_per_cell_gb:g} GB, which "
        f"no node has ({'; '.join(found)}): cells wait until one joins that has; or stop, and "
        "lower --cpus-per-cell or --memory-per-cell-gb"
    )


def on_ray(pending: Sequence[Cell], command: Benchmark, say: Say) -> Generator[Done, None, None]:
    """Run each cell as a Ray task, which Ray starts again elsewhere if its node is lost."""
    ray = import_extra("ray", "a cluster needs Ray: pip install 'trailward[ray]'")
    ray.init(address=command.ray, log_to_driver=False, ignore_reinit_error=True)
    try:
        lack = lack_of_room(ray.nodes(), command) if pending else None
        if lack:
            say(f"warning: {lack}")
        task = ray.remote(
            num_cpus=command.cpus_per_cell,
            memory=command.memory_per_cell_gb * 1e9,
            max_retries=_RETRIES,
            max_calls=1,  # a process of its own, for its memory is measured
        )(attempted)
        running = {task.remote(cell, command.out.resolve()): cell for cell in pending}
        while running:
            done, _ = ray.wait(list(running))
            for reference in done:
                cell = running.pop(reference)
                try:
                    yield cell, ray.get(reference)
                except ray.exceptions.RayError as error:
                    yield cell, str(error)
    finally:
        ray.shutdown()
