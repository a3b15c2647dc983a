"""Tokenizers side by side on the same texts: how few tokens each needs (the method of the report's Figure 3)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kwen.errors import UserError
from kwen.text.tokenizer import Tokenizer

_BATCH_CHARACTERS = 4_000_000


@dataclass(frozen=True)
class Compression:
    """One tokenizer on one group of texts. `ratio` is its tokens over those of the first tokenizer: below 1 is shorter."""

    tokenizer: str
    group: str
    documents: int
    bytes: int
    tokens: int
    ratio: float

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes that one token carries on average."""
        return self.bytes / self.tokens


def compare(tokenizers: Mapping[str, Tokenizer], groups: Mapping[str, Iterable[str]]) -> list[Compression]:
    """Each tokenizer on each group of texts, group by group, tokenizers in the order given; each text is read once.

    Raises UserError for a group without text.
    """
    rows = []
    for group, texts in groups.items():
        documents = size = 0
        tokens = dict.fromkeys(tokenizers, 0)
        for batch in _batches(texts):
            documents += len(batch)
            size += sum(len(text.encode(errors="replace")) for text in batch)
            for name, tokenizer in tokenizers.items():
                tokens[name] += sum(map(len, tokenizer.encode_batch(batch)))
        if not size:
            raise UserError(f"{group}: no text to compare tokenizers on")
        first = next(iter(tokens.values()))
        rows += [Compression(name, group, documents, size, count, count / first) for name, count in tokens.items()]
    return rows


def _batches(texts: Iterable[str]) -> Iterable[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
