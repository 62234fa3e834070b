"""The server as people run it: a process of its own, asked over a socket."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "src"


@dataclass(frozen=True)
class Served:
    """A running server, and how to ask it."""

    process: subprocess.Popen[str]
    port: int
    token: str | None
    out: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """The status, the headers and the body of an answer; the path is sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        given = dict(headers or {})
        try:
            connection.putrequest(
                method, path, skip_host="Host" in given, skip_accept_encoding=True
            )
            content = body.encode() if isinstance(body, str) else body
            if content is not None and "Content-Length" not in given:
                given["Content-Length"] = str(len(content))
            for name, value in given.items():
                connection.putheader(name, value)
            connection.endheaders(content)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def ask(self, path: str, given: Any = None, method: str | None = None) -> Any:
        """The JSON of an answer that is not refused."""
        body = None if given is None else json.dumps(given)
        headers = {} if body is None else {"Content-Type": "application/json"}
        method = method or ("GET" if body is None else "POST")
        status, _, content = self.request(method, path, body, headers)
        assert status == 200, content
        return json.loads(content)

    def workers(self) -> list[int]:
        """Numbers of the processes that it has started."""
        number = self.process.pid
        listed = Path(f"/proc/{number}/task/{number}/children").read_text().split()
        return [int(each) for each in listed]


@contextlib.contextmanager
def serving(out: Path, *flags: str) -> Iterator[Served]:
    """A server for as long as the context lasts; Ctrl-C ends it, and its workers with it."""
    out.mkdir(parents=True, exist_ok=True)
    log = out.parent / f"{out.name}.log"
    command = [
        *(sys.executable, "-m", "trailward.cli.main", "serve"),
        *("--out", str(out), "--port", "0", "--no-open", *flags),
    ]
    environ = os.environ | {"PYTHONPATH": str(SOURCE), "COLUMNS": "200"}
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, env=environ, text=True)
    served = None
    try:
        port, token = _address(process, log)
        served = Served(process, port, token, out)
        yield served
        left = served.workers()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
    time.sleep(0.2)
    assert [each for each in left if Path(f"/proc/{each}").exists()] == []


def _address(process: subprocess.Popen[str], log: Path) -> tuple[int, str | None]:
    for _ in range(600):
        text = log.read_text()
        if found := re.search(r"http://\S+?:(\d+)/(?:\?token=(\S+))?", text):
            return int(found[1]), found[2]
        assert process.poll() is None, text
        time.sleep(0.05)
    raise TimeoutError(f"the server printed no address: {log.read_text()}")
