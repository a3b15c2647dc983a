"""Continuous batching: requests come and go at any time, each step moves all that run by a token or more.

plan (scheduler) -> one ragged pass (runner) -> sample -> push into the requests -> what has ended leaves
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from kwen.engine import native_runner
from kwen.engine.adjustments import adjust
from kwen.engine.blocks import BlockPool, Tables, most_blocks
from kwen.engine.completion import PromptLogprob, TopLogprobs
from kwen.engine.constrain_matcher import allowed_tokens
from kwen.engine.request import Request
from kwen.engine.runner import BLOCK, CACHE_DTYPES, CacheDtype, Logits, Runner, Step
from kwen.engine.sampler import SamplingBatch, sample
from kwen.engine.scheduler import Chunk, Scheduler
from kwen.engine.torch_runner import TorchRunner
from kwen.errors import UserError
from kwen.model.attention import CacheLayout
from kwen.model.transformer import Transformer

CACHE_BYTES = 4 << 30
"""Of keys and values at most, where nobody says otherwise."""
_PREFILL_TOKENS = 512  # a step with so many takes a quarter of a second here, and everyone who generates waits for it
_LOGITS_TOKENS = 256  # whose logits are computed at once
_NAN = "the model's logits are not numbers (NaN): its weights are damaged, or its training diverged"


@dataclass(frozen=True)
class Statistics:
    """Where an engine stands (waiting, running, slots, blocks, blocks_used) and what it has done since it began.

    rebased: how often a request was computed anew because it grew into dynamic NTK's next chunk. most_blocks_used: at once.
    """

    waiting: int
    running: int
    slots: int
    blocks: int
    blocks_used: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    steps: int
    preemptions: int
    cancelled: int
    rebased: int
    most_blocks_used: int


class Engine:
    """Runs requests on `model`: at most `slots` at once, keys and values in `cache_bytes` at most, and `prefill_tokens` tokens of
    prompts in a step at most. `runner` computes the model: by default the native kernels where they can, else torch, with keys
    and values in `cache_dtype`.

    The cache grows as requests need it. The same request gives the same tokens whatever runs beside it where the runner is
    `batch_invariant`.
    """

    def __init__(
        self,
        model: Transformer,
        slots: int = 64,
        cache_bytes: int = CACHE_BYTES,
        prefill_tokens: int = _PREFILL_TOKENS,
        runner: Runner | None = None,
        cache_dtype: CacheDtype | None = None,
    ) -> None:
        self.model, self.config = model, model.config
        self.runner = runner if runner is not None else make_runner(model, cache_dtype)
        self.slots = slots
        self.capacity = max(1, cache_bytes // self.runner.block_bytes)
        self.windows = CacheLayout.of(model.config).windows
        self._pool = BlockPool(self.windows)
        trained_length = self.config.trained_length if self.config.use_dynamic_ntk else None
        self._scheduler = Scheduler(self._pool, slots, prefill_tokens, trained_length)
        self._sampled: list[Request] = []
        self._sampling = SamplingBatch([])
        self._prompt_tokens = self._generated_tokens = self._steps = self._cancelled = 0

    @property
    def busy(self) -> bool:
        """Whether any request waits or runs."""
        return bool(self._scheduler.waiting or self._scheduler.running)

    @property
    def waiting(self) -> int:
        """How many requests wait for a slot."""
        return len(self._scheduler.waiting)

    def statistics(self) -> Statistics:
        """Where the engine stands."""
        scheduler = self._scheduler
        return Statistics(
            len(scheduler.waiting), len(scheduler.running), self.slots, self._pool.count, self._pool.held, self._prompt_tokens,
            scheduler.cached_tokens, self._generated_tokens, self._steps, scheduler.preemptions, self._cancelled,
            scheduler.rebased, self._pool.most_held,
        )  # fmt: skip

    def check(self, request: Request) -> None:
        """Raise UserError where `request` cannot be run: an empty prompt, ids outside the vocabulary, more tokens than the
        model's context or the cache holds, a grammar that cannot be compiled."""
        where = f"request {request.index + 1}"
        prompt, asked = request.prompt, request.params.max_new_tokens
        if request.length < 1:
            few = f"{len(prompt) or 'no'} token{'s' * (not prompt)}"
            raise UserError(f"{where}: a prompt of {few} leaves nothing to compute; give {1 + (asked == 0)} at least")
        vocab_size, context = self.config.vocab_size, self.config.max_position_embeddings
        ids = [*prompt, *(token for token, _ in request.params.logit_bias)]
        if min(ids) < 0 or max(ids) >= vocab_size:
            raise UserError(f"{where}: token ids must lie between 0 and {vocab_size - 1}, the model's vocabulary")
        if request.params.grammar is not None:
            request.vocabulary(vocab_size).compile(request.params.grammar)
        if request.longest > context:
            raise UserError(
                f"{where}: {len(prompt)} tokens of prompt and {asked} to generate exceed the "
                f"model's context of {context}; shorten the prompt or lower max_new_tokens"
            )
        if self._blocks(request) > self.capacity:
            held = self.capacity // len(self.windows) * BLOCK
            raise UserError(
                f"{where}: {len(prompt)} tokens of prompt and {asked} to generate exceed the {held} that the "
                "cache of keys and values holds; shorten the prompt, lower max_new_tokens, or give the cache more bytes"
            )

    def add(self, requests: Sequence[Request]) -> None:
        """Queue requests that `check` let pass."""
        if not self.busy and self.runner.refresh():
            self._pool.clear()
        for request in requests:
            request.constrain(self.config.vocab_size)
        self._prompt_tokens += sum(len(request.prompt) for request in requests)
        self._scheduler.add(requests)
        largest = nlargest(self.slots, map(self._blocks, [*self._scheduler.running, *self._scheduler.waiting]))
        self.reserve(sum(largest) + self.slots)

    def _blocks(self, request: Request) -> int:
        """The most blocks that it can come to hold."""
        return most_blocks(self.windows, request.longest, self._scheduler.prefill_tokens)

    def reserve(self, blocks: int) -> None:
        """Give the cache room for `blocks` blocks now, as far as `cache_bytes` goes."""
        wanted = min(self.capacity, blocks)
        if wanted > self._pool.count:
            wanted = min(self.capacity, max(wanted, self._pool.count * 3 // 2))
            self.runner.reserve(wanted)
            self._pool.grow(wanted)

    @torch.inference_mode()
    def logits(self, token_ids: Tensor) -> Tensor:
        """Float32 logits (B, T, V) of `token_ids` (B, T), with the same bits as in any generation where the runner is
        batch-invariant.

        Only while nothing runs. Raises UserError where the cache cannot hold one row.
        """
        assert not self.busy
        if self.runner.refresh():
            self._pool.clear()
        B, T = token_ids.shape
        out = torch.empty(B, T, self.config.vocab_size)
        needed = most_blocks(self.windows, T, _LOGITS_TOKENS)
        self.reserve(needed)
        if needed > self.capacity:
            held = self.capacity // len(self.windows) * BLOCK
            raise UserError(f"logits: {T} tokens exceed the {held} that the cache of keys and values holds")
        for row in range(B):
            tables = Tables(self.windows)
            try:
                for first in range(0, T, _LOGITS_TOKENS):
                    positions = np.arange(first, min(first + _LOGITS_TOKENS, T), dtype=np.int32)
                    count = len(positions)
                    blocks = self._pool.take(tables.missing(first + count))
                    assert blocks is not None
                    tables.extend(blocks)
                    tokens = token_ids[row, first : first + count].numpy().astype(np.int32)
                    of_groups = np.array(tables.groups)[:, None]
                    step = Step(tokens, positions, np.array([0, count]), of_groups, np.arange(count), np.array([T]))
                    out[row, first : first + count] = self.runner.forward(step).values
                    self._pool.release(tables.unseen(first + count))
            finally:
                self._pool.release(tables.held())
        return out

    def cancel(self, request: Request) -> None:
        """Take a request out at once; it ends with what it has."""
        self._scheduler.remove(request)
        self._cancelled += 1

    @torch.inference_mode()
    def step(self) -> list[Request]:
        """One pass through the model; the requests that have a token more, or have ended with this pass.

        Raises UserError where the model's logits are not numbers.
        """
        chunks = self._scheduler.plan()
        if not chunks:
            return []
        for chunk in chunks:
            place = self._scheduler.running[chunk.request]
            for source, target in place.copies:
                self.runner.copy_block(source, target)
                self._pool.release([source])
            place.copies = []
        step, rows = self._step(chunks)
        logits = self.runner.forward(step)
        self._steps += 1
        if len(rows) == len(logits.best) and all(one.reaches_end and one.request.takes_best for one in chunks):
            return self._push_best(chunks, logits)
        for chunk in chunks:
            if not chunk.reaches_end:
                self._scheduler.computed(chunk, 0)
        self._tell_prompts(chunks, logits, rows)
        ready = [chunk for chunk in chunks if chunk.reaches_end]
        read = [chunk for chunk in ready if not chunk.request.params.max_new_tokens]
        for chunk in read:
            self._scheduler.computed(chunk, 0)
            self._scheduler.remove(chunk.request)
            chunk.request.read()
        moved = self._push([chunk for chunk in ready if chunk.request.params.max_new_tokens], logits, rows)
        return [*(chunk.request for chunk in read), *moved]

    def _step(self, chunks: list[Chunk]) -> tuple[Step, dict[Request, int]]:
        """The chunks as one ragged batch; and of each request that wants logits, the number of its first row."""
        counts = [len(chunk.tokens) for chunk in chunks]
        starts = [0, *accumulate(counts)]
        tables = [self._scheduler.running[chunk.request].tables.groups for chunk in chunks]
        width = max(len(groups[0]) for groups in tables)
        rows: list[int] = []
        first_row: dict[Request, int] = {}
        for chunk, start, count in zip(chunks, starts, counts, strict=False):
            wanted = _wanted(chunk)
            if wanted:
                first_row[chunk.request] = len(rows)
                rows.extend(range(start + count - wanted, start + count))
        step = Step(
            np.fromiter((token for chunk in chunks for token in chunk.tokens), dtype=np.int32, count=starts[-1]),
            np.concatenate([np.arange(chunk.start, chunk.start + len(chunk.tokens), dtype=np.int32) for chunk in chunks]),
            np.array(starts, dtype=np.int32),
            np.array([[one + [0] * (width - len(one)) for one in group] for group in zip(*tables, strict=True)], dtype=np.int32),
            np.array(rows, dtype=np.int32),
            np.array([chunk.request.length for chunk in chunks], dtype=np.int32),
        )
        return step, first_row

    def _push_best(self, chunks: list[Chunk], logits: Logits) -> list[Request]:
        """`_push` where every chunk has one row and takes its likeliest token: the usual step, without any tensor of its own."""
        moved = []
        for chunk, token, logprob in zip(chunks, logits.best.tolist(), (-logits.log_sum).tolist(), strict=True):
            if logprob != logprob:
                raise UserError(_NAN)
            request = chunk.request
            self._scheduler.computed(chunk, 0)
            if request.push(token, logprob):
                self._scheduler.remove(request)
            moved.append(request)
        self._generated_tokens += len(moved)
        return moved

    def _push(self, ready: list[Chunk], logits: Logits, rows: dict[Request, int]) -> list[Request]:
        """Sample the next tokens of requests whose last known one is computed."""
        if not ready:
            return []
        chosen: list[int] = []  # rows of `logits`
        owners: list[Request] = []
        positions: list[int] = []
        for chunk in ready:
            count = 1 + chunk.guessed
            last = rows[chunk.request] + _wanted(chunk) - count
            chosen.extend(range(last, last + count))
            owners.extend([chunk.request] * count)
            positions.extend(range(chunk.request.length, chunk.request.length + count))
        taken = logits if len(chosen) == len(logits.values) else _select(logits, chosen)
        tokens_B = self._sample(taken, owners, positions)
        logprobs_B = taken.logprobs(tokens_B)
        tokens, logprobs = tokens_B.tolist(), logprobs_B.tolist()
        top = _top(taken, [request.params.top_logprobs for request in owners])
        row = 0
        for chunk in ready:
            accepted, request = 0, chunk.request
            if not chunk.guessed:  # before the token, which may end it: what was computed may be shared all the same
                self._scheduler.computed(chunk, 0)
            for offset in range(1 + chunk.guessed):
                number = row + offset
                if logprobs[number] != logprobs[number]:
                    raise UserError(_NAN)
                ended = request.push(tokens[number], logprobs[number], top[number])
                self._generated_tokens += 1
                if ended or offset == chunk.guessed or chunk.tokens[offset - chunk.guessed] != tokens[number]:
                    break
                accepted += 1
            row += 1 + chunk.guessed
            if request.ended:
                self._scheduler.remove(request)
            elif chunk.guessed:
                self._scheduler.computed(chunk, accepted)
        return [chunk.request for chunk in ready]

    def _sample(self, logits: Logits, owners: list[Request], positions: list[int]) -> Tensor:
        """A token for each row."""
        if all(request.takes_best for request in owners):
            return logits.best
        if owners != self._sampled:
            self._sampled = owners
            self._sampling = SamplingBatch([request.params for request in owners], logits.values.device)
        scores = logits.values
        if any(request.params.adjusts for request in owners):
            scores = scores.clone()
            for row, request in zip(scores, owners, strict=True):
                if request.params.adjusts:
                    adjust(row, request)
        constrained = {n: request.constraint for n, request in enumerate(owners) if request.constraint is not None}
        allowed = None
        if constrained:
            allowed_RV = allowed_tokens(list(constrained.values()), self.config.vocab_size, scores.device)
            allowed = torch.tensor(list(constrained), device=scores.device), allowed_RV
        return sample(scores, self._sampling, torch.tensor(positions, device=scores.device), allowed)

    def _tell_prompts(self, chunks: Iterable[Chunk], logits: Logits, rows: dict[Request, int]) -> None:
        """The logprobs of prompt tokens, where a request wants them."""
        for chunk in chunks:
            request, asked = chunk.request, chunk.request.params.prompt_logprobs
            if asked is None or not _in_prompt(chunk):
                continue
            told, named = request.prompt_logprobs, request.params.prompt_logprobs_from
            if len(told) == len(request.prompt) - named:  # all were told before it had to begin again
                continue
            if not told and not named:
                told.append(PromptLogprob(request.prompt[0], None, []))
            first = max(chunk.start, request.told_from)
            following = request.prompt[first + 1 : chunk.start + len(chunk.tokens) + 1]
            if not following:
                continue
            del told[first + 1 - named :]  # computed before, if it had to give way
            part = logits.part(rows[request], rows[request] + len(following))
            logprobs = part.logprobs(torch.tensor(following, dtype=torch.int64, device=part.values.device)).tolist()
            if any(logprob != logprob for logprob in logprobs):
                raise UserError(_NAN)
            top = _top(part, [asked] * len(following))
            told += [PromptLogprob(*one) for one in zip(following, logprobs, (likely or [] for likely in top), strict=True)]


def make_runner(model: Transformer, cache_dtype: CacheDtype | None = None) -> Runner:
    """What computes `model` fastest here. Raises UserError for an unknown `cache_dtype`."""
    if cache_dtype is not None and cache_dtype not in CACHE_DTYPES:
        raise UserError(f"cache dtype {cache_dtype!r} is unknown; use one of {', '.join(CACHE_DTYPES)}")
    made = native_runner.NativeRunner if native_runner.supports(model) else TorchRunner
    return made(model, cache_dtype)


def _in_prompt(chunk: Chunk) -> bool:
    return chunk.start < len(chunk.request.prompt) and not chunk.guessed


def _wanted(chunk: Chunk) -> int:
    """How many rows of logits a chunk needs, the last ones."""
    told = chunk.start + len(chunk.tokens) - max(chunk.start, chunk.request.told_from) if _in_prompt(chunk) else 0
    return max(told, 1 + chunk.guessed if chunk.reaches_end else 0)


def _select(logits: Logits, rows: Sequence[int]) -> Logits:
    index = torch.tensor(rows, dtype=torch.int64, device=logits.values.device)
    return Logits(logits.values[index], logits.best[index], logits.most[index], logits.log_sum[index])


def _top(logits: Logits, asked: list[int]) -> list[TopLogprobs | None]:
    """The likeliest tokens of each row that asks for some."""
    told: list[TopLogprobs | None] = [None] * len(asked)
    rows = [row for row, count in enumerate(asked) if count]
    if rows:
        if max(asked) == 1:
            values, tokens = logits.most[rows, None], logits.best[rows, None]
        else:
            values, tokens = logits.values[rows].topk(min(max(asked), logits.values.shape[1]), dim=-1)
        logprobs = values - logits.most[rows, None] - logits.log_sum[rows, None]
        for row, ids, numbers in zip(rows, tokens.tolist(), logprobs.tolist(), strict=True):
            told[row] = list(zip(ids, numbers, strict=True))[: asked[row]]
    return told
