"""The server: which address answers what. It knows nothing of rewards; workers do."""

import asyncio
import contextlib
import hashlib
import json
import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from trailward.web.boards import SHOWN, Board, UnknownBoardError, board_names, new_board
from trailward.web.guard import Guard, TooLargeError
from trailward.web.jobs import LOST, RUNNING, BusyError, Job, JobError, Jobs, Limits

_STATIC = Path(str(files("trailward.web"))) / "static"
_JSON_BYTES, _HEARTBEAT, _BACKLOG = 2**20, 15.0, 64

_QUICK = {
    "draw": ("line", "second"),
    "expert": ("task", "count"),
    "remove": ("number",),
    "plans": ("start", "scale", "candidates", "seed"),
    "run": ("start", "scale", "candidates", "seed"),
    "question": ("skipped",),
    "answer": ("number", "choice", "skipped"),
    "forget": (),
    "look": (),
    "arrange": ("episode", "frame", "observations"),
    "pick": ("tracks",),
    "wall": ("walls",),
}
_IN_PARTS, _LINES = ("run",), "application/x-ndjson"
_LONG = {
    "prepare": ("num_steps",),
    "learn": ("num_steps",),
    "judge": ("task",),
    "compare": (),
    "settle": (),
    "fit": ("minutes",),
    "race": (),
}
_MAKERS: dict[str, tuple[str, dict[str, type]]] = {
    "drawn": ("make", {"environment": str, "settings": dict}),
    "running": ("show", {"environment": str}),
    "shown": ("show", {"shown": str}),
    "example": ("example", {}),
}
"""The verb that makes a board of each kind, and what it must be given."""

_SUFFIXES, _ROLES = (".csv", ".parquet", ".npz"), ("everybody", "some", "walls")


class BadRequestError(ValueError):
    """A request that makes no sense; the message says why."""


def make_app(
    root: Path, hosts: Sequence[str], *, token: str | None = None, limits: Limits = Limits()
) -> Starlette:
    """The server as an ASGI application.

    Args:
        root: the folder that all state lives in; it exists.
        hosts: values of the Host header that are this server.
        token: that every request must carry, if any.
        limits: what jobs may use.
    """
    server = Server(root, Jobs(root, limits))
    routes = [
        Route("/", server.page),
        Route("/static/{name}", server.static),
        Route("/api/state", server.state),
        Route("/api/events", server.events),
        Route("/api/boards", server.make, methods=["POST"]),
        Route("/api/boards/{board}", server.board, methods=["GET", "DELETE"]),
        Route("/api/boards/{board}/files/{role}", server.take, methods=["POST"]),
        Route("/api/boards/{board}/download/{what}", server.hand_out),
        Route("/api/boards/{board}/{verb}", server.ask, methods=["POST"]),
        Route("/api/jobs/{number:int}/stop", server.stop, methods=["POST"]),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await server.jobs.open()
        try:
            yield
        finally:
            await server.jobs.close()

    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, hosts=[host.lower() for host in hosts], token=token)],
        exception_handlers={
            error: _refusal(status)
            for error, status in {
                BadRequestError: 400,
                UnknownBoardError: 404,
                TooLargeError: 413,
                JobError: 422,
                BusyError: 503,
                OSError: 507,
            }.items()
        },
        lifespan=lifespan,
    )


