"""Conversations for SFT: where they come from, and how they become token ids with their loss mask.

    sources -> conversations -> each rank tokenizes its part -> the documents of all parts, in order
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from kwen.align.left_out import LeftOut
from kwen.errors import UserError
from kwen.files import write_json
from kwen.nanoworld.code_tasks import LEVELS, Level, code_dialogues
from kwen.nanoworld.dialogues import dialogues
from kwen.nanoworld.maths_tasks import KINDS as MATHS_KINDS
from kwen.nanoworld.maths_tasks import MathsKind, maths_dialogues
from kwen.nanoworld.tool_dialogues import tool_dialogues
from kwen.progress import Progress, silent
from kwen.text.chatml import Masking, Rendered, render, require_trained_tokens
from kwen.text.messages import validate_messages, validate_tools
from kwen.text.templates import render_template
from kwen.text.tokenizer import Tokenizer
from kwen.train.batches import Documents
from kwen.verify.pairs import instruction_messages
from kwen.verify.rows import Row, kind_of, list_of, read_rows, text_of

FileKind = Literal["messages", "alpaca", "sharegpt", "questions"]
KINDS: dict[FileKind, str] = {
    "messages": '{"messages": [OpenAI messages], "tools": [their tools, or none]}',
    "alpaca": '{"instruction", "input", "output"}',
    "sharegpt": '{"conversations": [{"from", "value"}]}',
    "questions": '{"question", "answer"}',
}
"""How a row of each kind looks."""

_SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "tool": "tool",
    "observation": "tool",
}


class NanoworldChat(BaseModel):
    """`count` dialogues of nanoworld."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["nanoworld"]
    count: int = Field(gt=0)


class NanoworldTools(BaseModel):
    """`count` conversations of nanoworld with tools: tasks of one to four calls, tools not needed, tools missing."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["nanoworld-tools"]
    count: int = Field(gt=0)


class NanoworldCode(BaseModel):
    """`count` requests for functions of these levels; `javascript` is the share in that language, the rest is Python."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["nanoworld-code"]
    count: int = Field(gt=0)
    levels: tuple[Level, ...] = LEVELS
    javascript: float = Field(0.25, ge=0, le=1)


class NanoworldMaths(BaseModel):
    """`count` exam questions of these kinds with worked answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["nanoworld-maths"]
    count: int = Field(gt=0)
    kinds: tuple[MathsKind, ...] = MATHS_KINDS


NanoworldSource = NanoworldChat | NanoworldTools | NanoworldCode | NanoworldMaths


class ChatFile(BaseModel):
    """A file of conversations: JSON lines or a JSON array, gzip too; the first `limit` rows, None for all.

    kind: how its rows look (`KINDS`); "file" finds out by looking at all of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["file", "messages", "alpaca", "sharegpt", "questions"]
    path: Path
    limit: int | None = Field(default=None, gt=0)


ChatSource = Annotated[NanoworldSource | ChatFile, Field(discriminator="kind")]
_MOST_ROWS = 1 << 40  # of a source: a conversation's number over all sources begins with its source's
Part = tuple[int, int]
"""Which conversations: from the first number on, in steps of the second."""
WHOLE: Part = (0, 1)


class Conversation(NamedTuple):
    """A conversation, the tools that it was shown, and its place for errors."""

    where: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] | None = None


def conversations(source: ChatSource, seed: int, part: Part = WHOLE) -> Iterator[Conversation]:
    """Every conversation of `source`, or a part of them.

    Raises UserError with the place for rows that are not of the source's kind, and for a file of mixed kinds.
    """
    first, step = part
    if isinstance(source, ChatFile):
        yield from islice(_of_file(source), first, None, step)
    else:
        numbers = range(first, source.count, step)
        for number, (messages, tools) in zip(numbers, _of_nanoworld(source, seed, numbers), strict=True):
            yield Conversation(f"{source.kind} dialogue {number}", messages, tools)


def _of_nanoworld(source: NanoworldSource, seed: int, numbers: range) -> Iterator[tuple[Sequence[Mapping[str, Any]], Any]]:
    """Messages and tools of the dialogues with these numbers."""
    if isinstance(source, NanoworldTools):
        return ((dialogue.messages, dialogue.tools) for dialogue in tool_dialogues(seed, numbers))
    if isinstance(source, NanoworldCode):
        return ((dialogue.messages, None) for dialogue in code_dialogues(seed, numbers, source.levels, source.javascript))
    if isinstance(source, NanoworldMaths):
        return ((dialogue.messages, None) for dialogue in maths_dialogues(seed, numbers, source.kinds))
    return ((dialogue.messages, None) for dialogue in dialogues(seed, numbers))


