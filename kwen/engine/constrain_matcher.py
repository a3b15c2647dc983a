"""Running grammars: a tokenizer's vocabulary as llguidance sees it, and where one request stands in its grammar.

    Vocabulary (one a tokenizer)  --compile-->  matcher at the start (one a grammar)  --copy-->  Constraint (one a request)

A mask is a bit for each token id. One id beyond the vocabulary stands for "may end here", so that a request's own stop tokens
can take its place. Legend: V vocabulary, R rows with a grammar, W 32-bit words of a mask.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary, WeakMethod

import numpy as np
import torch
from torch import Tensor

from kwen.errors import UserError
from kwen.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from kwen.engine.constrain import Grammar

_T = TypeVar("_T")

_SECONDS = 10.0  # to compile one grammar; llguidance's own limits on work end nearly all hostile ones long before
_STACK = 256 * 2**20  # bytes for compiling, which recurses along references; only what is used is ever there
_KEPT = 64  # compiled grammars a tokenizer remembers
_COPIES = 1000  # of a compiled grammar before it is compiled anew: copies share a lexer whose states only grow
_NO_TEXT = b"\xff"  # llguidance marks special tokens by this byte first, which no text holds
_STOPPED_WELL = ("NoExtension", "EndOfSentence")
_STACK_LOCK = threading.Lock()  # the size of new threads' stacks is one setting for the whole process


def refusal(source: str) -> str | None:
    """Why `source` is no grammar, in one line, or None. Raises UserError where llguidance is missing."""
    _llguidance()
    return _refusal(source)


def regex_source(pattern: str) -> str:
    """The grammar of texts that `pattern` matches."""
    if not isinstance(pattern, str):
        raise UserError(f"regular expression: must be text, not {type(pattern).__name__}")
    try:
        return _llguidance().LLMatcher.grammar_from_regex(pattern)
    except UnicodeEncodeError as error:
        raise UserError(f"regular expression: {error}") from None


class Constraint:
    """One request's place in its grammar.

    words: uint32 (W,), the bits of the tokens that may come next, stop tokens among them where the text may end.
    closed: whether `advance` was asked to close the text, and chose a token for it.
    """

    def __init__(
        self, matcher: Any, words: np.ndarray, vocab_size: int, stop_token_ids: Collection[int], closers: Mapping[str, int]
    ) -> None:
        self._matcher, self._vocab_size, self._closers = matcher, vocab_size, closers
        self.closed = False
        self.words = words.copy()
        self._stops = np.zeros_like(words)
        for token in stop_token_ids:
            if 0 <= token < vocab_size:
                self._stops[token >> 5] |= np.uint32(1 << (token & 31))
        self._address, self._bytes = self.words.ctypes.data, self.words.nbytes
        self._finish_words()

    def advance(self, token: int, closing: bool = False) -> bool:
        """Take the sampled token; True if no text can follow it, in which case the answer is complete.

        closing: text that is not complete goes on with the first of the grammar's closers that may come next, if one may.
        Raises UserError where the grammar needs more work for one token than llguidance's limits allow, or leads nowhere (an
        object's comma after which no further key is possible).
        """
        self._matcher.consume_token(token)
        if not self._matcher.is_stopped():
            self._matcher.unsafe_compute_mask_ptr(self._address, self._bytes)
        if self._matcher.is_stopped():
            if self._matcher.stop_reason() in _STOPPED_WELL:
                return True
            raise UserError(f"grammar: {_reason(self._matcher, 'no token can follow the text that it led to')}")
        ended = self._finish_words()
        if closing and self._may_end:
            return ended or self.closed  # what was closed goes no further
        if closing:
            self._close()
        return ended

    def _close(self) -> None:
        """Leave the first closer alone, if one may come next."""
        in_string = self._allows('"') and self._allows(":")  # only there may both come next, and brackets are text
        for closer, token in self._closers.items():
            if self._allows(closer) and not (in_string and closer in "}]"):
                self.words[:] = 0
                self.words[token >> 5] = np.uint32(1 << (token & 31))
                self.closed = True
                return

    def _allows(self, closer: str) -> bool:
        token = self._closers.get(closer)
        return token is not None and bool(self.words[token >> 5] >> np.uint32(token & 31) & np.uint32(1))

    def _finish_words(self) -> bool:
        """Put the request's stop tokens in the place of the end bit; True if only the end is left."""
        word, bit = self._vocab_size >> 5, np.uint32(1 << (self._vocab_size & 31))
        self._may_end = bool(self.words[word] & bit)
        self.words[word] &= ~bit
        self.words &= ~self._stops
        more = bool(self.words.any())
        if not more and not self._may_end:
            raise UserError("grammar: only a stop token can come next, but the text must go on; take it from stop_token_ids")
        if self._may_end:
            self.words |= self._stops
        return not more