class Server:
    """What the addresses answer.

    Args:
        root: the folder that all state lives in.
        jobs: that do the work.
    """

    def __init__(self, root: Path, jobs: Jobs) -> None:
        self.root, self.jobs = root, jobs
        self._files = {path.name: path.read_bytes() for path in _STATIC.iterdir() if path.is_file()}

    async def page(self, request: Request) -> Response:
        """The page itself."""
        return self._file(request, "index.html")

    async def static(self, request: Request) -> Response:
        """A file of the page, by a name among those that there are."""
        name = request.path_params["name"]
        if name not in self._files:
            raise UnknownBoardError("there is no such file")
        return self._file(request, name)

    async def state(self, request: Request) -> Response:
        """All boards, and what is running."""
        boards = []
        for name in board_names(self.root):
            with contextlib.suppress(UnknownBoardError, ValueError):
                facts = Board(self.root, name).facts
                boards.append({"board": name, "kind": facts["kind"], "made": facts["made"]})
        running = [
            job.told(whole=False)
            for board in boards
            for job in self.jobs.of(board["board"])
            if job.state in RUNNING
        ]
        file = self.root / SHOWN
        shown = sorted(json.loads(file.read_text("utf-8"))) if file.is_file() else []
        return JSONResponse({"boards": boards, "running": running, "shown": shown})

    async def make(self, request: Request) -> Response:
        """A new board."""
        given = await _given(request, ("kind", "environment", "settings", "shown"))
        kind = given.get("kind", "drawn")
        if kind == "tracks":
            facts = {"kind": kind, "files": {}, "layout": {}, "picked": []}
            return JSONResponse(self._board(new_board(self.root, kind, facts).name))
        if kind not in _MAKERS:
            raise BadRequestError("there is no such kind of board")
        verb, names = _MAKERS[kind]
        asked = {name: _of_kind(given, name, names[name]) for name in names}
        answer = await self.jobs.ask("", verb, asked)
        return JSONResponse(self._board(answer["board"]))

    async def board(self, request: Request) -> Response:
        """A board with its jobs and its reward; or its end."""
        name = request.path_params["board"]
        if request.method == "GET":
            return JSONResponse(self._board(name))
        board = Board(self.root, name).found()
        for job in self.jobs.of(name):
            await self.jobs.stop(job)
        board.delete()
        return JSONResponse({})

    async def ask(self, request: Request) -> Response:
        """Do something with a board: at once, or as a job that is answered by events."""
        name, verb = request.path_params["board"], request.path_params["verb"]
        board = Board(self.root, name).facts
        if verb in _QUICK:
            given = await _given(request, _QUICK[verb])
            if verb in _IN_PARTS:
                return StreamingResponse(self._parts(name, verb, given), media_type=_LINES)
            answer = await self.jobs.ask(name, verb, given)
            if verb == "draw" and board["ready"]:
                self._record(name)
            return JSONResponse(answer)
        if verb not in _LONG:
            raise UnknownBoardError("a board cannot do that")
        given = await _given(request, _LONG[verb])
        if any(job.state in RUNNING and job.verb == verb for job in self.jobs.of(name)):
            raise BusyError("this is being done already")
        return JSONResponse(self.jobs.add(name, verb, given).told())

    async def take(self, request: Request) -> Response:
        """Take a file that was dropped on the page, and say what is in it."""
        name, role = request.path_params["board"], request.path_params["role"]
        board, called = Board(self.root, name), request.query_params.get("name", "")
        folder = board.folder
        suffix = Path(called).suffix.lower()
        if role not in _ROLES or board.facts["kind"] != "tracks":
            raise UnknownBoardError("a board takes no such file")
        if suffix not in _SUFFIXES or (role == "walls" and suffix != ".csv"):
            wanted = ".csv" if role == "walls" else ", ".join(_SUFFIXES)
            raise BadRequestError(f"'{_printable(called)}' is none of {wanted}")
        partial = folder / f"{role}.part"
        try:
            with partial.open("wb") as file:
                async for chunk in request.stream():
                    file.write(chunk)
            for old in folder.glob(f"{role}.*"):
                if old != partial:
                    old.unlink()
            partial.replace(folder / f"{role}{suffix}")
        finally:
            partial.unlink(missing_ok=True)
        given = {"role": role, "name": _printable(called)}
        return JSONResponse(await self.jobs.ask(name, "dropped", given))

    async def hand_out(self, request: Request) -> Response:
        """A file of a board's results, made when it is asked for."""
        name, what = request.path_params["board"], request.path_params["what"]
        folder = Board(self.root, name).folder
        made = await self.jobs.ask(name, "download", {"what": what})
        headers = {"content-disposition": f'attachment; filename="{Path(made["file"]).name}"'}
        content = (folder / made["file"]).read_bytes()
        return Response(content, media_type="application/octet-stream", headers=headers)

    async def stop(self, request: Request) -> Response:
        """End a job."""
        job = self.jobs.get(request.path_params["number"])
        if job is None:
            raise UnknownBoardError("there is no such job")
        await self.jobs.stop(job)
        return JSONResponse(job.told(whole=False))

    async def events(self, request: Request) -> Response:
        """What the jobs of a board have to show, as it comes (server-sent events)."""
        board = request.query_params.get("board", "")
        Board(self.root, board).found()
        return StreamingResponse(self._stream(board), media_type="text/event-stream")

    async def _stream(self, board: str) -> AsyncIterator[str]:
        told: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_BACKLOG)

        def tell(job: dict[str, Any]) -> None:
            if job["board"] != board:
                return
            if told.full():  # a slow page misses pictures, never an end
                told.get_nowait()
            told.put_nowait(job)

        with self.jobs.listen(tell):
            yield "retry: 1000\n\n"
            for job in self.jobs.of(board):
                if job.state in RUNNING:
                    yield _event(job.told())
            while True:
                try:
                    job = await asyncio.wait_for(told.get(), _HEARTBEAT)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                yield _event(job)

    async def _parts(self, board: str, verb: str, given: dict[str, Any]) -> AsyncIterator[str]:
        """An answer in parts, a line of JSON each; the last one is whole, or an error."""
        parts: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        async def asked() -> None:
            try:
                await parts.put(
                    {"whole": await self.jobs.ask(board, verb, given, parts.put_nowait)}
                )
            except (JobError, BusyError) as error:
                await parts.put({"error": str(error)})

        task = asyncio.create_task(asked())
        try:
            while True:
                part = await parts.get()
                yield json.dumps(part, allow_nan=False) + "\n"
                if "whole" in part or "error" in part:
                    return
        finally:
            task.cancel()

    def _record(self, name: str) -> None:
        """Record play data while people still draw: learning needs it."""
        if not any(job.verb in ("record", "learn") for job in self.jobs.of(name)):
            with contextlib.suppress(BusyError):
                self.jobs.add(name, "record", {})

    def _board(self, name: str) -> dict[str, Any]:
        board = Board(self.root, name)
        jobs: list[Job] = self.jobs.of(name)
        return board.facts | {
            "board": name,
            "learnt": board.read("reward/page.json"),
            "fitted": board.read("page.json"),
            "jobs": [job.told() for job in jobs if job.state in RUNNING or job.why == LOST],
        }

    def _file(self, request: Request, name: str) -> Response:
        content = self._files[name]
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = {"etag": tag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        kind = mimetypes.types_map.get(Path(name).suffix, "application/octet-stream")
        return Response(content, media_type=kind, headers=headers)


def _event(job: dict[str, Any]) -> str:
    return f"data: {json.dumps(job, allow_nan=False)}\n\n"


async def _given(request: Request, names: Sequence[str]) -> dict[str, Any]:
    """The entries of a request's JSON, which may be those named and no others."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise BadRequestError("the body must be JSON")
    content = await request.body()
    if len(content) > _JSON_BYTES:
        raise TooLargeError("the request is too large")
    try:
        given = json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadRequestError("the body is not JSON") from None
    if not isinstance(given, dict) or not set(given) <= set(names):
        raise BadRequestError(f"the body may hold {', '.join(names) or 'nothing'}")
    return given


def _printable(name: str) -> str:
    """The name of a file as people may see it; it is never used as a path."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable())[:80]


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _of_kind(given: dict[str, Any], name: str, kind: type) -> Any:
    if not isinstance(given.get(name), kind):
        raise BadRequestError(f"{name} must be {'text' if kind is str else 'an object'}")
    return given[name]


def _refusal(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        del request
        return JSONResponse({"error": str(error)}, status)

    return answer