def _of_file(source: ChatFile) -> Iterator[Conversation]:
    kind = chat_file_kind(source)
    for number, (where, row) in enumerate(read_rows(source.path)):
        if number == source.limit:
            return
        tools = validate_tools(row.get("tools"), f"{where}: tools") if kind == "messages" else None
        yield Conversation(where, validate_messages(_CONVERT[kind](row, where), where), tools)


def chat_file_kind(source: ChatFile) -> FileKind:
    """How the rows of a file look: what the source says, or for "file" what all its rows turn out to be.

    Raises UserError for rows of several kinds, with counts and the first place of each, and for rows of no kind.
    """
    if source.kind == "file":
        return kind_of(source.path, _classify, {str(kind): looks for kind, looks in KINDS.items()})  # type: ignore[return-value]
    return source.kind


def render_conversation(
    messages: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    masking: Masking = "content",
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> Rendered:
    """A whole conversation as the tokenizer's model writes it: by its own chat template, or ChatML where it has none.

    Ids and loss mask come from one rendering. Raises UserError for invalid messages and templates without a loss mask.
    """
    if tokenizer.chat_template is None:
        return render(messages, tokenizer, tools=tools, masking=masking)
    return render_template(
        tokenizer.chat_template, messages, tokenizer, tools=tools, masking=masking, add_generation_prompt=False
    )


class DocumentBuilder:
    """Gathers documents in memory, four bytes and a flag a token."""

    def __init__(self) -> None:
        self._tokens: list[np.ndarray] = []
        self._trained: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._tokens)

    def add(self, token_ids: Sequence[int] | np.ndarray, trained: Sequence[bool] | np.ndarray) -> None:
        """One more document: its ids, and which of them carry loss."""
        self._tokens.append(np.asarray(token_ids, np.int32))
        self._trained.append(np.asarray(trained, np.bool_))

    def documents(self, splits: Sequence[int] | None = None, prompts: Sequence[int] | None = None) -> Documents:
        """All documents added; `splits` and `prompts` as in `Documents`."""
        offsets = np.cumsum([0] + [len(row) for row in self._tokens])
        tokens = np.concatenate([np.zeros(0, np.int64), *self._tokens])
        trained = np.concatenate([np.zeros(0, np.bool_), *self._trained])
        lengths = [None if column is None else np.asarray(column, np.int64) for column in (splits, prompts)]
        return Documents(tokens, offsets, trained, *lengths)


@dataclass(frozen=True)
class Tokenized:
    """A part of the conversations as documents with loss masks, and what was left out: each by its number over all sources."""

    kept: dict[int, tuple[np.ndarray, np.ndarray]]  # token ids, and which of them carry loss
    left_out: dict[int, tuple[str, str]]  # the reason, and the place

    def save(self, folder: Path) -> None:
        """Write it as plain files, from where another process loads it."""
        folder.mkdir(parents=True, exist_ok=True)
        documents = _documents(self.kept.values())
        documents.save(folder)
        np.save(folder / "numbers.npy", np.asarray([*self.kept], np.int64))
        write_json(folder / "left_out.json", [*self.left_out.items()])

    @classmethod
    def load(cls, folder: Path) -> "Tokenized":
        """What `save` wrote."""
        documents, numbers = Documents.load(folder), np.load(folder / "numbers.npy", allow_pickle=False).tolist()
        assert documents.trained is not None
        cuts = documents.offsets[1:-1]
        rows = zip(np.split(documents.tokens, cuts), np.split(documents.trained, cuts), strict=True)
        left_out = json.loads((folder / "left_out.json").read_text(encoding="utf-8"))
        return cls(dict(zip(numbers, rows, strict=False)), {number: (reason, where) for number, (reason, where) in left_out})


