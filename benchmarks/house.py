"""How the source is laid out: a table, then one JSON object as the last line.

Nothing of trailward is run but its import; the figures are read off the source.

    .venv/bin/python benchmarks/house.py
"""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

SOURCE = Path(__file__).parents[1] / "src" / "trailward"
ROOMS = (
    "typing", "optional", "progress", "randomness", "registry", "running", "checkpoint",
    "pretrained",
    "data", "diffusion", "rewards", "objectives", "learning", "acting", "environments", "judging",
    "report", "baselines", "interop", "fitting", "web", "cli",
)  # fmt: skip
"""In the order in which they may import one another: only what stands before."""
ENVIRONMENTS = re.compile("halfcheetah|pointmaze|maze", re.IGNORECASE)
MAY_NAME = ("environments/", "cli/preset", "pretrained/")


def main() -> None:
    """Measure, print, and say the same as JSON."""
    trees = {path.relative_to(SOURCE).as_posix(): path for path in sorted(SOURCE.rglob("*.py"))}
    parsed = {name: ast.parse(path.read_text("utf-8")) for name, path in trees.items()}
    functions = {
        f"{name}:{node.name}": code_lines(node)
        for name, tree in parsed.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    longest = max(functions, key=lambda name: functions[name])
    naming = [
        name
        for name, path in trees.items()
        if not name.startswith(MAY_NAME) and ENVIRONMENTS.search(path.read_text("utf-8"))
    ]
    kinds = {
        node.name
        for name, tree in parsed.items()
        if name.startswith("rewards/")
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    asked = [place for name, tree in parsed.items() for place in kind_checks(name, tree, kinds)]
    up = [arrow for name, tree in parsed.items() for arrow in arrows_up(name, tree)]
    entries = {path.name for path in SOURCE.iterdir()} - {"__pycache__", "py.typed"}
    rooms = {Path(name).stem for name in entries} - {"__init__"}
    names, undocumented, loaded = public_names()
    result = {
        "source_files_naming_an_environment": len(naming),
        "isinstance_on_reward_kinds": len(asked),
        "longest_function": functions[longest],
        "top_rooms": len(rooms),
        "imports_that_run_up": len(up),
        "public_names": len(names),
        "public_names_undocumented": len(undocumented),
        "modules_loaded_by_import": loaded,
        "code_lines": sum(code_lines(tree) for tree in parsed.values()),
        "files": len(trees),
    }
    table = Table("figure", "value", "where")
    where = {
        "source_files_naming_an_environment": ", ".join(naming),
        "isinstance_on_reward_kinds": ", ".join(asked),
        "longest_function": longest,
        "top_rooms": ", ".join(sorted(rooms)),
        "imports_that_run_up": ", ".join(up),
        "public_names_undocumented": ", ".join(undocumented),
    }
    for figure, value in result.items():
        table.add_row(figure, str(value), where.get(figure, ""))
    Console(width=110).print(table)
    print(json.dumps(result))


def code_lines(tree: ast.AST) -> int:
    """Lines of code: no blank ones, no comments, no docstrings."""
    lines: set[int] = set()
    docstrings: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if isinstance(node.value.value, str):
                docstrings |= set(range(node.lineno, (node.end_lineno or 0) + 1))
        elif isinstance(node, ast.stmt | ast.expr):
            lines |= {node.lineno, node.end_lineno or node.lineno}
            if isinstance(node, ast.Constant):  # of several lines
                lines |= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(lines - docstrings)


def kind_checks(name: str, tree: ast.AST, kinds: set[str]) -> Iterator[str]:
    """Places that ask what kind a reward is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            asked = {part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name)}
            if asked & kinds - {"RewardModel"}:
                yield f"{name}:{node.lineno}"


def arrows_up(name: str, tree: ast.AST) -> Iterator[str]:
    """Imports of a room that stands later in the pipeline; lazily imported ones count too."""
    room = name.partition("/")[0].removesuffix(".py")
    for node in ast.walk(tree):
        modules = []
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            parts = module.split(".")
            known = room in ROOMS and len(parts) > 1 and parts[1] in ROOMS
            if parts[0] == "trailward" and known and ROOMS.index(parts[1]) > ROOMS.index(room):
                yield f"{name} -> {module}"


def public_names() -> tuple[list[str], list[str], int]:
    """Names that ``import trailward`` offers, those without a docstring, and what it loads."""
    code = (
        "import json, sys, trailward as tw\n"
        "heavy = sum(name in sys.modules for name in ('torch', 'gymnasium', 'numpy', 'tyro'))\n"
        "bare = [name for name in tw.__all__ if not (getattr(tw, name).__doc__ or '').strip()]\n"
        "print(json.dumps([tw.__all__, bare, heavy]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, bare, loaded = json.loads(done.stdout)
    return names, bare, loaded


if __name__ == "__main__":
    main()
