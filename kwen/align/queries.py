"""What rollouts answer: conversations that end with a user message, as token ids, chosen by (seed, step)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from kwen.align.datasets import ChatFile, conversations
from kwen.engine.chat_prompt import ChatPrompt
from kwen.errors import UserError
from kwen.nanoworld.prompts import TOPICS, Topic, prompts
from kwen.nanoworld.tool_preferences import tool_turns
from kwen.text.tokenizer import Tokenizer


class NanoworldQueries(BaseModel):
    """`count` prompts of nanoworld's training split, balanced over topics and difficulty."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["nanoworld"]
    count: int = Field(gt=0)
    topics: tuple[Topic, ...] = TOPICS


class NanoworldToolQueries(BaseModel):
    """`count` turns of nanoworld's training tasks with tools: a call is due, or an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["nanoworld-tools"]
    count: int = Field(gt=0)


QuerySource = Annotated[NanoworldQueries | NanoworldToolQueries | ChatFile, Field(discriminator="kind")]
"""Of a file's conversations, the part up to the last user message is the query."""


def queries(source: QuerySource, seed: int) -> Iterator[Sequence[Mapping[str, Any]]]:
    """The conversations of `source`. Raises UserError, with the line, for a row that holds no user message."""
    if isinstance(source, NanoworldQueries):
        for prompt in prompts(seed, source.count, "train", source.topics):
            yield prompt.messages
        return
    if isinstance(source, NanoworldToolQueries):
        for turn in tool_turns(f"{seed}/queries", source.count):
            yield turn.messages
        return
    for where, messages, _ in conversations(source, seed):
        asked = [number for number, message in enumerate(messages, 1) if message["role"] == "user"]
        if not asked:
            raise UserError(f"{where}: no user message; fix or remove the row")
        yield messages[: asked[-1]]


def query_tokens(
    sources: Sequence[QuerySource], tokenizer: Tokenizer, template: str | None, seed: int, longest: int
) -> tuple[list[list[int]], dict[str, int]]:
    """Every query as the token ids that an answer continues, and their counts; those over `longest` tokens are left out.

    Raises UserError when none remains.
    """
    prompt = ChatPrompt(tokenizer, template)
    rows = [prompt.token_ids(messages, room=longest) for source in sources for messages in queries(source, seed)]
    kept = [row for row in rows if len(row) <= longest]
    if not kept:
        raise UserError(f"no query of at most {longest} tokens; raise sequence_length or lower max_new_tokens")
    return kept, {"queries": len(kept), "queries_too_long": len(rows) - len(kept)}


def queries_of_step(count: int, at_once: int, seed: int, step: int) -> list[int]:
    """The numbers of the `at_once` queries of `step`, of `count`: each epoch passes over all of them in an order of its own."""
    chosen = []
    for place in range(step * at_once, (step + 1) * at_once):
        order = np.random.Generator(np.random.PCG64([seed, place // count])).permutation(count)
        chosen.append(int(order[place % count]))
    return chosen
