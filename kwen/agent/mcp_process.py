"""An MCP server that is a program: started with little of this machine, read with limits, killed as a tree.

The official client's own stdio transport passes six environment variables on, lets one endless line fill memory and kills
only the process group. This one takes its place below the same client session:

    Kwen  --stdin-->   keeper (kwen/agent/mcp_keeper.py)   --stdin-->   server and whatever it starts
          <--stdout--  messages, one JSON text a line; any other line is dropped and remembered
          <--stderr--  the last of it is kept, for the line the user sees when the server ends
"""

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from kwen.errors import UserError

MESSAGE_BYTES = 16 << 20  # of one message; an image of 8 MB as base64 fits
STRAY_BYTES = 1 << 20  # of lines outside the protocol, with no message between them, before the server is given up
KEPT_BYTES = 2000  # of stderr
CLOSE_S, STOP_S, KILL_S = 2.0, 3.5, 2.0  # for the server to end once stdin closes, at the keeper's SIGTERM, at SIGKILL
KEEPER = str(Path(__file__).with_name("mcp_keeper.py"))


def parse_command(text: str, env: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The argument list and the whole environment of a server's command line, split as a shell splits words.

    The environment is PATH, HOME, `env`, and the assignments before the program (`NAME=value program ...`); nothing else of
    Kwen's own is passed on, so that a key in the environment is shown only to the servers it is meant for.
    Raises UserError for a text that cannot be split, and for a program that is not there.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"MCP server {text!r}: {str(error).lower()}: write it as for a shell") from None
    whole = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | dict(env)
    while words and "=" in words[0] and words[0].partition("=")[0].isidentifier():
        name, _, value = words.pop(0).partition("=")
        whole[name] = value
    if not words:
        raise UserError("an MCP server is a command such as 'npx -y @modelcontextprotocol/server-everything', or an http(s) URL")
    if any("\0" in word for word in [*words, *whole, *whole.values()]):
        raise UserError("MCP server: a NUL character can be in no command and no environment: remove it")
    program = shutil.which(words[0], path=whole.get("PATH", os.defpath))
    if program is None:
        raise UserError(f"MCP server: no program {words[0]!r} in PATH: install it, or give its full path")
    return [program, *words[1:]], whole


@dataclass
class ServerProcess:
    """What is known of a server's process: for the one line that says how it went wrong."""

    argv: list[str]
    env: dict[str, str]
    process: asyncio.subprocess.Process | None = None
    words: bytearray = field(default_factory=bytearray)  # the end of stderr
    stray: bytes = b""  # the first line on stdout that was no message
    stray_bytes: int = 0  # of such lines since the last message
    fault: str = ""  # why it was given up, if it was
    closed: bool = False  # its stdout has ended

    def state(self) -> str:
        """How the server stands, with its last words; empty while it runs and nothing is wrong."""
        if self.fault:
            said = self.fault
        elif self.process is None or self.process.returncode is None:
            said = "it closed its output" if self.closed else ""
        elif self.process.returncode > 128:
            number = self.process.returncode - 128
            name = signal.Signals(number).name if number in signal.valid_signals() else f"signal {number}"
            said = f"it ended ({name})"
        else:
            said = f"it ended (exit code {self.process.returncode})"
        last = self.words.decode("utf-8", "replace").strip().rpartition("\n")[2]
        if last and said:
            said += f"; its last words: {last}"
        elif self.stray:
            said += f"{'; ' if said else ''}on its stdout, where only messages belong: {self.stray.decode('utf-8', 'replace')}"
        return said

    @contextlib.asynccontextmanager
    async def transport(self) -> AsyncIterator[tuple[Any, Any]]:
        """Start the server; yields the two message streams of a client session; at the end no process of it is left."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", KEEPER, ",".join(self.env), *self.argv,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=self.env, start_new_session=True, limit=MESSAGE_BYTES,
        )  # fmt: skip
        to_session, received = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        sent, from_session = anyio.create_memory_object_stream[SessionMessage](0)
        tasks = [
            asyncio.create_task(self._read(self.process, to_session)),
            asyncio.create_task(self._write(self.process, from_session, to_session)),
            asyncio.create_task(self._listen(self.process)),
        ]
        try:
            yield received, sent
        finally:
            with anyio.CancelScope(shield=True):
                await self._stop(self.process)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self.process._transport.close()  # type: ignore[attr-defined]  # else it complains when the loop is gone
                for stream in (to_session, received, sent, from_session):
                    stream.close()

    async def _read(self, process: asyncio.subprocess.Process, to_session: Any) -> None:
        """stdout to the session, a line a message, until either side closes."""
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                try:
                    if line.lstrip()[:1] != b"{":
                        raise ValueError  # seen at once, without a parser's long report
                    message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                except ValueError:
                    self.stray = self.stray or line[:200].strip()
                    self.stray_bytes += len(line)
                    if self.stray_bytes > STRAY_BYTES:
                        self.fault = "it writes to its stdout what is no message, without end"
                        return
                    await asyncio.sleep(0)  # a buffer full of such lines must not hold up the loop
                    continue
                self.stray_bytes = 0
                await to_session.send(SessionMessage(message))
        except ValueError:  # readline's word for a line over the limit
            self.fault = f"it sent a message of more than {MESSAGE_BYTES >> 20} MB"
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, ConnectionError):
            return
        finally:
            self.closed = True
            if not self.fault:
                await exited(process, 0.5)  # the exit code follows the last byte closely, and the user's line names it
            to_session.close()  # whoever waits for an answer is told that none will come

    async def _write(self, process: asyncio.subprocess.Process, from_session: Any, to_session: Any) -> None:
        """The session's messages to stdin, until either side closes."""
        assert process.stdin is not None
        try:
            async for item in from_session:
                process.stdin.write(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                await process.stdin.drain()
        except (ConnectionError, RuntimeError):
            await exited(process, 0.5)
            to_session.close()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        """Keep the end of stderr."""
        assert process.stderr is not None
        while piece := await process.stderr.read(1 << 16):
            self.words = (self.words + piece)[-KEPT_BYTES:]

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        """The protocol's own order: close stdin, then SIGTERM, then SIGKILL; the keeper takes the whole tree along."""
        assert process.stdin is not None
        process.stdin.close()
        if not self.fault and await exited(process, CLOSE_S):
            return
        for deadly, limit_s in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, KILL_S)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if deadly == signal.SIGTERM:
                    os.kill(process.pid, deadly)
                else:
                    os.killpg(process.pid, deadly)
            if await exited(process, limit_s):
                return


async def exited(process: asyncio.subprocess.Process, limit_s: float) -> bool:
    """Whether the process ends within `limit_s`. Its wait() would also wait for pipes that a grandchild still holds open."""
    loop = asyncio.get_running_loop()
    until = loop.time() + limit_s
    while process.returncode is None and loop.time() < until:
        await asyncio.sleep(0.01)
    return process.returncode is not None
