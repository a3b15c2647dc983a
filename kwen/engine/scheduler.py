"""Which requests run, and what of each goes through the model in the next pass.

    waiting --admit--> running: [ prefill in chunks ] -> [ one token a pass, or a few that were guessed ] -> ended
       ^                  |
       +----preempt-------+     when blocks run out: the one that came last gives its blocks back and begins again later

A pass holds the next token of every request that is generating, and then up to `prefill_tokens` tokens of prompts, so a long
prompt never holds up the others. First come, first served; a request whose prompt another is computing just now waits for it and
shares it.

With dynamic NTK the base of RoPE depends on the sequence's length, by chunks: T, 2 T, 4 T, ... tokens. A request that grows
into the next chunk is re-based: it gives its blocks back and is computed anew with the new base, as after a preemption, so its
logits are always those of a fresh prefill of the same text. (Released code keeps the old base and drifts.) A sequence that grows
to n tokens computes less than 2 n again. Blocks are shared between requests of the same chunk alone.

Layers with windows give blocks back as soon as no later query sees them; what a prefix's next token sees is shared as long as it
is cached.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from kwen.engine.blocks import ROOT, BlockPool, Key, Match, Tables, most_blocks
from kwen.engine.request import Request
from kwen.engine.runner import BLOCK
from kwen.model.rope import chunk_of


@dataclass(frozen=True, slots=True)
class Chunk:
    """The tokens [start, start + len(tokens)) of a request in one pass; `guessed` of them, the last, are guesses of its future.

    reaches_end: whether its last known token is among them, so that the next one can be sampled.
    """

    request: Request
    start: int
    tokens: list[int]
    reaches_end: bool
    guessed: int = 0


class Place:
    """What a running request has of the cache: blocks, how many of its tokens are in them, the chunk of lengths that they are
    for, and its nodes in the tree of prefixes."""

    def __init__(self, tables: Tables, chunk: int) -> None:
        self.tables, self.chunk = tables, chunk
        self.computed = 0
        self.node = ROOT
        self.whole = 0  # blocks that the tree knows
        self.announced: deque[tuple[int, Key]] = deque()  # (tokens after which it is computed, key)
        self.copies: list[tuple[int, int]] = []  # blocks to copy into its own before the first pass


class Scheduler:
    """At most `slots` requests run at once, over the blocks of `pool`. trained_length: T of dynamic NTK, None where it is off."""

    def __init__(self, pool: BlockPool, slots: int, prefill_tokens: int, trained_length: int | None = None) -> None:
        self.pool, self.slots, self.prefill_tokens, self.trained_length = pool, slots, prefill_tokens, trained_length
        self.waiting: deque[Request] = deque()
        self.running: dict[Request, Place] = {}
        self.preemptions = self.rebased = 0
        self.cached_tokens = 0
        self._gave_way = False

    def add(self, requests: Iterable[Request]) -> None:
        """Put requests in the queue."""
        self.waiting.extend(requests)

    def remove(self, request: Request) -> None:
        """Take a request out, wherever it is; its blocks can be used again."""
        if request in self.running:
            self._leave(request)
        elif request in self.waiting:
            self.waiting.remove(request)

    def plan(self) -> list[Chunk]:
        """The next pass; empty if there is nothing to do."""
        chunks: dict[Request, Chunk] = {}
        for request in reversed([*self.running]) if self.trained_length is not None else ():
            if self._chunk_of(request.length) != self.running[request].chunk:
                self._give_back(request)
                self.rebased += 1
        for request in [*self.running]:
            place = self.running.get(request)  # None: gave way to an earlier one
            if place is not None and request.length - place.computed == 1:
                guesses = request.guess()
                if self.trained_length is not None:  # what follows a guess has to have the same base
                    guesses = guesses[: (self.trained_length << place.chunk) - request.length]
                tokens = [request.token(place.computed), *guesses]
                if not self._reach(request, place.computed + len(tokens)):
                    del tokens[1:]
                    if not self._make_room(request, place.computed + 1):
                        continue
                chunks[request] = Chunk(request, place.computed, tokens, True, len(tokens) - 1)
        room = self.prefill_tokens
        for request in [*self.running]:
            place = self.running.get(request)
            if place is not None and request not in chunks and room > 0:
                count = min(request.length - place.computed, room, request.chunk_limit)
                if self._make_room(request, place.computed + count):
                    chunks[request] = _chunk(request, place.computed, count)
                    room -= count
        if not self._gave_way:
            self._admit(chunks, room)
        self._gave_way = False
        return [chunk for request, chunk in chunks.items() if request in self.running]

    def computed(self, chunk: Chunk, accepted: int) -> None:
        """A chunk went through the model, and of its guesses the first `accepted` were right: its tokens are in the cache."""
        place = self.running[chunk.request]
        place.computed = chunk.start + len(chunk.tokens) - chunk.guessed + accepted
        while place.announced and place.announced[0][0] <= place.computed:
            count, key = place.announced.popleft()
            self.pool.remember(key, place.tables.at(count - 1))
        while (place.whole + 1) * BLOCK <= place.computed:
            first = place.whole * BLOCK
            tokens = chunk.request.tokens(first, first + BLOCK)
            place.node = self.pool.remember((place.node, tuple(tokens)), place.tables.at(first))
            place.whole += 1
        self.pool.release(place.tables.unseen(place.computed))

    def _admit(self, chunks: dict[Request, Chunk], room: int) -> None:
        deferred: list[Request] = []
        while self.waiting and len(self.running) < self.slots and room > 0:
            request = self.waiting.popleft()
            tokens, chunk = request.shared, self._chunk_of(request.length)
            match = self.pool.match(tokens, -chunk)
            if match.pending:
                deferred.append(request)
                continue
            place = self._place(request, match, chunk, room)
            if place is None and match.tail and not self.running:  # there is no room for a tail beside its copy
                match = self.pool.match(tokens[: match.whole * BLOCK + 1], -chunk)
                place = self._place(request, match, chunk, room)
            if place is None:
                self.waiting.appendleft(request)
                break
            place.announced.extend(self.pool.announce(tokens, match))
            request.admitted(place.computed)
            self.cached_tokens += place.computed
            self.running[request] = place
            count = min(request.length - place.computed, room, request.chunk_limit)
            chunks[request] = _chunk(request, place.computed, count)
            room -= count
        self.waiting.extendleft(reversed(deferred))

    def _place(self, request: Request, match: Match, chunk: int, room: int) -> Place | None:
        """A place that begins with `match`, if there are blocks for what `request` needs besides, and in the next pass."""
        self.pool.hold(match.held())  # a tail's until it is copied
        place = Place(Tables(self.pool.windows, match), chunk)
        most = most_blocks(self.pool.windows, request.length, self.prefill_tokens) - sum(map(len, match.groups))
        # a block to spare for each that runs, so that it does not have to give way at once
        fits = most + len(self.running) <= self.pool.available or not self.running
        next_pass = match.tokens + min(request.length - match.tokens, room, request.chunk_limit)
        own = self.pool.take(place.tables.missing(next_pass if self._windowed else request.length)) if fits else None
        if own is None:
            self.pool.release(match.held())
            return None
        place.tables.extend(own)
        place.node, place.whole, place.computed = match.node, match.whole, match.tokens
        place.copies = [*zip(match.tail, place.tables.at(match.tokens), strict=True)] if match.tail else []
        return place

    def _reach(self, request: Request, tokens: int) -> bool:
        """Blocks for so many tokens of a running request, if there are any left."""
        tables = self.running[request].tables
        missing = tables.missing(tokens)
        blocks = self.pool.take(missing) if missing else []
        if blocks is None:
            return False
        tables.extend(blocks)
        return True

    def _make_room(self, request: Request, tokens: int) -> bool:
        """The same, at the cost of the requests that came later; False if this one had to give way itself."""
        while not self._reach(request, tokens):
            last = next(reversed(self.running))
            self._preempt(last)
            if last is request:
                return False
        return True

    def _preempt(self, request: Request) -> None:
        self._give_back(request)
        self.preemptions += 1
        self._gave_way = True

    def _give_back(self, request: Request) -> None:
        """Let a request begin again: it is the next to be admitted."""
        self._leave(request)
        self.waiting.appendleft(request)

    def _leave(self, request: Request) -> None:
        place = self.running.pop(request)
        for _, key in place.announced:
            self.pool.abandon(key)
        self.pool.release(place.tables.held())

    def _chunk_of(self, length: int) -> int:
        return 0 if self.trained_length is None else chunk_of(length, self.trained_length)

    @property
    def _windowed(self) -> bool:
        return any(window is not None for window in self.pool.windows)


def _chunk(request: Request, start: int, count: int) -> Chunk:
    """The known tokens [start, start + count) of a request."""
    return Chunk(request, start, request.tokens(start, start + count), start + count == request.length)
