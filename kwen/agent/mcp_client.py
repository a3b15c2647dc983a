"""One MCP server seen from the event loop: open, list, call, close, and every way it can fail as one line."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx2
import mcp_types as types
from mcp.client import Client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage
from pydantic import TypeAdapter, ValidationError

from kwen import __version__
from kwen.agent.mcp_content import one_line
from kwen.agent.mcp_process import ServerProcess, parse_command
from kwen.errors import UserError

MAX_TOOLS, MAX_PAGES = 256, 32
BODY_BYTES = 16 << 20  # of an HTTP answer; the client itself limits event streams
MAX_ASKED = 1000  # requests of the server's own between two of its answers, before it is given up
ANSWER: TypeAdapter[types.CallToolResult | types.InputRequiredResult] = TypeAdapter(
    types.CallToolResult | types.InputRequiredResult
)


class ServerFault(Exception):
    """What went wrong with a server, in one printable line."""


class Server:
    """A connection to one server. Made anywhere; every coroutine runs in one event loop.

    `label` names it to the user, `name` is how it calls itself, `tools` its own definitions once it is open.
    """

    def __init__(self, address: str, env: Mapping[str, str], headers: Mapping[str, str], auth: Any) -> None:
        self.tools: list[types.Tool] = []
        self.notices: list[str] = []
        self._headers, self._auth = dict(headers), auth
        self._client: Client | None = None
        self._life: asyncio.Task[None] | None = None
        self._process: ServerProcess | None = None
        self._url = self._refused = self._fault = ""
        if address.lower().startswith(("http://", "https://")):
            parts = urlsplit(address)
            if not parts.hostname:
                raise UserError(f"MCP server {one_line(address, 80)}: no host in the URL: write http(s)://HOST/PATH")
            self._url = address
            self.name = parts.hostname
            self.label = one_line(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}", 80)
        else:
            argv, whole = parse_command(address, env)
            self._process = ServerProcess(argv, whole)
            self.name = os.path.basename(argv[-1] if len(argv) > 1 else argv[0])
            self.label = one_line(" ".join([os.path.basename(argv[0]), *argv[1:]]), 80)

    async def open(self, limit_s: float) -> None:
        """Start or reach the server, agree on a protocol version, list its tools. Raises UserError, one line."""
        try:
            async with asyncio.timeout(limit_s):
                ready = asyncio.get_running_loop().create_future()
                self._done = asyncio.Event()
                self._life = asyncio.create_task(self._live(ready, limit_s))
                await asyncio.wait({self._life, ready}, return_when=asyncio.FIRST_COMPLETED)
                if not ready.done():
                    self._life.result()  # raises what ended it
                await self._list()
        except Exception as error:  # whatever a stranger's server makes the client raise is one line for the user
            raise UserError(f"MCP server '{self.label}': {self._describe(error, limit_s)}") from None

    async def call(self, name: str, arguments: dict[str, Any], limit_s: float) -> types.CallToolResult:
        """One tools/call. Raises ServerFault: ended, no answer in time, a protocol error, an answer that is none."""
        try:
            if self._client is None or self._life is None or self._life.done():
                raise anyio.ClosedResourceError
            request = types.CallToolRequest(params=types.CallToolRequestParams(name=name, arguments=arguments))
            async with asyncio.timeout(limit_s + 0.5):  # the client's own limit comes first: it tells the server
                # Below Client.call_tool, which would also run the server's own patterns over its answer: they may never end.
                answer = await self._client.session.send_request(request, ANSWER, request_read_timeout_seconds=limit_s)
        except Exception as error:  # as in `open`, for the model
            raise ServerFault(self._describe(error, limit_s)) from None
        if isinstance(answer, types.InputRequiredResult):
            raise ServerFault("it asks for the user's input, which Kwen does not give to servers")
        return answer

    async def close(self) -> None:
        """End the connection and, for a program, its whole process tree."""
        if self._life is None:
            return
        self._done.set()
        if self._client is None:
            self._life.cancel()
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await self._life

    def kill(self) -> None:
        """End the program from any thread, should the event loop not do it."""
        process = self._process.process if self._process else None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)

    async def _live(self, ready: "asyncio.Future[None]", limit_s: float) -> None:
        """The client's whole life in one task, as its cancel scopes demand."""
        info = types.Implementation(name="kwen", version=__version__)
        async with Client(self._transport(), client_info=info, read_timeout_seconds=limit_s, cache=None) as client:
            self._client = client
            if client.server_info is not None:
                self.name = client.server_info.name
            if not ready.done():
                ready.set_result(None)
            await self._done.wait()

    async def _list(self) -> None:
        """All pages of tools/list."""
        assert self._client is not None
        if self._client.server_capabilities.tools is None:
            self.notices.append("offers no tools")
            return
        cursor, seen = None, set[str]()
        for _ in range(MAX_PAGES):
            page = await self._client.session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
            self.tools += page.tools
            cursor = page.next_cursor
            if cursor is None or cursor in seen or len(self.tools) > MAX_TOOLS:
                break
            seen.add(cursor)
        if len(self.tools) > MAX_TOOLS or cursor is not None:
            self.tools = self.tools[:MAX_TOOLS]
            self.notices.append(f"its list of tools does not end: the first {len(self.tools)} are used")
        if self._process is not None and self._process.stray:
            line = one_line(self._process.stray.decode("utf-8", "replace"), 160)
            self.notices.append(f"writes to its stdout, where only messages belong: {line}")

    @contextlib.asynccontextmanager
    async def _transport(self) -> AsyncIterator[tuple[Any, Any]]:
        """The two message streams, without what would pile up in the client: it starts a task for all that comes unasked."""
        async with self._process.transport() if self._process else self._http() as (received, sent):
            to_session, answers = anyio.create_memory_object_stream[SessionMessage | Exception](0)
            relay = asyncio.create_task(self._relay(received, to_session))
            try:
                yield answers, sent
            finally:
                relay.cancel()
                await asyncio.wait({relay})
                to_session.close()
                answers.close()

    async def _relay(self, received: Any, to_session: Any) -> None:
        """Messages on to the session: answers, and a limited number of requests. Notifications are of no use here."""
        asked = 0
        with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            async with to_session:
                async for item in received:
                    message = item.message if isinstance(item, SessionMessage) else None
                    if isinstance(message, types.JSONRPCNotification):
                        continue
                    asked = asked + 1 if isinstance(message, types.JSONRPCRequest) else 0
                    if asked > MAX_ASKED:
                        self._fault = "it sends requests without end"
                        return
                    await to_session.send(item)

    @contextlib.asynccontextmanager
    async def _http(self) -> AsyncIterator[tuple[Any, Any]]:
        """The streams of a streamable HTTP connection."""
        async with create_mcp_http_client(headers=self._headers, auth=self._auth) as http:
            http.event_hooks["response"].append(self._look)
            async with streamable_http_client(self._url, http_client=http) as streams:
                yield streams

    async def _look(self, response: httpx2.Response) -> None:
        """The hook that sees every HTTP answer: keeps a refusal's status, and limits what is no event stream."""
        self._refused = f"HTTP {response.status_code} {response.reason_phrase}" if response.is_error else ""
        if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            response.stream = LimitedBody(response.stream)

    def _describe(self, error: BaseException, limit_s: float) -> str:
        """The error in one printable line: what happened to the server, as far as it is known."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        closed = anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream
        if isinstance(error, UserError | ServerFault):
            return str(error)
        if isinstance(error, MCPError) and error.code == types.CONNECTION_CLOSED or isinstance(error, closed):
            said = self._fault or (self._process.state() if self._process else "")
            if not said:
                said = str(error.message) if isinstance(error, MCPError) else "the connection is closed"
            return one_line(said)
        if isinstance(error, TimeoutError) or isinstance(error, MCPError) and error.code == types.REQUEST_TIMEOUT:
            said = self._process.state() if self._process else ""
            return one_line(f"no answer within {limit_s:g} s" + (f": {said}" if said else ""))
        if isinstance(error, MCPError) and error.code == types.PARSE_ERROR:
            return "an answer that is no message of the protocol"
        if isinstance(error, MCPError):
            return one_line(f"error {error.code}: {error.message}" + (f" ({self._refused})" if self._refused else ""))
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            return one_line(f"an answer that the protocol does not know: {where}: {first['msg']}")
        if isinstance(error, httpx2.HTTPError):
            return one_line(f"cannot be reached: {error or type(error).__name__}")
        return one_line(str(error) if isinstance(error, RuntimeError) else f"{type(error).__name__}: {error}")


class LimitedBody(httpx2.AsyncByteStream):
    """The bytes of an HTTP answer, up to a limit."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._stream:
            size += len(piece)
            if size > BODY_BYTES:
                raise httpx2.ReadError(f"an answer of more than {BODY_BYTES >> 20} MB")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()
