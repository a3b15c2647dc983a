"""One HTTP request's answers on their way through the engine, as one asynchronous stream of deltas.

The engine calls back on its own thread; deltas cross to the event loop by a queue and one wake-up for however many came. Of a
request with very many prompts only some are handed over at a time. A client that does not read what it is sent is waited for
as long as its backlog is bounded (`Settings.max_backlog`, `stall_seconds`); beyond that its request is cancelled.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

from kwen.engine.completion import Delta
from kwen.engine.service import QueueFull, Ticket
from kwen.errors import UserError
from kwen.serve.asking import Job
from kwen.serve.errors import ApiError, from_user_error, server_fault, too_many_waiting
from kwen.serve.models import ServedModel
from kwen.serve.settings import Settings

_AT_ONCE = 128  # answers of one request that are with the engine together
_AGAIN_S = 0.05  # until more prompts of a request that has begun are offered to a queue that was full

News = tuple[int, Delta | Exception]


class Turn:
    """The answers to one request. `submit`, then iterate over `batches`, then `cancel` whatever happened.

    first_token_s: seconds from here to the first delta; None before it. finished: whether all answers are complete.
    """

    def __init__(self, served: ServedModel, jobs: Sequence[Job], settings: Settings) -> None:
        self.served, self.jobs = served, jobs
        self.first_token_s: float | None = None
        self._settings, self._service = settings, served.service
        self._loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        self._waiting = deque(range(len(jobs)))
        self._tickets: dict[int, Ticket] = {}
        self._news: deque[News] = deque()
        self._wake, self._woken = asyncio.Event(), False
        self._failed: Exception | None = None
        self._lock, self._over = threading.Lock(), False
        self._left = len(jobs)
        self._most_news = settings.max_backlog * min(len(jobs), _AT_ONCE)
        self._deadline = self._loop.call_later(settings.request_seconds, self.fail, _out_of_time(settings))

    @property
    def finished(self) -> bool:
        """Whether every answer has come to its end."""
        return self._left == 0

    def submit(self) -> None:
        """Hand the first answers to the engine; from any thread. Raises ApiError (429 where the queue is full), UserError."""
        try:
            self._offer()
        except QueueFull:
            if not self._tickets:
                self.cancel()
                raise too_many_waiting(self._settings.max_waiting) from None
            self._call(self._loop.call_later, _AGAIN_S, self._offer_later)  # the rest follows
        except Exception:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Nothing more of this request runs, or is told. From any thread; more than once, or after its end, it does nothing."""
        with self._lock:
            self._over = True
            tickets, self._tickets = self._tickets, {}
        for ticket in tickets.values():
            self._service.cancel(ticket)
        with contextlib.suppress(RuntimeError):  # the loop has ended, and its timers with it
            self._loop.call_soon_threadsafe(self._deadline.cancel)

    async def batches(self) -> AsyncIterator[list[tuple[int, Delta]]]:
        """(number of an answer, its next delta), all that have come, until every answer is complete.

        Raises ApiError for a time limit, a backlog, or an answer that the engine gave up.
        """
        while self._left:
            await self._wake.wait()
            self._wake.clear()
            self._woken = False
            news = [self._news.popleft() for _ in range(len(self._news))]
            batch: list[tuple[int, Delta]] = []
            for number, what in news:
                if isinstance(what, Exception):
                    self.fail(what)
                    break
                batch.append((number, what))
                if what.finish_reason is not None:
                    self._ended(number)
            if batch and self.first_token_s is None:
                self.first_token_s = time.monotonic() - self._began
            if batch:
                yield batch
            if self._failed is not None:
                raise _as_api_error(self._failed)

    def _offer(self) -> None:
        while self._waiting and len(self._tickets) < _AT_ONCE:
            number = self._waiting[0]
            job = self.jobs[number]
            ticket = self._service.submit(job.prompt, job.params, self._listener(number))
            self._waiting.popleft()
            with self._lock:
                if not self._over:
                    self._tickets[number] = ticket
                    continue
            self._service.cancel(ticket)
            return

    def _listener(self, number: int) -> Callable[[Delta | Exception], None]:
        def hear(what: Delta | Exception) -> None:  # on the engine's thread
            self._news.append((number, what))
            if not self._woken:
                self._woken = True
                self._call(self._wake.set)
            elif len(self._news) == self._most_news:
                self._call(self.fail, _lagging(self._settings))

        return hear

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the server has stopped, and nobody is there to be told
            self._loop.call_soon_threadsafe(function, *arguments)

    def _ended(self, number: int) -> None:
        self._left -= 1
        with self._lock:
            self._tickets.pop(number, None)
        if self._waiting and not self._over:
            self._offer_more()

    def _offer_more(self) -> None:
        try:
            self._offer()
        except QueueFull:
            self._loop.call_later(_AGAIN_S, self._offer_later)
        except Exception as error:
            self.fail(error)

    def _offer_later(self) -> None:
        if not self._over:
            self._offer_more()

    def fail(self, error: Exception) -> None:
        """Give the request up; on the event loop."""
        if self._failed is None and self._left:
            self._failed = error
            self.cancel()
            self._news.clear()
            self._wake.set()


def _as_api_error(error: Exception) -> Exception:
    if isinstance(error, ApiError):
        return error
    return from_user_error(error) if isinstance(error, UserError) else _fault(error)


def _fault(error: Exception) -> ApiError:
    fault = server_fault()
    fault.__cause__ = error
    return fault


def _out_of_time(settings: Settings) -> ApiError:
    return ApiError(408, f"the answer took longer than {settings.request_seconds:g} s", "timeout_error", code="request_timeout")


def _lagging(settings: Settings) -> ApiError:
    text = f"the client lags {settings.max_backlog:,} pieces behind, and its request was cancelled"
    return ApiError(408, text, "timeout_error", code="client_too_slow")
