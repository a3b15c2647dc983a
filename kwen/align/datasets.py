"""Conversations for SFT: where they come from, and how they become token ids with their loss mask."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kwen.errors import UserError
from kwen.nanoworld.dialogues import dialogues
from kwen.progress import Progress, silent
from kwen.text.chatml import Masking, render, require_trained_tokens
from kwen.text.tokenizer import Tokenizer
from kwen.train.batches import Documents


class NanoworldChat(BaseModel):
    """`count` dialogues of nanoworld."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["nanoworld"]
    count: int = Field(gt=0)


class MessagesFile(BaseModel):
    """A JSONL file with one object a line: {"messages": [OpenAI messages]}."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["messages"]
    path: Path


ChatSource = Annotated[NanoworldChat | MessagesFile, Field(discriminator="kind")]


def conversations(source: ChatSource, seed: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(where, messages) of every conversation of `source`; `where` names it in errors."""
    if isinstance(source, NanoworldChat):
        for number, dialogue in enumerate(dialogues(seed, source.count)):
            yield f"nanoworld dialogue {number}", dialogue.messages
        return
    if not source.path.is_file():
        raise UserError(f"{source.path}: no such file; a messages source is a JSONL file")
    with open(source.path, encoding="utf-8", errors="strict") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{source.path}:{number}"
            try:
                row = json.loads(line)
                messages = row["messages"]
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(f'{where}: not an object with "messages" ({error}); fix or remove the line') from None
            yield where, messages


def tokenize_conversations(
    sources: list[ChatSource],
    tokenizer: Tokenizer,
    *,
    seed: int,
    masking: Masking,
    longest: int,
    progress: Progress = silent,
) -> tuple[Documents, dict[str, Any]]:
    """All conversations as documents with loss masks, and their counts.

    A conversation longer than `longest` tokens is left out and counted, never cut: cut, it would teach not to end.
    Raises UserError for one that trains nothing, and when none remains.
    """
    rows: list[list[int]] = []
    masks: list[list[bool]] = []
    too_long = 0
    for source in sources:
        for where, messages in conversations(source, seed):
            rendered = require_trained_tokens(render(messages, tokenizer, masking=masking), where)
            if len(rendered.token_ids) > longest:
                too_long += 1
                continue
            rows.append(rendered.token_ids)
            masks.append(rendered.loss_mask)
            if len(rows) % 1000 == 0:
                progress(0, 1, conversations=len(rows))
    if not rows:
        raise UserError(
            f"no conversation of at most {longest} tokens in the SFT data ({too_long} are longer); raise sequence_length"
        )
    counts = {
        "conversations": len(rows),
        "too_long": too_long,
        "data_tokens": sum(map(len, rows)),
        "data_trained_tokens": sum(map(sum, masks)),
    }
    return Documents.from_rows(rows, masks), counts
