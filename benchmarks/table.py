"""The comparison of all methods, from the lines of results in ``benchmarks/results.jsonl``.

Prints the tables, and as the last line one JSON object: ``missing_cells`` of the full grid, and by
environment (and by problem) the return and ERC distance of every method, each as mean, low and high
end of the 95% interval over seeds. With ``--write`` it also puts the tables into README.md and
docs/benchmark.md, and the pictures into docs/images. ``--add FOLDER`` takes in what
``trailward benchmark --out FOLDER`` has done, whatever part of the grid that is; methods are drawn
side by side where the folder has all of them with one seed.

    .venv/bin/python benchmarks/table.py
    .venv/bin/python benchmarks/table.py --add runs/benchmark --write
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from trailward_benchmark.cell import Cell
from trailward_benchmark.grid import RESULTS, Grid, read_results
from trailward_benchmark.pictures import comparison_figure
from trailward_benchmark.report import side_by_side, slug
from trailward_benchmark.table import COLUMNS, SHORT, Comparison
from trailward_benchmark.verbs import Benchmark

ROOT = Path(__file__).parents[1]
LINES = ROOT / "benchmarks" / RESULTS
IMAGES = ROOT / "docs/images"
TITLES = {"umaze": "U-Maze", "large": "Large Maze", "halfcheetah": "HalfCheetah"}
WIDEST = 150


@dataclass(frozen=True)
class Command:
    """Tables of the benchmark."""

    add: tuple[Path, ...] = ()
    """Folders of grids whose results are added to the project's."""
    write: bool = False
    """Whether README and docs are brought up to date."""


def main(command: Command) -> None:
    """Say what the results show."""
    grid = Grid.of(Benchmark())
    for folder in command.add:
        _add(grid, folder / RESULTS)
    comparison, earlier = compared(grid.cells)
    console = Console(width=WIDEST)
    for problems in comparison.environments.values():
        for problem in problems:
            console.print(_printed(problem, comparison))
            console.print(_ahead(comparison, problem))
    if command.write:
        for name, picture in _pictures(comparison, command.add).items():
            picture.savefig(IMAGES / f"benchmark-{name}.png", dpi=70, bbox_inches="tight")
        _write(ROOT / "README.md", _short(comparison))
        _write(ROOT / "docs/benchmark.md", _whole(comparison))
    if comparison.missing:
        console.print(f"{len(comparison.missing)} of {len(grid.cells)} cells are missing, such as")
        console.print(*comparison.missing[:5], sep="\n")
    if earlier:
        console.print(f"{len(earlier)} cells are of earlier settings, such as {earlier[0]}.")
    console.print(f"Learning took {_learning_hours(comparison):.1f} hours in all.")
    print(json.dumps({**comparison.to_json(), "cells_of_earlier_settings": len(earlier)}))


def compared(cells: Sequence[Cell]) -> tuple[Comparison, list[str]]:
    """The project's results, and the names of cells whose result is of earlier settings.

    Those stand in, until they are run again, where there is a result of the same problem, method
    and seed.
    """
    lines = read_results(LINES)
    places = {_place(line): line for line in lines.values()}
    known = {cell: (cell.problem.name, cell.method, cell.seed) for cell in cells}
    earlier = [cell for cell in cells if cell.key not in lines and known[cell] in places]
    stand_ins = {cell.key: places[known[cell]] for cell in earlier}
    return Comparison(cells, lines | stand_ins), [cell.name for cell in earlier]


def _place(line: Mapping[str, Any]) -> tuple[str, str, int]:
    return line["problem"], line["method"], line["seed"]


