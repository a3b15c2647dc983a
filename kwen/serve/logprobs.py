"""Logprobs in the two forms of OpenAI's APIs: a list of tokens for chat, parallel lists for completions."""

from collections.abc import Sequence
from typing import Any

from kwen.engine.completion import Delta, PromptLogprob
from kwen.errors import UserError
from kwen.text.tokenizer import Tokenizer

_LEAST = -9999.0  # in the place of minus infinity, which JSON does not have; OpenAI's own number for it

Alternatives = Sequence[tuple[int, float]]


def chat_logprobs(tokenizer: Tokenizer, delta: Delta) -> list[dict[str, Any]]:
    """The tokens of a delta with their bytes and alternatives, as `logprobs.content` of chat has them."""
    tops: Sequence[Alternatives] = delta.top_logprobs or [()] * len(delta.token_ids)
    return [
        {**_entry(tokenizer, token, logprob), "top_logprobs": [_entry(tokenizer, *pair) for pair in top]}
        for token, logprob, top in zip(delta.token_ids, delta.logprobs, tops, strict=True)
    ]


class CompletionLogprobs:
    """`logprobs` of /v1/completions: tokens, token_logprobs, top_logprobs and text_offset, which go side by side.

    names_ids: tokens are written "token_id:5", so that a client can tell those apart that have no text of their own.
    """

    def __init__(self, tokenizer: Tokenizer, names_ids: bool = False) -> None:
        self._tokenizer, self._names_ids, self._offset = tokenizer, names_ids, 0

    def prompt(self, entries: Sequence[PromptLogprob], alternatives: int) -> dict[str, Any]:
        """Those of an echoed prompt; the first token has none."""
        rows = [(entry.token_id, entry.logprob, entry.top) for entry in entries]
        return self._lists(rows, alternatives)

    def take(self, delta: Delta, alternatives: int) -> dict[str, Any]:
        """Those of a delta."""
        tops: Sequence[Alternatives] = delta.top_logprobs or [()] * len(delta.token_ids)
        return self._lists(list(zip(delta.token_ids, delta.logprobs, tops, strict=True)), alternatives)

    def _lists(self, rows: Sequence[tuple[int, float | None, Alternatives]], alternatives: int) -> dict[str, Any]:
        lists: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for token, logprob, top in rows:
            lists["tokens"].append(self._name(token))
            lists["token_logprobs"].append(None if logprob is None else _finite(logprob))
            told = None
            if logprob is not None and alternatives:
                told = {self._name(other): _finite(value) for other, value in top}
                told.setdefault(self._name(token), _finite(logprob))
            lists["top_logprobs"].append(told)
            lists["text_offset"].append(self._offset)
            self._offset += len(self._tokenizer.decode([token]))
        return lists

    def _name(self, token: int) -> str:
        return f"token_id:{token}" if self._names_ids else token_text(self._tokenizer, token)


def extended(lists: dict[str, Any] | None, more: dict[str, Any]) -> dict[str, Any]:
    """`lists` with `more` at its end, in place; a copy of `more` where there are none yet."""
    if lists is None:
        return {name: list(values) for name, values in more.items()}
    for name, values in more.items():
        lists[name] += values
    return lists


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """A token as text; one that holds half a character as OpenAI writes it: `bytes:\\xe4\\xbd`."""
    data = _bytes(tokenizer, token)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def _entry(tokenizer: Tokenizer, token: int, logprob: float) -> dict[str, Any]:
    data = _bytes(tokenizer, token)
    return {"token": token_text(tokenizer, token), "logprob": _finite(logprob), "bytes": list(data)}


def _bytes(tokenizer: Tokenizer, token: int) -> bytes:
    try:
        return tokenizer.token_bytes(token)
    except UserError:  # an id that pads the embedding, and is no token
        return f"<{token}>".encode()


def _finite(logprob: float) -> float:
    return max(logprob, _LEAST)
