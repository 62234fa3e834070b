"""The report in a real browser."""

import shutil
from pathlib import Path

import pytest

from trailward.cli.main import main

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_report_opens_without_an_error_and_shows_every_picture(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    assert main(["demo", "--from-scratch", "--quick", f"--out={tmp_path}"]) == 0
    page_path = tmp_path / "report/index.html"
    for picture in page_path.parent.glob("*.png"):
        picture.unlink()  # the page must stand alone
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
        page.goto(page_path.as_uri())
        widths = page.eval_on_selector_all("img", "images => images.map(i => i.naturalWidth)")
        headings = page.eval_on_selector_all("h2", "all => all.map(h => h.textContent)")
        rows = page.eval_on_selector_all("#table tbody tr", "rows => rows.length")
        browser.close()
    assert complaints == []
    assert len(widths) == 7
    assert min(widths) > 300
    assert "How good is it?" in headings
    assert rows >= 10
