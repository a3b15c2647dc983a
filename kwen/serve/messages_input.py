"""What /v1/messages is given (Anthropic's form), as a chat in OpenAI's."""

from collections.abc import Mapping, Sequence
from typing import Any

from kwen.serve.asking import Asked, Sampling
from kwen.serve.constraints import ToolChoice, checked_tools, tool_choice
from kwen.serve.errors import ApiError
from kwen.serve.protocol import MessagesRequest


def asked_of(body: MessagesRequest) -> Asked:
    """What a body asks for. Raises ApiError."""
    tools = checked_tools(_functions(body.tools or ()))
    choice, parallel = _choice(body.tool_choice, tools)
    variables = {}
    if body.thinking is not None:
        variables["enable_thinking"] = body.thinking.get("type") in ("enabled", "adaptive")
    sampling = Sampling(body.max_tokens, body.temperature, body.top_p, body.top_k, stop=body.stop_sequences or ())
    return Asked(messages_of(body.messages, body.system), sampling, tools, choice, parallel, template_variables=variables)


def messages_of(given: Sequence[Mapping[str, Any]], system: str | Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """Messages of content blocks as messages of text, calls and results."""
    messages: list[dict[str, Any]] = []
    if system:
        messages.append({"role": "system", "content": _text(system, "system")})
    for index, message in enumerate(given):
        where, role, content = f"messages[{index}]", message.get("role"), message.get("content")
        if role not in ("user", "assistant", "system"):
            raise _bad(f"{where}.role", f"must be user or assistant, not {str(role)[:60]!r}")
        if isinstance(content, list) and role != "system":
            messages += (_assistant if role == "assistant" else _user)(content, where)
        else:
            messages.append({"role": role, "content": _text(content, f"{where}.content")})
    return messages


def _assistant(blocks: Sequence[Any], where: str) -> list[dict[str, Any]]:
    text, thoughts, calls = "", "", []
    for index, block in enumerate(blocks):
        place, kind = f"{where}.content[{index}]", _kind(block)
        if kind == "text":
            text += _text([block], place)
        elif kind == "thinking":
            thoughts += block["thinking"] if isinstance(block.get("thinking"), str) else ""
        elif kind == "tool_use":
            if not isinstance(block.get("input"), Mapping):
                raise _bad(f"{place}.input", "must be an object")
            function = {"name": block.get("name"), "arguments": block["input"]}
            calls.append({"type": "function", "id": block.get("id"), "function": function})
        elif kind != "redacted_thinking":
            raise _bad(place, f"blocks of type {str(kind)[:60]!r} are not supported in an assistant's message")
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    return [message]


def _user(blocks: Sequence[Any], where: str) -> list[dict[str, Any]]:
    """Results first, as the API itself asks for, then what the user says."""
    results, texts = [], []
    for index, block in enumerate(blocks):
        place, kind = f"{where}.content[{index}]", _kind(block)
        if kind == "text":
            texts.append(_text([block], place))
        elif kind == "tool_result":
            content = _text(block.get("content"), f"{place}.content")
            told = f"Error: {content}" if block.get("is_error") is True else content
            results.append({"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": told})
        else:
            raise _bad(place, f"blocks of type {str(kind)[:60]!r} are not supported; send text and tool results")
    said = [{"role": "user", "content": "\n".join(texts)}] if texts or not results else []
    return [*results, *said]


def _functions(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    functions = []
    for index, tool in enumerate(tools):
        if tool.get("type", "custom") != "custom":
            continue  # what Anthropic itself would run, nothing here could
        if not isinstance(tool.get("input_schema"), Mapping):
            raise _bad(f"tools[{index}].input_schema", "must be a JSON schema, an object")
        function = {"name": tool.get("name"), "description": tool.get("description"), "parameters": tool["input_schema"]}
        functions.append({"type": "function", "function": {name: value for name, value in function.items() if value is not None}})
    return functions


def _choice(value: Mapping[str, Any] | None, tools: Sequence[Mapping[str, Any]] | None) -> tuple[ToolChoice, bool]:
    kind = "auto" if value is None else value.get("type")
    parallel = value is None or value.get("disable_parallel_tool_use") is not True
    if kind == "tool":
        assert value is not None
        return tool_choice({"type": "function", "name": value.get("name")}, tools), parallel
    names = {"auto": "auto", "any": "required", "none": "none"}
    if not isinstance(kind, str) or kind not in names:
        raise _bad("tool_choice.type", "must be auto, any, tool or none")
    return tool_choice(names[kind], tools), parallel


def _text(content: Any, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise _bad(where, "must be text or a list of blocks")
    texts = []
    for index, block in enumerate(content):
        text = block.get("text") if _kind(block) == "text" else None
        if not isinstance(text, str):
            raise _bad(f"{where}[{index}]", f"only text is supported, not {str(_kind(block))[:60]!r}")
        texts.append(text)
    return "\n".join(texts)


def _kind(block: Any) -> Any:
    return block.get("type") if isinstance(block, Mapping) else None


def _bad(param: str, text: str) -> ApiError:
    return ApiError(400, f"{param}: {text}", param=param, code="invalid_value")
