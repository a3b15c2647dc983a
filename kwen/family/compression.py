"""How few tokens the family's tokenizer needs for each language of its held-out text, beside published ones that lie at hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kwen.family.recipe import BASES, CHATS, RELEASED

COMPRESSION = "compression.json"
OWN = "own"
"""The family's tokenizer among the others."""


def run_compression(folders: Mapping[str, Path], data: Path | None) -> dict[str, Any] | None:
    """`kwen.text.comparison.compression_by_language` on the held-out part of the artifact `corpus`; None without one.

    The tokenizer is that of the family's models in `folders`; the others are the rank files of `data`/tokenizers. Without others
    it is the reference itself, else the one that needs the fewest tokens is. Raises UserError for a damaged rank file.
    """
    from kwen.corpus import reading
    from kwen.corpus.by_language import texts_by_language
    from kwen.text.comparison import compression_by_language
    from kwen.text.tokenizer import Tokenizer

    models = [folders[name] for name in (RELEASED, *BASES, *CHATS) if name in folders]
    corpus = folders.get("corpus")
    if corpus is None or not models or not reading.statistics(corpus)["held_out"]["bytes"]:
        return None
    others = {file.name.partition(".")[0]: file for file in rank_files(data)}
    tokenizers = {name: Tokenizer.load(path) for name, path in {OWN: models[0], **others}.items()}
    return compression_by_language(tokenizers, texts_by_language(corpus), None if others else OWN)


def rank_files(data: Path | None) -> list[Path]:
    """The vocabularies that lie in `data`/tokenizers, by name."""
    return sorted([] if data is None else (data / "tokenizers").glob("*.tiktoken*"))
