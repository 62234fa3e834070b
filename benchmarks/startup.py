"""How long the command line and the import take: a table, then one JSON object as the last line.

User CPU seconds of fresh interpreters, the least of several, as multiples of what importing NumPy
takes in the same run.

    .venv/bin/python benchmarks/startup.py
"""

import json
import os
import subprocess
import sys

from rich.console import Console
from rich.table import Table

_TIMES = 5
_JOBS = {
    "numpy": ["-c", "import numpy"],
    "import": ["-c", "import trailward"],
    "help": ["-m", "trailward.cli.main", "--help"],
    "learn_help": ["-m", "trailward.cli.main", "learn", "--help"],
}


def main() -> None:
    """Run each job a few times, in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in _JOBS}
    for _ in range(_TIMES):
        for name, arguments in _JOBS.items():
            seconds[name].append(user_seconds([sys.executable, *arguments]))
    least = {name: min(found) for name, found in seconds.items()}
    table = Table("job", "user CPU seconds", "times importing NumPy")
    for name, found in least.items():
        table.add_row(name, f"{found:.2f}", f"{found / least['numpy']:.1f}")
    Console(width=90).print(table)
    result = {name: found / least["numpy"] for name, found in least.items() if name != "numpy"}
    print(json.dumps({"numpy_seconds": least["numpy"], **result}))


def user_seconds(command: list[str]) -> float:
    """User CPU seconds of a process that must end well."""
    before = os.times().children_user
    subprocess.run(command, check=True, capture_output=True)
    return os.times().children_user - before


if __name__ == "__main__":
    main()
