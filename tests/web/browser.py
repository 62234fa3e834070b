"""A real browser, as people use the page; what it must never do is written down."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
expect.set_options(timeout=60_000)  # machines may be busy
Points = Sequence[tuple[float, float]]


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A page that is open, and all that went wrong on it.

    Attributes:
        page: of Playwright.
        complaints: errors of the console and of scripts, and requests to other hosts.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)

    @classmethod
    def to(cls, browser: Browser, address: str, **context: object) -> "Visit":
        """Open an address in a fresh profile."""
        given = {"viewport": {"width": 1240, "height": 1000}} | context
        visit = cls(browser.new_context(**given).new_page())  # pyright: ignore
        visit.watch(address)
        visit.page.goto(address)
        return visit

    def watch(self, address: str) -> None:
        """Write down what must not happen."""
        host = urlsplit(address).netloc
        page, told = self.page, self.complaints.append
        page.on("console", lambda m: told(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: told(str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if urlsplit(request.url).netloc in (host, "")
                else told(f"a request to {request.url}")
            ),
        )

    def open(self, address: str) -> None:
        """Go to an address of the page, which may differ behind '#' only."""
        self.page.goto("about:blank")
        self.page.goto(address)

    def another_tab(self) -> "Visit":
        """The same address in another tab of the same browser."""
        visit = Visit(self.page.context.new_page(), self.complaints)
        visit.watch(self.page.url)
        visit.page.goto(self.page.url)
        return visit

    def at(self, place: tuple[float, float], extent: tuple[float, float]) -> tuple[float, float]:
        """Where a place of the maze, metres, is on the screen."""
        box = self.page.locator("#maze").bounding_box()
        assert box is not None
        across, up = extent
        x = box["x"] + (place[0] + across / 2) / across * box["width"]
        return x, box["y"] + (up / 2 - place[1]) / up * box["height"]

    def draw(self, points: Points, extent: tuple[float, float] = (3.6, 3.6)) -> None:
        """Draw a line with the mouse, and wait until the ball has followed it."""
        before = self.page.locator("#drawings li").count()
        mouse = self.page.mouse
        mouse.move(*self.at(points[0], extent))
        mouse.down()
        for point in points[1:]:
            mouse.move(*self.at(point, extent), steps=10)
        mouse.up()
        expect(self.page.locator("#drawings li")).to_have_count(before + 1, timeout=120_000)

    def click(self, place: tuple[float, float], extent: tuple[float, float] = (3.6, 3.6)) -> None:
        """Click a place of the maze."""
        self.page.mouse.click(*self.at(place, extent))

    def status(self, text: str, seconds: float = 60) -> str:
        """Wait until the line under the maze says so; all that it says."""
        line = self.page.locator("#maze-status")
        expect(line).to_contain_text(text, timeout=1000 * seconds)
        return line.inner_text()

    def violations(self) -> list[str]:
        """What axe-core finds wrong with the page as it is now."""
        self.page.evaluate(AXE + "; undefined")
        found = self.page.evaluate("() => axe.run(document)")
        return [
            f"{each['id']}: {node['html'][:120]}"
            for each in found["violations"]
            for node in each["nodes"]
        ]
