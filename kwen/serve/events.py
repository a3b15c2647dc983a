"""Server-sent events to a client that may read slowly, or leave."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Any

from pydantic_core import to_json
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kwen.serve.errors import ApiError, server_fault

_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
_log = logging.getLogger("kwen.serve")


def data_event(payload: Any) -> bytes:
    """One event with JSON as its data."""
    return b"data: " + as_json(payload) + b"\n\n"


def named_event(payload: dict[str, Any]) -> bytes:
    """One event that carries the payload's type as its name too."""
    return b"event: " + str(payload["type"]).encode() + b"\n" + data_event(payload)


def as_json(payload: Any) -> bytes:
    """JSON without spaces, in UTF-8."""
    return to_json(payload)


class EventStream(Response):
    """Sends `parts` as they come, for as long as the client is there and takes each within `stall_seconds`.

    on_error writes the event that tells an error in mid-stream; `close` is called at the end, whichever it was.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        parts: AsyncGenerator[bytes, None],
        stall_seconds: float,
        on_error: Callable[[ApiError], bytes],
        close: Callable[[ApiError | None], None],
    ) -> None:
        self.status_code, self.background = 200, None  # no body: it has no length yet
        self._parts, self._stall_seconds, self._on_error, self._close = parts, stall_seconds, on_error, close
        self._since: float | None = None  # when the piece that is being sent was given to the connection
        self._stalled = self._over = False
        self.init_headers(_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self._loop = asyncio.get_running_loop()
        sending = asyncio.ensure_future(self._send(send))
        left = asyncio.ensure_future(_until_left(receive))
        watch = self._loop.call_later(self._stall_seconds, self._watch, sending)
        error: ApiError | None = ApiError(499, "the client left", code="client_left")
        try:
            await asyncio.wait({sending, left}, return_when=asyncio.FIRST_COMPLETED)
            if self._stalled:
                error = ApiError(408, f"the client took nothing for {self._stall_seconds:g} s", code="client_too_slow")
            elif sending.done():
                error = sending.result()
        finally:
            self._over = True
            watch.cancel()
            sending.cancel()
            left.cancel()
            await asyncio.gather(sending, left, return_exceptions=True)
            self._close(error)

    def _watch(self, sending: asyncio.Future[ApiError | None]) -> None:
        """One timer a stream, which costs nothing a piece: has the piece that is being sent been taken in time?"""
        if self._over:
            return
        waited = self._loop.time() - self._since if self._since is not None else 0.0
        if waited >= self._stall_seconds:
            self._stalled = True
            sending.cancel()
        else:
            self._loop.call_later(max(self._stall_seconds - waited, self._stall_seconds / 8), self._watch, sending)

    async def _send(self, send: Send) -> ApiError | None:
        """The error with which the stream ended, if it was one."""
        error: ApiError | None = None
        try:
            await self._piece(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            try:
                async for part in self._parts:
                    await self._piece(send, {"type": "http.response.body", "body": part, "more_body": True})
            except ApiError as caught:
                error = caught
            except (OSError, ClientDisconnect):
                raise
            except Exception:
                _log.exception("a stream failed")
                error = server_fault()
            last = b"" if error is None else self._on_error(error)
            await self._piece(send, {"type": "http.response.body", "body": last, "more_body": False})
        except (OSError, ClientDisconnect):
            return ApiError(499, "the client left", code="client_left")
        finally:
            await self._parts.aclose()
        return error

    async def _piece(self, send: Send, message: dict[str, Any]) -> None:
        self._since = self._loop.time()
        await send(message)
        self._since = None


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