class Vocabulary:
    """The `vocab_size` token ids of a model, as bytes, with the grammars compiled for them.

    Ids without a token (padding rows of the embedding) are never allowed. Control tokens that text does not show are special:
    no grammar's text holds them. Tags such as `<tool_call>` that a tokenizer has as tokens are text like any other.
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self._lock = threading.Lock()
        self._compiled: OrderedDict[Grammar, _Compiled] = OrderedDict()
        table = _TokenTable(tokenizer, vocab_size)
        self._bytes = table.bytes
        self._tokens = _llguidance().LLTokenizer(table)

    def constraint(self, grammar: "Grammar", stop_token_ids: Collection[int]) -> Constraint:
        """A new request's place: the start of `grammar`. Raises UserError where it cannot be compiled."""
        start = self.compile(grammar)
        start.copies += 1
        closers = {closer: self._bytes[closer.encode()] for closer in grammar.closers if closer.encode() in self._bytes}
        return Constraint(start.matcher.deep_copy(), start.words, self.vocab_size, stop_token_ids, closers)

    def compile(self, grammar: "Grammar") -> "_Compiled":
        """The start of `grammar`, made once and remembered. Raises UserError where it cannot be compiled."""
        with self._lock:
            known = self._compiled.get(grammar)
            if known is not None and known.copies < _COPIES:
                self._compiled.move_to_end(grammar)
                return known
            matcher, mask = _start(self._tokens, grammar.source, grammar.kind)
            if reason := _refused(matcher, mask):
                raise UserError(f"{grammar.kind}: {reason}")
            start = self._compiled[grammar] = _Compiled(matcher, np.frombuffer(mask, dtype=np.uint32))
            if len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
            return start


@dataclass
class _Compiled:
    """The matcher at the start of a grammar, its first mask, and how many requests have begun there."""

    matcher: Any
    words: np.ndarray
    copies: int = 0


