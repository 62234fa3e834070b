"""README and docs: what they show runs, and what they name is there."""

import functools
import gc
import importlib
import io
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import trailward
from trailward.cli.main import VERBS, main
from trailward.cli.presets import PRESETS
from trailward.environments import find_environment
from trailward.registry import Registry
from trailward.rewards import REWARDS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
ALONE = ("README.md", "extending.md")
LONG = (
    "README.md",
    "tracks.md",
    "baselines.md",
    "reward-learning.md",
    "what-demonstrations-cannot-tell.md",
)
"""Pages that learn or train for five seconds and more."""
MACHINE_PATH = re.compile(r"/(?:work|home|root|tmp|Users|mnt|var)/|~/|[A-Z]:\\|\bfile://|localhost")
FLAG = re.compile(r"(?<![\w-])--[a-z][\w.-]*\w")


def marked(pages: Sequence[Path]) -> list[Any]:
    """A case for each page; long ones are slow."""
    return [
        pytest.param(page, id=page.name, marks=[pytest.mark.slow] if page.name in LONG else [])
        for page in pages
    ]


every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Fenced blocks of a language: number of the first line inside, and the text."""
    pattern = rf"^([ ]*)```{language}\n(.*?)^\1```$"
    text = page.read_text(encoding="utf-8")
    return [
        (text[: found.start(2)].count("\n"), textwrap.dedent(found[2]))
        for found in re.finditer(pattern, text, re.MULTILINE | re.DOTALL)
    ]


def without_blocks(page: Path) -> str:
    return re.sub(r"^[ ]*```.*?^[ ]*```$", "", page.read_text("utf-8"), flags=re.M | re.S)


def commands(text: str) -> list[str]:
    """The lines of a shell block, continued ones joined, comments left out."""
    lines = text.replace("\\\n", " ").splitlines()
    return [" ".join(shlex.split(line, comments=True)) for line in lines if line.strip()]


CHOICES = {
    "collect": [
        ("--env", name, "--what", what)
        for name in ("maze", "halfcheetah", "Hopper-v5")
        for what in find_environment(name).recipes
    ],
    "learn": [("--reward.model", kind) for kind in REWARDS],
}
"""Flags that decide which other flags a verb has."""


@functools.cache
def flags(verb: str) -> frozenset[str]:
    """What ``trailward VERB --help-all`` lists, whatever else is chosen."""
    shown = io.StringIO()
    for chosen in CHOICES.get(verb, [()]):
        with redirect_stdout(shown), pytest.raises(SystemExit):
            main([verb, *chosen, "--help-all"])
    return frozenset({"--help-all", *FLAG.findall(shown.getvalue())})


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def resolve(name: str) -> Any:
    """The module or the member that a dotted name stands for."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        return functools.reduce(getattr, parts[count:], found)
    raise AttributeError(name)


def script(page: Path, folder: Path) -> Path:
    """A page's blocks as one file beside a folder; tracebacks name the page's lines."""
    text = ""
    for line, code in blocks(page, "python"):
        text += "\n" * (line - text.count("\n")) + code
    path = folder.with_name(f"{folder.name}-{page.stem}.py")
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def own_registries() -> Iterator[None]:
    """What a page registers is forgotten when it has run."""
    found = [each for each in gc.get_objects() if isinstance(each, Registry)]
    before = [dict(each._parts) for each in found]
    yield
    for registry, parts in zip(found, before, strict=True):
        registry._parts.clear()
        registry._parts.update(parts)


@pytest.mark.usefixtures("own_registries", "rough_values")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "page", marked([page for page in PAGES if blocks(page, "python") and page.name not in ALONE])
)
def test_python_blocks_run_from_top_to_bottom_in_an_empty_folder(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script(page, tmp_path)), run_name="__main__")


