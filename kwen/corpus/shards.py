"""From a corpus to token shards."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kwen.corpus.reading import documents, statistics
from kwen.progress import Progress, silent
from kwen.text.fim import FillInTheMiddle
from kwen.text.shards import write_shards
from kwen.text.tokenizer import Tokenizer

END_OF_TEXT = "<|endoftext|>"
BATCH_CHARACTERS = 4_000_000  # encoded together: enough to keep every core busy, little enough to stay in memory


def tokenize(
    corpus: Path | str,
    tokenizer: Path | str,
    out: Path | str,
    progress: Progress = silent,
    *,
    fim: float = 0.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Encode both parts of a corpus into `out`/train and `out`/held_out, each document closed by <|endoftext|>.

    fim: the share of the training part's code that is rearranged to fill in the middle (`kwen.text.fim`), drawn by `seed`.
    Text that looks like a control token stays text. Returns for each part documents, tokens (end marks included), bytes and
    bytes_per_token (end marks left out), and vocab_size and dtype. Progress counts UTF-8 bytes.
    """
    encoder = Tokenizer.load(tokenizer)
    counts = statistics(corpus)
    metrics: dict[str, Any] = {}
    done = 0
    for part in ("train", "held_out"):
        size = counts[part]["bytes"]
        filler = FillInTheMiddle(encoder, fim, seed) if fim and part == "train" else None
        ids = _encoded(corpus, part, encoder, filler, progress, done, counts["bytes"])
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
    corpus: Path | str,
    part: str,
    tokenizer: Tokenizer,
    filler: FillInTheMiddle | None,
    progress: Progress,
    done: int,
    total: int,
) -> Iterator[list[int]]:
    """The ids of each document of `part`; `done` of `total` bytes had been encoded before."""
    end = tokenizer.control_id(END_OF_TEXT)
    first = 0
    for records in _batches(documents(corpus, part)):
        texts = [record["text"] for record in records]
        for place, (record, ids) in enumerate(zip(records, tokenizer.encode_batch(texts), strict=True), first):
            rearranged = filler is not None and record.get("language") == "code"
            yield [*(filler.token_ids(record["text"], place) if filler and rearranged else ids), end]
        first += len(records)
        done += sum(len(text.encode()) for text in texts)
        progress(done, total, part=part)


def _batches(records: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Lists of documents of about `BATCH_CHARACTERS` characters together."""
    batch: list[dict[str, Any]] = []
    characters = 0
    for record in records:
        batch.append(record)
        characters += len(record["text"])
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
