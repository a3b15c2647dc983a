"""The tokenizer: text to ids and back, with control tokens that text can never become unless the caller says so."""

import codecs
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from kwen.errors import UserError
from kwen.files import write_json, write_text
from kwen.text.control import ENDOFTEXT, IM_END, chatml_template
from kwen.text.patterns import is_copying
from kwen.text.tokenizer_files import read_path
from kwen.text.tokenizer_gguf import read_gguf
from kwen.text.tokenizer_parts import TokenizerParts

Surfaces = Collection[str] | Literal["all"]

_TRANSFORMERS_CLASS = '''\
"""For transformers with trust_remote_code: the tokenizer of tokenizer.json as it is."""

from transformers import PreTrainedTokenizerFast


class KwenTokenizer(PreTrainedTokenizerFast):
    """Adds nothing; naming it keeps transformers from choosing a class with a pattern of its own."""
'''


class Tokenizer:
    """A byte-level BPE tokenizer of any origin: Kwen's own, `qwen.tiktoken`, `tokenizer.json`, or GGUF metadata."""

    def __init__(self, parts: TokenizerParts):
        self._parts = parts
        self.control_tokens: dict[str, int] = dict(parts.control_tokens)
        self.eos_token_ids: list[int] = list(parts.eos_token_ids)
        self.pad_token_id: int | None = parts.pad_token_id
        self.bos_ids: list[int] = list(parts.bos_ids)
        self.chat_template: str | None = parts.chat_template
        self.default_system: str | None = parts.default_system

    @classmethod
    def load(cls, path: Path | str) -> "Tokenizer":
        """The tokenizer of a folder (tokenizer.json, or qwen.tiktoken beside a config) or of one such file.

        Raises UserError for what is missing, damaged, or not byte-level BPE.
        """
        return cls(read_path(Path(path)))

    @classmethod
    def from_source(cls, source: Path | Mapping[str, Any]) -> "Tokenizer":
        """The tokenizer of a checkpoint by what the checkpoint names as its source: a folder, or a GGUF file's metadata."""
        return cls.load(source) if isinstance(source, Path) else cls.from_gguf(source)

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any]) -> "Tokenizer":
        """The tokenizer in a GGUF file's metadata (`tokenizer.ggml.*`, `tokenizer.chat_template`).

        Raises UserError by name for SentencePiece and other tokenizers that are not byte-level BPE.
        """
        return cls(read_gguf(metadata))

    def for_chat(self, default_system: str | None) -> "Tokenizer":
        """The same tokenizer as a ChatML model's: its template, and end of turn before end of text as stop ids."""
        stops = (self.control_id(IM_END), self.control_id(ENDOFTEXT))
        return Tokenizer(
            replace(
                self._parts,
                chat_template=chatml_template(default_system),
                default_system=default_system,
                eos_token_ids=stops,
            )
        )

    @cached_property
    def vocab_size(self) -> int:
        """Ids in use, control tokens included: one more than the largest."""
        return 1 + max(max(self._table, default=-1), max(self.control_tokens.values(), default=-1))

    @cached_property
    def template_variables(self) -> dict[str, str]:
        """The surfaces that chat templates know by name: bos_token, eos_token, pad_token, as far as the tokenizer has them."""
        surfaces = {number: surface for surface, number in self.control_tokens.items()}
        found = {
            "bos_token": self._parts.bos_token,
            "eos_token": surfaces.get(self.eos_token_ids[0]) if self.eos_token_ids else None,
            "pad_token": surfaces.get(self.pad_token_id) if self.pad_token_id is not None else None,
        }
        return {name: surface for name, surface in found.items() if surface is not None}

    def control_id(self, surface: str) -> int:
        """The id of a control token. Raises UserError when the tokenizer has none of that surface."""
        try:
            return self.control_tokens[surface]
        except KeyError:
            raise UserError(f"this tokenizer has no control token {surface!r}; use a model whose tokenizer has it") from None

    def encode(self, text: str, allowed_special: Surfaces = (), disallowed_special: Surfaces = ()) -> list[int]:
        """Ids of `text`. By default text never becomes a control token, whatever it spells (report 1.6).

        `allowed_special` surfaces become their control tokens; `disallowed_special` ones raise UserError where they occur
        ("all" there means all that are not allowed). Lone surrogates are encoded as U+FFFD.
        """
        allowed = set(self.control_tokens) if allowed_special == "all" else set(allowed_special)
        for surface in sorted(allowed - set(self.control_tokens)):
            self.control_id(surface)
        refused = set(self.control_tokens) if disallowed_special == "all" else set(disallowed_special)
        if found := self._find(refused - allowed, text):
            raise UserError(
                f"the text holds the control token {found.group()!r} at character {found.start()}; remove it or allow it"
            )
        if not allowed:
            return self._parts.backend.encode(text)
        ids: list[int] = []
        for index, part in enumerate(_one_of(allowed).split(text)):
            if index % 2:
                ids.append(self.control_tokens[part])
            elif part:
                ids += self._parts.backend.encode(part)
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text with the safe default, on all processors."""
        return self._parts.backend.encode_batch(texts)

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True, errors: str = "replace") -> str:
        """The text of `ids`. Ids that name no token (padding rows of an embedding) are nothing.

        `errors` is what bytes that are not UTF-8 become, as in `bytes.decode`.
        """
        return b"".join(self._bytes(number, skip_special_tokens) for number in ids).decode(errors=errors)

    def token_bytes(self, number: int) -> bytes:
        """The bytes of one token, of a control token the UTF-8 of its surface. Raises UserError when no token has that id."""
        number = int(number)
        if number not in self._table and number not in self._control_bytes:
            raise UserError(f"token id {number} is not in the vocabulary of {self.vocab_size}")
        return self._bytes(number, skip_special_tokens=False)

    def save(self, folder: Path | str) -> None:
        """Write tokenizer.json, tokenizer_config.json, special_tokens_map.json and the chat template into `folder`.

        transformers' AutoTokenizer loads the result with equal ids; `load` brings back everything, stop ids too.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        text = self._parts.backend.to_json(self.control_tokens)
        write_text(folder / "tokenizer.json", text)
        special = self.template_variables
        write_json(folder / "special_tokens_map.json", special)
        config: dict[str, Any] = {
            # The one class that takes the pre-tokenizer from tokenizer.json: transformers' Qwen2Tokenizer puts in its own.
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_bos_token": bool(self.bos_ids),
            "clean_up_tokenization_spaces": False,
            **special,
            "eos_token_ids": self.eos_token_ids,
            "default_system": self.default_system,
        }
        if is_copying(text):
            # For a model of type qwen2, transformers 5 puts Qwen's own pattern in the place of the one in tokenizer.json,
            # unless the configuration names a class of its own. It takes tokenizer.json as it is then, and runs the named
            # file only where the user trusts remote code.
            config["auto_map"] = {"AutoTokenizer": [None, "tokenization_kwen.KwenTokenizer"]}
            write_text(folder / "tokenization_kwen.py", _TRANSFORMERS_CLASS)
        template = folder / "chat_template.jinja"
        if self.chat_template is not None:
            config["chat_template"] = self.chat_template
            write_text(template, self.chat_template)
        else:
            template.unlink(missing_ok=True)
        write_json(folder / "tokenizer_config.json", config)

    @cached_property
    def _table(self) -> dict[int, bytes]:
        return self._parts.backend.tokens()

    @cached_property
    def _control_bytes(self) -> dict[int, bytes]:
        return {number: surface.encode() for surface, number in self.control_tokens.items()}

    def _bytes(self, number: int, skip_special_tokens: bool) -> bytes:
        control = self._control_bytes.get(number)
        if control is not None:
            return b"" if skip_special_tokens and number in self._parts.hidden else control
        return self._table.get(number, b"")

    @staticmethod
    def _find(surfaces: set[str], text: str) -> re.Match[str] | None:
        return _one_of(surfaces).search(text) if surfaces else None


def _one_of(surfaces: Collection[str]) -> re.Pattern[str]:
    """A pattern with one group that matches any of the surfaces, the longest first."""
    return re.compile("(" + "|".join(re.escape(surface) for surface in sorted(surfaces, key=lambda s: (-len(s), s))) + ")")


class StreamDecoder:
    """Decodes a stream of ids in linear time, holding back the bytes of a character until it is complete.

    The concatenation of all `push` results and `flush` is `tokenizer.decode` of the ids.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special_tokens: bool = True):
        self._tokenizer, self._skip = tokenizer, skip_special_tokens
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, number: int) -> str:
        """The characters that the id completes; often one token's text, "" inside a character."""
        return self._decoder.decode(self._tokenizer._bytes(int(number), self._skip))

    def flush(self) -> str:
        """What is left at the end: U+FFFD if the stream stopped inside a character, else "". The decoder is as new."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest
