"""Tools from MCP servers, by the official Python client.

    with connect("npx -y @modelcontextprotocol/server-everything", "https://example.org/mcp") as tools:
        print(kwen.Agent(lm, tools=[*tools, "calculator"]).run("...").answer)

A server is a command line (a program that speaks the protocol on its stdin and stdout) or an http(s) URL (streamable HTTP).
The client is asynchronous, an agent is not: all servers of one `connect` live in one background thread with an event loop,
and every wait of the calling thread has a time limit. When the context ends no process of a server is left.

What a server can do: its program runs as the user, without a jail: the user chose it. Of Kwen's environment it is given PATH,
HOME and what the user names. It cannot ask the user anything, have text generated, or see folders: elicitation, sampling and
roots are not offered. All it sends is data: checked, cut, and shown to the model as an observation (kwen/agent/mcp_content.py).

A failed start is a UserError of one line; a failed call is an observation. Protocol: https://modelcontextprotocol.io.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from kwen.agent.mcp_content import DESCRIPTION_LENGTH, NAME_LENGTH, check_schema, one_line, tool_name, tool_result
from kwen.agent.tool import Tool, ToolResult, cut
from kwen.errors import UserError

if TYPE_CHECKING:
    from kwen.agent.mcp_client import Server

SLACK_S = 2.0  # the calling thread waits this much longer than the event loop, should that be held up
CLOSE_S = 10.0  # for all servers of a `connect` to close; the stages of kwen/agent/mcp_process.py fit in it

T = TypeVar("T")


class ServerTools(list[Tool]):
    """The tools of the servers of one `connect`, in their order; `notices`: lines for the user, such as what is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.notices: list[str] = []


@contextlib.contextmanager
def connect(
    *servers: str,
    env: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    auth: Any = None,
    timeout_s: float = 60.0,
    start_timeout_s: float = 60.0,
) -> Iterator[ServerTools]:
    """Start or reach every server and list its tools; a context manager that gives `ServerTools`, a list of `Tool`.

    servers: command lines, split as by a shell, `NAME=value` before the program going to its environment; or http(s) URLs.
    env: what their environment has besides PATH and HOME. headers, auth (an httpx2.Auth, such as mcp.client.auth's
    OAuthClientProvider): sent to the URLs. They reach every server of this call: use one `connect` a server for secrets.
    timeout_s: of each call of a tool. start_timeout_s: for all to start, at once; npx may have to download first.

    Tools of two servers with one name are called `server_tool` here; a tool whose schema is none is left out: see `notices`.
    Raises UserError: no command, a program that is not there, a server that ends, never answers, or answers what the protocol
    does not know.
    """
    try:
        from kwen.agent.mcp_client import Server
    except ImportError as error:
        raise UserError(f"MCP servers need the package {error.name!r}: pip install 'kwen[agent]'") from None
    for name in ("mcp", "client"):  # the client's loggers: where none is set up, Python prints their tracebacks
        logging.getLogger(name).addHandler(logging.NullHandler())
    opened = [Server(text, env=env or {}, headers=headers or {}, auth=auth) for text in servers]
    background = Background()
    try:
        background.wait(together([server.open(start_timeout_s) for server in opened]), start_timeout_s)
        yield name_tools(opened, background, timeout_s)
    finally:
        try:
            background.wait(together([server.close() for server in opened]), CLOSE_S)
        except TimeoutError:
            for server in opened:
                server.kill()
        background.stop()


class Background:
    """A thread with an event loop, for others to wait on with a limit."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, name="kwen-mcp", daemon=True)
        self._thread.start()

    def wait(self, work: Coroutine[Any, Any, T], limit_s: float) -> T:
        """The result of `work`, run in the thread. Raises TimeoutError soon after `limit_s`, also if the loop itself is stuck."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(limit_s + SLACK_S)
        except concurrent.futures.CancelledError:
            raise TimeoutError from None
        finally:
            future.cancel()  # Ctrl-C and the limit end the work too

    def stop(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SLACK_S)

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()


async def together(work: Sequence[Coroutine[Any, Any, None]]) -> None:
    """All at once, to their ends; then raise the first error, if any."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


def name_tools(servers: Sequence["Server"], background: Background, timeout_s: float) -> ServerTools:
    """Every usable tool of every server as a Tool with a name of its own."""
    tools = ServerTools()
    for server in servers:
        tools.notices += [f"MCP server '{server.label}': {line}" for line in server.notices]
    kept: list[tuple[Server, Any, str]] = []
    for server in servers:
        mine: set[str] = set()
        for tool in server.tools:
            name = tool_name(tool.name)
            wrong = "it has no name" if not name else "listed twice" if name in mine else check_schema(tool.input_schema)
            if wrong:
                tools.notices.append(f"MCP server '{server.label}': tool '{one_line(tool.name, 64)}' is left out: {wrong}")
            else:
                mine.add(name)
                kept.append((server, tool, name))
    shared = Counter(name for _, _, name in kept)
    taken = {name for name, count in shared.items() if count == 1}
    for server, tool, name in kept:
        if shared[name] > 1:
            long, number = tool_name(f"{server.name}_{name}"), 2
            while long in taken:
                ending = f"_{number}"
                long, number = tool_name(f"{server.name}_{name}")[: NAME_LENGTH - len(ending)] + ending, number + 1
            taken.add(long)
            tools.notices.append(f"MCP server '{server.label}': tool '{name}' is called '{long}': another server has one too")
            name = long
        call = caller(background, server, tool.name, timeout_s)
        description = cut(tool.description or tool.title or "", DESCRIPTION_LENGTH)
        tools.append(Tool(name, description, tool.input_schema, call, timeout_s=timeout_s + 2 * SLACK_S))
    return tools


def caller(background: Background, server: "Server", name: str, timeout_s: float) -> Callable[[dict[str, Any]], ToolResult]:
    """The function that calls one tool of one server: whatever happens there, it returns an observation."""
    from kwen.agent.mcp_client import ServerFault

    def call(arguments: dict[str, Any]) -> ToolResult:
        try:
            answer = background.wait(server.call(name, arguments, timeout_s), timeout_s)
        except (ServerFault, TimeoutError) as error:
            said = str(error) if isinstance(error, ServerFault) else f"no answer within {timeout_s:g} s"
            return ToolResult(f"error: MCP server '{server.label}': {said}", error=True)
        return tool_result(answer.content, answer.structured_content, answer.is_error)

    return call
