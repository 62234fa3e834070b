"""The page in a real browser: draw, learn, ask for plans, run; and all that may come between."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Visit, chromium
from playwright.sync_api import APIResponse, Browser, Route, expect
from served import Served, serving

pytestmark = pytest.mark.slow  # a browser, a server and its processes

UPPER_LEFT = [
    [(-1, -1), (1, -1), (1, 1), (-1, 1)],
    [(0.8, -1.1), (1.1, 0.9), (-0.9, 1)],
    [(1, 0), (1, 1), (-1, 1)],
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("page") / "out") as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def visit(browser: Browser, served: Served) -> Iterator[Visit]:
    visit = Visit.to(browser, served.address + "/")
    yield visit
    visit.page.context.close()
    assert visit.complaints == []


@pytest.fixture(scope="module")
def example(browser: Browser, served: Served) -> str:
    """The address of the finished example: three paths, and a reward that was learnt before."""
    visit = Visit.to(browser, served.address + "/")
    visit.page.click("#example")
    visit.status("12 plans")
    address = re.sub("&start=[^&]*", "", visit.page.url)  # no plans before there is a click
    visit.page.context.close()
    assert visit.complaints == []
    return address


@pytest.fixture(scope="module")
def learnt(browser: Browser, served: Served) -> str:
    """The address of a board on which three paths are drawn and a reward is learnt."""
    visit = Visit.to(browser, served.address + "/")
    for line in UPPER_LEFT:
        visit.draw(line)
    visit.page.click("#learn")
    said = visit.status("Learnt in", 300)
    assert "row 1, column 1 (the star)" in said
    expect(visit.page.locator("#learning")).to_be_hidden(timeout=120_000)
    address = visit.page.url
    visit.page.context.close()
    assert visit.complaints == []
    return address


def board_of(served: Served, address: str) -> dict:
    name = address.partition("board=")[2].partition("&")[0]
    return served.ask(f"/api/boards/{name}")


def test_the_reward_is_highest_where_the_drawings_end(served: Served, learnt: str) -> None:
    board = board_of(served, learnt)
    assert [drawing["why"] for drawing in board["drawings"]] == [None, None, None]
    assert board["learnt"]["map"]["best_cell"] == [1, 1]
    assert 25 <= len(board["learnt"]["losses"]) <= 50
    assert board["learnt"]["losses"][-1] < board["learnt"]["losses"][0]


def test_what_is_learnt_is_a_folder_of_the_command_line(served: Served, learnt: str) -> None:
    from trailward import LearntReward, read_dataset

    folder = served.out / board_of(served, learnt)["board"]
    reward = LearntReward.load(folder / "reward")
    ends = [
        episode.observations[-1] for episode in read_dataset(folder / "demonstrations-v0").episodes
    ]
    assert len(ends) == 3
    assert reward(ends[0]) > reward([1.0, -1.0, 0.0, 0.0])


def test_a_click_shows_a_fan_of_plans_and_play_runs_one(visit: Visit, example: str) -> None:
    page = visit.page
    visit.open(example)
    expect(page.locator("#learn")).to_have_text("Learn again")
    visit.click((1, -1))
    assert visit.status("12 plans").count("wall") == 1
    expect(page.locator("#step")).to_have_value("8")
    page.locator("#step").fill("0")
    expect(page.locator("#step + output")).to_have_text("0 of 8")
    page.get_by_role("radio", name="Without").click()
    page.locator("#candidates").fill("10")
    page.locator("#candidates").dispatch_event("change")
    visit.status("10 plans")
    page.get_by_role("radio", name="With the reward").click()
    page.click("#play")
    assert "stays at row 1, column 1." in visit.status("After 300 steps", 90)


def test_a_line_through_a_wall_is_kept_up_to_it_and_says_so(visit: Visit) -> None:
    visit.draw([(1, -1), (-1, -1), (-1, 1)])
    visit.status("the line runs into a wall here")
    expect(visit.page.locator("#drawings li.short")).to_contain_text("the ball stops before it")
    visit.page.click("#undo")
    expect(visit.page.locator("#drawings li")).to_have_count(0)


def test_a_line_that_begins_in_a_wall_is_refused(visit: Visit) -> None:
    visit.page.mouse.move(*visit.at((-1, 0), (3.6, 3.6)))
    visit.page.mouse.down()
    visit.page.mouse.move(*visit.at((1, 0), (3.6, 3.6)), steps=10)
    visit.page.mouse.up()
    alert = visit.page.get_by_role("alert")
    expect(alert).to_contain_text("The line begins inside a wall")
    visit.complaints[:] = [c for c in visit.complaints if "422" not in c]


def test_the_expert_draws_too(visit: Visit) -> None:
    visit.page.click("#expert")
    expect(visit.page.locator("#drawings li")).to_have_count(3)


def test_learning_goes_on_over_a_reload_in_two_tabs_and_stops_when_asked(visit: Visit) -> None:
    page = visit.page
    for line in UPPER_LEFT[:1]:
        visit.draw(line)
    page.click("#learn")
    expect(page.locator("#learning p")).to_contain_text("Learning")
    page.reload()
    other = visit.another_tab()
    for each in (page, other.page):
        expect(each.locator("#learning p")).to_contain_text("Learning")
    other.page.click("#stop")
    for each in (page, other.page):
        expect(each.locator("#maze-status")).to_contain_text("Learnt in")
    expect(page.locator("#stop")).to_be_hidden()


def test_a_worker_that_is_killed_says_so_and_the_page_goes_on(visit: Visit, served: Served) -> None:
    page = visit.page
    visit.draw(UPPER_LEFT[2])
    page.click("#learn")
    expect(page.locator("#learning p")).to_contain_text("Learning:")
    before = {worker: _busy(worker) for worker in served.workers()}
    time.sleep(1)
    os.kill(max(before, key=lambda worker: _busy(worker) - before[worker]), signal.SIGKILL)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("the process that did it died: SIGKILL")
    page.click("#learn")
    expect(page.locator("#learning p")).to_contain_text("Learning:")
    page.click("#stop")
    visit.status("Learnt in")


def _busy(process: int) -> int:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11])


def test_the_keyboard_is_enough(visit: Visit) -> None:
    page = visit.page
    page.locator("#maze").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    visit.status("A line begins here")
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page.locator("#drawings li")).to_have_count(1)
    page.keyboard.press("Enter")
    visit.status("12 plans (nothing is learnt yet")


def test_an_answer_that_comes_late_undoes_no_drawing(visit: Visit) -> None:
    page = visit.page
    held: list[tuple[Route, APIResponse]] = []

    def hold(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append((route, route.fetch()))  # the board as it is before the line is drawn

    page.route(re.compile(r"/api/boards/[^/]+$"), hold)
    visit.draw(UPPER_LEFT[0])
    while not held:
        page.wait_for_timeout(50)
    ((route, answer),) = held
    with page.expect_response(route.request.url):
        route.fulfill(response=answer)
    page.wait_for_timeout(500)
    expect(page.locator("#drawings li")).to_have_count(1)


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_nothing_bars_anyone_from_the_page(browser: Browser, example: str, colours: str) -> None:
    visit = Visit.to(browser, example, color_scheme=colours)
    expect(visit.page.locator("#learn")).to_have_text("Learn again")
    assert visit.violations() == []
    visit.page.set_viewport_size({"width": 400, "height": 800})
    assert visit.violations() == []
    width = visit.page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= 400
    visit.page.context.close()
    assert visit.complaints == []


def test_the_address_holds_the_settings(visit: Visit, example: str) -> None:
    visit.open(example + "&strength=2&plans=5&start=1.00,-1.00&which=without")
    visit.status("5 plans")
    expect(visit.page.locator("#strength")).to_have_value("2")
    expect(visit.page.get_by_role("radio", name="Without")).to_be_checked()


def test_answers_settle_what_the_reward_means(visit: Visit, served: Served, example: str) -> None:
    from trailward import LearntReward
    from trailward.learning.answers import read_answers

    page = visit.page
    visit.open(example)
    expect(page.locator("#learn")).to_have_text("Learn again")
    page.get_by_role("tab", name="Which is better?").click()
    says, status = page.locator("#ask-says"), page.locator("#ask-status")
    expect(says).to_have_text("These demonstrations cannot tell a slope from a place.")
    before = page.locator("#readings").inner_text()
    page.keyboard.press("1")
    expect(status).to_contain_text("1 answered")
    after = page.locator("#readings").inner_text()
    assert after != before
    page.keyboard.press("0")
    expect(status).to_contain_text("2 answered")
    assert page.locator("#readings").inner_text() != after
    assert visit.violations() == []
    folder = served.out / board_of(served, example)["board"]
    spec = LearntReward.load(folder / "reward").spec
    kept = read_answers(folder / "answers.jsonl", spec)
    assert [answer.choice for answer in kept] == ["first", "equal"]
    page.click("#ask-forget")
    expect(page.locator("#ask-forget")).to_be_disabled()
    assert not (folder / "answers.jsonl").exists()


def test_a_second_set_of_paths_is_compared_and_never_learnt_from(visit: Visit) -> None:
    page = visit.page
    page.click("#example")
    visit.status("12 plans")
    page.check("#second")
    visit.draw([(-1, -1), (1, -1), (1, 1), (-0.9, 0.9)])
    expect(page.locator("#drawings li").last).to_contain_text("to compare")
    page.click("#compare")
    figures = page.locator("#figures")
    expect(figures).to_contain_text("earns more than")
    rank, apart = re.findall(r"than (\d+)%.* ends (\S+) m", figures.inner_text(), re.DOTALL)[0]
    assert int(rank) >= 90
    assert float(apart) < 0.8


def test_a_maze_is_painted_and_its_preparation_is_stopped(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("radio", name="Paint one").click()
    visit.click((-2.5, 1.5), (10, 8))
    page.click("#paint-done")
    stages = re.compile("Recording aimless play|Learning how things move here")
    expect(page.locator("#prepare p")).to_contain_text(stages)
    page.click("#prepare button")
    expect(page.locator("#maze-status")).to_have_text("Stopped.")
    expect(page.locator("#prepare")).to_be_hidden()


def test_a_server_that_is_started_again_says_what_was_lost(
    browser: Browser, tmp_path: Path
) -> None:
    with serving(tmp_path / "out") as server:
        visit = Visit.to(browser, server.address + "/")
        visit.draw(UPPER_LEFT[2])
        visit.page.click("#learn")
        expect(visit.page.locator("#learning")).to_be_visible()
        place = visit.page.url.partition("#")[2]
        visit.page.context.close()
    with serving(tmp_path / "out") as server:
        visit = Visit.to(browser, f"{server.address}/#{place}")
        alert = visit.page.get_by_role("alert")
        expect(alert).to_contain_text("the server ended while it was at this")
        expect(visit.page.locator("#drawings li")).to_have_count(1)
        expect(visit.page.locator("#learn")).to_be_enabled()
        visit.page.context.close()
        assert visit.complaints == []


def test_a_finished_example_loads_at_once(visit: Visit) -> None:
    visit.page.click("#example")
    visit.status("12 plans")
    expect(visit.page.locator("#drawings li")).to_have_count(3)
    expect(visit.page.locator("#learn")).to_have_text("Learn again")


TRACKS = "id,time (s),x (m),y (m)\n" + "".join(
    f"{track},{step},{step * (0.5 + 0.1 * track):.2f},{track + step * 0.1:.2f}\n"
    for track in range(6)
    for step in range(12)
)


def test_dropped_tracks_are_read_shown_and_picked(visit: Visit, tmp_path: Path) -> None:
    file = tmp_path / "walks.csv"
    file.write_text(TRACKS)
    page = visit.page
    page.get_by_role("tab", name="Tracks").click()
    page.set_input_files("#file-everybody", file)
    expect(page.locator("#file-name")).to_have_text("walks.csv: 6 tracks, 66 moments")
    assert page.locator("#preview tbody tr").count() == 5
    page.fill("#picked", "2, 4")
    page.click("#pick")
    expect(page.locator("#track-status")).to_have_text("2 tracks are taken.")
    expect(page.locator("#fit")).to_be_enabled()
    page.click("#draw-walls")
    box = page.locator("#tracks").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + 60, steps=3)
    page.mouse.up()
    expect(page.locator("#track-status")).to_contain_text("1 wall.")
    assert visit.violations() == []


def test_a_file_that_cannot_be_read_says_why(visit: Visit, tmp_path: Path) -> None:
    file = tmp_path / "odd.csv"
    file.write_text("id,time,x,y\n1,0,a,2\n1,1,b,3\n")
    visit.page.get_by_role("tab", name="Tracks").click()
    visit.page.set_input_files("#file-everybody", file)
    alert = visit.page.get_by_role("alert")
    expect(alert).to_contain_text("odd.csv")
