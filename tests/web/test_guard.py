"""The server answers its own page and nobody else."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Served, serving

JSON = {"Content-Type": "application/json"}


def maze(spelling: object) -> str:
    """A request for a board."""
    return json.dumps({"environment": "maze", "settings": {"maze": spelling}})


MAZE = maze("umaze")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("guard") / "out") as server:
        yield server


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_the_page_loads_nothing_from_elsewhere_and_is_small(served: Served) -> None:
    status, headers, page = served.request("GET", "/")
    assert status == 200
    assert b"https://" not in page
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    static = Path(__file__).parents[2] / "src/trailward/web/static"
    assert sum(file.stat().st_size for file in static.iterdir()) < 300_000
    for file in static.iterdir():
        status, headers, content = served.request("GET", f"/static/{file.name}")
        assert (status, content) == (200, file.read_bytes())
        again = served.request(
            "GET", f"/static/{file.name}", None, {"If-None-Match": headers["etag"]}
        )
        assert again[0] == 304


def test_nothing_is_sent_that_lets_other_pages_read_or_frame_it(served: Served) -> None:
    for path in ("/", "/api/state", "/static/main.js", "/nothing"):
        _, headers, _ = served.request("GET", path, None, {"Origin": served.address})
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert not [name for name in headers if name.lower().startswith("access-control")]


HOSTS = ["evil.example", "evil.example:PORT", "127.0.0.1", "127.0.0.1:1", "localhost:PORT.evil", ""]


@pytest.mark.parametrize("host", HOSTS)
def test_a_name_that_was_pointed_here_is_refused(served: Served, host: str) -> None:
    headers = {"Host": host.replace("PORT", str(served.port))}
    assert served.request("GET", "/api/state", None, headers)[0] in (400, 421)
    assert served.request("POST", "/api/boards", MAZE, JSON | headers)[0] in (400, 421)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
    ids=str,
)
def test_pages_of_other_sites_may_not_post(served: Served, headers: dict[str, str]) -> None:
    before = files(served.out)
    status, _, why = served.request("POST", "/api/boards", MAZE, JSON | headers)
    assert (status, why) == (403, b"pages of other sites may not ask this server")
    assert files(served.out) == before


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_a_form_can_send_is_refused(served: Served, kind: str) -> None:
    assert served.request("POST", "/api/boards", MAZE, {"Content-Type": kind})[0] == 415


def test_a_link_from_elsewhere_may_open_the_page(served: Served) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert served.request("GET", "/", None, headers)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static//etc/passwd",
        "/api/boards/..",
        "/api/boards/%2e%2e%2f%2e%2e",
        "/api/boards/.lock",
        "/api/boards/x%00y",
        "/api/boards/" + 300 * "a",
        "/api/events?board=../..",
    ],
)
def test_names_are_not_paths(served: Served, path: str) -> None:
    before = files(served.out)
    assert served.request("GET", path)[0] in (404, 405)
    assert served.request("DELETE", path)[0] in (404, 405)
    assert files(served.out) == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400),
        ("[]", 400),
        ("{", 400),
        (100_000 * "[", 400),
        ('{"environment": 3}', 400),
        ('{"environment": "maze", "out": "/tmp"}', 400),
        ('{"environment": "maze", "settings": [1]}', 400),
        ('{"environment": "maze", "settings": {"maze": NaN}}', 400),
        ('{"environment": "maze"}', 400),
        ('{"environment": "os:system", "settings": {}}', 422),
        ('{"environment": "CartPole-v1", "settings": {}}', 422),
        ('{"environment": "halfcheetah", "settings": {}}', 422),
        ('{"kind": "running", "environment": "os:system"}', 422),
        ('{"kind": "running", "environment": "maze"}', 422),
        ('{"environment": "maze", "settings": {"walls": "1"}}', 422),
        (maze(3), 422),
        (maze("nowhere"), 422),
        (maze("111/101/111"), 422),
        (maze("111/101/11"), 422),
        (maze("../../etc"), 422),
        (maze("1" * 900_000), 422),
        (maze("1" * 2_000_000), 413),
    ],
)
def test_bad_requests_are_told_what_is_wrong(served: Served, body: str, status: int) -> None:
    before = files(served.out)
    found, _, why = served.request("POST", "/api/boards", body, JSON)
    assert found == status, why
    assert len(json.loads(why)["error"]) > 10
    assert files(served.out) == before


def test_a_body_is_not_read_beyond_its_limit(served: Served) -> None:
    headers = JSON | {"Content-Length": str(10**12)}
    assert served.request("POST", "/api/boards", b"", headers)[0] == 413
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        head = f"POST /api/boards HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
        connection.sendall(head.encode() + b"Content-Type: application/json\r\n")
        connection.sendall(b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"100000\r\n" + bytes(2**20) + b"\r\n"
        try:
            for _ in range(80):
                connection.sendall(chunk)
            answer = connection.recv(1000)
        except ConnectionError:
            answer = b" 413 "
    assert b" 413 " in answer


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_other_methods_are_refused(served: Served, method: str) -> None:
    assert served.request(method, "/api/boards")[0] in (400, 405)


def test_an_address_that_others_can_reach_asks_for_a_token(tmp_path: Path) -> None:
    with serving(tmp_path / "out", "--host", "0.0.0.0") as server:
        for path in ("/", "/api/state", "/?token=wrong", "/?token=", "/static/main.js"):
            assert server.request("GET", path)[0] == 401
        assert server.request("POST", f"/api/boards?token={server.token}", MAZE, JSON)[0] == 401
        status, headers, _ = server.request("GET", f"//evil.example/?token={server.token}")
        assert (status, headers["location"]) == (303, "/")
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        given = {"Cookie": cookie.partition(";")[0]}
        assert server.request("GET", "/api/state", None, given)[0] == 200
        assert server.request("GET", "/api/state", None, {"Cookie": "trailward_token=x"})[0] == 401


def test_a_folder_has_one_server_and_a_port_one_owner(served: Served) -> None:
    import contextlib
    import io

    from trailward.cli.main import main

    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        taken = main(["serve", "--port", str(served.port), "--no-open", "--out", str(served.out)])
        shared = main(["serve", "--port", "0", "--no-open", "--out", str(served.out)])
    assert (taken, shared) == (2, 2)
    assert "choose another --port" in said.getvalue()
    assert "another server uses" in said.getvalue()
