"""Requests and files that the server must refuse: each is a name and a function to its status."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from functools import partial

import numpy as np
from served import Served

Try = tuple[str, Callable[[], int]]
JSON = {"Content-Type": "application/json"}
BYTES = {"Content-Type": "application/octet-stream"}


def maze(spelling: str) -> str:
    """A request for a board."""
    return json.dumps({"environment": "maze", "settings": {"maze": spelling}})


MAZE = maze("umaze")


def hostile_requests(served: Served) -> list[Try]:
    """Requests that no page of this server makes."""

    def ask(method: str, path: str, body: str | None = None, **headers: str) -> Callable[[], int]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return lambda: served.request(method, path, body, given)[0]

    make = partial(ask, "POST", "/api/boards", MAZE)
    found: dict[str, Callable[[], int]] = {
        "a name that was pointed here": ask("GET", "/api/state", Host="evil.example"),
        "the same for a post": make(
            Host=f"evil.example:{served.port}", Content_Type=JSON["Content-Type"]
        ),
        "no port in the host": ask("GET", "/", Host="127.0.0.1"),
        "a post of another site": make(
            Origin="http://evil.example", Content_Type="application/json"
        ),
        "a post of no origin": make(Origin="null", Content_Type="application/json"),
        "a post of another port": make(
            Origin="http://127.0.0.1:1", Content_Type="application/json"
        ),
        "a post that the browser calls cross-site": make(
            Sec_Fetch_Site="cross-site", Content_Type="application/json"
        ),
        "a script of another site": ask("GET", "/static/main.js", Sec_Fetch_Site="cross-site"),
        "a form": make(Content_Type="application/x-www-form-urlencoded"),
        "a form with a file": make(Content_Type="multipart/form-data; boundary=x"),
        "plain text": make(Content_Type="text/plain"),
        "PUT": ask("PUT", "/api/boards", MAZE, **{"Content_Type": "application/json"}),
        "TRACE": ask("TRACE", "/"),
        "a body that claims a terabyte": make(
            Content_Type="application/json", Content_Length=str(10**12)
        ),
        "a file beside the page's": ask("GET", "/static/..%2fapp.py"),
        "the password file": ask("GET", "/static/%2fetc%2fpasswd"),
        "a board above the folder": ask("GET", "/api/boards/..%2f..%2fetc"),
        "a board of dots": ask("DELETE", "/api/boards/.."),
        "the lock": ask("GET", "/api/boards/.lock"),
        "a zero in a name": ask("GET", "/api/boards/a%00b"),
        "a name of 10,000 letters": ask("GET", "/api/boards/" + 10_000 * "a"),
        "events of no board": ask("GET", "/api/events?board=../.."),
        "a job that is not there": ask(
            "POST", "/api/jobs/99999/stop", "{}", Content_Type="application/json"
        ),
        "a number that is none": ask(
            "POST", "/api/jobs/-1/stop", "{}", Content_Type="application/json"
        ),
    }
    bodies = {
        "no body": "",
        "half a body": '{"maze":',
        "a list": "[1]",
        "depth": 200_000 * "[",
        "NaN": '{"environment": "maze", "settings": {"maze": NaN}}',
        "a number for a name": '{"environment": "maze", "settings": {"maze": 1e400}}',
        "an entry that is not asked for": '{"environment": "maze", "out": "/tmp/x"}',
        "a maze that is a path": maze("../../etc/passwd"),
        "a maze without room": maze("111/111/111"),
        "an open maze": maze("101/101/101"),
        "a maze of a million cells": maze("1" * 1_000_000),
        "a maze of 200 cells a side": maze("/".join(["1" * 200] * 200)),
        "a body above the limit": maze("1" * 3_000_000),
        "an environment that is code": '{"environment": "os:system", "settings": {}}',
        "an environment to import": '{"environment": "antigravity:Env-v0", "settings": {}}',
        "runs of what is code": '{"kind": "running", "environment": "os:system"}',
        "a kind that is a path": '{"kind": "../x"}',
    }
    for name, body in bodies.items():
        found[name] = ask("POST", "/api/boards", body, Content_Type="application/json")
    return list(found.items())


class Bomb:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        import os

        return os.system, ("touch /tmp/trailward-was-unpickled",)


def hostile_files(served: Served, board: str) -> list[Try]:
    """Files that are no tracks."""
    pickled = io.BytesIO()
    np.savez(pickled, observations=np.array([Bomb()], dtype=object))
    bombed = io.BytesIO()
    with zipfile.ZipFile(bombed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../escaped.npy", b"x")
    header = b"id,time,x,y\n"
    files = {
        "a pickle": ("a.npz", pickle.dumps(Bomb())),
        "an archive of pickles": ("b.npz", pickled.getvalue()),
        "an archive that climbs": ("c.npz", bombed.getvalue()),
        "a script": ("d.sh", b"#!/bin/sh\n"),
        "a name that climbs": ("../../../tmp/e.py", b"x"),
        "no name": ("", header),
        "an empty file": ("f.csv", b""),
        "a header alone": ("g.csv", header),
        "noise": ("h.csv", bytes(range(256)) * 100),
        "noise in Parquet": ("i.parquet", b"PAR1" + bytes(1000) + b"PAR1"),
        "words for numbers": ("j.csv", header + b"1,0,a,b\n1,1,c,d\n"),
        "infinite places": ("k.csv", header + b"1,0,inf,0\n1,1,0,0\n"),
        "one row a track": ("l.csv", header + b"1,0,0,0\n2,0,0,0\n"),
        "ragged rows": ("m.csv", header + b"1,0,0\n1,1,0,0,5\n"),
    }

    def drop(role: str, name: str, content: bytes) -> int:
        from urllib.parse import quote

        path = f"/api/boards/{board}/files/{role}?name={quote(name, safe='')}"
        status, _, answer = served.request("POST", path, content, BYTES)
        if status == 200 and not json.loads(answer).get("tracks"):
            return 422  # it was read, and asks which column is what
        return status

    found = [(what, partial(drop, "everybody", *file)) for what, file in files.items()]
    found.append(("a role that is a path", partial(drop, "..%2f..%2fx", "a.csv", header)))
    found.append(("a role that is none", partial(drop, "board.json", "a.csv", header)))
    found.append(("walls that are none", partial(drop, "walls", "w.csv", b"x\n1\n")))
    return found
