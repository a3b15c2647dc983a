"""The one message type, from SFT data to the server: OpenAI's chat form, checked once at the edge."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, NotRequired, TypedDict

from kwen.errors import UserError

ROLES = ("system", "user", "assistant", "tool")


class Function(TypedDict):
    """What a tool call calls; `arguments` is an object here, whatever form it came in."""

    name: str
    arguments: dict[str, Any]


class ToolCall(TypedDict):
    """One call by the assistant."""

    type: str
    function: Function
    id: NotRequired[str]


class Message(TypedDict):
    """One turn of a conversation after `validate_messages`: `content` is always a string."""

    role: str
    content: str
    tool_calls: NotRequired[list[ToolCall]]
    tool_call_id: NotRequired[str]
    name: NotRequired[str]
    reasoning_content: NotRequired[str]


def validate_messages(messages: Sequence[Mapping[str, Any]], where: str = "messages") -> list[Message]:
    """OpenAI chat messages in one normal form; the input is not changed.

    `content: null` becomes "", a list of text parts becomes their text, string `arguments` become the object they spell (""
    becomes {}), the role `developer` becomes `system`, and keys that no renderer reads are dropped. Raises UserError with
    the place (`where`, index, key) for an empty list, an unknown role, or a wrong type.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise UserError(f"{where}: must be a list of messages, not {type(messages).__name__}")
    if not messages:
        raise UserError(f"{where}: the list is empty; give at least one message")
    return [_message(message, f"{where}[{index}]") for index, message in enumerate(messages)]


def validate_tools(tools: Sequence[Mapping[str, Any]] | None, where: str = "tools") -> list[dict[str, Any]] | None:
    """Tool definitions in OpenAI's form ({"type": "function", "function": {"name", ...}}), or None when there are none.

    Raises UserError naming the place of what is not such a definition or not JSON.
    """
    if not tools:
        return None
    if isinstance(tools, str | bytes | Mapping) or not isinstance(tools, Sequence):
        raise UserError(f"{where}: must be a list of tool definitions, not {type(tools).__name__}")
    for index, tool in enumerate(tools):
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
            raise UserError(f"{where}[{index}]: must hold a function with a name")
        if flaw := _flaw_of(function):
            raise UserError(f"{where}[{index}], {function['name']}: {flaw}")
        try:
            json.dumps(tool, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise UserError(f"{where}[{index}]: not JSON ({error})") from None
    return [dict(tool) for tool in tools]


def _flaw_of(function: Mapping[str, Any]) -> str:
    """What is wrong with the description or the schema of a tool's parameters; "" for nothing."""
    if not isinstance(function.get("description") or "", str):
        return "its description must be a string"
    schema = function.get("parameters") or {}
    properties = schema.get("properties") or {} if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping) or not all(isinstance(part, Mapping) for part in properties.values()):
        return "its parameters must be a JSON schema of an object: {\"type\": \"object\", \"properties\": {...}}"
    return "" if isinstance(schema.get("required") or [], list | tuple) else "what is required must be a list of names"


def _message(message: Any, where: str) -> Message:
    if not isinstance(message, Mapping):
        _wrong(where, "an object", message)
    role = message.get("role")
    role = "system" if role == "developer" else role
    if role not in ROLES:
        raise UserError(f"{where}.role: {role!r} is unknown; use one of {', '.join(ROLES)}")
    result: Message = {"role": role, "content": _content(message.get("content"), f"{where}.content")}
    if message.get("tool_calls") is not None:
        calls = message["tool_calls"]
        if role != "assistant":
            raise UserError(f"{where}.tool_calls: only an assistant message can call tools, this one is by {role}")
        if not isinstance(calls, list | tuple):
            _wrong(f"{where}.tool_calls", "a list", calls)
        if calls:
            result["tool_calls"] = [_tool_call(call, f"{where}.tool_calls[{index}]") for index, call in enumerate(calls)]
    for key in ("tool_call_id", "name", "reasoning_content"):
        value = message.get(key)
        if value is not None:
            if not isinstance(value, str):
                _wrong(f"{where}.{key}", "a string", value)
            result[key] = value  # type: ignore[literal-required]
    return result


def _content(content: Any, where: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        _wrong(where, "a string, null, or a list of text parts", content)
    texts = []
    for index, part in enumerate(content):
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise UserError(f"{where}[{index}]: only text parts are supported, not {kind!r}")
        texts.append(part["text"])
    return "".join(texts)


def _tool_call(call: Any, where: str) -> ToolCall:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        raise UserError(f'{where}: must be an object with "function": {{"name", "arguments"}}')
    name = function.get("name")
    if not isinstance(name, str) or not name:
        _wrong(f"{where}.function.name", "a non-empty string", name)
    result: ToolCall = {
        "type": "function",
        "function": {"name": name, "arguments": _arguments(function.get("arguments"), f"{where}.function.arguments")},
    }
    if isinstance(call.get("id"), str):
        result["id"] = call["id"]
    return result


def _arguments(arguments: Any, where: str) -> dict[str, Any]:
    if arguments is None or arguments == "":
        return {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: not JSON ({error}); give an object or the JSON text of one") from None
    if not isinstance(arguments, Mapping):
        _wrong(where, "an object or the JSON text of one", arguments)
    try:
        json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error})") from None
    return dict(arguments)


def _wrong(where: str, expected: str, value: Any) -> NoReturn:
    raise UserError(f"{where}: must be {expected}, not {type(value).__name__}")