def tokenize_conversations(
    sources: Sequence[ChatSource],
    tokenizer: Tokenizer,
    *,
    seed: int,
    masking: Masking,
    longest: int,
    part: Part = WHOLE,
    progress: Progress = silent,
) -> Tokenized:
    """`part` of the conversations of each source. Raises UserError with the place for rows that cannot be read."""
    made = Tokenized({}, {})
    for place, source in enumerate(sources):
        first, step = part
        for turn, (where, messages, tools) in enumerate(conversations(source, seed, part)):
            number = place * _MOST_ROWS + first + turn * step
            if flaw := _flaw(messages):
                made.left_out[number] = flaw, where
                continue
            try:
                rendered = render_conversation(messages, tokenizer, masking, tools)
            except UserError as error:
                raise UserError(f"{where}: {error}") from None
            require_trained_tokens(rendered, where)
            if len(rendered.token_ids) > longest:
                made.left_out[number] = "too_long", where
                continue
            made.kept[number] = np.asarray(rendered.token_ids, np.int32), np.asarray(rendered.loss_mask, np.bool_)
            if len(made.kept) % 1000 == 0:
                progress(0, 1, conversations=len(made.kept) * step)
    return made


def as_documents(parts: Sequence[Tokenized], longest: int) -> tuple[Documents, dict[str, Any]]:
    """All parts as the documents of one training set in the conversations' order, and their counts.

    A conversation longer than `longest` tokens is left out and counted (`too_long`), never cut: cut, it would teach not to
    end. So is one without an assistant message or with an empty one (`no_answer`, `empty_answer`); `left_out` is then a line
    that says how many and where the first stands. Raises UserError when none remains.
    """
    kept = {number: row for part in parts for number, row in part.kept.items()}
    left_out = LeftOut("too_long", "no_answer", "empty_answer")
    for _, (reason, where) in sorted(item for part in parts for item in part.left_out.items()):
        left_out.add(reason, where)
    if not kept:
        raise UserError(
            f"no conversation of at most {longest} tokens in the SFT data (left out: {str(left_out) or 'none'}); "
            "correct the data, or raise sequence_length where they are too long"
        )
    documents = _documents(kept[number] for number in sorted(kept))
    assert documents.trained is not None
    counts: dict[str, Any] = {
        "conversations": len(kept),
        **left_out.counts,
        "data_tokens": len(documents.tokens),
        "data_trained_tokens": int(documents.trained.sum()),
    }
    return documents, counts | ({"left_out": str(left_out)} if str(left_out) else {})


def _documents(rows: Iterable[tuple[np.ndarray, np.ndarray]]) -> Documents:
    """Rows of token ids and their loss masks as documents."""
    builder = DocumentBuilder()
    for row in rows:
        builder.add(*row)
    return builder.documents()


def _flaw(messages: Sequence[Mapping[str, Any]]) -> str:
    """Why a conversation teaches nothing, as a name to count it by; "" for one that does."""
    answers = [message for message in messages if message["role"] == "assistant"]
    if not answers:
        return "no_answer"
    empty = any(not message["content"].strip() and not message.get("tool_calls") for message in answers)
    return "empty_answer" if empty else ""


def _classify(row: Row) -> FileKind | None:
    if "messages" in row:
        return "messages"
    if "conversations" in row:
        return "sharegpt"
    if "instruction" in row and "output" in row:
        return "alpaca"
    return "questions" if "question" in row and "answer" in row else None


def _from_messages(row: Row, where: str) -> list[Any]:
    return list_of(row, "messages", where)


def _from_alpaca(row: Row, where: str) -> list[Any]:
    return [*instruction_messages(row, where), {"role": "assistant", "content": text_of(row, "output", where)}]


def _from_sharegpt(row: Row, where: str) -> list[Any]:
    system = text_of(row, "system", where, "")
    messages: list[Any] = [{"role": "system", "content": system}] if system else []
    for index, turn in enumerate(list_of(row, "conversations", where)):
        place = f"{where}: conversations[{index}]"
        if not isinstance(turn, dict):
            raise UserError(f'{place}: must be an object with "from" and "value"; fix or remove the row')
        speaker = text_of(turn, "from", place)
        if speaker not in _SHAREGPT_ROLES:
            raise UserError(f"{place}: from {speaker!r} is unknown; use one of {', '.join(_SHAREGPT_ROLES)}")
        messages.append({"role": _SHAREGPT_ROLES[speaker], "content": text_of(turn, "value", place)})
    return messages


def _from_questions(row: Row, where: str) -> list[Any]:
    question, answer = text_of(row, "question", where), text_of(row, "answer", where)
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


_CONVERT = {
    "messages": _from_messages,
    "alpaca": _from_alpaca,
    "sharegpt": _from_sharegpt,
    "questions": _from_questions,
}
