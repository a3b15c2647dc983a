"""One server: its models, settings and figures, and the way that every request takes through it."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kwen.serve.access import note
from kwen.serve.asking import Job
from kwen.serve.errors import ApiError, stopping
from kwen.serve.events import EventStream, as_json
from kwen.serve.metrics import Metrics
from kwen.serve.models import Models, ServedModel
from kwen.serve.reading import read_body, while_there
from kwen.serve.settings import Settings
from kwen.serve.turn import Turn
from kwen.serve.writer import Writer

T = TypeVar("T")

_MOST_HELD = 16  # bodies of the largest size that are held together; those of usual size are hardly ever so many
_HELD = "kwen.held"
_LONG = 65_536  # bytes of a body whose work is long: it gets threads of its own, so that short ones never wait for it

_log = logging.getLogger("kwen.serve")


class Server:
    """What the parts of the application share. draining: no new requests are taken. running: requests in progress."""

    def __init__(self, models: Models, settings: Settings) -> None:
        self.models, self.settings = models, settings
        self.metrics = Metrics(models)
        self.draining = False
        self.running = 0
        self._held = 0
        self._turns: set[Turn] = set()
        self._short = ThreadPoolExecutor(4, "kwen-short")
        self._long = ThreadPoolExecutor(2, "kwen-long")
        self._grammars = ThreadPoolExecutor(4, "kwen-grammars")

    def cut(self) -> None:
        """End what runs still, with an error that says why."""
        for turn in list(self._turns):
            turn.fail(stopping())

    async def read(self, request: Request) -> bytes:
        """A request's body. Raises ApiError as `read_body` does, and 429 where the bodies being worked on take all their room."""

        def take(size: int) -> None:
            if self._held + size > _MOST_HELD * self.settings.max_body_bytes:
                text = "too many large requests at once; try again in a second"
                raise ApiError(429, text, "rate_limit_error", code="bodies_full", retry_after=1)
            self._held += size
            request.scope[_HELD] = request.scope.get(_HELD, 0) + size

        return await read_body(request, self.settings, take)

    async def quick(self, size: int, function: Callable[..., T], *arguments: Any) -> T:
        """`function(*arguments)`, which takes no time worth a thread for a body of usual size."""
        return function(*arguments) if size <= _LONG else await self.apart(size, function, *arguments)

    def let_go(self, request: Request) -> None:
        """The body of a request is not needed any more."""
        self._held -= request.scope.pop(_HELD, 0)

    async def apart(self, size: int, function: Callable[..., T], *arguments: Any, grammar: bool = False) -> T:
        """`function(*arguments)` on a thread, for a request of `size` bytes. grammar: it may compile one, which can take seconds.

        Each kind has threads of its own, so that a short plain request waits for none of the others.
        """
        pool = self._long if size > _LONG else self._grammars if grammar else self._short
        return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)

    async def answer(
        self,
        request: Request,
        served: ServedModel,
        size: int,
        prepare: Callable[[], list[Job]],
        writer_of: Callable[[list[Job]], Writer],
        stream: bool,
        grammar: bool,
    ) -> Response:
        """The answer to a request whose body is read: prepared on a thread, run by the engine, written by a writer.

        size: bytes of the body. grammar: whether the answer is constrained.
        """

        async def start() -> Turn:
            jobs = await self.apart(size, prepare, grammar=grammar)
            turn = Turn(served, jobs, self.settings)
            self._turns.add(turn)
            try:
                await (self.apart(size, turn.submit, grammar=True) if grammar else self.quick(size, turn.submit))
            except BaseException:
                self._drop(turn)
                raise
            return turn

        note(request, model=served.name, stream=stream)
        turn = await while_there(request, start())
        try:
            writer = writer_of(list(turn.jobs))
            if not stream:
                return await self._whole(request, turn, writer)
        except BaseException:
            self._drop(turn)
            raise

        def close(error: ApiError | None) -> None:
            self._close(request, turn, writer, error)

        return EventStream(_parts(turn, writer), self.settings.stall_seconds, lambda error: _told(writer, error), close)

    async def _whole(self, request: Request, turn: Turn, writer: Writer) -> Response:
        async def collect() -> None:
            writer.begin()
            async for batch in turn.batches():
                for number, delta in batch:
                    writer.take(number, delta)
            writer.end()

        error: ApiError | None = None
        try:
            await while_there(request, collect())
        except ApiError as caught:
            error = caught
            raise
        finally:
            self._close(request, turn, writer, error)
        return Response(as_json(writer.result()), media_type="application/json")

    def _close(self, request: Request, turn: Turn, writer: Writer, error: ApiError | None) -> None:
        self._drop(turn)
        usage = writer.usage
        self.metrics.answered(turn.served.name, turn.first_token_s, usage)
        note(
            request,
            prompt_tokens=usage.prompt,
            cached_tokens=usage.cached,
            completion_tokens=usage.completion,
            first_token_s=None if turn.first_token_s is None else round(turn.first_token_s, 4),
            error=None if error is None else error.code or error.type,
        )
        if error is not None and error.__cause__ is not None:
            _log.error("a request failed in the engine", exc_info=error.__cause__)

    def _drop(self, turn: Turn) -> None:
        turn.cancel()
        self._turns.discard(turn)


async def _parts(turn: Turn, writer: Writer) -> AsyncGenerator[bytes, None]:
    """The stream's bytes; everything that came together is sent together."""
    yield _wire(writer, writer.begin())
    async for batch in turn.batches():
        if part := b"".join(_wire(writer, writer.take(number, delta)) for number, delta in batch):
            yield part
    yield _wire(writer, writer.end()) + writer.last


def _wire(writer: Writer, payloads: list[dict[str, Any]]) -> bytes:
    return b"".join(map(writer.event, payloads))


def _told(writer: Writer, error: ApiError) -> bytes:
    return writer.event(writer.failure(error))


def error_response(error: ApiError, path: str) -> Response:
    """An error in the form of the API that was called."""
    return JSONResponse(error.body(path), status_code=error.status, headers=error.headers)
