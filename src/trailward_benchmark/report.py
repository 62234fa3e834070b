"""A grid as one page: tables, and pictures of every method side by side."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from trailward.report.page import html_page, html_picture, html_table, section
from trailward.running.files import png_of, write_file
from trailward_benchmark.grid import RESULTS, Grid, read_results
from trailward_benchmark.pictures import behaviour_figure, comparison_figure, reward_figure
from trailward_benchmark.table import COLUMNS, Comparison

_TOLD = (
    "Mean and 95% bootstrap interval over seeds. Return: 0 is the unguided planner, 1 the "
    "demonstrator. Bold: the best, and all whose interval overlaps with its."
)

_DRAWN = (
    "Below: the reward of every method, and what every policy did from the same starts; one seed."
)


def write_grid_report(grid: Grid) -> Path:
    """Draw what there is of a grid so far, into the folder ``report`` of its own.

    Returns:
        The page.
    """
    out = grid.folder / "report"
    comparison = Comparison(grid.cells, read_results(grid.folder / RESULTS))
    sections = []
    for environment, problems in comparison.environments.items():
        picture = _saved(comparison_figure(comparison, problems), out, environment)
        sections.append(section(environment, environment, _TOLD, picture))
        for problem in problems:
            head = ["method", *(column.title for column in COLUMNS)]
            shown = side_by_side(grid, problem).items()
            content = html_table(head, comparison.rows([problem]))
            content += "".join(_saved(figure, out, name) for name, figure in shown)
            sections.append(section(slug(problem), problem, _DRAWN, content))
    count = len(grid.cells) - len(comparison.missing)
    subtitle = f"every method on every problem: {count} of {len(grid.cells)} cells"
    return write_file(out / "index.html", html_page("benchmark", subtitle, sections))


def side_by_side(grid: Grid, problem: str, *, whole: bool = False) -> dict[str, Figure]:
    """Rewards and behaviour of every method on a problem, with the seed that has most of them.

    Args:
        grid: its folder has the arrays of the cells that ran there.
        problem: its name.
        whole: whether to draw only if some seed has all methods.

    Returns:
        Figures by name; none of what no cell has shown yet.
    """
    cells = [cell for cell in grid.cells if cell.problem.name == problem]
    seeds = dict.fromkeys(cell.seed for cell in cells)
    there = {
        seed: [cell for cell in cells if cell.seed == seed and grid.arrays_of(cell).exists()]
        for seed in seeds
    }
    most = max(there.values(), key=len)
    if whole and len(most) < len({cell.method for cell in cells}):
        return {}
    arrays = {cell.method: dict(np.load(grid.arrays_of(cell), allow_pickle=False)) for cell in most}
    drawn = {"rewards": reward_figure(arrays), "behaviour": behaviour_figure(arrays)}
    return {f"{slug(problem)}-{name}": found for name, found in drawn.items() if found is not None}


def _saved(figure: Figure, out: Path, name: str) -> str:
    """Write a figure as a file of its own; as part of the page."""
    picture = png_of(figure, dpi=90)
    write_file(out / f"{name}.png", picture)
    return html_picture(name, picture)


def slug(problem: str) -> str:
    """A problem's name in names of files."""
    return problem.replace("/", "-").replace(":", "-").replace(",", "-")
