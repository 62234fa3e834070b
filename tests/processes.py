"""Python in a process of its own, as after a restart."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def run_python(code: str, *arguments: object, expect: int = 0) -> str:
    """Run code in a fresh interpreter that can import the helpers here; return what it printed.

    Args:
        code: sees ``arguments`` as ``sys.argv[1:]``.
        arguments: turned into strings.
        expect: the exit status it must end with; negative for a signal.
    """
    command = [sys.executable, "-c", code, *map(str, arguments)]
    folders = [TESTS.parent / "src", TESTS, *(path for path in TESTS.rglob("*") if path.is_dir())]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))}
    done = subprocess.run(
        command, cwd=TESTS, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == expect, done.stderr
    return done.stdout
