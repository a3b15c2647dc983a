"""Running a server: its socket, the signals that end it, and the draining before it ends."""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from kwen.errors import UserError
from kwen.serve.server import Server
from kwen.serve.settings import Settings

_POLL_S = 0.05
_LAST_S = 2  # for connections to close once their requests have ended or were cut off
_BACKLOG = 2048  # connections that the system holds until they are accepted
_IDLE_S = 60  # until a connection without requests is closed
_OPEN_FILES = 65_536


def bind(settings: Settings) -> socket.socket:
    """A socket that listens where the settings say. Raises UserError where that cannot be."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((settings.host, settings.port))
    except OSError as error:
        made.close()
        text = error.strerror or str(error)
        raise UserError(
            f"cannot listen on {settings.host} port {settings.port}: {text}; choose another --host or --port"
        ) from None
    return made


def url_of(settings: Settings, listening: socket.socket) -> str:
    """Where a browser finds the server."""
    port = listening.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{port}"


def run(
    app: FastAPI,
    settings: Settings,
    listening: socket.socket,
    ready: Callable[[], None],
    later: Callable[[], None] | None = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; from the main thread.

    The first signal drains: `/ready` says no, new requests are refused with 503, running ones have `drain_seconds`. A second
    one ends at once. Everything is closed on return but the models' services. ready: called once requests are accepted.
    later: what adds slow parts to `app`, called on a thread after that; the lifespan that it leaves is entered then. What it
    raises ends the server, and is raised here.
    """
    _allow_many_files()
    config = uvicorn.Config(
        app,
        timeout_keep_alive=_IDLE_S,
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_LAST_S,
        ws="none",
    )
    listening.listen(_BACKLOG)
    draining = _Draining(config, app, settings, ready, later)
    try:
        draining.run(sockets=[listening])
    finally:
        listening.close()
    if draining.failed is not None:
        raise draining.failed


class _Draining(uvicorn.Server):
    """uvicorn's server with an end in two steps."""

    def __init__(
        self,
        config: uvicorn.Config,
        app: FastAPI,
        settings: Settings,
        ready: Callable[[], None],
        later: Callable[[], None] | None,
    ) -> None:
        super().__init__(config)
        self._app, self._settings, self._ready, self._later = app, settings, ready, later
        self._server: Server = app.state.server
        self.failed: Exception | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept, say so, and have the rest added."""
        await super().startup(sockets)
        self._ready()
        if self._later is not None:
            self._adding = asyncio.create_task(self._add(self._later))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what is open; what was added later first."""
        if self._later is not None:
            self._adding.cancel()
            await asyncio.gather(self._adding, return_exceptions=True)
        await super().shutdown(sockets)

    async def _add(self, later: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(later)
            async with self._app.router.lifespan_context(self._app):
                await asyncio.Event().wait()  # until this task is cancelled
        except Exception as error:
            self.failed = error
            self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal. It is not raised again when the server has ended, so that a drained server ends well."""
        if self._server.draining or sig not in (signal.SIGTERM, signal.SIGINT):
            self.should_exit = self.force_exit = True
            return
        self._server.draining = True
        self._loop.call_soon_threadsafe(self._begin_drain)

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super()._serve(sockets)

    def _begin_drain(self) -> None:
        self._drained = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        until = time.monotonic() + self._settings.drain_seconds
        while self._server.running and time.monotonic() < until:
            await asyncio.sleep(_POLL_S)
        self._server.cut()
        self.should_exit = True


def _allow_many_files() -> None:
    """As many connections as the system allows."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on this system, or not for this user: fewer then
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most: Any = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