def _add(grid: Grid, results: Path) -> None:
    """Take in the lines that belong to the grid as it is now; others are left out."""
    if not results.exists():
        raise SystemExit(f"{results} does not exist; name the --out folder of trailward benchmark")
    old, new = read_results(LINES), read_results(results)
    found = {_place(line): line for line in old.values()}
    found |= {_place(new[cell.key]): new[cell.key] for cell in grid.cells if cell.key in new}
    places = [(cell.problem.name, cell.method, cell.seed) for cell in grid.cells]
    wanted = [found[place] for place in places if place in found]
    LINES.write_text("".join(json.dumps(line) + "\n" for line in wanted), encoding="utf-8")


def _learning_hours(comparison: Comparison) -> float:
    found = (comparison.results.get(cell.key) for cell in comparison.cells)
    return sum(line["figures"]["learn_seconds"] for line in found if line) / 3600


def _printed(problem: str, comparison: Comparison) -> Table:
    table = Table("method", *(column.title for column in COLUMNS), title=problem)
    for row in comparison.rows([problem]):
        table.add_row(*(f"[bold]{cell[2:-2]}" if cell[:2] == "**" else cell for cell in row))
    return table


def _short(comparison: Comparison) -> str:
    """Return and ERC distance by environment, in one table."""
    names = [n for n, problems in comparison.environments.items() if _shows(comparison, problems)]
    blocks = [comparison.rows(comparison.environments[name], SHORT) for name in names]
    head = [f"{TITLES[n]}: {c.title}" for n in names for c in SHORT]
    lines = [["method", *head], ["---"] * (len(head) + 1)]
    for rows in zip(*blocks, strict=True):
        lines.append([rows[0][0], *(cell for row in rows for cell in row[1:])])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _whole(comparison: Comparison) -> str:
    parts = []
    for environment, problems in comparison.environments.items():
        parts.append(f"### {TITLES[environment]}")
        for problem in problems:
            if _shows(comparison, [problem]):
                parts += [f"`{problem}`:", comparison.markdown([problem])]
                parts.append(_ahead(comparison, problem))
        shown = {environment: f"{TITLES[environment]}: every method"}
        for problem in problems:
            shown |= _named(problem)
        for name, words in shown.items():
            if (IMAGES / f"benchmark-{name}.png").exists():
                parts.append(f"![{words}](images/benchmark-{name}.png)")
    if comparison.missing:
        parts.append(f"{len(comparison.missing)} of {len(comparison.cells)} cells are missing.")
    return "\n\n".join(parts)


def _ahead(comparison: Comparison, problem: str) -> str:
    """Who is better than ours there, beyond the intervals; and who else is with every seed."""
    apart, always = (comparison.ahead([problem], by_seed=each) for each in (False, True))
    further = {
        label: [title for title in titles if title not in apart.get(label, [])]
        for label, titles in always.items()
    }
    told = f"Ahead of trailward with intervals apart: {_listed(apart) or 'none'}."
    also = _listed({label: titles for label, titles in further.items() if titles})
    return f"{told} With overlapping intervals, but with every seed: {also}." if also else told


def _listed(found: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{label} ({'; '.join(titles)})" for label, titles in found.items())


def _shows(comparison: Comparison, problems: Sequence[str]) -> bool:
    """Whether any method has a return to show."""
    found = (comparison.estimate(problems, method, "return") for method in comparison.methods)
    return any(each is not None for each in found)


def _named(problem: str) -> dict[str, str]:
    """Pictures of a problem, and what they show."""
    return {
        f"{slug(problem)}-rewards": f"{problem}: the rewards that methods learnt",
        f"{slug(problem)}-behaviour": f"{problem}: how methods behave",
    }


def _pictures(comparison: Comparison, folders: Sequence[Path]) -> dict[str, Figure]:
    found = {
        name: comparison_figure(comparison, problems)
        for name, problems in comparison.environments.items()
        if _shows(comparison, problems)
    }
    for folder in folders:
        grid = Grid(comparison.cells, folder)
        for problems in comparison.environments.values():
            for problem in problems:
                found |= side_by_side(grid, problem, whole=True)
    return found


def _write(page: Path, text: str) -> None:
    """Put text between the page's two marks."""
    begin, end = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Command))
