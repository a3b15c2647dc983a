"""Which call format a model wants, and the two formats behind one face: what its prompt shows, and what reads its turn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kwen.engine.hermes import STOP as HERMES_STOP
from kwen.engine.hermes import HermesParser, hermes_text
from kwen.engine.react import STOP as REACT_STOP
from kwen.engine.react import ReActParser, react_prompt
from kwen.engine.tool_calls import CallParser, count_calls
from kwen.errors import UserError
from kwen.text.messages import validate_messages, validate_tools

CallFormat = Literal["hermes", "react"]
CALL_FORMATS: tuple[CallFormat, ...] = ("hermes", "react")


@dataclass(frozen=True)
class ToolPrompt:
    """A conversation in a call format: what the template renders, the text that opens the assistant's turn, and stop words."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] | None
    opening: str
    stop: tuple[str, ...]
    call_format: CallFormat
    first_call: int
    definitions: Sequence[Mapping[str, Any]]

    def parser(self, thinking: bool = False) -> CallParser:
        """A new reader for the turn that follows; `thinking`: the template's own prompt has opened the thoughts."""
        if self.call_format == "hermes":
            return HermesParser(self.first_call, thinking)
        return ReActParser(self.definitions, self.first_call, thinking=self.opening.endswith("Thought:"))


def call_format_of(template: str | None, chosen: str | None = None) -> CallFormat:
    """`chosen`, or the format that a model with this template wants: Hermes where the template shows tools or there is none
    (Kwen's ChatML does), else ReAct. Raises UserError for an unknown name."""
    if chosen is None:
        return "hermes" if template is None or "tools" in template else "react"
    for name in CALL_FORMATS:
        if name == chosen:
            return name
    raise UserError(f"call format {chosen!r} is unknown; use one of {', '.join(CALL_FORMATS)}")


def tool_prompt(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    call_format: CallFormat,
    template: str | None = None,
) -> ToolPrompt:
    """The conversation in `call_format`; a template that knows no tools gets them as text. Raises UserError for malformed
    messages or tools."""
    checked, defined = validate_messages(messages), validate_tools(tools)
    first_call = count_calls(checked)
    if call_format == "hermes" and call_format_of(template) == "react":
        told = hermes_text(checked, defined)
        return ToolPrompt(told, None, "", HERMES_STOP, call_format, first_call, defined or ())
    if call_format == "hermes":
        return ToolPrompt(checked, defined, "", HERMES_STOP, call_format, first_call, defined or ())
    prompt = react_prompt(checked, defined)
    return ToolPrompt(prompt.messages, None, prompt.opening, REACT_STOP, call_format, first_call, defined or ())


def needs_tool_prompt(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None) -> bool:
    """Whether a conversation holds tools, calls or results, and so a call format matters."""
    return bool(tools) or any(
        isinstance(message, Mapping) and (message.get("tool_calls") or message.get("role") == "tool") for message in messages
    )
