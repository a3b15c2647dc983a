"""How well a model predicts text: nats and bits a byte, every byte counted once.

A text of n tokens t[0..n-1] is read as the sequence <|endoftext|> t[0] ... t[n-1]. Token i is predicted from what stands
before it inside one window, so the first is predicted from <|endoftext|> alone. Windows hold at most `window` tokens of
input and begin every `stride` tokens; each predicts only what no earlier one has predicted:

    window 4, stride 2     inputs   e 0 1 2 | 3 4 5 6       e is <|endoftext|>
    first window           e 0 1 2          predicts 0 1 2 3
    second                     1 2 3 4      predicts         4 5
    third                          3 4 5 .  predicts             6

With `fill_last`, a text's last window begins earlier, so that it is as long as the others; it predicts the same.

A token past the first window thus has between `window - stride + 1` and `window` tokens of context. The engine reads the rows
of all texts, from long to short.
"""

import math
from collections.abc import Iterator, Sequence

from kwen.engine.language_model import LanguageModel
from kwen.errors import UserError
from kwen.progress import Progress, silent


def score_texts(
    lm: LanguageModel,
    texts: Sequence[str],
    window: int,
    stride: int,
    batch: int = 8192,
    progress: Progress = silent,
) -> tuple[list[float], list[int]]:
    """Nats and UTF-8 bytes of each text, in the order given.

    Bytes are those of the text as it was handed in, before any normalisation by the tokenizer, so that models with
    different tokenizers are divided by the same number. `window` and `stride` are in tokens, 1 <= stride <= window;
    `batch` is the number of tokens handed to the engine at once (one row at least), after which `progress` is told.
    """
    documents = lm.tokenizer.encode_batch(list(texts))
    return score_tokens(lm, documents, window, stride, batch, progress), [len(text.encode()) for text in texts]


def bits_per_byte(
    lm: LanguageModel, text: str | Sequence[int], window: int, stride: int, batch: int = 8192, progress: Progress = silent
) -> float:
    """Bits that the model needs for each byte of `text` (or of the bytes that the token ids stand for).

    Raises UserError for an empty text, which has no such number.
    """
    if isinstance(text, str):
        token_ids, size = lm.tokenizer.encode(text), len(text.encode())
    else:
        token_ids = list(text)
        size = sum(len(lm.tokenizer.token_bytes(token_id)) for token_id in token_ids)
    if size == 0:
        raise UserError("bits a byte of an empty text: give a text of one byte at least")
    (nats,) = score_tokens(lm, [token_ids], window, stride, batch, progress)
    return nats / math.log(2) / size


def score_tokens(
    lm: LanguageModel,
    documents: Sequence[Sequence[int]],
    window: int,
    stride: int,
    batch: int = 8192,
    progress: Progress = silent,
    fill_last: bool = False,
) -> list[float]:
    """Nats of each document of token ids, summed in float64."""
    start = start_token(lm)
    rows: list[tuple[int, list[int], int]] = []
    for index, document in enumerate(documents):
        sequence = [start, *document]
        for begin, end, first in windows(len(document), window, stride, fill_last):
            rows.append((index, sequence[begin : end + 1], end - first))
    nats = [0.0] * len(documents)
    # The longest rows go first: too long a window runs out of memory at once and not after an hour.
    rows.sort(key=lambda row: -len(row[1]))
    done = 0
    for group in _batches(rows, batch):
        pairs = [(token_ids[:-predicted], token_ids[-predicted:]) for _, token_ids, predicted in group]
        for (index, _, predicted), (loglikelihood, _) in zip(group, lm.loglikelihoods(pairs), strict=True):
            nats[index] -= loglikelihood
            done += predicted
        progress(done, sum(len(document) for document in documents))
    return nats


def windows(length: int, window: int, stride: int, fill_last: bool = False) -> Iterator[tuple[int, int, int]]:
    """(begin, end, first) of each window over the `length` inputs of a document: inputs begin..end-1 are fed, and those
    from `first` on predict their successors. The ranges first..end-1 partition 0..length-1."""
    if not 1 <= stride <= window:
        raise UserError(f"stride {stride} with window {window}: stride must lie between 1 and the window")
    begin = first = 0
    while first < length:
        end = min(begin + window, length)
        yield (max(0, end - window) if fill_last else begin), end, first
        begin, first = begin + stride, end


def start_token(lm: LanguageModel) -> int:
    """The token before a document's first: <|endoftext|>, or the model's first end token where it has none of that name."""
    known = lm.tokenizer.control_tokens.get("<|endoftext|>")
    if known is not None:
        return known
    if not lm.tokenizer.eos_token_ids:
        raise UserError(f"{lm.path}: the tokenizer has neither <|endoftext|> nor an end token to put before a text")
    return lm.tokenizer.eos_token_ids[0]


def _batches(rows: list[tuple[int, list[int], int]], batch: int) -> Iterator[list[tuple[int, list[int], int]]]:
    """Runs of `rows`, which are sorted from long to short, of at most `batch` tokens were all as long as the first."""
    begin = 0
    while begin < len(rows):
        count = max(1, batch // (len(rows[begin][1]) - 1))
        yield rows[begin : begin + count]
        begin += count
