"""A grid as one page: tables, and pictures of every method side by side."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from trailward.benchmark.grid import RESULTS, Grid, read_results
from trailward.benchmark.pictures import behaviour_figure, comparison_figure, reward_figure
from trailward.benchmark.table import COLUMNS, Comparison
from trailward.report import html_page, html_picture, html_table, section

_TOLD = (
    "Mean and 95% bootstrap interval over seeds. Return: 0 is the unguided planner, 1 the "
    "demonstrator. Bold: the best, and all whose interval overlaps with its."
)


def write_grid_report(grid: Grid) -> Path:
    """Draw what there is of a grid so far, into the folder ``report`` of its own.

    Returns:
        The page.
    """
    out = grid.folder / "report"
    out.mkdir(parents=True, exist_ok=True)
    comparison = Comparison(grid.cells, read_results(grid.folder / RESULTS))
    sections = []
    for environment, problems in comparison.environments.items():
        pictures = {environment: comparison_figure(comparison, problems)}
        pictures |= side_by_side(grid, problems)
        shown = "".join(html_picture(_saved(f, out, name)) for name, f in pictures.items())
        sections.append(section(environment, environment, _TOLD, shown))
        for problem in problems:
            head = ["method", *(column.title for column in COLUMNS)]
            table = html_table(head, comparison.rows([problem]))
            sections.append(section(_slug(problem), problem, "", table))
    count = len(grid.cells) - len(comparison.missing)
    subtitle = f"every method on every problem: {count} of {len(grid.cells)} cells"
    page = out / "index.html"
    page.write_text(html_page("benchmark", subtitle, sections), encoding="utf-8")
    return page


def side_by_side(grid: Grid, problems: Sequence[str]) -> dict[str, Figure]:
    """Rewards and behaviour of every method with the first seed, for each problem.

    Returns:
        Figures by name; none of what no cell has shown yet.
    """
    first = min(cell.seed for cell in grid.cells)
    found: dict[str, Figure | None] = {}
    for problem in problems:
        arrays = {
            cell.method: dict(np.load(grid.arrays_of(cell), allow_pickle=False))
            for cell in grid.cells
            if cell.problem.name == problem and cell.seed == first and grid.arrays_of(cell).exists()
        }
        found[f"{_slug(problem)}-rewards"] = reward_figure(arrays)
        found[f"{_slug(problem)}-behaviour"] = behaviour_figure(arrays)
    return {name: figure for name, figure in found.items() if figure is not None}


def _saved(figure: Figure, out: Path, name: str) -> Path:
    path = out / f"{name}.png"
    figure.savefig(path, dpi=90, bbox_inches="tight")
    return path


def _slug(problem: str) -> str:
    return problem.replace("/", "-").replace(":", "-").replace(",", "-")
