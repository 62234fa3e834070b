"""What lines of results show: means over seeds with intervals, as JSON and as tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from trailward.judging.statistics import Estimate, bootstrap_mean
from trailward_benchmark.cell import Cell
from trailward_benchmark.methods import METHODS, NUM_BEST_OF

ENDS = ("unguided", "demonstrator")
"""The methods whose returns count as 0 and 1."""


Line = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A figure as tables show it.

    Attributes:
        figure: its name in results; ``return`` and ``return_best_of`` are put on the scale from
            the unguided planner to the demonstrator.
        title: its heading.
        digits: behind the point.
        better: ``higher`` or ``lower``, to mark the best; empty for costs.
    """

    figure: str
    title: str
    digits: int = 2
    better: str = ""


COLUMNS = (
    Column("return", "return", 2, "higher"),
    Column("return_best_of", f"return, best of {NUM_BEST_OF}", 2, "higher"),
    Column("erc", "ERC distance", 3, "lower"),
    Column("erc_windows", "ERC distance, windows", 3, "lower"),
    Column("step_pearson", "Pearson, steps", 2, "higher"),
    Column("epic", "EPIC distance", 3, "lower"),
    Column("learn_seconds", "learning, s", 0),
    Column("num_env_steps", "environment steps", 0),
    Column("peak_memory_mb", "peak memory, MB", 0),
)
SHORT = (COLUMNS[0], COLUMNS[2])


