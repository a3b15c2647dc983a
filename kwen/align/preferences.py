"""Preference pairs: where they come from, how they are kept, and how they become documents of token ids."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kwen.align.datasets import DocumentBuilder, render_conversation
from kwen.align.left_out import LeftOut
from kwen.errors import UserError
from kwen.files import write_text
from kwen.nanoworld.preferences import PMP_TOPICS, comparisons
from kwen.nanoworld.prompts import Topic
from kwen.nanoworld.tool_preferences import tool_preferences
from kwen.progress import Progress, silent
from kwen.text.messages import Message
from kwen.text.tokenizer import Tokenizer
from kwen.train.batches import Documents
from kwen.verify.pairs import FLAWS, Pair, conversation_key, form_of, read_pairs

__all__ = [
    "NanoworldComparisons",
    "NanoworldToolPreferences",
    "Pair",
    "PairSource",
    "PairsFile",
    "fitting",
    "form_of",
    "hold_out",
    "pairs",
    "tokenize_pairs",
    "write_pairs",
]


class NanoworldComparisons(BaseModel):
    """`count` comparisons of nanoworld, the large noisy corpus of preference model pretraining (report 7.4).

    noise: share of labels that are flipped. topics: None for those of the corpus itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["nanoworld"]
    count: int = Field(gt=0)
    noise: float = Field(default=0.15, ge=0, le=0.5)
    topics: tuple[Topic, ...] | None = Field(default=None, min_length=1)
    split: Literal["train", "held_out"] = "train"


class PairsFile(BaseModel):
    """A file of pairs in any form that `kwen.verify.pairs` reads, gzip too; the first `limit` pairs, None for all."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["pairs"]
    path: Path
    limit: int | None = Field(default=None, gt=0)


class NanoworldToolPreferences(BaseModel):
    """`count` preferences of nanoworld about tool use; noise: share of labels that are flipped."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["nanoworld-tools"]
    count: int = Field(gt=0)
    noise: float = Field(default=0.15, ge=0, le=0.5)


PairSource = Annotated[NanoworldComparisons | NanoworldToolPreferences | PairsFile, Field(discriminator="kind")]


def pairs(source: PairSource, seed: int) -> Iterator[Pair]:
    """The pairs of `source`, those too that cannot be trained on (`Pair.flaw` says why; `tokenize_pairs` counts them).

    Raises UserError with the place for rows that cannot be read.
    """
    if isinstance(source, PairsFile):
        yield from islice(read_pairs(source.path), source.limit)
        return
    if isinstance(source, NanoworldToolPreferences):
        for number, turn in enumerate(tool_preferences(seed, source.count, noise=source.noise)):
            shown = [_message(message) for message in turn.messages]
            yield Pair(shown, turn.chosen, turn.rejected, "tools", f"nanoworld tool preference {number}")
        return
    topics = PMP_TOPICS if source.topics is None else source.topics
    found = comparisons(seed, source.count, split=source.split, topics=topics, noise=source.noise)
    for number, item in enumerate(found):
        messages = [_message(message) for message in item.messages]
        yield Pair(messages, item.chosen, item.rejected, item.topic, f"nanoworld comparison {number}")


def _message(message: dict[str, str]) -> Message:
    return {"role": message["role"], "content": message["content"]}


