"""From a corpus to token shards."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kwen.corpus.reading import documents, statistics
from kwen.progress import Progress, silent
from kwen.text.shards import write_shards
from kwen.text.tokenizer import Tokenizer

END_OF_TEXT = "<|endoftext|>"
BATCH_CHARACTERS = 4_000_000  # encoded together: enough to keep every core busy, little enough to stay in memory


def tokenize(corpus: Path | str, tokenizer: Path | str, out: Path | str, progress: Progress = silent) -> dict[str, Any]:
    """Encode both parts of a corpus into `out`/train and `out`/held_out, each document closed by <|endoftext|>.

    Text that looks like a control token stays text. Returns for each part documents, tokens (end marks included), bytes and
    bytes_per_token (end marks left out), and vocab_size and dtype. Progress counts UTF-8 bytes.
    """
    encoder = Tokenizer.load(tokenizer)
    counts = statistics(corpus)
    metrics: dict[str, Any] = {}
    done = 0
    for part in ("train", "held_out"):
        size = counts[part]["bytes"]
        ids = _encoded(corpus, part, encoder, progress, done, counts["bytes"])
        header = write_shards(ids, Path(out) / part, encoder.vocab_size)
        done += size
        text_tokens = header["tokens"] - header["documents"]
        metrics[part] = {
            "documents": header["documents"],
            "tokens": header["tokens"],
            "bytes": size,
            "bytes_per_token": round(size / text_tokens, 4) if text_tokens else None,
        }
    return {"vocab_size": encoder.vocab_size, "dtype": header["dtype"], **metrics}


def _encoded(
    corpus: Path | str, part: str, tokenizer: Tokenizer, progress: Progress, done: int, total: int
) -> Iterator[list[int]]:
    """The ids of each document of `part`; `done` of `total` bytes had been encoded before."""
    end = tokenizer.control_id(END_OF_TEXT)
    for texts in _batches(record["text"] for record in documents(corpus, part)):
        for ids in tokenizer.encode_batch(texts):
            yield [*ids, end]
        done += sum(len(text.encode()) for text in texts)
        progress(done, total, part=part)


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    """Lists of texts of about `BATCH_CHARACTERS` characters together."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
