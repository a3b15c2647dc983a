"""An engine on a thread of its own: requests from any thread or event loop run together, and answers come in pieces.

submit (any thread) --inbox--> engine thread: take in, step, hand out --listener--> whoever asked
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from kwen.engine.blocks import most_blocks
from kwen.engine.completion import Completion, Delta
from kwen.engine.engine import CACHE_BYTES, Engine, Statistics
from kwen.engine.language_model import LanguageModel
from kwen.engine.request import Request
from kwen.engine.runner import CacheDtype
from kwen.engine.sampler import SamplingParams
from kwen.errors import UserError
from kwen.progress import Progress, silent

Listener = Callable[[Delta | Exception], None]
_CLOSED = "the model is shutting down; ask again later"


class QueueFull(Exception):
    """As many requests wait as may."""


class Ticket:
    """One submitted request."""

    def __init__(self, request: Request, listener: Listener) -> None:
        self.request, self.listener = request, listener
        self.cancelled = False


ROOM = 1024
"""Tokens a slot for which a service's cache has room from the start: growing it copies it, and old texts make way in it."""


class Service:
    """Continuous batching for `lm` on a thread of its own, which ends with `close`.

    slots: requests that run at once; max_waiting: that may wait beside them; cache_bytes: of keys and values, of which room for
    `ROOM` tokens a slot is kept from the start and more is taken as requests need it; prefill_tokens: of prompts in one step;
    speculate: tokens guessed at once, 0 for none; cache_dtype: of keys and values.
    """

    def __init__(
        self,
        lm: LanguageModel,
        *,
        slots: int = 64,
        cache_bytes: int = CACHE_BYTES,
        max_waiting: int = 256,
        prefill_tokens: int = 512,
        speculate: int = 0,
        cache_dtype: CacheDtype | None = None,
    ) -> None:
        self.lm, self.max_waiting, self.speculate = lm, max_waiting, speculate
        self._engine = Engine(lm.model, slots, cache_bytes, prefill_tokens, cache_dtype=cache_dtype)
        room = min(ROOM, lm.config.max_position_embeddings)
        self._engine.reserve(slots * most_blocks(self._engine.windows, room, prefill_tokens))
        self._lock = threading.Lock()
        self._inbox: deque[Ticket] = deque()
        self._gone: list[Ticket] = []
        self._running: dict[Request, Ticket] = {}
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._accepting = self._alive = True
        self._thread = threading.Thread(target=self._serve, name="kwen-engine", daemon=True)
        self._thread.start()

    def submit(self, prompt: list[int], params: SamplingParams, listener: Listener) -> Ticket:
        """Run a request. `listener` is called on the engine's thread, so it must return at once: with pieces, the last of which
        has a finish_reason, or with one exception and nothing after it.

        Raises UserError for a request that cannot be run, and once the service is closing; QueueFull.
        """
        request = Request(0, prompt, params, self.lm.tokenizer, incremental=True, speculate=self.speculate)
        self._engine.check(request)
        ticket = Ticket(request, listener)
        with self._lock:
            if not self._accepting:
                raise UserError(_CLOSED)
            if len(self._inbox) + self._engine.waiting >= self.max_waiting:
                raise QueueFull(f"{self.max_waiting} requests are waiting already")
            self._inbox.append(ticket)
            self._idle.clear()
        self._wake.set()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """End a request: its listener hears nothing more, and what it held is free after the running step."""
        ticket.cancelled = True
        with self._lock:
            self._gone.append(ticket)
        self._wake.set()

    def generate(self, prompts: list[list[int]], params: list[SamplingParams], progress: Progress = silent) -> list[Completion]:
        """Complete `prompts`, blocking, as `Generator.generate` does."""
        answers: queue.SimpleQueue[tuple[int, Delta | Exception]] = queue.SimpleQueue()
        tickets: list[Ticket] = []
        made: list[Completion | None] = [None] * len(prompts)
        pieces: list[list[Delta]] = [[] for _ in prompts]
        done = tokens = 0
        try:
            for number, (prompt, row) in enumerate(zip(prompts, params, strict=True)):
                tickets.append(self.submit(prompt, row, partial(_put, answers, number)))
            while done < len(prompts):
                number, piece = answers.get()
                if isinstance(piece, Exception):
                    raise piece
                pieces[number].append(piece)
                if piece.finish_reason is not None:
                    whole = made[number] = _joined(pieces[number])
                    done += 1
                    tokens += len(whole.token_ids)
                    progress(done, len(prompts), tokens=tokens)
        finally:
            if done < len(prompts):
                for ticket in tickets:
                    self.cancel(ticket)
        return [one for one in made if one is not None]

    def stream(self, prompt: list[int], params: SamplingParams) -> Iterator[Delta]:
        """One completion in pieces, blocking; closing the iterator cancels it."""
        answers: queue.SimpleQueue[Delta | Exception] = queue.SimpleQueue()
        return self._stream(self.submit(prompt, params, answers.put), answers)

    def _stream(self, ticket: Ticket, answers: "queue.SimpleQueue[Delta | Exception]") -> Iterator[Delta]:
        ended = False
        try:
            while not ended:
                piece = answers.get()
                ended = isinstance(piece, Exception) or piece.finish_reason is not None
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            if not ended:
                self.cancel(ticket)

    def statistics(self) -> Statistics:
        """Where the engine stands; what is on its way to it counts as waiting."""
        with self._lock:
            coming = len(self._inbox)
        now = self._engine.statistics()
        return replace(now, waiting=now.waiting + coming)

    def close(self, seconds: float = 0.0) -> None:
        """Take nothing more in, let what runs go on for `seconds`, end the rest with an error, and end the thread."""
        with self._lock:
            self._accepting = False
        self._idle.wait(seconds)
        with self._lock:
            self._alive = False
        self._wake.set()
        self._thread.join()

    def _serve(self) -> None:
        while self._alive:
            self._take_in()
            if not self._running:
                with self._lock:
                    if self._alive and not self._inbox and not self._gone:
                        self._idle.set()
                        self._wake.clear()
                self._wake.wait()
                continue
            try:
                moved = self._engine.step()
            except Exception as error:  # a fault of the model or of ours: everyone who waits is told, and the engine begins anew
                self._end_all(error)
                continue
            for request in moved:
                self._hand_out(request)
        self._end_all(UserError(_CLOSED))

    def _take_in(self) -> None:
        with self._lock:
            coming, self._inbox = self._inbox, deque()
            gone, self._gone = self._gone, []
        for ticket in coming:
            if ticket.cancelled:
                continue
            try:
                self._engine.add([ticket.request])
                self._running[ticket.request] = ticket
            except UserError as error:
                ticket.listener(error)
        for ticket in gone:
            if self._running.pop(ticket.request, None) is not None:
                self._engine.cancel(ticket.request)

    def _hand_out(self, request: Request) -> None:
        ticket = self._running.get(request)
        if ticket is None:
            return
        if request.ended:
            del self._running[request]
        if ticket.cancelled:
            return
        piece: Delta | Exception = request.error if request.error is not None else request.take_delta()
        if isinstance(piece, Exception) or piece.text or piece.token_ids or piece.finish_reason or piece.prompt_logprobs:
            ticket.listener(piece)

    def _end_all(self, error: Exception) -> None:
        with self._lock:
            coming, self._inbox = self._inbox, deque()
        tickets, self._running = [*self._running.values(), *coming], {}
        for ticket in tickets:
            self._engine.cancel(ticket.request)
            if not ticket.cancelled:
                ticket.listener(error)


def _put(answers: "queue.SimpleQueue[tuple[int, Delta | Exception]]", number: int, piece: Delta | Exception) -> None:
    answers.put((number, piece))


def _joined(pieces: list[Delta]) -> Completion:
    last = pieces[-1]
    assert last.finish_reason is not None
    return Completion(
        "".join(piece.text for piece in pieces),
        [token for piece in pieces for token in piece.token_ids],
        [logprob for piece in pieces for logprob in piece.logprobs],
        last.finish_reason,
        last.stop_reason,
        [top for piece in pieces for top in piece.top_logprobs],
        [told for piece in pieces for told in piece.prompt_logprobs],
        last.cached_tokens,
    )
