"""Who may ask, and what is written down of it: API keys, the Host and Origin of a browser's request, the access log.

The log is one JSON object a request, without prompts, answers or keys. A page elsewhere on the web can make a browser send
requests here (and by a name of its own that resolves to this machine, read the answers): on a loopback address only requests
for this machine's names are served, and anywhere only pages of the server itself or of `cors_origins` may call.
"""

import base64
import binascii
import contextlib
import hmac
import json
import time
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kwen.serve.errors import ApiError
from kwen.serve.settings import Settings, is_loopback

OPEN_PATHS = ("/health", "/ready")
"""What anybody who can reach the server may ask."""
_LONGEST_PATH = 200
_NOTES = "kwen.notes"


def note(request: HTTPConnection, **facts: Any) -> None:
    """Add to the request's line in the access log."""
    request.scope.setdefault(_NOTES, {}).update(facts)


class Gate:
    """Lets a request through to `app`, or answers 401 or 403 itself."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._keys = [key.encode() for key in settings.api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request or WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        error = self._refusal(scope)
        if error is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "not allowed"})
        else:
            headers = error.headers
            if error.status == 401:
                page = not scope["path"].startswith("/v1/")
                headers["www-authenticate"] = 'Basic realm="kwen", charset="UTF-8"' if page else "Bearer"
            response = JSONResponse(error.body(scope["path"]), error.status, headers)
            await response(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._settings.loopback and not self._is_ours(host):
            text = f"Host {host[:100]!r} is not this machine's name; --allowed-host NAME admits another"
            return ApiError(403, text, code="host_not_allowed")
        origin = headers.get("origin")
        if origin is not None and not self._may_call(origin, host):
            text = f"pages of {origin[:100]!r} may not call this server; --cors-origin ORIGIN admits them"
            return ApiError(403, text, code="origin_not_allowed")
        if not self._keys or scope["path"] in OPEN_PATHS:
            return None
        number = self._key_of(headers)
        if number is None:
            text = "no valid API key: send one as Authorization: Bearer KEY, or x-api-key: KEY"
            return ApiError(401, text, code="invalid_api_key")
        scope.setdefault(_NOTES, {})["key"] = number
        return None

    def _is_ours(self, host: str) -> bool:
        name = _name_of(host)
        return is_loopback(name) or name == self._settings.host or name in map(str.lower, self._settings.allowed_hosts)

    def _may_call(self, origin: str, host: str) -> bool:
        allowed = self._settings.cors_origins
        return "*" in allowed or origin in allowed or urlsplit(origin).netloc.lower() == host.lower() != ""

    def _key_of(self, headers: Headers) -> int | None:
        """The number of the key that a request carries. All keys are compared, each in constant time."""
        given = _given_key(headers)
        found = [number for number, key in enumerate(self._keys) if hmac.compare_digest(key, given)]
        return found[0] if found else None


class AccessLog:
    """Writes a line for each request, and tells the figures of it."""

    def __init__(self, app: ASGIApp, out: TextIO | None, told: Callable[[Scope, int, float], None]) -> None:
        self._app, self._out, self._told = app, out, told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, and note how it ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        notes: MutableMapping[str, Any] = scope.setdefault(_NOTES, {})
        status, began = 499, time.monotonic()

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except Exception:
            status = 500  # which the application's outermost layer answers
            raise
        finally:
            seconds = time.monotonic() - began
            self._told(scope, status, seconds)
            if self._out is not None:
                self._write(scope, status, seconds, notes)

    def _write(self, scope: Scope, status: int, seconds: float, notes: MutableMapping[str, Any]) -> None:
        client = scope.get("client")
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "client": client[0] if client else None,
            "method": scope["method"],
            "path": scope["path"][:_LONGEST_PATH],
            "status": status,
            "seconds": round(seconds, 4),
            **{name: value for name, value in notes.items() if value is not None},
        }
        assert self._out is not None
        with contextlib.suppress(OSError):  # a full disk ends the log, not the service
            self._out.write(json.dumps(line) + "\n")
            self._out.flush()


def _name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _given_key(headers: Headers) -> bytes:
    """The key of a request: a bearer token, Anthropic's header, or the password that a browser asks its user for."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return headers.get("x-api-key", "").encode()
