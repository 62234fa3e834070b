"""Who may ask the server for what.

A page of another site can make a browser send requests to this computer. So a request must name
this server as its host (a name that was pointed here names itself), anything that changes state
must come from this server's own page, and with an address that others can reach, it must carry a
token.
"""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_SAFE = ("GET", "HEAD")
_BODIES = ("application/json", "application/octet-stream")
COOKIE = "trailward_token"


class TooLargeError(RuntimeError):
    """A body is larger than it may be."""


@dataclass(frozen=True)
class Guard:
    """Refuses requests before anything reads them; a middleware.

    Args:
        app: what is guarded.
        hosts: values of the Host header that are this server.
        token: that every request must carry; None if only this computer can reach the server.
        max_bytes: of a body.
    """

    app: ASGIApp
    hosts: Sequence[str]
    token: str | None = None
    max_bytes: int = 64 * 2**20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on with a body that cannot grow beyond its limit."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # there are no web sockets here
        refused = self._refusal(scope)
        if refused is not None:
            await _with_headers(refused, scope)(scope, receive, send)
            return
        await self.app(scope, _limited(receive, self.max_bytes), _sending(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or host.lower() not in self.hosts:
            return PlainTextResponse(
                f"this server is {self.hosts[0]}; open it by that address", 421
            )
        if scope["method"] not in (*_SAFE, "POST", "DELETE"):
            return PlainTextResponse("this method is not for this server", 405)
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        foreign = site not in (None, "same-origin", "none")
        if origin is not None and origin.lower() != f"http://{host.lower()}":
            foreign = True
        opened = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if foreign and not (opened and origin is None):
            return PlainTextResponse("pages of other sites may not ask this server", 403)
        if scope["method"] == "POST" and not headers.get("content-type", "").startswith(_BODIES):
            return PlainTextResponse(f"a body must be {' or '.join(_BODIES)}", 415)
        if not headers.get("content-length", "0").isdigit():
            return PlainTextResponse("the content length is no number", 400)
        if int(headers.get("content-length", "0")) > self.max_bytes:
            return PlainTextResponse(too_large(self.max_bytes), 413)
        return self._without_token(scope, headers)

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        if self.token is None:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = dict(query).get("token")
        if given is not None and _same(given, self.token) and scope["method"] == "GET":
            away = RedirectResponse("/", 303)  # what the page shows is behind '#', and stays
            away.set_cookie(COOKIE, self.token, httponly=True, samesite="strict")
            return away
        cookies = [part.strip() for part in headers.get("cookie", "").split(";")]
        if any(_same(each, f"{COOKIE}={self.token}") for each in cookies):
            return None
        return PlainTextResponse(
            "open the address that the server printed: it carries a token", 401
        )


def too_large(limit: int) -> str:
    """The sentence of a refusal."""
    return f"this is larger than the {limit / 2**20:.0f} MB that are allowed"


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _limited(receive: Receive, limit: int) -> Callable[[], Awaitable[Message]]:
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise TooLargeError(too_large(limit))
        return message

    return counted


def _sending(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
        await send(message)

    return with_headers


def _with_headers(response: Response, scope: Scope) -> ASGIApp:
    async def answered(_: Scope, receive: Receive, send: Send) -> None:
        await response(scope, receive, _sending(send))

    return answered
