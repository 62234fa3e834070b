"""The verb ``serve``: open the page."""

import secrets
import socket
import threading
import webbrowser
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from trailward.checkpoint import CONFIG
from trailward.cli.flags import Say
from trailward.errors import DataError
from trailward.optional import import_extra
from trailward.running.files import write_json
from trailward.running.folders import FolderError
from trailward.web.boards import SHOWN
from trailward.web.jobs import Limits

_HERE = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Serve:
    """Open the page: draw demonstrations, watch the reward appear, ask it questions."""

    out: Path = Path("runs/page")
    """Folder of all that is made on the page; it survives a restart."""
    port: int = 8020
    """Port of the address; 0 takes any that is free."""
    host: str = "127.0.0.1"
    """Address to listen on. Any but this one can be reached from other computers: the address
    printed then carries a token."""
    open: bool = True
    """Open the browser; --no-open does not."""
    show: tuple[Path, ...] = ()
    """Folders of learnt rewards of environments that render, to see them run on the page."""
    limits: Limits = field(default_factory=Limits)
    """Limits on what jobs may use."""

    def run(self, say: Say) -> None:
        """Run the server until it is interrupted.

        Raises:
            MissingExtraError: if Starlette or uvicorn is not installed.
            OSError: if the port is taken.
            FolderError: if another server uses the folder.
            DataError: if a folder to show is none of a reward.
        """
        extra = "the page needs Starlette and uvicorn: pip install 'trailward[web]'"
        uvicorn = import_extra("uvicorn", extra)
        app = import_extra("trailward.web.app", extra)
        self.out.mkdir(parents=True, exist_ok=True)
        shown = {folder.name: str(_reward(folder)) for folder in self.show}
        bound = _bind(self.host, self.port)
        port = bound.getsockname()[1]
        local = self.host in _HERE
        token = None if local else secrets.token_urlsafe(24)
        names = ["127.0.0.1", "localhost", "[::1]"] if local else _names(self.host)
        hosts = [f"{name}:{port}" for name in names] + (names if port == 80 else [])
        address = f"http://{hosts[0]}/" + (f"?token={token}" if token else "")
        try:
            with FileLock(self.out / ".lock", timeout=0):
                write_json(self.out / SHOWN, shown)
                if not local:
                    say(f"warning: other computers can reach this server at {self.host}; whoever")
                    say("has the address below can use it, and what is sent is not encrypted")
                say(f"trailward is at {address}")
                say(f"what you make is kept in {self.out}; Ctrl-C ends the server")
                if self.open:
                    threading.Timer(0.5, webbrowser.open, [address]).start()
                made = app.make_app(self.out.resolve(), hosts, token=token, limits=self.limits)
                config = uvicorn.Config(
                    made, log_level="warning", access_log=False, server_header=False,
                    timeout_graceful_shutdown=1, h11_max_incomplete_event_size=2**16,
                    http="h11", ws="none", lifespan="on",
                )  # fmt: skip
                uvicorn.Server(config).run(sockets=[bound])
        except Timeout:
            place, user = str(self.out), "another server"
            remedy = "open its page, or choose another --out"
            msg = f"{user} uses {place}"
            raise FolderError(msg, place=place, value=user, remedy=remedy) from None
        finally:
            bound.close()


def _reward(folder: Path) -> Path:
    """Where the reward of a folder is: there, or in its part ``reward``."""
    for place in (folder, folder / "reward"):
        if (place / CONFIG).is_file():
            return place.resolve()
    msg = f"--show {folder}: no learnt reward is there"
    raise DataError(msg, place="--show", value=str(folder), remedy="name the folder of one")


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(128)  # from here on a browser waits instead of being refused
    except OSError as error:
        bound.close()
        msg = f"cannot listen on {host}, port {port}: {error.strerror}; choose another --port"
        raise OSError(msg) from None
    return bound


def _names(host: str) -> list[str]:
    """What the server may be called that listens on an address which others can reach."""
    if host not in ("0.0.0.0", "::"):  # noqa: S104
        return [f"[{host}]" if ":" in host else host]
    name = socket.gethostname()
    found = {each[4][0] for each in socket.getaddrinfo(name, None, proto=socket.IPPROTO_TCP)}
    return [name, *sorted(str(each) for each in found if ":" not in str(each)), "127.0.0.1"]
