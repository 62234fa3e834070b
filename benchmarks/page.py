"""The page, measured in a real browser: how fast it is there, how fast it learns, whom it refuses.

    .venv/bin/python benchmarks/page.py
    .venv/bin/python benchmarks/page.py --screenshots docs/images
    .venv/bin/python benchmarks/page.py --example src/trailward/web/example
    .venv/bin/python benchmarks/page.py --parts paint draw hostile

The last line is one JSON object: ``first_paint_ms`` and ``bytes`` of the page,
``map_updates_per_second`` while a reward is learnt, ``draw_to_reward_seconds`` from the first
stroke of three drawings to the finished reward, ``paint_to_plans_seconds`` from a painted maze to
its first plans, ``clients`` (50 pages at once while a job runs) and ``hostile`` (requests and
files that must be refused).

It takes the browser and the helpers of the tests: Debian's Chromium, pip install -e '.[dev]'.
"""

import argparse
import json
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "web"))

import numpy as np
from browser import Visit, chromium
from hostile import hostile_files, hostile_requests
from playwright.sync_api import Browser, expect
from served import Served, serving

DRAWINGS = (
    [(-1, -1), (0.9, -1.05), (1.05, 0.9), (-0.9, 1)],
    [(0.2, -0.9), (1, -0.9), (0.95, 0.9), (-1, 0.95)],
    [(1.1, 0.1), (1.05, 1), (-0.95, 1.05)],
)
END = [1, 1]
"""The cell where all of them end."""

PARTS = ("paint", "draw", "clients", "ask", "tracks", "runs", "train", "hostile")
"""What is measured: the first paint, drawing and learning, 50 pages at once, the other tabs, a
painted maze, and hostile requests."""

PAINTED = [(2, 2), (2, 3), (2, 4), (3, 4), (4, 2), (5, 2), (5, 5)]
"""Cells that get walls, on a grid of 6 rows and 8 columns with a border."""


def first_paint(browser: Browser, served: Served, loads: int = 5) -> tuple[float, int]:
    """Median milliseconds to the first paint of a fresh visit, and the bytes that it loads."""
    times, sizes = [], []
    for _ in range(loads):
        visit = Visit.to(browser, served.address + "/")
        visit.page.wait_for_load_state("networkidle")
        script = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"
        times.append(visit.page.evaluate(script))
        script = "() => performance.getEntries().reduce((n, e) => n + (e.transferSize || 0), 0)"
        sizes.append(visit.page.evaluate(script))
        visit.page.context.close()
    return statistics.median(times), max(sizes)


def draw_and_learn(browser: Browser, served: Served) -> tuple[Visit, dict[str, Any]]:
    """Draw three paths and learn."""
    visit = Visit.to(browser, served.address + "/")
    visit.page.wait_for_load_state("networkidle")
    began = time.perf_counter()
    for drawing in DRAWINGS:
        visit.draw(drawing)
    drawn = time.perf_counter()
    visit.page.click("#learn")
    visit.status("Learnt in", 600)
    ended = time.perf_counter()
    marks = visit.page.evaluate("() => performance.getEntriesByName('map').map(e => e.startTime)")
    during = marks[:-1]  # what is shown at the end is no update while learning
    board = served.ask(f"/api/boards/{board_name(visit)}")
    expect(visit.page.locator("#learning")).to_be_hidden(timeout=600_000)  # a value is fitted
    return visit, {
        "draw_to_reward_seconds": round(ended - began, 2),
        "draw_seconds": round(drawn - began, 2),
        "map_updates": len(during),
        "map_updates_per_second": round((len(during) - 1) / (during[-1] - during[0]) * 1000, 2),
        "best_cell_right": board["learnt"]["map"]["best_cell"] == END,
    }


def board_name(visit: Visit) -> str:
    """The board in the address of a page."""
    return visit.page.url.partition("board=")[2].partition("&")[0]


def paint_and_plan(browser: Browser, served: Served) -> tuple[Visit, float]:
    """Paint a maze, wait until it can plan there, and see a fan of plans."""
    visit = Visit.to(browser, served.address + "/")
    page = visit.page
    page.get_by_role("radio", name="Paint one").click()
    extent = (10.0, 8.0)
    for row, column in PAINTED:
        visit.click((column + 0.5 - 5, 4 - row - 0.5), extent)
    began = time.perf_counter()
    page.click("#paint-done")
    visit.status("This maze is ready", 900)
    expect(page.locator("#learn")).to_be_visible()
    visit.click((-3.5, 2.5), (8.6, 6.6))
    visit.status("12 plans", 120)
    return visit, time.perf_counter() - began


