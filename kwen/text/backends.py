"""The two engines that turn text into ids: tiktoken's for rank files, Hugging Face's for tokenizer.json.

A backend knows ordinary text only: control tokens are the business of `Tokenizer`.
"""

import json
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import tiktoken
import tokenizers

from kwen.errors import UserError
from kwen.text.byte_level import recover_merges, spell, unspell
from kwen.text.patterns import split


class Backend(Protocol):
    """What `Tokenizer` needs of an engine."""

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, in which nothing is a control token."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, in parallel."""

    def tokens(self) -> dict[int, bytes]:
        """The bytes of every ordinary token."""

    def to_json(self, control_tokens: Mapping[str, int]) -> str:
        """The same tokenizer as the text of a `tokenizer.json`."""


def without_surrogates(text: str) -> str:
    """Lone surrogates, which no UTF-8 can hold, become U+FFFD; any other text is returned as it is."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


# The regex engine inside tiktoken keeps a state on its stack for each character of a white-space run that is not followed
# by a line end, and dies of a million: runs this long are cut here, exactly where the pattern would cut them.
_LONG_RUN = 50_000
_LONG_SPACES = re.compile(f"[ \t\x0b\x0c\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]{{{_LONG_RUN},}}(?![\r\n])")


class RanksBackend:
    """Byte-level BPE from a rank file through tiktoken, with NFC: the reference for Qwen's ids, and the faster engine.

    `ranks` maps bytes to ids, every single byte among them; `pattern` is the report's (or any whose white-space branches are
    the report's). Without `nfc` text is encoded in the form that it has.
    """

    def __init__(self, ranks: Mapping[bytes, int], pattern: str, nfc: bool = True):
        self._ranks, self._pattern, self._nfc = dict(ranks), pattern, nfc
        self._core = tiktoken.Encoding("kwen", pat_str=pattern, mergeable_ranks=self._ranks, special_tokens={})._core_bpe

    def encode(self, text: str) -> list[int]:
        text = without_surrogates(text)
        if self._nfc:
            text = unicodedata.normalize("NFC", text)
        if len(text) < _LONG_RUN:
            return self._core.encode_ordinary(text)
        ids: list[int] = []
        start = 0
        for run in _LONG_SPACES.finditer(text):
            # Before further text the last space of a run belongs to what follows it.
            end = run.end() if run.end() == len(text) else run.end() - 1
            ids += self._core.encode_ordinary(text[start : run.start()])
            ids += self._core.encode_single_piece(text[run.start() : end].encode())
            start = end
        return ids + self._core.encode_ordinary(text[start:])

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        if len(texts) < 2:
            return [self.encode(text) for text in texts]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            return list(threads.map(self.encode, texts))

    def tokens(self) -> dict[int, bytes]:
        return {rank: token for token, rank in self._ranks.items()}

    def to_json(self, control_tokens: Mapping[str, int]) -> str:
        vocab = {spell(token): rank for token, rank in self._ranks.items()}
        merges = [(spell(left), spell(right)) for left, right in recover_merges(self._ranks)]
        return tokenizer_json(vocab, merges, split(self._pattern), {"type": "NFC"} if self._nfc else None, control_tokens)


class JsonBackend:
    """Byte-level BPE from the text of a `tokenizer.json` through `tokenizers`.

    `control` are the surfaces that ordinary text must never become. Raises UserError (naming `where`) for anything that is
    not byte-level BPE.
    """

    def __init__(self, text: str, control: Sequence[str], where: str):
        self._json, self._control = text, set(control)
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # the library raises plain Exception for a file that it cannot read
            raise UserError(f"{where}: not a readable tokenizer.json ({_one_line(error)}); fetch the file again") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.add_special_tokens([tokenizers.AddedToken(surface, normalized=False) for surface in control])
        self._tokenizer.encode_special_tokens = True

    def encode(self, text: str) -> list[int]:
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        clean = [without_surrogates(text) for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(clean, add_special_tokens=False)]

    def tokens(self) -> dict[int, bytes]:
        added = {number: token.content for number, token in self._tokenizer.get_added_tokens_decoder().items()}
        table = {number: surface.encode() for number, surface in added.items() if surface not in self._control}
        for spelling, number in self._tokenizer.get_vocab(with_added_tokens=False).items():
            if number not in added:
                table[number] = unspell(spelling)
        return table

    def to_json(self, control_tokens: Mapping[str, int]) -> str:
        return self._json


def tokenizer_json(
    vocab: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    pre_tokenizer: Mapping[str, Any],
    normalizer: Mapping[str, Any] | None,
    added: Mapping[str, int],
    *,
    not_special: Sequence[str] = (),
    ignore_merges: bool = False,
) -> str:
    """The text of a `tokenizer.json` for byte-level BPE; `added` tokens are special unless in `not_special`."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    ordinary = set(not_special)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    value = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": surface, **flags, "special": surface not in ordinary}
            for surface, number in sorted(added.items(), key=lambda item: item[1])
        ],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": ignore_merges,
            "vocab": dict(sorted(vocab.items(), key=lambda item: item[1])),
            "merges": [list(pair) for pair in merges],
        },
    }
    return json.dumps(value, ensure_ascii=False)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
