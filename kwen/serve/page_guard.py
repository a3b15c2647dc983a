"""Who may do what with the page: the few paths that Gradio needs, and before them the visitor's cookie and the page's headers.

Of Gradio's own API nothing else can be reached: no files of the host, no uploads, no proxy. A visitor is a random cookie that no
script can read. Sessions of Gradio's and agents belong to it, so that knowing a session's name is no way into it.
"""

import json
import re
import secrets
from collections import OrderedDict
from typing import Any, Protocol
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_COOKIE = "kwen_visitor"
_TOKEN = re.compile(r"[\w-]{43}")
_JOIN, _DATA, _HEARTBEAT = "/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/heartbeat/"
_READ = frozenset(
    {"/", "/config", "/theme.css", "/manifest.json", "/favicon.ico", "/gradio_api/startup-events", "/gradio_api/app_id", _DATA}
)
_FOLDERS = ("/assets/", "/static/", _HEARTBEAT)
_SESSIONS = 10_000
_POLICY = "; ".join([
    "default-src 'self'", "script-src 'self' 'unsafe-inline' 'unsafe-eval'", "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:", "font-src 'self' data:", "connect-src 'self'", "object-src 'none'", "frame-src 'none'",
    "worker-src 'self' blob:", "form-action 'self'", "base-uri 'self'", "frame-ancestors 'none'",
])  # fmt: skip
_HEADERS = {
    "content-security-policy": _POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin", "x-frame-options": "DENY",
}  # fmt: skip


class Asked(Protocol):
    """A request, Starlette's or Gradio's."""

    @property
    def cookies(self) -> Any: ...


def visitor_of(request: Asked) -> str:
    """Who asks; "" for somebody without the cookie."""
    token = dict(request.cookies).get(_COOKIE, "")
    return token if _TOKEN.fullmatch(token) else ""


def is_page_path(method: str, path: str) -> bool:
    """Whether a request is the page's."""
    if method == "POST":
        return path == _JOIN
    return method in ("GET", "HEAD") and (path in _READ or path.startswith(_FOLDERS))


class PageRoute(BaseRoute):
    """The page's paths on the server's own router; all others are left to it."""

    def __init__(self, guard: "Guard") -> None:
        self._guard = guard

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """FULL for a request of the page's."""
        mine = scope["type"] == "http" and is_page_path(scope["method"], scope["path"])
        return (Match.FULL if mine else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it to the guard."""
        await self._guard(scope, receive, send)


class Guard:
    """Lets a visitor's requests through to Gradio's app. max_body_bytes: of a request that carries a conversation."""

    def __init__(self, app: ASGIApp, max_body_bytes: int = 16 << 20) -> None:
        self._app, self._max_body_bytes = app, max_body_bytes
        self._sessions: OrderedDict[str, str] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let through, with the page's headers."""
        request, path = Request(scope), scope["path"]
        visitor = visitor_of(request)
        issued = secrets.token_urlsafe(32) if path == "/" and not visitor else ""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                if path == "/":
                    headers["cache-control"] = "no-store"
                if issued:
                    headers.append("set-cookie", _cookie_header(issued, scope))
            await send(message)

        session: str | None = None
        if path == _JOIN:
            if not _same_origin(request.headers):
                return await PlainTextResponse("from another site", 403)(scope, receive, guarded)
            body = await _body(request.headers, receive, self._max_body_bytes)
            if body is None:
                return await PlainTextResponse("the conversation is too large", 413)(scope, receive, guarded)
            session, receive = _session_of(body), _replayed(body, receive)
        elif path == _DATA:
            session = request.query_params.get("session_hash", "")
        elif path.startswith(_HEARTBEAT):
            session = path.removeprefix(_HEARTBEAT)
        if session is not None and not (visitor and session and self._owns(visitor, session)):
            return await PlainTextResponse("not a session of yours", 403)(scope, receive, guarded)
        await self._app(scope, receive, guarded)

    def _owns(self, visitor: str, session: str) -> bool:
        """Whether a session of Gradio's is this visitor's; it belongs to the first who names it."""
        owner = self._sessions.setdefault(session, visitor)
        self._sessions.move_to_end(session)
        while len(self._sessions) > _SESSIONS:
            self._sessions.popitem(last=False)
        return secrets.compare_digest(owner, visitor)


def _cookie_header(value: str, scope: Scope) -> str:
    secure = "; Secure" if scope.get("scheme") == "https" else ""
    return f"{_COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax{secure}"


def _same_origin(headers: Headers) -> bool:
    """Whether a POST comes from the page itself, as far as a browser tells; other programs tell nothing."""
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host"):
        return False
    return headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")


async def _body(headers: Headers, receive: Receive, limit: int) -> bytes | None:
    """The request's body; None where it is longer than `limit`."""
    if headers.get("content-length", "0").isdecimal() and int(headers.get("content-length", "0")) > limit:
        return None
    parts, size = [], 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives `body` first."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def _session_of(body: bytes) -> str:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    session = value.get("session_hash") if isinstance(value, dict) else None
    return session if isinstance(session, str) else ""
