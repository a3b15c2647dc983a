"""The forms in which preference pairs are published, each read into `Pair`.

    kwen           {"messages": [...], "chosen": "text", "rejected": "text", "tag"}: Kwen's own
    plain          {"prompt": "text", "chosen": "text", "rejected": "text"}
    instructions   {"instruction", "input", "chosen": "text", "rejected": "text"}: Alpaca's form with two outputs
    conversations  {"chosen": [messages], "rejected": [messages]}: whole conversations, or the part after "prompt"
    transcripts    {"chosen": "\\n\\nHuman: ...\\n\\nAssistant: ...", "rejected": ...}: Anthropic's HH, whole or after a "prompt"
    ranked         one message of an Open Assistant tree a row, {"message_id", "parent_id", "role", "text", "rank"}
    trees          one such tree a row, {"prompt": {..., "replies": [...]}}

A pair is built even where it cannot be trained on (`Pair.flaw`), so that whoever reads it can count it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kwen.errors import UserError
from kwen.text.messages import Message, validate_messages
from kwen.verify.rows import Row, kind_of, list_of, read_rows, text_of

KINDS = {
    "kwen": '{"messages", "chosen", "rejected"}',
    "plain": '{"prompt", "chosen", "rejected"} of strings',
    "instructions": '{"instruction", "input", "chosen", "rejected"}',
    "conversations": '{"chosen": [messages], "rejected": [messages]}',
    "transcripts": '{"chosen": "\\n\\nHuman: ...\\n\\nAssistant: ...", "rejected": ...}',
    "ranked": "Open Assistant messages",
    "trees": "Open Assistant trees",
}
"""How a row of each form looks."""

FLAWS = ("equal_texts", "empty_reply", "no_shared_prompt")
"""What can keep a pair from being trained on."""

_TURN = re.compile(r"\n\n(Human|Assistant):")
_OASST_ROLES = {"prompter": "user", "assistant": "assistant"}


@dataclass(frozen=True)
class Pair:
    """Two replies to one conversation, the better one first.

    messages: the conversation, ending with a user's message (or a tool's result). tag: topic or source, by which accuracy is
    told apart. where: names the pair in errors.
    """

    messages: list[Message]
    chosen: str
    rejected: str
    tag: str
    where: str

    @property
    def flaw(self) -> str:
        """Why nothing can be learnt from the pair, one of `FLAWS`; "" for a good one."""
        if not self.messages or self.messages[-1]["role"] not in ("user", "tool"):
            return "no_shared_prompt"
        if not self.chosen.strip() or not self.rejected.strip():
            return "empty_reply"
        return "equal_texts" if self.chosen.strip() == self.rejected.strip() else ""


def form_of(path: Path) -> str:
    """The form of a file's rows, a key of `KINDS`. Raises UserError for mixed or unknown rows, with counts and places."""
    return kind_of(path, _classify, KINDS)


def read_pairs(path: Path) -> Iterator[Pair]:
    """The pairs of a file of any form in file order; a row's own "tag" is the pair's, else the file's name without suffixes.

    Open Assistant's ranked replies give a pair for every two of different rank; deleted ones are passed over. Raises UserError
    with the place for rows that lack a side or are malformed.
    """
    form, tag = form_of(path), path.name.split(".")[0]
    if form == "ranked":
        nodes = [_node(row, where) for where, row in read_rows(path)]
        yield from _ranked_pairs({node.id: node for node in nodes}, tag)
        return
    for where, row in read_rows(path):
        if form == "trees":
            yield from _ranked_pairs({node.id: node for node in _tree(row, where)}, tag)
        else:
            yield _FORMS[form](row, text_of(row, "tag", where, tag), where)


def instruction_messages(row: Row, where: str) -> list[Message]:
    """The prompt of a row of Alpaca's form: a system message where it has one, then the instruction with its input below."""
    system, instruction = text_of(row, "system", where, ""), text_of(row, "instruction", where)
    material = text_of(row, "input", where, "")
    user: Message = {"role": "user", "content": f"{instruction}\n\n{material}" if material.strip() else instruction}
    return [{"role": "system", "content": system}, user] if system else [user]


def _classify(row: Row) -> str | None:
    if "message_id" in row and "parent_id" in row:
        return "ranked"
    if isinstance(row.get("prompt"), dict) and "message_tree_id" in row:
        return "trees"
    sides = [row[side] for side in ("chosen", "rejected") if row.get(side) is not None]
    if not sides:
        return None
    if any(isinstance(side, list) for side in sides):
        return "conversations"
    if any(isinstance(text, str) and _TURN.match(text) for text in (row.get("prompt"), *sides)):
        return "transcripts"
    forms = [form for key, form in (("messages", "kwen"), ("instruction", "instructions"), ("prompt", "plain")) if key in row]
    return forms[0] if forms else None


def _kwen(row: Row, tag: str, where: str) -> Pair:
    return _pair(validate_messages(list_of(row, "messages", where), f"{where}: messages"), row, tag, where)


def _plain(row: Row, tag: str, where: str) -> Pair:
    system, prompt = text_of(row, "system", where, ""), text_of(row, "prompt", where)
    lead: list[Message] = [{"role": "system", "content": system}] if system else []
    return _pair([*lead, {"role": "user", "content": prompt}], row, tag, where)


def _instructions(row: Row, tag: str, where: str) -> Pair:
    return _pair(instruction_messages(row, where), row, tag, where)


