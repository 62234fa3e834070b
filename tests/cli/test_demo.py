"""The demo, made once: it goes on where it was, and its report opens in a real browser."""

import shutil
from pathlib import Path

import pytest

from trailward.cli.main import main

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def command(folder: Path) -> list[str]:
    return ["demo", "--from-scratch", "--quick", f"--out={folder}"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    assert main(command(folder)) == 0
    return folder


def test_the_demo_runs_from_scratch(demo: Path) -> None:
    assert (demo / "report/index.html").stat().st_size > 100_000
    assert main([*command(demo), "--seed=5"]) == 2  # another demo does not mix with this one


@pytest.mark.slow
def test_the_demo_runs_again(demo: Path) -> None:
    page = demo / "report/index.html"
    shutil.rmtree(page.parent)
    assert main(command(demo)) == 0
    assert page.exists()


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_report_opens_without_an_error_and_shows_every_picture(
    demo: Path, tmp_path: Path
) -> None:
    from playwright.sync_api import sync_playwright

    page_path = shutil.copy(demo / "report/index.html", tmp_path)  # the page must stand alone
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(request.url))
        page.goto(Path(page_path).as_uri())
        widths = page.eval_on_selector_all("img", "images => images.map(i => i.naturalWidth)")
        headings = page.eval_on_selector_all("h2", "all => all.map(h => h.textContent)")
        rows = page.eval_on_selector_all("#table tbody tr", "rows => rows.length")
        browser.close()
    assert complaints == []
    assert len(widths) == 8  # the readings side by side among them
    assert min(widths) > 300
    assert "How good is it?" in headings
    assert rows >= 10
