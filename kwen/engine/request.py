"""One generation request on its way: the tokens it has, the text they make, and whether it has ended."""

from kwen.engine.completion import Completion, Delta, FinishReason, PromptLogprob, TopLogprobs
from kwen.engine.constrain_matcher import Constraint, Vocabulary, vocabulary
from kwen.engine.sampler import SamplingParams
from kwen.engine.speculation import Lookup
from kwen.engine.stopping import StopScanner
from kwen.errors import UserError
from kwen.text.tokenizer import StreamDecoder, Tokenizer

_PROMPT_ROWS = (
    256  # tokens of a prompt whose logits are all wanted that go through at once: they take a vocabulary of floats each
)
_CLOSING = 64  # tokens: room for the ends of strings and objects, and for required keys that are still to come


class Request:
    """A prompt, its parameters, and what has been generated for it so far.

    `incremental` requests turn tokens into text one by one, which streaming and stop strings need; the others are decoded
    once, at their end. speculate: tokens that are guessed at once (see `kwen.engine.speculation`).
    """

    def __init__(
        self,
        index: int,
        prompt: list[int],
        params: SamplingParams,
        tokenizer: Tokenizer,
        incremental: bool = False,
        speculate: int = 0,
    ) -> None:
        self.index, self.prompt, self.params = index, prompt, params
        self.stop_token_ids = frozenset(params.stop_token_ids)
        self.token_ids: list[int] = []
        self.logprobs: list[float] = []
        self.finish_reason: FinishReason | None = None
        self.stop_reason: int | str | None = None
        self.constraint: Constraint | None = None
        self.top_logprobs: list[TopLogprobs] = []
        self.prompt_logprobs: list[PromptLogprob] = []
        self.cached_tokens = 0
        self.error: UserError | None = None
        self._plain = params.temperature == 0 and not params.adjusts and not params.top_logprobs and params.max_new_tokens > 0
        total = len(prompt) + params.max_new_tokens
        # the first token of the prompt whose logits are wanted: it is computed, and all after it
        self.told_from = total if params.prompt_logprobs is None else max(params.prompt_logprobs_from - 1, 0)
        self.chunk_limit = _PROMPT_ROWS if len(prompt) - self.told_from > _PROMPT_ROWS else total
        guesses = speculate and params.grammar is None and not params.adjusts
        self._lookup = Lookup(prompt, speculate) if guesses else None
        self._closing = min(_CLOSING, params.max_new_tokens // 2)  # with so many tokens left, constrained text is closed
        self._tokenizer = tokenizer
        self._told_prompt = False
        self._text = _IncrementalText(tokenizer, params.stop) if incremental or params.stop else None

    def vocabulary(self, vocab_size: int) -> Vocabulary:
        """The tokens of this request's tokenizer in a model of `vocab_size` ids, for its grammar."""
        return vocabulary(self._tokenizer, vocab_size)

    def constrain(self, vocab_size: int) -> None:
        """Begin at the start of the grammar, if there is one; before the first token is sampled."""
        if self.params.grammar is not None:
            self.constraint = self.vocabulary(vocab_size).constraint(self.params.grammar, self.stop_token_ids)

    @property
    def takes_best(self) -> bool:
        """Whether its next token is the likeliest one, whatever came before."""
        return self._plain and self.constraint is None

    @property
    def length(self) -> int:
        """Tokens of the prompt and the answer so far, as far as they are read: not a prompt's last one that nothing follows."""
        return len(self.prompt) + len(self.token_ids) - (self.params.max_new_tokens == 0)

    @property
    def longest(self) -> int:
        """The most that `length` can become."""
        return len(self.prompt) + (self.params.max_new_tokens or -1)

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.finish_reason is not None or self.error is not None

    @property
    def shared(self) -> list[int]:
        """The tokens that may be shared with other requests by the prefix cache, all but the last of them."""
        return self.tokens(0, min(self.length, self.told_from + 1))

    def token(self, index: int) -> int:
        """The token at `index` of prompt and answer."""
        return self.prompt[index] if index < len(self.prompt) else self.token_ids[index - len(self.prompt)]

    def tokens(self, first: int, last: int) -> list[int]:
        """The tokens [first, last) of prompt and answer."""
        asked = len(self.prompt)
        return self.prompt[first:last] + self.token_ids[max(first - asked, 0) : max(last - asked, 0)]

    def guess(self) -> list[int]:
        """Guesses of the tokens that come next, as many as can still be used; none without `speculate`."""
        left = self.params.max_new_tokens - len(self.token_ids) - 1
        return self._lookup.guess()[:left] if self._lookup is not None and left > 0 else []

    def admitted(self, cached: int) -> None:
        """The request begins to run, with `cached` tokens of its prompt in the cache already."""
        self.cached_tokens = cached if not self.token_ids else self.cached_tokens

    def read(self) -> None:
        """The prompt was read, and nothing is to follow."""
        self._end("length", None)

    def fail(self, error: UserError) -> None:
        """End with an error in place of an answer."""
        self.error = error

    def push(self, token: int, logprob: float, top_logprobs: TopLogprobs | None = None) -> bool:
        """Take the next sampled token; True if the request has ended with it, by an error perhaps."""
        if self._lookup is not None:
            self._lookup.push(token)
        if top_logprobs is not None and token not in self.stop_token_ids:
            self.top_logprobs.append(top_logprobs)
        try:
            return self._push(token, logprob)
        except UserError as error:
            self.fail(error)
            return True

    def _push(self, token: int, logprob: float) -> bool:
        if token in self.stop_token_ids:
            self._end("stop", token)
            return True
        self.token_ids.append(token)
        self.logprobs.append(logprob)
        if self._text is not None:
            stop = self._text.push(token)
            if stop is not None:
                self._end("stop", stop)
                return True
        left = self.params.max_new_tokens - len(self.token_ids)
        if self.constraint is not None and self.constraint.advance(token, left <= self._closing):
            self._end("stop", None)
            return True
        if left <= 0:
            self._end("length", None)
            return True
        return False

    def _end(self, finish_reason: FinishReason, stop_reason: int | str | None) -> None:
        if self.constraint is not None and self.constraint.closed:
            finish_reason, stop_reason = "length", None
        self.finish_reason, self.stop_reason, self.constraint = finish_reason, stop_reason, None
        if self._text is None:
            return
        if not isinstance(stop_reason, str) and (stop := self._text.finish()) is not None:
            self.finish_reason, self.stop_reason = "stop", stop
        if isinstance(self.stop_reason, str):
            count = self._text.tokens_behind()
            del self.token_ids[count:], self.logprobs[count:], self.top_logprobs[count:]

    def take_delta(self) -> Delta:
        """What is certain since the last call: text, and the tokens that hold any of it; everything once it has ended."""
        assert self._text is not None
        text, since, upto = self._text.take(len(self.token_ids) if self.finish_reason is not None else None)
        told, self._told_prompt = ([] if self._told_prompt else self.prompt_logprobs), True
        return Delta(
            text, self.token_ids[since:upto], self.logprobs[since:upto], self.finish_reason, self.stop_reason,
            self.top_logprobs[since:upto], told, self.cached_tokens,
        )  # fmt: skip

    def completion(self) -> Completion:
        """The finished answer."""
        assert self.finish_reason is not None
        text = self._tokenizer.decode(self.token_ids) if self._text is None else self._text.whole()
        return Completion(
            text, self.token_ids, self.logprobs, self.finish_reason, self.stop_reason,
            self.top_logprobs, self.prompt_logprobs, self.cached_tokens,
        )  # fmt: skip


class _IncrementalText:
    """Text from tokens one by one, cut at the first stop string, with the character at which each token begins."""

    def __init__(self, tokenizer: Tokenizer, stops: tuple[str, ...]) -> None:
        self._decoder = StreamDecoder(tokenizer)
        self._scanner = StopScanner(stops) if stops else None
        self._pieces: list[str] = []
        self._starts: list[int] = []
        self._decoded = 0
        self._certain = 0
        self._taken_pieces = 0
        self._taken_tokens = 0

    def push(self, token: int) -> str | None:
        """Add a token; the stop string that it completes, if any."""
        self._starts.append(self._decoded)
        return self._add(self._decoder.push(token))

    def _add(self, piece: str) -> str | None:
        stop = None
        if piece:
            self._decoded += len(piece)
            if self._scanner is not None:
                piece, stop = self._scanner.feed(piece)
            self._keep(piece)
        return stop

    def _keep(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)
            self._certain += len(piece)

    def finish(self) -> str | None:
        """No more tokens: unfinished characters become U+FFFD and held text is released, unless that completes a stop."""
        stop = self._add(self._decoder.flush())
        if stop is None and self._scanner is not None:
            self._keep(self._scanner.finish())
        return stop

    def tokens_behind(self) -> int:
        """How many tokens hold at least one of the characters that are certain."""
        count = len(self._starts)
        while count and self._starts[count - 1] >= self._certain:
            count -= 1
        return count

    def take(self, tokens: int | None) -> tuple[str, int, int]:
        """Certain text since the last call, and the range of tokens that goes with it (up to `tokens` at the end)."""
        text, since = "".join(self._pieces[self._taken_pieces :]), self._taken_tokens
        self._taken_pieces = len(self._pieces)
        upto = since
        while upto < len(self._starts) and self._starts[upto] < self._certain:
            upto += 1
        self._taken_tokens = upto if tokens is None else tokens
        return text, since, self._taken_tokens

    def whole(self) -> str:
        """All certain text."""
        return "".join(self._pieces)
