"""What a release consists of, and that it works where nothing else is."""

import ast
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_citation_is_of_this_version() -> None:
    text = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {PROJECT['version']}\n" in text
    assert f"\nlicense: {PROJECT['license']}\n" in text


def test_every_dependency_is_listed_with_its_bounds_and_why() -> None:
    page = (ROOT / "SECURITY.md").read_text()
    listed = dict(re.findall(r"^\| ([\w-]+) \| ([<>=\d., ]+) \| \w", page, re.MULTILINE))
    asked = {}
    for requirement in PROJECT["dependencies"]:
        name, bounds = re.match(r"([\w-]+)(.*)", requirement).groups()
        asked[name] = bounds.replace(",", ", ")
    assert listed == asked


def test_what_is_imported_is_a_dependency() -> None:
    """What stands at the top of a module; extras are imported in functions, or in their folders."""
    asked = {re.match(r"[\w-]+", each)[0].replace("-", "_") for each in PROJECT["dependencies"]}
    known = {*sys.stdlib_module_names, "trailward"} | asked
    extras = ("interop/sb3.py", "interop/imitation_reward.py", "baselines/", "web/", "cli/serve.py")
    missing = {}
    for path in (ROOT / "src/trailward").rglob("*.py"):
        name = path.relative_to(ROOT / "src/trailward").as_posix()
        names: list[str] = []
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                names += [each.name for each in node.names]
            elif isinstance(node, ast.ImportFrom):
                names.append(node.module or "")
        found = {each.partition(".")[0] for each in names} - known
        if found and not name.startswith(extras):
            missing[name] = found
    assert not missing


def test_the_bill_of_materials_names_versions_and_licences() -> None:
    command = [sys.executable, ROOT / "benchmarks/bill_of_materials.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    bill = json.loads(done.stdout)
    found = {part["name"]: part for part in bill["components"]}
    asked = [each for each in requires("trailward") or [] if "extra ==" not in each]
    assert {re.match(r"[\w-]+", each).group() for each in asked} <= set(found)
    assert bill["metadata"]["component"]["name"] == "trailward"
    assert found["torch"]["purl"].startswith("pkg:pypi/torch@2.")
    assert all(part["version"] and part["licenses"] for part in found.values())


def link_dependencies(site: Path) -> None:
    """What the project needs without extras, and what that needs, as links to what is here."""
    wanted, found = [Requirement(each) for each in PROJECT["dependencies"]], set()
    while wanted:
        asked = wanted.pop()
        if str(asked) in found:
            continue
        found.add(str(asked))
        about = distribution(asked.name)
        for each in map(Requirement, about.requires or []):
            extras = [{"extra": extra} for extra in ("", *asked.extras)]
            if each.marker is None or any(each.marker.evaluate(extra) for extra in extras):
                wanted.append(each)
        for top in {file.parts[0] for file in about.files or []} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(about.locate_file(top))))


@pytest.mark.slow
def test_the_wheel_runs_in_an_environment_without_extras(tmp_path: Path) -> None:
    """Built by hatchling as it is installed here; what it depends on is linked from here."""
    build = (
        "from hatchling.build import *; import sys; build_sdist('{0}'); print(build_wheel('{0}'))"
    )
    code = [sys.executable, "-c", build.format(tmp_path)]
    subprocess.run(code, cwd=ROOT, check=True, capture_output=True)
    (wheel,), (sdist,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    assert "trailward/pretrained/umaze/weights.safetensors" in names
    assert not [name for name in names if name.startswith(("trailward_benchmark", "tests"))]
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("pyproject.toml") for name in archive.getnames())
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    link_dependencies(next(venv.glob("lib/python*/site-packages")))
    pip = [venv / "bin/python", "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*pip, "--force-reinstall", wheel], check=True, capture_output=True)

    def run(*command: str) -> str:
        clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        asked = [venv / "bin" / command[0], *command[1:]]
        return subprocess.run(
            asked, cwd=tmp_path, env=clean, check=True, capture_output=True, text=True
        ).stdout

    for command in (["trailward"], ["python", "-m", "trailward"]):
        assert run(*command, "--version") == f"trailward {PROJECT['version']}\n"
    planned = json.loads(
        run("trailward", "plan", "--diffuser", "umaze", "--start", "1", "-1", "0", "0")
    )
    assert planned["plans"][0][0] == pytest.approx([1, -1, 0, 0], abs=1e-4)
    assert str(venv) in run("python", "-c", "import trailward; print(trailward.__file__)")
    looked = "from importlib.util import find_spec; print(*[find_spec(n) for n in {!r}])"
    extras = ("gymnasium_robotics", "stable_baselines3", "imitation", "pandas", "ray", "pytest")
    assert set(run("python", "-c", looked.format(extras)).split()) == {"None"}
