"""How well a model predicts text: nats and bits a byte, every byte counted once.

A text of n tokens t[0..n-1] is read as the sequence <|endoftext|> t[0] ... t[n-1]. Token i is predicted from what stands
before it inside one window, so the first is predicted from <|endoftext|> alone. Windows hold at most `window` tokens of
input and begin every `stride` tokens; each predicts only what no earlier one has predicted:

    window 4, stride 2     inputs   e 0 1 2 | 3 4 5 6       e is <|endoftext|>
    first window           e 0 1 2          predicts 0 1 2 3
    second                     1 2 3 4      predicts         4 5
    third                          3 4 5 .  predicts             6

With `fill_last`, a text's last window begins earlier, so that it is as long as the others; it predicts the same.

A token past the first window thus has between `window - stride + 1` and `window` tokens of context. Rows of all texts are
sorted by length and run in padded batches; attention is causal, so padding on the right changes nothing. Only hidden
states that predict something are projected to the vocabulary, a slice at a time.
Legend: B batch, T sequence, D hidden, V vocabulary, N predicted tokens.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch.nn.functional import cross_entropy

from kwen.engine.language_model import LanguageModel
from kwen.errors import UserError
from kwen.progress import Progress, silent

PROJECTED_NUMBERS = 2**24
"""Logits held at once (64 MiB in float32), whatever the vocabulary."""


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
    `batch` is the number of tokens in one forward pass at most, padding included (one row at least).
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
    # The longest batch goes first: too large a `batch` runs out of memory at once and not after an hour.
    rows.sort(key=lambda row: -len(row[1]))
    done = 0
    for group in _batches(rows, batch):
        for (index, _, predicted), row_nats in zip(group, _row_nats(lm, group), strict=True):
            nats[index] += row_nats
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
    """Runs of `rows`, which are sorted from long to short, whose padded size is at most `batch` tokens."""
    begin = 0
    while begin < len(rows):
        count = max(1, batch // (len(rows[begin][1]) - 1))
        yield rows[begin : begin + count]
        begin += count


@torch.inference_mode()
def _row_nats(lm: LanguageModel, group: list[tuple[int, list[int], int]]) -> list[float]:
    """Nats of the last `predicted` tokens of each row (document index, token ids, predicted)."""
    length = max(len(token_ids) for _, token_ids, _ in group) - 1
    inputs_BT = torch.zeros(len(group), length, dtype=torch.long)
    targets_BT = torch.zeros(len(group), length, dtype=torch.long)
    counted_BT = torch.zeros(len(group), length, dtype=torch.bool)
    for index, (_, token_ids, predicted) in enumerate(group):
        end = len(token_ids) - 1
        inputs_BT[index, :end] = torch.tensor(token_ids[:-1])
        targets_BT[index, :end] = torch.tensor(token_ids[1:])
        counted_BT[index, end - predicted : end] = True
    device = next(lm.model.parameters()).device
    lengths_B = torch.tensor([len(token_ids) - 1 for _, token_ids, _ in group], device=device)
    hidden_BTD = lm.model.hidden(inputs_BT.to(device), lengths=lengths_B)
    hidden_ND = hidden_BTD[counted_BT.to(device)]
    targets_N = targets_BT[counted_BT].to(device)
    nats_N = torch.empty(len(targets_N), dtype=torch.float64, device=device)
    step = max(1, PROJECTED_NUMBERS // lm.config.vocab_size)
    for begin in range(0, len(targets_N), step):
        logits_NV = lm.model.project(hidden_ND[begin : begin + step]).float()
        nats_N[begin : begin + step] = cross_entropy(logits_NV, targets_N[begin : begin + step], reduction="none").double()
    totals = torch.zeros(len(group), dtype=torch.float64, device=device)
    totals.index_add_(0, counted_BT.nonzero()[:, 0].to(device), nats_N)
    return totals.tolist()
