"""Means over seeds, the scale of returns, ties, and the tables made of them."""

import pytest

from trailward_benchmark.cell import Cell
from trailward_benchmark.problems import parse_problem
from trailward_benchmark.table import COLUMNS, SHORT, Comparison

PROBLEMS = ("umaze/corner", "umaze/goal:3,1")
METHODS = ("unguided", "demonstrator", "ours", "bc", "gail")


def comparison(figures: dict[tuple[str, str, int], dict[str, float | None]]) -> Comparison:
    cells = [
        Cell(parse_problem(problem), method, seed)
        for seed in (0, 1)
        for problem in PROBLEMS
        for method in METHODS
    ]
    results = {
        cell.key: {"figures": figures[place]}
        for cell in cells
        if (place := (cell.problem.name, cell.method, cell.seed)) in figures
    }
    return Comparison(cells, results)


def of_corner(**returns: tuple[float, float]) -> dict[tuple[str, str, int], dict]:
    return {
        ("umaze/corner", method, seed): {"return": value, "erc": 0.1 * (1 + seed)}
        for method, values in returns.items()
        for seed, value in enumerate(values)
    }


FOUND = of_corner(unguided=(10, 20), demonstrator=(110, 220), ours=(110, 200), bc=(60, 20))


def test_returns_are_put_on_the_scale_of_their_own_seed() -> None:
    found = comparison(FOUND).estimate(PROBLEMS[:1], "ours", "return")
    assert found is not None
    assert found.value == pytest.approx((1 + 0.9) / 2)
    assert (found.low, found.high) == pytest.approx((0.9, 1.0))
    erc = comparison(FOUND).estimate(PROBLEMS[:1], "ours", "erc")
    assert erc is not None
    assert erc.value == pytest.approx(0.15)


def test_an_environment_is_the_mean_of_its_problems_where_all_are_there() -> None:
    both = {**FOUND, ("umaze/goal:3,1", "ours", 1): {"erc": 0.4}}
    found = comparison(both).estimate(PROBLEMS, "ours", "erc")
    assert found is not None
    assert found.value == pytest.approx((0.2 + 0.4) / 2)
    assert found.count == 1
    assert comparison(FOUND).estimate(PROBLEMS, "ours", "erc") is None


def test_what_is_missing_is_counted_and_named() -> None:
    found = comparison(FOUND)
    assert len(found.missing) == 20 - 8
    assert "umaze/corner/gail/0" in found.missing
    assert "umaze/corner/ours/0" not in found.missing
    described = found.to_json()
    assert described["missing_cells"] == 12
    assert described["problems"]["umaze/corner"]["gail"] == {"return": None, "erc": None}
    assert described["problems"]["umaze/corner"]["ours"]["return"] == pytest.approx([0.95, 0.9, 1])
    assert set(described["environments"]["umaze"]) == {"ours", "bc", "gail"}


def test_where_both_ends_are_the_same_there_is_no_scale() -> None:
    level = of_corner(unguided=(10, 20), demonstrator=(10, 220), ours=(110, 200))
    found = comparison(level).estimate(PROBLEMS[:1], "ours", "return")
    assert found is not None
    assert (found.value, found.count) == (pytest.approx(0.9), 1)


def test_a_single_seed_is_not_marked_best() -> None:
    better = {**FOUND, ("umaze/corner", "gail", 0): {"return": 500.0, "erc": None}}
    rows = {row[0]: row for row in comparison(better).rows(PROBLEMS[:1], SHORT)}
    assert rows["GAIL"][1] == "4.90 (1 seed)"
    assert rows["trailward"][1].startswith("**")


def test_who_is_ahead_is_told_by_intervals() -> None:
    apart = of_corner(unguided=(0, 0), demonstrator=(100, 100), ours=(80, 90), bc=(95, 99))
    found = comparison(apart)
    assert found.ahead(PROBLEMS[:1]) == {"BC": ["return"]}  # with the same ERC distance
    assert found.ahead(PROBLEMS[:1], of="bc") == {}
    near = of_corner(unguided=(0, 0), demonstrator=(100, 100), ours=(80, 95), bc=(90, 99))
    assert comparison(near).ahead(PROBLEMS[:1]) == {}


