"""Tokenizers side by side on the same texts: how few tokens each needs (the method of the report's Figure 3)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kwen.errors import UserError
from kwen.text.tokenizer import Tokenizer

_BATCH_CHARACTERS = 4_000_000


def compression_by_language(
    tokenizers: Mapping[str, Tokenizer], texts: Iterable[tuple[str, str]], reference: str | None = None
) -> dict[str, Any]:
    """The tokens that each tokenizer needs for the same texts, given as (language, text) in any order and each read once.

    {"reference": name, "tokenizers": {name: {"vocabulary": entries}}, "languages": {language: {"documents", "bytes", "tokens":
    {name: tokens}}}}, languages in the order in which they are met; bytes are of UTF-8. Without a `reference` it is the tokenizer
    that needs the fewest tokens for all texts together. Raises UserError for a reference that is not among the tokenizers, and
    where there is no text.
    """
    if reference is not None and reference not in tokenizers:
        raise UserError(f"reference {reference!r} is not among the tokenizers: {', '.join(tokenizers)}")
    languages: dict[str, dict[str, Any]] = {}
    for batch in _batches(texts):
        for language, text in batch:
            counts = languages.setdefault(language, {"documents": 0, "bytes": 0, "tokens": dict.fromkeys(tokenizers, 0)})
            counts["documents"] += 1
            counts["bytes"] += len(text.encode(errors="replace"))
        for name, tokenizer in tokenizers.items():
            encoded = tokenizer.encode_batch([text for _, text in batch])
            for (language, _), ids in zip(batch, encoded, strict=True):
                languages[language]["tokens"][name] += len(ids)
    if not any(counts["bytes"] for counts in languages.values()):
        raise UserError("no text to compare tokenizers on; name texts that hold some")
    totals = {name: sum(counts["tokens"][name] for counts in languages.values()) for name in tokenizers}
    return {
        "reference": reference or min(totals, key=totals.__getitem__),
        "tokenizers": {name: {"vocabulary": tokenizer.vocab_size} for name, tokenizer in tokenizers.items()},
        "languages": languages,
    }


def relative_tokens(tokens: Mapping[str, int], reference: str | None = None) -> dict[str, float]:
    """Tokens of each tokenizer over those of `reference`, or over the fewest: above 1 is longer. Without tokens all are 1."""
    measure = tokens[reference] if reference is not None else min(tokens.values())
    return {name: count / measure if measure else 1.0 for name, count in tokens.items()}


def _batches(texts: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    batch: list[tuple[str, str]] = []
    characters = 0
    for language, text in texts:
        batch.append((language, text))
        characters += len(text)
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
