"""What /v1/responses is given, as a chat in OpenAI's older form."""

from collections.abc import Mapping, Sequence
from typing import Any

from kwen.serve.asking import Asked, Sampling
from kwen.serve.constraints import checked_tools, tool_choice
from kwen.serve.errors import ApiError
from kwen.serve.protocol import ResponsesRequest

_TEXT_PARTS = ("input_text", "output_text", "text", "refusal")


def asked_of(body: ResponsesRequest) -> Asked:
    """What a body asks for. Raises ApiError for what this server does not do: it keeps no responses to go on from."""
    if body.previous_response_id is not None:
        text = "previous_response_id: this server keeps no responses; send the whole conversation as input"
        raise ApiError(400, text, param="previous_response_id", code="unsupported_parameter")
    if body.background:
        raise ApiError(400, "background: is not supported; stream instead", param="background", code="unsupported_parameter")
    tools = checked_tools(_functions(body.tools or ()))
    response_format = (body.text or {}).get("format")
    if response_format is not None and not isinstance(response_format, Mapping):
        raise ApiError(400, "text.format: must be an object", param="text.format", code="invalid_value")
    variables = {}
    if (body.reasoning or {}).get("effort") == "none":
        variables["enable_thinking"] = False
    return Asked(
        messages=messages_of(body.input, body.instructions),
        sampling=Sampling(body.max_output_tokens, body.temperature, body.top_p, top_logprobs=body.top_logprobs),
        tools=tools,
        choice=tool_choice(body.tool_choice, tools),
        parallel=body.parallel_tool_calls is not False,
        response_format=response_format,
        template_variables=variables,
        truncate=body.truncation == "auto",
    )


def messages_of(given: str | Sequence[Mapping[str, Any]], instructions: str | None) -> list[dict[str, Any]]:
    """Input items as messages: calls of one turn join the assistant's message before them."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    thoughts = ""
    for index, item in enumerate(given):
        where = f"input[{index}]"
        kind = item.get("type", "message")
        if kind == "message":
            message = {"role": item.get("role"), "content": _text(item.get("content"), where)}
            if thoughts and message["role"] == "assistant":
                message["reasoning_content"], thoughts = thoughts, ""
            messages.append(message)
        elif kind == "function_call":
            last = messages[-1] if messages else None
            if last is None or last["role"] != "assistant":
                last = {"role": "assistant", "content": "", **({"reasoning_content": thoughts} if thoughts else {})}
                thoughts = ""
                messages.append(last)
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            last.setdefault("tool_calls", []).append({"type": "function", "id": item.get("call_id"), "function": function})
        elif kind == "function_call_output":
            output = item.get("output")
            content = output if isinstance(output, str) else _text(output, f"{where}.output")
            messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": content})
        elif kind == "reasoning":
            thoughts = _thoughts(item)
        else:
            text = f"{where}: items of type {str(kind)[:60]!r} are not known here; send messages, calls and their outputs"
            raise ApiError(400, text, param=where, code="unsupported_value")
    return messages


def _functions(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Function tools in the chat's form. Tools that OpenAI itself would run are left out: nothing here could."""
    names = ("name", "description", "parameters", "strict")
    return [
        {"type": "function", "function": {name: tool[name] for name in names if tool.get(name) is not None}}
        for tool in tools
        if tool.get("type", "function") == "function"
    ]


def _text(content: Any, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise ApiError(400, f"{where}.content: must be text or a list of parts", param=where, code="invalid_value")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        text = part.get("refusal" if kind == "refusal" else "text") if isinstance(part, Mapping) else None
        if kind not in _TEXT_PARTS or not isinstance(text, str):
            raise ApiError(400, f"{where}.content: only text parts are supported, not {str(kind)[:60]!r}", param=where)
        texts.append(text)
    return "".join(texts)


def _thoughts(item: Mapping[str, Any]) -> str:
    parts = item.get("content") or item.get("summary") or []
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    return "".join(text for text in texts if isinstance(text, str))