def many_clients(served: Served, board: str, count: int = 50) -> dict[str, Any]:
    """So many pages at once while a job runs: every file, the board, and open events."""
    job = served.ask(f"/api/boards/{board}/judge", {"task": "corner"})
    names = [
        path.name for path in (Path(__file__).parents[1] / "src/trailward/web/static").iterdir()
    ]
    paths = ["/", *(f"/static/{name}" for name in names), "/api/state", f"/api/boards/{board}"]
    seconds: list[float] = []
    errors: list[str] = []

    def client() -> None:
        with socket.create_connection(("127.0.0.1", served.port), timeout=60) as events:
            asked = (
                f"GET /api/events?board={board} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n\r\n"
            )
            events.sendall(asked.encode())
            for _ in range(2):
                for path in paths:
                    began = time.perf_counter()
                    status, _, _ = served.request("GET", path)
                    seconds.append(time.perf_counter() - began)
                    if status != 200:
                        errors.append(f"{path}: {status}")
            if not events.recv(100).startswith(b"HTTP/1.1 200"):
                errors.append("no events")

    threads = [threading.Thread(target=client) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    running = len(served.ask("/api/state")["running"])
    served.ask(f"/api/jobs/{job['job']}/stop", {})
    ordered = sorted(seconds)
    return {
        "clients": count,
        "requests": len(seconds),
        "jobs_running": running,
        "errors": len(errors),
        "ms_median": round(1000 * statistics.median(ordered), 1),
        "ms_95_percent": round(1000 * ordered[int(0.95 * len(ordered))], 1),
    }


def refuse(served: Served) -> dict[str, Any]:
    """Hostile requests and files: refused, nothing written, nothing left running."""
    before = _files(served.out)
    board = served.ask("/api/boards", {"kind": "tracks"})["board"]
    workers = served.workers()
    accepted = [name for name, try_it in hostile_requests(served) if try_it() < 400]
    accepted += [name for name, try_it in hostile_files(served, board) if try_it() < 400]
    served.ask(f"/api/boards/{board}", method="DELETE")
    count = len(hostile_requests(served)) + len(hostile_files(served, board))
    return {
        "tried": count,
        "accepted": accepted,
        "written": sorted(_files(served.out) - before),
        "workers_as_before": len(served.workers()) == len(workers),
        "running": len(served.ask("/api/state")["running"]),
    }


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


LOOKS: dict[str, dict[str, Any]] = {
    "": {},
    "-dark": {"color_scheme": "dark"},
    "-narrow": {"viewport": {"width": 400, "height": 900}},
    "-narrow-dark": {"viewport": {"width": 400, "height": 900}, "color_scheme": "dark"},
}
"""Light is for docs; the others are to be looked at."""


def pictures(browser: Browser, address: str, name: str, folder: Path | None, *ready: str) -> None:
    """Screenshots of what an address shows, in every look, if a folder is given.

    Args:
        browser: Chromium.
        address: with the board and the settings.
        name: of the picture.
        folder: gets ``page-NAME.png``, and beside it ``looks/page-NAME-LOOK.png``.
        ready: selectors that are there once everything is shown.
    """
    for look, context in LOOKS.items():
        if folder is None:
            return
        visit = Visit.to(browser, address, **context)
        for selector in ready:
            expect(visit.page.locator(selector)).to_be_visible(timeout=60_000)
        visit.page.wait_for_timeout(2500)
        place = (folder if not look else folder / "looks") / f"page-{name}{look}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        visit.page.screenshot(path=place, full_page=bool(look))
        visit.page.context.close()
        if visit.complaints:
            raise RuntimeError(f"{name}{look}: {visit.complaints}")


def walks() -> str:
    """Tracks of people who cross a square, as CSV; the first twelve stop at a fountain."""
    draw = np.random.default_rng(4)
    lines = ["id,time (s),x (m),y (m)"]
    for person in range(90):
        angle, other = draw.uniform(0, 2 * np.pi, 2)
        begin = 9 * np.array([np.cos(angle), np.sin(angle)])
        end = 9 * np.array([np.cos(other), np.sin(other)])
        if person < 12:
            end = np.array([2.5, 1.5]) + draw.normal(0, 0.4, 2)
        bend = draw.normal(0, 1.2, 2)
        for step, share in enumerate(np.minimum(np.linspace(0, 1.15, 24), 1.0)):
            place = begin + share * (end - begin) + bend * np.sin(np.pi * share)
            x, y = place + draw.normal(0, 0.05, 2)
            lines.append(f"{person},{step},{x:.2f},{y:.2f}")
    return "\n".join(lines) + "\n"


def show_questions(browser: Browser, served: Served, board: str, folder: Path | None) -> list[str]:
    """Three answers about a learnt reward, and pictures; what the page complains of."""
    home = served.address
    maze = f"{home}/#maze?board={board}&start=-1.00,-1.00"
    pictures(browser, maze, "maze", folder, "#learn", "#maze-legend")
    asking = Visit.to(browser, f"{home}/#ask?board={board}")
    for number, key in enumerate("120", 1):
        expect(asking.page.locator("#readings li").first).to_be_visible(timeout=60_000)
        asking.page.keyboard.press(key)
        expect(asking.page.locator("#ask-status")).to_contain_text(
            f"{number} answered", timeout=60_000
        )
    pictures(browser, f"{home}/#ask?board={board}", "ask", folder, "#ask-shown", "#readings")
    asking.page.context.close()
    return asking.complaints


def show_tracks(browser: Browser, served: Served, folder: Path | None) -> dict[str, Any]:
    """Drop a file of tracks and fit; how long that takes."""
    found: dict[str, Any] = {}
    tracks = Visit.to(browser, f"{served.address}/#tracks")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "square.csv"
        file.write_text(walks(), encoding="utf-8")
        tracks.page.set_input_files("#file-everybody", file)
        expect(tracks.page.locator("#track-status")).to_contain_text("90 tracks", timeout=60_000)
    tracks.page.fill("#picked", ", ".join(str(number) for number in range(12)))
    tracks.page.click("#pick")
    expect(tracks.page.locator("#fit")).to_be_enabled(timeout=30_000)
    tracks.page.select_option("#fit-minutes", "1")
    began = time.perf_counter()
    tracks.page.click("#fit")
    expect(tracks.page.locator("#take")).to_be_visible(timeout=900_000)
    found["fit_seconds"] = round(time.perf_counter() - began, 1)
    pictures(browser, tracks.page.url, "tracks", folder, "#take", "#track-legend")
    tracks.page.context.close()
    return found | {"complaints": tracks.complaints}


def show_runs(browser: Browser, served: Served, folder: Path | None) -> dict[str, Any]:
    """Learn and run; how long that takes."""
    found: dict[str, Any] = {}
    running = Visit.to(browser, f"{served.address}/#running")
    began = time.perf_counter()
    running.page.click("#race")
    expect(running.page.locator("#race-shown")).to_be_visible(timeout=900_000)
    found["runs_seconds"] = round(time.perf_counter() - began, 1)
    pictures(browser, running.page.url + "&moment=120", "runs", folder, "#race-shown")
    running.page.context.close()
    return found | {"complaints": running.complaints}


def keep_example(served: Served, board: str, folder: Path) -> None:
    """Copy a finished board to where the package has its example."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    facts = json.loads((served.out / board / "board.json").read_text(encoding="utf-8"))
    facts["start"] = [-1.0, -1.0]
    (folder / "board.json").write_text(json.dumps(facts), encoding="utf-8")
    for part in ("drawings", "reward"):
        shutil.copytree(served.out / board / part, folder / part)


def main() -> None:
    """Measure, say what was found, and print it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--screenshots", type=Path, help="folder for pictures of every tab")
    parser.add_argument("--example", type=Path, help="folder for the packaged example")
    parser.add_argument(
        "--parts", nargs="*", default=PARTS, choices=PARTS, help="what to measure; everything"
    )
    given = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as home, serving(Path(home) / "out") as served:
        time.sleep(8)  # the workers load PyTorch meanwhile
        with chromium() as browser:
            if "paint" in given.parts:
                paint, size = first_paint(browser, served)
                tell(figures, {"first_paint_ms": paint, "bytes": size})
            measure(browser, served, given, figures)
        if "hostile" in given.parts:
            tell(figures, {"hostile": refuse(served)})
    print(json.dumps(figures))


def tell(figures: dict[str, Any], more: dict[str, Any]) -> None:
    """Add what was found, and print it."""
    for name, value in more.items():
        print(f"{name:>24}  {value}", flush=True)
    figures |= more


def measure(
    browser: Browser, served: Served, given: argparse.Namespace, figures: dict[str, Any]
) -> None:
    """What takes learning and training."""
    complaints: list[str] = []
    if set(given.parts) & {"draw", "clients", "ask"}:
        visit, found = draw_and_learn(browser, served)
        tell(figures, found)
        board, complaints = board_name(visit), visit.complaints
        visit.page.context.close()
        if given.example is not None:
            keep_example(served, board, given.example)
        if "clients" in given.parts:
            tell(figures, {"clients": many_clients(served, board)})
        if "ask" in given.parts:
            complaints += show_questions(browser, served, board, given.screenshots)
    for part, show in (("tracks", show_tracks), ("runs", show_runs)):
        if part in given.parts:
            found = show(browser, served, given.screenshots)
            complaints += found.pop("complaints")
            tell(figures, found)
    if "train" in given.parts:
        painted, seconds = paint_and_plan(browser, served)
        tell(figures, {"paint_to_plans_seconds": round(seconds, 1)})
        pictures(browser, painted.page.url, "painted", given.screenshots, "#learn")
        complaints += painted.complaints
    tell(figures, {"complaints": complaints})


if __name__ == "__main__":
    main()