def test_who_is_ahead_is_told_by_seed() -> None:
    spread = of_corner(unguided=(0, 0), demonstrator=(100, 100), ours=(20, 90), bc=(25, 95))
    assert comparison(spread).ahead(PROBLEMS[:1]) == {}
    assert comparison(spread).ahead(PROBLEMS[:1], by_seed=True) == {"BC": ["return"]}
    assert comparison(spread).ahead(PROBLEMS[:1], of="bc", by_seed=True) == {}
    for lacking in (("bc", 1), ("unguided", 1)):
        fewer = {place: each for place, each in spread.items() if place[1:] != lacking}
        assert comparison(fewer).ahead(PROBLEMS[:1], by_seed=True) == {}
    once = of_corner(unguided=(0, 0), demonstrator=(100, 100), ours=(20, 90), bc=(25, 90))
    assert comparison(once).ahead(PROBLEMS[:1], by_seed=True) == {}


def test_a_cost_of_fewer_seeds_says_so() -> None:
    few = {("umaze/corner", "gail", 0): {"num_env_steps": 64}}
    both = {("umaze/corner", "bc", seed): {"num_env_steps": 64} for seed in (0, 1)}
    rows = {row[0]: row for row in comparison(few | both).rows(PROBLEMS[:1])}
    assert "64 (1 seed)" in rows["GAIL"]
    assert "64" in rows["BC"]


def test_the_best_and_its_ties_are_bold() -> None:
    rows = {row[0]: row for row in comparison(FOUND).rows(PROBLEMS[:1], SHORT)}
    assert rows["trailward"][1] == "**0.95 (0.90 to 1.00)**"
    assert rows["BC"][1] == "0.25 (0.00 to 0.50)"
    assert rows["GAIL"][1] == ""
    assert rows["trailward"][2].startswith("**")  # both have the same ERC distance
    assert rows["BC"][2].startswith("**")


def test_lower_is_better_for_distances() -> None:
    near = {("umaze/corner", "ours", seed): {"erc": 0.1} for seed in (0, 1)}
    far = {("umaze/corner", "gail", seed): {"erc": 0.5} for seed in (0, 1)}
    rows = {row[0]: row for row in comparison(near | far).rows(PROBLEMS[:1], SHORT)}
    assert rows["trailward"][2].startswith("**")
    assert not rows["GAIL"][2].startswith("**")


def test_one_seed_has_no_interval() -> None:
    of_one = {place: figures for place, figures in FOUND.items() if place[2] == 0}
    rows = {row[0]: row for row in comparison(of_one).rows(PROBLEMS[:1], SHORT)}
    assert rows["BC"][1] == "0.50 (1 seed)"


def test_a_grid_of_one_seed_shows_no_intervals() -> None:
    found = comparison(FOUND)
    of_one = [cell for cell in found.cells if cell.seed == 0]
    rows = {row[0]: row for row in Comparison(of_one, found.results).rows(PROBLEMS[:1], SHORT)}
    assert rows["BC"][1] == "0.50 (1 seed)"


def test_what_is_rounded_to_nothing_has_no_sign() -> None:
    level = of_corner(unguided=(0, 0), demonstrator=(1000, 1000), ours=(-1, -2))
    rows = {row[0]: row for row in comparison(level).rows(PROBLEMS[:1], SHORT)}
    assert rows["trailward"][1] == "**0.00 (0.00 to 0.00)**"


def test_costs_have_intervals_unless_they_are_always_the_same() -> None:
    figures = {
        ("umaze/corner", "gail", seed): {"learn_seconds": 60.0 + 2 * seed, "num_env_steps": 2048}
        for seed in (0, 1)
    }
    lines = comparison(figures).markdown(PROBLEMS[:1]).splitlines()
    assert lines[0] == "| method | learning, s | environment steps |"
    assert "| GAIL | 61 (60 to 62) | 2,048 |" in lines


def test_a_markdown_table_leaves_out_columns_that_nobody_has() -> None:
    lines = comparison(FOUND).markdown(PROBLEMS[:1], COLUMNS).splitlines()
    assert lines[0] == "| method | return | ERC distance |"
    assert lines[1] == "| --- | --- | --- |"
    assert len(lines) == 2 + 3
