"""Build a release, install it into clean environments, and use what was installed.

    .venv/bin/python benchmarks/release.py           # every extra alone, lowest and newest
    .venv/bin/python benchmarks/release.py --quick   # without extras

The wheel and the source distribution are installed by uv: with the lowest versions that
``pyproject.toml`` allows on the lowest Python, and with the newest on the newest Python that is
here. The last line is JSON, by environment: whether it ``installs``, ``imports`` and ``plans`` with
the packaged diffuser, its versions, and the same for each extra by itself. It takes the network,
unless everything is on the disk already, and gigabytes where PyTorch has no build without CUDA.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PLAN = "trailward plan --diffuser umaze --start 1 -1 0 0"
TABLE = "printf 'frame,x\\n0,1\\n1,2\\n2,4\\n' > a.csv && trailward inspect a.csv"
USES = {
    "maze": "trailward collect --what play --num-steps 200 --episode-steps 100 --out walks",
    "halfcheetah": "trailward collect --env halfcheetah --what policy --num-episodes 1 "
    "--episode-steps 5 --out gallop",
    "table": TABLE,
    "web": "python -c 'import trailward.web.app'",
    "rl": "python -c 'import trailward.interop.sb3, sb3_contrib'",
    "ray": "python -c 'import ray'",
    "baselines": "python -c 'import trailward.baselines.optimal_transport, ot, sklearn, scipy'",
    "docs": "mkdocs --version",
}
"""A command for each extra that takes it."""
MODULES = (
    "trailward.acting.planner", "trailward.checkpoint", "trailward.cli.main",
    "trailward.data.dataset", "trailward.diffusion.training", "trailward.fitting.fit",
    "trailward.interop.exported", "trailward.interop.gymnasium_wrapper",
    "trailward.judging.evaluate", "trailward.learning.learn_reward", "trailward.report.page",
    "trailward.rewards.readings",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """An environment to be.

    Attributes:
        python: of the environment: a version or a path.
        resolution: as uv calls it.
    """

    python: str
    resolution: str

    @property
    def name(self) -> str:
        """For the figures."""
        return f"{self.version} {self.resolution}"

    @property
    def version(self) -> str:
        """Such as 3.11.7."""
        code = "import platform; print(platform.python_version())"
        return subprocess.check_output([self.python, "-c", code], text=True).strip()


def pythons() -> list[str]:
    """The lowest Python that is supported, and the newest that is here."""
    lowest = int(PROJECT["requires-python"].rpartition(".")[2])
    found = {}
    for minor in range(lowest, lowest + 10):
        names = [shutil.which(f"python3.{minor}"), *sorted(map(str, _of_pyenv(minor)))]
        for name in filter(None, names):
            works = [name, "-c", f"import sys, venv; sys.exit(sys.version_info[1] != {minor})"]
            if subprocess.run(works, capture_output=True, check=False).returncode == 0:
                found[minor] = name
    if lowest not in found:
        raise SystemExit(f"Python 3.{lowest} is not here: install it, since it is the lowest")
    return [found[lowest], found[max(found)]]


def _of_pyenv(minor: int) -> list[Path]:
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return list(root.glob(f"versions/3.{minor}.*/bin/python"))


def build(folder: Path) -> tuple[Path, Path]:
    """The wheel and the source distribution, in a folder."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def indexes() -> dict[str, str]:
    """Where pip looks for packages, told to uv, which does not read pip's settings."""
    asked = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.check_output(asked, text=True).splitlines()
    told = dict(line.partition("=")[::2] for line in lines)
    found = {key.rpartition(".")[2]: value.strip("'\"") for key, value in told.items()}
    extra = [
        each
        for each in found.get("extra-index-url", "").split()
        if not each.startswith("file://") or Path(each.removeprefix("file://")).is_dir()
    ]
    names = {"UV_DEFAULT_INDEX": found.get("index-url", ""), "UV_INDEX": " ".join(extra)}
    names["UV_FIND_LINKS"] = found.get("find-links", "")
    return {name: value for name, value in names.items() if value and name not in os.environ}


class Trials:
    """Environments in a folder, and what works in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | indexes()
        self.environ |= {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_LINK_MODE": "hardlink"}

    def said(self, command: str, venv: Path, **more: Any) -> bool:
        """Whether a command of a shell ends well in an environment; what it says if it does not."""
        environ = self.environ | {"PATH": f"{venv / 'bin'}:{os.environ['PATH']}"}
        with tempfile.TemporaryDirectory(dir=self.folder) as empty:
            done = subprocess.run(
                command, shell=True, env=environ, cwd=empty, text=True, capture_output=True,
                check=False, **more,
            )  # fmt: skip
        if done.returncode:
            print(f"FAILURE {venv.name}: {command}\n{(done.stdout + done.stderr)[-2000:]}")
        return done.returncode == 0

    def install(self, place: Place, file: Path, extra: str = "") -> tuple[Path, bool]:
        """A new environment with the release in it, and whether that went well."""
        venv = self.folder / f"{place.version}-{place.resolution}-{extra or file.suffix[1:]}"
        what = f"{file}[{extra}]" if extra else str(file)
        uv = f"{sys.executable} -m uv"
        commands = (
            f"{uv} venv --quiet --python {place.python} {venv}",
            f"{uv} pip install --quiet --python {venv} --resolution {place.resolution} '{what}'",
        )
        return venv, all(self.said(command, venv) for command in commands)

    def judge(self, place: Place, file: Path) -> dict[str, Any]:
        """Install a file alone, and use it."""
        venv, installs = self.install(place, file)
        imports = f"python -W ignore -c 'import {', '.join(MODULES)}'"
        found = {
            "installs": installs,
            "imports": installs and self.said(imports, venv),
            "plans": installs and self.said(PLAN, venv),
            "says_its_version": installs
            and self.said(f"trailward --version | grep -Fx 'trailward {PROJECT['version']}'", venv),
        }
        shutil.rmtree(venv, ignore_errors=True)
        return found

    def judge_extra(self, place: Place, wheel: Path, extra: str) -> dict[str, bool]:
        """Install the wheel with one extra, and use that."""
        venv, installs = self.install(place, wheel, extra)
        found = {"installs": installs, "works": installs and self.said(USES[extra], venv)}
        shutil.rmtree(venv, ignore_errors=True)
        return found


def run() -> int:
    """Read flags, build, try, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--extras", nargs="*", default=sorted(USES))
    parser.add_argument("--folder", type=Path, help="where environments are made: on uv's disk")
    asked = parser.parse_args()
    lowest, newest = pythons()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        wheel, sdist = build(folder)
        trials = Trials(folder)
        for place in (Place(lowest, "lowest-direct"), Place(newest, "highest")):
            found = figures[place.name] = {"wheel": trials.judge(place, wheel)}
            found["sdist"] = trials.judge(place, sdist)
            for extra in () if asked.quick else asked.extras:
                found[extra] = trials.judge_extra(place, wheel, extra)
                print(f"{place.name}, {extra}: {found[extra]}", flush=True)
            print(f"{place.name}: {found}", flush=True)
    print(json.dumps(figures))
    return int(not all(all(what.values()) for each in figures.values() for what in each.values()))


if __name__ == "__main__":
    sys.exit(run())
