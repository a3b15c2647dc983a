"""Answers in several turns: a model calls tools, is told their results, and goes on until it answers.

All items of a slice take their turn together, as one batch; those that have answered rest.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kwen.engine.call_format import call_format_of, tool_prompt
from kwen.engine.chat_prompt import UNCUT, ChatPrompt
from kwen.engine.language_model import LanguageModel
from kwen.engine.tool_calls import message_of
from kwen.evals.task import Item, Task

RESULTS = "tool"


class Acted(NamedTuple):
    """What was said after an item's prompt, as the JSON text of its messages, and how it went."""

    text: str
    prompt_tokens: int
    finish_reason: str


def act(lm: LanguageModel, task: Task, items: Sequence[Item], seed: int, progress: Callable[[float], None]) -> list[Acted]:
    """Each item's conversation from its prompt to the model's answer, of at most `task.turns` turns of the model's.

    `task.respond` runs the calls of a turn. A conversation that outgrows the context ends there, as "length".
    """
    assert task.respond is not None
    said: list[list[Mapping[str, Any]]] = [[] for _ in items]
    reasons, first_tokens = ["length"] * len(items), [0] * len(items)
    active = list(range(len(items)))
    for turn in range(task.turns):
        prompts, parsers = [], []
        for index in [*active]:
            token_ids, stops, parser = _prompt(lm, items[index], said[index])
            if len(token_ids) + task.settings["max_new_tokens"] > lm.config.max_position_embeddings:
                active.remove(index)
                reasons[index] = "length"
                continue
            first_tokens[index] = first_tokens[index] or len(token_ids)
            prompts.append(token_ids)
            parsers.append(parser)
        if not active:
            break
        completions = lm.generate(prompts, seed=seed, stop=stops, **task.settings)
        going = []
        for index, completion, parser in zip(active, completions, parsers, strict=True):
            message = message_of([*parser.feed(completion.text), *parser.finish()])
            said[index].append(message)
            reasons[index] = completion.finish_reason
            if message.get("tool_calls"):
                said[index] += task.respond(items[index], message)
                going.append(index)
        active = going
        progress((turn + 1) / task.turns)
    rows = zip(said, first_tokens, reasons, strict=True)
    return [Acted(json.dumps(messages, ensure_ascii=False), tokens, reason) for messages, tokens, reason in rows]


def _prompt(lm: LanguageModel, item: Item, said: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[str], Any]:
    """A conversation so far as token ids, the stop words of its next turn, and what reads that turn."""
    assert not isinstance(item.prompt, str)
    shown = tool_prompt([*item.prompt, *said], item.tools, call_format_of(lm.chat_template), lm.chat_template)
    token_ids = ChatPrompt(lm.tokenizer, lm.chat_template).token_ids(shown.messages, UNCUT, shown.tools)
    return token_ids + lm.tokenizer.encode(shown.opening), list(shown.stop), shown.parser()