def _pair(messages: list[Message], row: Row, tag: str, where: str) -> Pair:
    if messages[-1]["role"] not in ("user", "tool"):
        raise UserError(f"{where}: the conversation must end with a user's message, for both sides answer it; fix the row")
    return Pair(messages, text_of(row, "chosen", where), text_of(row, "rejected", where), tag, where)


def _conversations(row: Row, tag: str, where: str) -> Pair:
    return _two_conversations(_conversation(row, "chosen", where), _conversation(row, "rejected", where), tag, where)


def _conversation(row: Row, side: str, where: str) -> list[Message]:
    """One side in full: it goes on from "prompt" where it begins with an assistant's message."""
    turns = list_of(row, side, where)
    if turns and isinstance(turns[0], Mapping) and turns[0].get("role") == "assistant":
        prompt = row.get("prompt")
        before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list_of(row, "prompt", where)
        turns = [*before, *turns]
    messages = validate_messages(turns, f"{where}: {side}")
    if messages[-1]["role"] != "assistant" or messages[-1].get("tool_calls"):
        raise UserError(f"{where}: {side} must end with a text by the assistant; fix or remove the row")
    return messages


def _transcripts(row: Row, tag: str, where: str) -> Pair:
    return _two_conversations(_transcript(row, "chosen", where), _transcript(row, "rejected", where), tag, where)


def _transcript(row: Row, side: str, where: str) -> list[Message]:
    text = text_of(row, side, where)
    start, *parts = _TURN.split(text if _TURN.match(text) else text_of(row, "prompt", where, "") + text)
    if start or len(parts) < 4 or parts[-2] != "Assistant":
        problem = "must begin with '\\n\\nHuman:' and end with '\\n\\nAssistant:' and its reply"
        raise UserError(f"{where}: {side} {problem}; fix or remove the row")
    roles = ("user" if part == "Human" else "assistant" for part in parts[::2])
    return [{"role": role, "content": text.strip()} for role, text in zip(roles, parts[1::2], strict=True)]


def _two_conversations(chosen: list[Message], rejected: list[Message], tag: str, where: str) -> Pair:
    """The pair of two conversations that end with the assistant; without messages where they part before that."""
    shared = chosen[:-1] if chosen[:-1] == rejected[:-1] else []
    return Pair(shared, chosen[-1]["content"], rejected[-1]["content"], tag, where)


_FORMS: dict[str, Callable[[Row, str, str], Pair]] = {
    "kwen": _kwen,
    "plain": _plain,
    "instructions": _instructions,
    "conversations": _conversations,
    "transcripts": _transcripts,
}


@dataclass(frozen=True, slots=True)
class _Node:
    """A message of an Open Assistant tree. `rank` 0 is the best of the replies to one message."""

    id: str
    parent: str | None
    message: Message
    rank: int | None
    where: str


def _node(row: Mapping[str, Any], where: str, parent: str | None = None) -> _Node:
    role, rank = text_of(row, "role", where), row.get("rank")
    if role not in _OASST_ROLES:
        raise UserError(f"{where}: role {role!r} is unknown; use one of {', '.join(_OASST_ROLES)}")
    if rank is not None and not isinstance(rank, int):
        raise UserError(f'{where}: "rank" must be a whole number or null, not {type(rank).__name__}; fix or remove the row')
    above = parent if parent is not None else text_of(row, "parent_id", where, "") or None
    message: Message = {"role": _OASST_ROLES[role], "content": text_of(row, "text", where)}
    return _Node(text_of(row, "message_id", where), above, message, None if row.get("deleted") else rank, where)


def _tree(row: Row, where: str) -> list[_Node]:
    """The messages of one nested tree, each before its replies."""
    nodes: list[_Node] = []
    waiting: list[tuple[Any, str | None]] = [(row["prompt"], None)]
    while waiting:
        value, parent = waiting.pop()
        if not isinstance(value, dict):
            raise UserError(f"{where}: a message of the tree must be an object, not {type(value).__name__}; fix the row")
        nodes.append(_node(value, where, parent))
        replies = list_of(value, "replies", where) if value.get("replies") is not None else []
        waiting += [(reply, nodes[-1].id) for reply in reversed(replies)]
    return nodes


def _ranked_pairs(nodes: Mapping[str, _Node], tag: str) -> Iterator[Pair]:
    """Every two ranked replies of the assistant to one message, groups in the order in which they begin."""
    groups: dict[str, list[_Node]] = {}
    for node in nodes.values():
        if node.rank is not None and node.parent is not None and node.message["role"] == "assistant":
            groups.setdefault(node.parent, []).append(node)
    for parent, replies in groups.items():
        replies.sort(key=lambda node: (node.rank, node.id))
        messages = _thread(nodes, parent) if len(replies) > 1 else []
        for index, better in enumerate(replies):
            for worse in replies[index + 1 :]:
                if better.rank != worse.rank:
                    yield Pair(messages, better.message["content"], worse.message["content"], tag, better.where)


def _thread(nodes: Mapping[str, _Node], last: str) -> list[Message]:
    """The messages from a tree's root to `last`; empty where one of them is not in the file, or they go in a circle."""
    thread: list[Message] = []
    at: str | None = last
    while at is not None:
        if at not in nodes or len(thread) > len(nodes):
            return []
        thread.append(nodes[at].message)
        at = nodes[at].parent
    return thread[::-1]


def conversation_key(messages: Sequence[Message]) -> str:
    """The first thing a user says: pairs of one conversation share it."""
    return next((message["content"] for message in messages if message["role"] == "user"), "")
