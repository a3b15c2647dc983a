"""Training Kwen's own tokenizer: byte-level BPE with the report's pre-tokenisation, or the copying one for nano models."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

import regex
import tokenizers
from pydantic import BaseModel, ConfigDict, Field, model_validator
from tokenizers import models, pre_tokenizers, trainers

from kwen.errors import UserError
from kwen.progress import Progress, silent
from kwen.text.backends import JsonBackend, tokenizer_json, without_surrogates
from kwen.text.byte_level import ALPHABET
from kwen.text.control import ENDOFTEXT, control_surfaces
from kwen.text.patterns import REPORT_PATTERN, TOOL_PIECES, WORD_END, copying_pattern, split
from kwen.text.tokenizer import Tokenizer
from kwen.text.tokenizer_parts import TokenizerParts

_NFC = {"type": "NFC"}
_REPORT_EVERY = 1 << 20


class TokenizerConfig(BaseModel):
    """What a tokenizer is trained to be.

    `vocab_size` counts everything: 256 bytes, merges, and the control tokens (`<|endoftext|>`, `<|im_start|>`,
    `<|im_end|>` and `extra_tokens` spare ones; the report has 205). `pattern` is the report's pre-tokenisation or Kwen's
    `copying` (kwen.text.patterns), in which the `whole_words` commonest lower-case words of the text keep their leading
    space. `tool_pieces` keeps what calls of tools repeat in one piece (`kwen.text.patterns.TOOL_PIECES`); it belongs to
    `copying`. `min_frequency` is how often a pair must occur to be merged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocab_size: int = Field(default=4096, le=1_000_000)
    pattern: Literal["report", "copying"] = "report"
    whole_words: int = Field(default=300, ge=0, le=5000)
    tool_pieces: bool = False
    extra_tokens: int = Field(default=205, ge=1, le=10_000)
    min_frequency: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _room(self) -> "TokenizerConfig":
        least = 256 + 3 + self.extra_tokens
        if self.vocab_size < least:
            raise ValueError(f"vocab_size must be at least {least}: 256 bytes and {3 + self.extra_tokens} control tokens")
        if self.tool_pieces and self.pattern != "copying":
            raise ValueError("tool_pieces belongs to the pattern copying; set that pattern or leave it out")
        return self

    @property
    def control_tokens(self) -> list[str]:
        """The control tokens' surfaces in id order; they take the last ids of the vocabulary."""
        return control_surfaces(self.extra_tokens)


def train(
    texts: Iterator[str],
    config: TokenizerConfig,
    out: Path | str,
    progress: Progress = silent,
    *,
    total_bytes: int | None = None,
) -> dict[str, Any]:
    """Train on `texts` (read once), save the tokenizer in the folder `out`, and return metrics.

    The same texts in the same order give the same files. Memory holds the distinct pre-tokens, never the text (the copying
    pattern keeps that in a temporary file between counting words and training). `progress` tells bytes read of
    `total_bytes` (of those read so far where it is not given). A text too small for the vocabulary gives fewer merges;
    metrics tell the size that came out. Raises UserError when `texts` hold no text.
    """
    counted = _Counted(texts, progress, total_bytes)
    words: list[str] = []
    with tempfile.TemporaryFile("w+", encoding="utf-8") as spool:
        source: Iterable[str] = counted
        if config.pattern == "copying":
            words = _common_words(_spooled(counted, spool), config.whole_words)
            spool.seek(0)
            source = map(json.loads, spool)
        pieces = TOOL_PIECES if config.tool_pieces else ()
        pattern = copying_pattern(words, pieces) if config.pattern == "copying" else REPORT_PATTERN
        vocab, merges = _bpe(source, pattern, config)
    if not counted.characters:
        raise UserError(f"{out}: no text to train a tokenizer on; check the sources")
    tokenizer = _assemble(vocab, merges, pattern, config)
    tokenizer.save(out)
    return {
        "vocab_size": tokenizer.vocab_size,
        "merges": len(merges),
        "whole_words": len(words),
        "documents": counted.documents,
        "bytes": counted.size,
    }


class _Counted:
    """The texts as they pass, with their number and size."""

    def __init__(self, texts: Iterator[str], progress: Progress, total: int | None):
        self._texts, self._progress, self._total = texts, progress, total
        self.documents = self.size = self.characters = 0

    def __iter__(self) -> Iterator[str]:
        told = 0
        for text in self._texts:
            clean = without_surrogates(text)
            self.documents += 1
            self.characters += len(clean)
            self.size += len(clean.encode())
            yield clean
            if self.size - told >= _REPORT_EVERY:
                told = self.size
                self._progress(self.size, max(self.size, self._total or 0))
        self._progress(self.size, self.size)


def _spooled(texts: Iterable[str], spool: IO[str]) -> Iterator[str]:
    """The texts, each also written to `spool` as a line of JSON."""
    for text in texts:
        spool.write(json.dumps(text, ensure_ascii=False) + "\n")
        yield text


def _common_words(texts: Iterable[str], count: int) -> list[str]:
    """The `count` commonest lower-case words that follow a space, commonest first, ties in alphabetical order."""
    word = regex.compile(rf"(?<= )\p{{Ll}}+{WORD_END}")
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word.findall(text))
    return [found for found, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:count]]


def _bpe(texts: Iterable[str], pattern: str, config: TokenizerConfig) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary (bytes first, then merges in their order) and merges in the byte alphabet."""
    engine = tokenizers.Tokenizer(models.BPE())
    engine.normalizer = tokenizers.normalizers.NFC()
    engine.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size - len(config.control_tokens),
        min_frequency=config.min_frequency,
        initial_alphabet=sorted(ALPHABET),
        show_progress=False,
    )
    engine.train_from_iterator(texts, trainer)
    model = json.loads(engine.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]


def _assemble(vocab: dict[str, int], merges: list[tuple[str, str]], pattern: str, config: TokenizerConfig) -> Tokenizer:
    """The trained parts as a base model's tokenizer: stops at end of text, pads with the first spare token."""
    control = {surface: len(vocab) + offset for offset, surface in enumerate(config.control_tokens)}
    text = tokenizer_json(vocab, merges, split(pattern), _NFC, control)
    return Tokenizer(
        TokenizerParts(
            backend=JsonBackend(text, list(control), "tokenizer"),
            control_tokens=control,
            hidden=frozenset(control.values()),
            eos_token_ids=(control[ENDOFTEXT],),
            pad_token_id=control["<|extra_0|>"],
        )
    )