@dataclass(frozen=True)
class Comparison:
    """Results of a grid.

    Attributes:
        cells: the grid.
        results: lines by key, as :func:`trailward_benchmark.grid.read_results` gives them.
    """

    cells: Sequence[Cell]
    results: Mapping[str, Line]

    @property
    def missing(self) -> list[str]:
        """Names of cells without a result."""
        return [cell.name for cell in self.cells if cell.key not in self.results]

    @cached_property
    def methods(self) -> list[str]:
        """Methods in the grid's order, without the ends of the scale."""
        names = dict.fromkeys(cell.method for cell in self.cells)
        return [name for name in names if name not in ENDS]

    @cached_property
    def environments(self) -> dict[str, list[str]]:
        """Names of problems by environment."""
        found: dict[str, list[str]] = {}
        for cell in self.cells:
            names = found.setdefault(cell.problem.environment, [])
            if cell.problem.name not in names:
                names.append(cell.problem.name)
        return found

    def estimate(self, problems: Sequence[str], method: str, figure: str) -> Estimate | None:
        """Mean and 95% interval over seeds; of several problems, of their mean.

        Only seeds for which all these problems have the figure count; None if there is none.
        """
        key = (tuple(problems), method, figure)
        if key not in self._estimates:
            means = np.array(list(self._by_seed(problems, method, figure).values()))
            self._estimates[key] = bootstrap_mean(means) if len(means) else None
        return self._estimates[key]

    @cached_property
    def _estimates(self) -> dict[tuple[tuple[str, ...], str, str], Estimate | None]:
        return {}

    def to_json(self) -> dict[str, Any]:
        """Return and ERC by environment and by problem: mean, low, high, or None."""
        figures = [column.figure for column in SHORT]
        scopes = {
            "environments": self.environments,
            "problems": {n: [n] for names in self.environments.values() for n in names},
        }
        found = {
            scope: {
                name: {
                    method: {figure: self._triple(names, method, figure) for figure in figures}
                    for method in self.methods
                }
                for name, names in groups.items()
            }
            for scope, groups in scopes.items()
        }
        return {"missing_cells": len(self.missing), **found}

    def rows(self, problems: Sequence[str], columns: Sequence[Column] = COLUMNS) -> list[list[str]]:
        """A row a method: its label, then each figure; the best and its ties in bold.

        A tie is an interval that overlaps that of the best mean. Where there are fewer seeds than
        the grid has, the cell says how many.
        """
        texts = [[METHODS[method].label for method in self.methods]]
        whole = len({cell.seed for cell in self.cells})
        for column in columns:
            found = [self.estimate(problems, each, column.figure) for each in self.methods]
            marks = _best(found, column.better)
            told = [_text(each, column.digits, whole) for each in found]
            texts.append([f"**{each}**" if i in marks else each for i, each in enumerate(told)])
        return [list(row) for row in zip(*texts, strict=True)]

    def markdown(self, problems: Sequence[str], columns: Sequence[Column] = COLUMNS) -> str:
        """The same as a table in Markdown; columns that no method has are left out."""
        rows = self.rows(problems, columns)
        kept = [i for i in range(len(columns)) if any(row[i + 1] for row in rows)]
        head = ["method", *(columns[i].title for i in kept)]
        body = [[row[0], *(row[i + 1] for i in kept)] for row in rows]
        lines = [head, ["---"] * len(head), *body]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def ahead(
        self, problems: Sequence[str], of: str = "ours", *, by_seed: bool = False
    ) -> dict[str, list[str]]:
        """The labels of methods that are better than one, and in which columns.

        Better is a mean whose 95% interval lies wholly on the better side of the other's. Or, as
        methods share demonstrations and starts by seed, a figure that is better with every seed.

        Args:
            problems: of which; several count together.
            of: the method that is compared with.
            by_seed: the latter.
        """
        better = self._better_by_seed if by_seed else self._better_by_interval
        found: dict[str, list[str]] = {}
        for column in filter(lambda column: column.better, COLUMNS):
            for method in self.methods:
                if better(problems, method, of, column):
                    found.setdefault(METHODS[method].label, []).append(column.title)
        return found

    def _better_by_interval(
        self, problems: Sequence[str], method: str, of: str, column: Column
    ) -> bool:
        each, own = (self.estimate(problems, name, column.figure) for name in (method, of))
        if own is None or each is None or min(own.count, each.count) < 2:
            return False
        return each.low > own.high if column.better == "higher" else each.high < own.low

    def _better_by_seed(
        self, problems: Sequence[str], method: str, of: str, column: Column
    ) -> bool:
        each, own = (self._by_seed(problems, name, column.figure) for name in (method, of))
        seeds = {cell.seed for cell in self.cells}
        if len(seeds) < 2 or not own.keys() == each.keys() == seeds:
            return False
        sign = 1 if column.better == "higher" else -1
        return all(sign * (each[seed] - own[seed]) > 0 for seed in own)

    def _by_seed(self, problems: Sequence[str], method: str, figure: str) -> dict[int, float]:
        """The mean over problems, for each seed with which all of them have the figure."""
        seeds = sorted({cell.seed for cell in self.cells})
        found = {s: [self._value(each, method, s, figure) for each in problems] for s in seeds}
        return {
            seed: float(np.mean([value for value in values if value is not None]))
            for seed, values in found.items()
            if None not in values
        }

    def _triple(self, problems: Sequence[str], method: str, figure: str) -> list[float] | None:
        found = self.estimate(problems, method, figure)
        return None if found is None else [found.value, found.low, found.high]

    @cached_property
    def _keys(self) -> dict[tuple[str, str, int], str]:
        return {(cell.problem.name, cell.method, cell.seed): cell.key for cell in self.cells}

    def _figure(self, problem: str, method: str, seed: int, figure: str) -> float | None:
        line = self.results.get(self._keys.get((problem, method, seed), ""))
        value = None if line is None else line["figures"].get(figure)
        return None if value is None else float(value)

    def _value(self, problem: str, method: str, seed: int, figure: str) -> float | None:
        value = self._figure(problem, method, seed, figure)
        if value is None or not figure.startswith("return"):
            return value
        low, high = (self._figure(problem, end, seed, "return") for end in ENDS)
        if low is None or high is None or low == high:
            return None
        return (value - low) / (high - low)


def _best(found: Sequence[Estimate | None], better: str) -> set[int]:
    """Places of the best mean and of those that its interval does not tell from it.

    One seed has no interval, so it does not count.
    """
    known = {i: each for i, each in enumerate(found) if each is not None and each.count > 1}
    if not better or not known:
        return set()
    sign = 1 if better == "higher" else -1
    best = max(known.values(), key=lambda each: sign * each.value)
    return {i for i, e in known.items() if e.low <= best.high and best.low <= e.high}


def _text(estimate: Estimate | None, digits: int, num_seeds: int) -> str:
    if estimate is None:
        return ""
    mean, low, high = (
        f"{each:z,.{digits}f}" for each in (estimate.value, estimate.low, estimate.high)
    )
    if estimate.count == 1:
        return mean if num_seeds == 1 and digits == 0 else f"{mean} (1 seed)"
    if low == high and digits == 0 and estimate.count == num_seeds:
        return mean
    fewer = f", {estimate.count} seeds" if estimate.count < num_seeds else ""
    return f"{mean} ({low} to {high}{fewer})"
