"""Ask a public database about known weaknesses of what trailward is installed with (pip-audit).

    .venv/bin/python benchmarks/audit.py            # says what it found, and that it could not ask
    .venv/bin/python benchmarks/audit.py --strict   # fails if it found something, or could not ask

The last line is JSON: packages that were ``asked`` about, those ``not_asked``, and ``known``, the
weaknesses by package.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bill_of_materials import bill

SECONDS = 300


def ask(packages: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """What pip-audit says of each package of these names and versions; nothing if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "installed.txt"
        listed.write_text("".join(f"{name}=={version}\n" for name, version in packages))
        command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip"]
        command += ["--progress-spinner", "off", "--format", "json", "--requirement", str(listed)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=SECONDS
            )
            return json.loads(done.stdout)["dependencies"]
        except subprocess.TimeoutExpired:
            print(f"pip-audit had no answer after {SECONDS} s")
        except ValueError:
            print(f"pip-audit ended with: {(done.stderr.strip().splitlines() or ['nothing'])[-1]}")
    return []


def told(found: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """Who was asked about, who was not, and what is known."""
    asked = {each["name"]: each.get("vulns", []) for each in found if "skip_reason" not in each}
    known = {
        name: sorted({f"{weak['id']} (mended in {weak['fix_versions']})" for weak in weaknesses})
        for name, weaknesses in asked.items()
        if weaknesses
    }
    return {
        "asked": len(asked),
        "not_asked": len(names) - len(asked),
        "known": known,
    }


def run() -> int:
    """Read flags, ask, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strict", action="store_true")
    strict = parser.parse_args().strict
    packages = [(part["name"], part["version"].partition("+")[0]) for part in bill()["components"]]
    found = told(ask(packages), [name for name, _ in packages])
    if found["not_asked"]:
        print(f"AUDIT INCOMPLETE: {found['not_asked']} packages could not be asked about here")
    for name, weaknesses in found["known"].items():
        print(f"KNOWN WEAKNESS: {name}: {', '.join(weaknesses)}")
    print(json.dumps(found))
    return int(strict and bool(found["known"] or found["not_asked"]))


if __name__ == "__main__":
    sys.exit(run())
