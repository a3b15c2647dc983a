"""A model whose words are given, read by the real parsers from the real prompt: what an agent does with them is under test."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kwen.engine.call_format import CallFormat, ToolPrompt, tool_prompt
from kwen.engine.tool_calls import ParsedEvent, TurnEnd


class Scripted:
    """Says `turns` one after another, in pieces of seven characters."""

    def __init__(self, *turns: str, call_format: CallFormat = "hermes") -> None:
        self.call_format: CallFormat = call_format
        self.turns = list(turns)
        self.prompts: list[ToolPrompt] = []
        self.settings: list[dict[str, Any]] = []

    def stream_turn(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None, **settings: Any
    ) -> Iterator[ParsedEvent | TurnEnd]:
        prompt = tool_prompt(messages, tools, self.call_format)
        self.prompts.append(prompt)
        self.settings.append(settings)
        text, parser = self.turns.pop(0), prompt.parser()
        words = text.split()
        for begin in range(0, len(text), 7):
            yield from parser.feed(text[begin : begin + 7])
        yield from parser.finish()
        yield TurnEnd("length" if len(words) >= settings["max_new_tokens"] else "stop", 10, len(words))


def hermes(name: str, arguments: str) -> str:
    """A call as Hermes writes it."""
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'