def hold_out(items: Iterable[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """(the rest, about `share` of the pairs), split by conversation: pairs that begin with the same user message stay together.

    Which side a conversation falls on depends on its first message and the seed alone, not on the pairs around it.
    """
    rest: list[Pair] = []
    held: list[Pair] = []
    for pair in items:
        digest = hashlib.sha256(f"{seed}/hold_out/{conversation_key(pair.messages)}".encode("utf-8", "replace")).digest()
        (held if int.from_bytes(digest[:8], "big") < share * 2**64 else rest).append(pair)
    return rest, held


def fitting(items: Iterable[Pair], tokenizer: Tokenizer, *, longest: int, prompt_once: bool = False) -> list[Pair]:
    """The pairs that `tokenize_pairs` would train on: without a flaw, and of at most `longest` tokens together."""
    return [pair for pair in items if not pair.flaw and _sides(pair, tokenizer, prompt_once).tokens <= longest]


def write_pairs(path: Path, items: Iterable[Pair]) -> int:
    """Keep pairs as JSON lines, {"messages", "chosen", "rejected", "tag"} a line, which `pairs` reads back. Returns their number.

    Raises UserError for a pair that cannot be trained on: a set of our own holds none.
    """
    lines = []
    for pair in items:
        if pair.flaw:
            raise UserError(f"{pair.where}: {pair.flaw.replace('_', ' ')}; leave such pairs out before writing them")
        row = {"messages": pair.messages, "chosen": pair.chosen, "rejected": pair.rejected, "tag": pair.tag}
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    # Lone surrogates, which JSON can spell and UTF-8 cannot, become U+FFFD, as they do in the tokenizer.
    write_text(path, "".join(lines).encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    return len(lines)


def tokenize_pairs(
    items: Iterable[Pair], tokenizer: Tokenizer, *, longest: int, prompt_once: bool = False, progress: Progress = silent
) -> tuple[Documents, list[str], dict[str, Any]]:
    """(documents, the tag of each, counts): each pair is one document, so that both sides meet in one row of a batch.

    A document holds the chosen conversation to the end of its reply (`<|im_end|>` in ChatML), the rejected one likewise, and
    that end token once more, so that all ends are inputs where the last token is only a target. `splits` is the length of the
    chosen side; `trained` the reply's tokens of each side with its end. With `prompt_once` the rejected side holds its reply
    alone and continues from the chosen side's prompt (`prompts`): for objectives that read states, not next tokens. No text is
    ever cut: a pair whose sides together exceed `longest` tokens, the row they must share, is left out and counted (`too_long`),
    and so are `FLAWS`; `left_out` is then a line that says how many and where the first stands. Raises UserError when no pair
    remains.
    """
    builder = DocumentBuilder()
    splits: list[int] = []
    prompts: list[int] = []
    tags: list[str] = []
    left_out = LeftOut("too_long", *FLAWS)
    for pair in items:
        if pair.flaw:
            left_out.add(pair.flaw, pair.where)
            continue
        sides = _sides(pair, tokenizer, prompt_once)
        if sides.tokens > longest:
            left_out.add("too_long", pair.where)
            continue
        replies = [position >= sides.chosen_reply for position in range(len(sides.chosen))]
        replies += [position >= sides.rejected_reply for position in range(sides.common, len(sides.rejected))]
        builder.add([*sides.chosen, *sides.rejected[sides.common :], sides.rejected[-1]], [*replies, False])
        splits.append(len(sides.chosen))
        prompts.append(sides.common)
        tags.append(pair.tag)
        if len(builder) % 1000 == 0:
            progress(0, 1, pairs=len(builder))
    if not len(builder):
        raise UserError(
            f"no pair whose sides have at most {longest} tokens together (left out: {str(left_out) or 'none'}); "
            "correct the data, or raise sequence_length where they are too long"
        )
    documents = builder.documents(splits, prompts if prompt_once else None)
    assert documents.trained is not None
    counts: dict[str, Any] = {
        "pairs": len(builder),
        **left_out.counts,
        "data_tokens": len(documents.tokens),
        "data_trained_tokens": int(documents.trained.sum()),
    }
    return documents, tags, counts | ({"left_out": str(left_out)} if str(left_out) else {})


@dataclass(frozen=True)
class _Sides:
    """A pair as token ids: both conversations, where each reply begins, and how much of their beginning stands once."""

    chosen: list[int]
    chosen_reply: int
    rejected: list[int]
    rejected_reply: int
    common: int

    @property
    def tokens(self) -> int:
        return len(self.chosen) + len(self.rejected) - self.common


def _sides(pair: Pair, tokenizer: Tokenizer, prompt_once: bool) -> _Sides:
    try:
        chosen, chosen_reply = _side(pair, pair.chosen, tokenizer)
        rejected, rejected_reply = _side(pair, pair.rejected, tokenizer)
    except UserError as error:
        raise UserError(f"{pair.where}: {error}") from None
    common = min(chosen_reply, rejected_reply) if prompt_once else 0
    if chosen[:common] != rejected[:common]:  # a template that writes the prompt by what follows it
        common = 0
    return _Sides(chosen, chosen_reply, rejected, rejected_reply, common)


def _side(pair: Pair, reply: str, tokenizer: Tokenizer) -> tuple[list[int], int]:
    """The conversation with `reply` up to the reply's end token, and where the reply begins."""
    rendered = render_conversation([*pair.messages, {"role": "assistant", "content": reply}], tokenizer, "content")
    mask = rendered.loss_mask
    # The last unbroken run of trained tokens: content masking trains what the assistant writes, with its end, in every turn.
    end = len(mask) - mask[::-1].index(True)
    begin = end
    while begin and mask[begin - 1]:
        begin -= 1
    return rendered.token_ids[:end], begin
