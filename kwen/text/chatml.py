"""ChatML: the one renderer from messages to token ids and their loss mask (report 7.2), and history that fits a window."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kwen.errors import UserError
from kwen.text.control import CHATML_TEMPLATE, IM_END, IM_START, as_json, tools_text
from kwen.text.messages import Message, ToolCall, validate_messages, validate_tools
from kwen.text.tokenizer import Tokenizer

__all__ = ["CHATML_TEMPLATE", "Masking", "Rendered", "render", "require_trained_tokens", "truncate_history"]

Masking = Literal["team", "content"]


@dataclass(frozen=True)
class Rendered:
    """A conversation as token ids; `loss_mask[i]` says whether training learns to produce token i."""

    token_ids: list[int]
    loss_mask: list[bool]


def render(
    messages: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    masking: Masking = "team",
    add_generation_prompt: bool = False,
) -> Rendered:
    """A conversation in ChatML: `<|im_start|>role\\ncontent<|im_end|>\\n` for each turn.

    The tokenizer's default system prompt comes first when the messages bring none. Role names and contents are encoded apart
    from each other and as plain text, so no content can hold a marker. `masking="team"` trains the markers of every turn
    (im_start, im_end and the newline after it) and the assistant's text; `"content"` the assistant's text and its im_end
    only. Tool calls are part of the assistant's text. `add_generation_prompt` opens an assistant turn at the end, untrained.
    Raises UserError for invalid messages, or a tokenizer without ChatML's control tokens.
    """
    check_masking(masking)
    start, end, newline = tokenizer.control_id(IM_START), tokenizer.control_id(IM_END), tokenizer.encode("\n")
    team = masking == "team"
    ids: list[int] = []
    mask: list[bool] = []

    def add(part: list[int], trained: bool) -> None:
        ids.extend(part)
        mask.extend([trained] * len(part))

    for role, text in _turns(validate_messages(messages), tokenizer.default_system, validate_tools(tools)):
        answer = role == "assistant"
        add([start], team)
        add(tokenizer.encode(role) + newline, False)
        add(tokenizer.encode(text), answer)
        add([end], team or answer)
        add(newline, team)
    if add_generation_prompt:
        add([start, *tokenizer.encode("assistant"), *newline], False)
    return Rendered(ids, mask)


def require_trained_tokens(rendered: Rendered, where: str) -> Rendered:
    """`rendered` itself, if its mask trains anything. Raises UserError naming `where` otherwise."""
    if not any(rendered.loss_mask):
        raise UserError(f"{where}: no token is trained (the loss mask is all zero); the example needs an assistant message")
    return rendered


def truncate_history(
    messages: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    max_tokens: int,
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> list[Message]:
    """The messages whose ChatML prompt fits `max_tokens`, oldest exchanges dropped first (report 7.2).

    System messages at the start are kept, and so is everything from the last user message on, even where these alone exceed
    the limit. An exchange is a user message with all that answers it, so a tool call never loses its results. Lengths are
    those of `render` with a generation prompt; for other templates of the same texts they are a close estimate.
    """
    history = validate_messages(messages)
    lead = next((index for index, message in enumerate(history) if message["role"] != "system"), len(history))
    starts = [index for index in range(lead, len(history)) if index == lead or history[index]["role"] == "user"]
    bounds = [*starts, len(history)]
    exchanges = [history[begin:stop] for begin, stop in zip(bounds, bounds[1:], strict=False)]

    def cost(part: list[Message], default_system: str | None, defined: list[dict[str, Any]] | None) -> int:
        # Four tokens a turn beside role and text: im_start, a newline, im_end, a newline.
        return sum(
            4 + len(tokenizer.encode(role)) + len(tokenizer.encode(text)) for role, text in _turns(part, default_system, defined)
        )

    system_cost = cost(history[:lead], tokenizer.default_system, validate_tools(tools))
    room = max_tokens - system_cost - len(tokenizer.encode("assistant")) - 2
    kept: list[list[Message]] = []
    for exchange in reversed(exchanges):
        room -= cost(exchange, None, None)
        if kept and room < 0:
            break
        kept.insert(0, exchange)
    return history[:lead] + [message for exchange in kept for message in exchange]


def _turns(messages: list[Message], default_system: str | None, tools: list[dict[str, Any]] | None) -> Iterator[tuple[str, str]]:
    """(role, text) of every turn as it is written: the system turn first, tool results gathered into user turns."""
    lead = 1 if messages and messages[0]["role"] == "system" else 0
    system = messages[0]["content"] if lead else default_system or ""
    if lead or system or tools:
        if tools:
            system += ("\n\n" if system else "") + tools_text(tools)
        yield "system", system
    results: list[str] = []
    for message in messages[lead:]:
        if message["role"] == "tool":
            results.append(f"<tool_response>\n{message['content']}\n</tool_response>")
            continue
        if results:
            yield "user", "\n".join(results)
            results = []
        calls = [_call(call) for call in message.get("tool_calls", [])]
        yield message["role"], "\n".join([message["content"], *calls] if message["content"] else calls)
    if results:
        yield "user", "\n".join(results)


def _call(call: ToolCall) -> str:
    function = call["function"]
    return f'<tool_call>\n{{"name": {as_json(function["name"])}, "arguments": {as_json(function["arguments"])}}}\n</tool_call>'


def check_masking(masking: str) -> None:
    """Raises UserError unless `masking` names one of the two loss masks."""
    if masking not in ("team", "content"):
        raise UserError(f"masking: {masking!r} is unknown; use 'team' or 'content'")
