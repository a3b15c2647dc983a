"""Answers in several turns: a model calls tools, is told their results, and goes on until it answers.

All conversations take their turn together, as one batch; those that have answered rest.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kwen.engine.call_format import call_format_of, tool_prompt
from kwen.engine.chat_prompt import UNCUT, ChatPrompt
from kwen.engine.language_model import LanguageModel
from kwen.engine.tool_calls import message_of
from kwen.progress import Progress, silent

Respond = Callable[[int, Sequence[Mapping[str, Any]]], Sequence[Mapping[str, Any]]]
"""(number of a conversation, all that was said since its prompt, a turn of the model's with calls last) -> the results, as
messages."""


class Asked(NamedTuple):
    """A conversation that waits for the model, and the definitions of the tools that it is offered."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()


class Acted(NamedTuple):
    """What was said after a conversation's prompt, how long that was, and how the last turn ended."""

    messages: list[Mapping[str, Any]]
    prompt_tokens: int
    finish_reason: str


def act(
    lm: LanguageModel,
    asked: Sequence[Asked],
    respond: Respond,
    turns: int,
    *,
    max_new_tokens: int,
    seed: int = 0,
    progress: Progress = silent,
    **sampling: Any,
) -> list[Acted]:
    """Each conversation up to the model's answer, of at most `turns` turns of the model's; `respond` runs the calls of a turn.

    A conversation that outgrows the context ends there, as "length".
    """
    said: list[list[Mapping[str, Any]]] = [[] for _ in asked]
    reasons, first_tokens = ["length"] * len(asked), [0] * len(asked)
    active = list(range(len(asked)))
    for turn in range(turns):
        prompts, parsers = [], []
        for index in [*active]:
            token_ids, stops, parser = _prompt(lm, asked[index], said[index])
            if len(token_ids) + max_new_tokens > lm.config.max_position_embeddings:
                active.remove(index)
                reasons[index] = "length"
                continue
            first_tokens[index] = first_tokens[index] or len(token_ids)
            prompts.append(token_ids)
            parsers.append(parser)
        if not active:
            break
        completions = lm.generate(prompts, seed=seed, stop=stops, max_new_tokens=max_new_tokens, **sampling)
        going = []
        for index, completion, parser in zip(active, completions, parsers, strict=True):
            message = message_of([*parser.feed(completion.text), *parser.finish()])
            said[index].append(message)
            reasons[index] = completion.finish_reason
            if message.get("tool_calls"):
                said[index] += respond(index, said[index])
                going.append(index)
        active = going
        progress(turn + 1, turns)
    return [Acted(*one) for one in zip(said, first_tokens, reasons, strict=True)]


def _prompt(lm: LanguageModel, asked: Asked, said: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[str], Any]:
    """A conversation so far as token ids, the stop words of its next turn, and what reads that turn."""
    shown = tool_prompt([*asked.messages, *said], asked.tools, call_format_of(lm.chat_template), lm.chat_template)
    token_ids = ChatPrompt(lm.tokenizer, lm.chat_template).token_ids(shown.messages, UNCUT, shown.tools)
    return token_ids + lm.tokenizer.encode(shown.opening), list(shown.stop), shown.parser()
