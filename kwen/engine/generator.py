"""Generating for many requests at once, or for one in pieces, on an engine of one's own."""

from collections.abc import Iterator

from kwen.engine.completion import Completion, Delta
from kwen.engine.engine import CACHE_BYTES, Engine
from kwen.engine.request import Request
from kwen.engine.runner import Runner
from kwen.engine.sampler import SamplingParams
from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent
from kwen.text.tokenizer import Tokenizer


class Generator:
    """Batched generation: at most `slots` requests run together, keys and values in `cache_bytes` at most.

    speculate: tokens guessed at once from what stood in the text before, 0 for none; the answers are the same. The prefix cache
    lives as long as the generator. Not for several threads (`kwen.engine.service` is).
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        slots: int = 64,
        cache_bytes: int = CACHE_BYTES,
        speculate: int = 0,
        runner: Runner | None = None,
    ) -> None:
        self.model, self.tokenizer, self.slots, self.speculate = model, tokenizer, slots, speculate
        self._cache_bytes, self._runner = cache_bytes, runner
        self._made: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The engine, made when it is first needed."""
        if self._made is None:
            self._made = Engine(self.model, self.slots, self._cache_bytes, runner=self._runner)
        return self._made

    def generate(self, prompts: list[list[int]], params: list[SamplingParams], progress: Progress = silent) -> list[Completion]:
        """Complete `prompts` (token ids), each by its own parameters; results stand in the order of the prompts.

        Raises UserError for an empty prompt, an id outside the vocabulary, more tokens than the model's context, or a grammar
        that cannot be compiled for this vocabulary or is too much work at some token.
        `progress` counts ended requests and names the tokens made so far.
        """
        requests = [
            Request(index, prompt, row, self.tokenizer, speculate=self.speculate)
            for index, (prompt, row) in enumerate(zip(prompts, params, strict=True))
        ]
        done = tokens = 0
        for request in self._run(requests):
            if request.ended:
                done += 1
                tokens += len(request.token_ids)
                progress(done, len(requests), tokens=tokens)
        return [request.completion() for request in requests]

    def stream(self, prompt: list[int], params: SamplingParams) -> Iterator[Delta]:
        """The completion of one prompt in pieces, as soon as each is certain; raises UserError as `generate` does."""
        request = Request(0, prompt, params, self.tokenizer, incremental=True, speculate=self.speculate)
        self.engine.check(request)
        return self._deltas(request)

    def _deltas(self, request: Request) -> Iterator[Delta]:
        for _ in self._run([request]):
            delta = request.take_delta()
            if delta.text or delta.token_ids or delta.finish_reason:
                yield delta

    def _run(self, requests: list[Request]) -> Iterator[Request]:
        """Run all requests to their end; yield each whenever it has a token more."""
        engine = self.engine
        for request in requests:
            engine.check(request)
        longest_first = sorted(
            requests, key=lambda one: -(len(one.prompt) + one.params.max_new_tokens)
        )  # no straggler at the end
        engine.add(longest_first)
        left = len(requests)
        try:
            while left:
                for request in engine.step():
                    if request.error is not None:
                        raise request.error
                    left -= request.ended
                    yield request
        finally:
            for request in requests:
                if not request.ended:
                    engine.cancel(request)
