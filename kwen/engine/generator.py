"""Generating for many requests at once: a queue in front of a batch whose free slots it refills."""

from collections import deque
from collections.abc import Iterator

from kwen.engine.batch import Batch
from kwen.engine.completion import Completion, Delta
from kwen.engine.request import Request, by_prompt
from kwen.engine.sampler import SamplingParams
from kwen.errors import UserError
from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent
from kwen.text.tokenizer import Tokenizer

_PATIENCE = 8  # one slot in so many may stand empty before slots are refilled, or closed when nothing waits


class Generator:
    """Batched generation: at most `slots` requests run together, fewer where their cache would exceed `cache_bytes`."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer, slots: int = 64, cache_bytes: int = 4 * 2**30) -> None:
        self.model, self.tokenizer, self.slots, self.cache_bytes = model, tokenizer, slots, cache_bytes

    def generate(self, prompts: list[list[int]], params: list[SamplingParams], progress: Progress = silent) -> list[Completion]:
        """Complete `prompts` (token ids), each by its own parameters; results stand in the order of the prompts.

        Raises UserError for an empty prompt, an id outside the vocabulary, more tokens than the model's context, or a grammar
        that cannot be compiled for this vocabulary or is too much work at some token.
        `progress` counts ended requests and names the tokens made so far.
        """
        requests = [
            Request(index, prompt, row, self.tokenizer) for index, (prompt, row) in enumerate(zip(prompts, params, strict=True))
        ]
        done = tokens = 0
        for ended in self._run(requests):
            done += len(ended)
            tokens += sum(len(request.token_ids) for request in ended)
            if ended:
                progress(done, len(requests), tokens=tokens)
        return [request.completion() for request in requests]

    def stream(self, prompt: list[int], params: SamplingParams) -> Iterator[Delta]:
        """The completion of one prompt in pieces, as soon as each is certain; raises UserError as `generate` does."""
        request = Request(0, prompt, params, self.tokenizer, incremental=True)
        self._check(request)
        return self._deltas(request)

    def _deltas(self, request: Request) -> Iterator[Delta]:
        for _ in self._run([request]):
            delta = request.take_delta()
            if delta.text or delta.token_ids or delta.finish_reason:
                yield delta

    def _run(self, requests: list[Request]) -> Iterator[list[Request]]:
        """Run all requests to their end; after each pass through the model, yield those that ended with it."""
        for request in requests:
            self._check(request)
        if not requests:
            return
        longest_first = sorted(requests, key=lambda request: -_total(request))  # no straggler at the end
        batch = Batch(self.model, self._slots_for(requests), _total(longest_first[0]))
        waiting = deque(by_prompt(longest_first))
        left = len(requests)
        while left or batch.running:
            free = batch.slots - batch.running
            if left and free >= min(left, 1 + (batch.slots - 1) // _PATIENCE):
                admitted = _take(waiting, free)
                left -= len(admitted)
                yield batch.admit(admitted)
                continue
            if not left and batch.holes * _PATIENCE > batch.running + batch.holes:
                batch.compact()
            yield batch.step()

    def _slots_for(self, requests: list[Request]) -> int:
        config, weight = self.model.config, self.model.output_weight
        token_bytes = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * weight.element_size()
        affordable = self.cache_bytes // (token_bytes * max(map(_total, requests)))
        return max(1, min(self.slots, len(requests), affordable))

    def _check(self, request: Request) -> None:
        where = f"request {request.index + 1}"
        if not request.prompt:
            raise UserError(f"{where}: the prompt has no tokens; give at least one")
        vocab_size, context = self.model.config.vocab_size, self.model.config.max_position_embeddings
        if min(request.prompt) < 0 or max(request.prompt) >= vocab_size:
            raise UserError(f"{where}: token ids must lie between 0 and {vocab_size - 1}, the model's vocabulary")
        if request.params.grammar is not None:
            request.vocabulary(vocab_size).compile(request.params.grammar)
        if _total(request) > context:
            raise UserError(
                f"{where}: {len(request.prompt)} tokens of prompt and {request.params.max_new_tokens} to generate exceed the "
                f"model's context of {context}; shorten the prompt or lower max_new_tokens"
            )


def _total(request: Request) -> int:
    return len(request.prompt) + request.params.max_new_tokens


def _take(waiting: deque[list[Request]], free: int) -> list[Request]:
    """The next requests for `free` slots, each prompt's together; split only where the first prompt's alone are too many."""
    taken: list[Request] = []
    while waiting and len(taken) + len(waiting[0]) <= free:
        taken += waiting.popleft()
    if not taken:
        taken, waiting[0] = waiting[0][:free], waiting[0][free:]
    return taken