@pytest.mark.parametrize("page", marked([page for page in PAGES if page.name in ALONE]))
def test_what_users_try_first_and_what_adds_parts_runs_in_a_process_of_its_own(
    page: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, str(script(page, tmp_path))],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_commands_of_the_readme_run_in_the_order_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _, block in blocks(README, "sh"):
        lines = commands(block)
        if all(line.startswith("trailward ") for line in lines):
            for line in lines:
                assert main(shlex.split(line)[1:]) == 0, line


@every_page
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = without_blocks(page)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), target
        assert there.is_relative_to(ROOT), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), target


@every_page
def test_verbs_and_flags_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for verb, rest in re.findall(r"(?<![\w.'/-])trailward ([a-z]+\b)([^`\n#|]*)", code_of(text)):
        assert verb in VERBS, verb
        unknown = set(FLAG.findall(rest)) - flags(verb)
        assert not unknown, f"trailward {verb} has no {unknown}"
    alone = set(re.findall(r"`(--[a-z][\w.-]*\w)", without_blocks(page)))
    unknown = alone - frozenset.union(*map(flags, VERBS))
    assert not unknown, f"no verb has {unknown}"


def code_of(text: str) -> str:
    """Inline code and shell blocks, a line each."""
    shell = re.findall(r"^[ ]*```sh\n(.*?)^[ ]*```$", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^[ ]*```.*?^[ ]*```$", "", text, flags=re.MULTILINE | re.DOTALL)
    inline = [found.replace("\n", " ") for found in re.findall(r"`([^`]+)`", prose)]
    return "\n".join([*shell, *inline])


@every_page
def test_dotted_names_exist(page: Path) -> None:
    for name in re.findall(r"`(trailward(?:\.\w+)+)`", page.read_text(encoding="utf-8")):
        resolve(name)


@every_page
def test_no_paths_of_a_machine(page: Path) -> None:
    assert MACHINE_PATH.findall(page.read_text(encoding="utf-8")) == []


def test_the_reference_documents_every_public_name() -> None:
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs/reference").glob("*.md"))
    documented = tuple(re.findall(r"^::: ([\w.]+)$", pages, re.MULTILINE))
    for name in trailward.__all__:
        found = getattr(trailward, name)
        assert found.__doc__, name
        assert found.__module__.startswith(documented), name


def test_the_index_lists_every_page() -> None:
    linked = re.findall(r"\]\((\S+\.md)\)", (ROOT / "docs/index.md").read_text(encoding="utf-8"))
    pages = {page.name for page in PAGES[1:]} - {"index.md"}
    assert pages | {"reference/index.md"} == set(linked)


def shown_settings(preset: str) -> dict[str, Any]:
    """A preset's settings by dotted names, with the kind of its reward."""
    settings = PRESETS[preset]
    kind = {"reward.model": REWARDS.name_of(settings.reward.kind)}
    return flattened(asdict(settings)) | kind


def flattened(settings: dict[str, Any], place: str = "") -> dict[str, Any]:
    found = {}
    for name, value in settings.items():
        inner = isinstance(value, dict) and value
        found |= flattened(value, f"{place}{name}.") if inner else {f"{place}{name}": value}
    return found


@pytest.mark.parametrize(
    ("heading", "presets"),
    [
        ("The two presets", ("umaze", "thesis-umaze")),
        ("HalfCheetah", ("halfcheetah", "thesis-halfcheetah")),
    ],
)
def test_the_tables_of_presets_are_true(heading: str, presets: tuple[str, str]) -> None:
    text = (ROOT / "docs/thesis.md").read_text(encoding="utf-8")
    table = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w.]+)` \| (.*?) \| (.*?) \|$", table, re.MULTILINE)
    ours, theirs = map(shown_settings, presets)
    differ = {field for field in ours.keys() & theirs if ours[field] != theirs[field]}
    shown = {field for field, *_ in rows}
    assert shown >= differ, differ - shown
    assert len(differ) > 25
    for field, *values in rows:
        for settings, value in zip((ours, theirs), values, strict=True):
            assert str(settings.get(field, "-")) == value, field