class _TokenTable:
    """What llguidance asks of a tokenizer: bytes of every id, which are special, and how forced text is spelled."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        controls = set(tokenizer.control_tokens.values())
        self.tokens = [_token_bytes(tokenizer, number) for number in range(vocab_size)] + [b""]
        self.eos_token_id = vocab_size
        self.special_token_ids = sorted(n for n in controls if n < vocab_size and not tokenizer.decode([n]))
        self._visible = [text for text, n in tokenizer.control_tokens.items() if n < vocab_size and tokenizer.decode([n])]
        self.bytes = {token: number for number, token in enumerate(self.tokens) if len(token) == 1}
        self._encode = WeakMethod(tokenizer.encode)  # the tokenizer's own table must not keep it alive

    def __call__(self, text: str) -> list[int]:
        """The ids of text that the grammar forces, as the tokenizer spells it; byte by byte where it would alter the text."""
        encode, data = self._encode(), text.encode()
        ids = encode(text, allowed_special=self._visible) if encode is not None else []
        if b"".join(self.tokens[number] for number in ids) == data:
            return ids
        return [self.bytes[data[place : place + 1]] for place in range(len(data))]


_VOCABULARIES: WeakKeyDictionary[Tokenizer, dict[int, Vocabulary]] = WeakKeyDictionary()
_VOCABULARIES_LOCK = threading.Lock()


def vocabulary(tokenizer: Tokenizer, vocab_size: int) -> Vocabulary:
    """The vocabulary of `tokenizer` for a model of `vocab_size` ids: built once, kept as long as the tokenizer lives."""
    with _VOCABULARIES_LOCK:
        sizes = _VOCABULARIES.setdefault(tokenizer, {})
        if vocab_size not in sizes:
            sizes[vocab_size] = Vocabulary(tokenizer, vocab_size)
        return sizes[vocab_size]


def allowed_tokens(constraints: Sequence[Constraint], vocab_size: int, device: torch.device) -> Tensor:
    """Which tokens may come next: bool (R, V). The masks travel to the device as bits."""
    bytes_RN = np.stack([constraint.words for constraint in constraints]).view(np.uint8)
    if device.type == "cpu":
        return torch.from_numpy(np.unpackbits(bytes_RN, axis=1, count=vocab_size, bitorder="little").view(np.bool_))
    return _unpack(torch.from_numpy(bytes_RN).to(device), vocab_size)


def _unpack(bytes_RN: Tensor, vocab_size: int) -> Tensor:
    """The first `vocab_size` bits of each row, lowest bit of each byte first."""
    places = torch.arange(8, device=bytes_RN.device, dtype=torch.uint8)
    return ((bytes_RN.unsqueeze(-1) >> places) & 1).flatten(1)[:, :vocab_size].bool()


def _token_bytes(tokenizer: Tokenizer, number: int) -> bytes:
    try:
        token = tokenizer.token_bytes(number)
    except UserError:
        return b""
    return b"" if token.startswith(_NO_TEXT) else token


@lru_cache(maxsize=256)
def _refusal(source: str) -> str | None:
    return _refused(*_start(_byte_tokens(), source, "grammar"))


@lru_cache(maxsize=1)
def _byte_tokens() -> Any:
    return _llguidance().LLTokenizer("byte")


def _start(tokens: Any, source: str, kind: str) -> tuple[Any, bytes]:
    """A matcher at the start of its grammar, and its first mask."""
    llguidance = _llguidance()
    limits = llguidance.LLParserLimits(verbose_errors=False)

    def build() -> tuple[Any, bytes]:
        matcher = llguidance.LLMatcher(tokens, source, log_level=0, limits=limits)
        return matcher, matcher.compute_bitmask()

    return _in_time(build, kind)


def _in_time(build: Callable[[], _T], kind: str) -> _T:
    """`build()` on a thread with room for deep recursion. Raises UserError when it takes too long; the thread is left to
    llguidance's limits then."""
    done: list[_T] = []
    with _STACK_LOCK:
        usual = threading.stack_size(_STACK)
        try:
            thread = threading.Thread(target=lambda: done.append(build()), daemon=True)
            thread.start()
        finally:
            threading.stack_size(usual)
    thread.join(_SECONDS)
    if thread.is_alive():
        raise UserError(f"{kind}: takes longer than {_SECONDS:.0f} s to compile; make it simpler")
    return done[0]


def _refused(matcher: Any, mask: bytes) -> str | None:
    if matcher.is_error():
        return _reason(matcher, "no text can satisfy it (a definition that never ends, or parts that exclude each other)")
    words = np.frombuffer(mask, dtype=np.uint32)
    return "it allows no text but the empty one" if int(np.bitwise_count(words).sum()) <= 1 and matcher.is_accepting() else None


def _reason(matcher: Any, dead_end: str) -> str:
    """llguidance's message in one line: what a regular expression's error says, else the first line."""
    text = matcher.get_error() or matcher.stop_reason()
    if text.startswith("NoExtension"):
        return dead_end
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[0])
    return f"no grammar can be made of it: {told[:200]}"


def _llguidance() -> Any:
    try:
        import llguidance  # here, because only constrained requests need it
    except ImportError:
        raise UserError('constrained decoding needs llguidance: pip install "kwen[agent]"') from None
    return llguidance
