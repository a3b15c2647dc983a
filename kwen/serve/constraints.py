"""What an answer must be: a request's tool choice, response format and guided extras as one grammar for the engine."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from kwen.engine.call_format import CallFormat
from kwen.engine.constrain import Grammar
from kwen.engine.constrain_schema import prepare
from kwen.errors import UserError
from kwen.serve.errors import ApiError
from kwen.serve.protocol import Sampled

_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")


@dataclass(frozen=True)
class ToolChoice:
    """auto: text or calls. none: tools are not shown. required: a call, of `name` alone if there is one."""

    kind: Literal["auto", "none", "required"] = "auto"
    name: str | None = None


def tool_choice(value: str | Mapping[str, Any] | None, tools: Sequence[Mapping[str, Any]] | None) -> ToolChoice:
    """OpenAI's `tool_choice`; its two APIs write a named tool differently. Raises ApiError."""
    if value is None or value in ("auto", "none"):
        return ToolChoice("none" if value == "none" else "auto")
    if not tools:
        raise _bad("tool_choice", "is given, but there are no tools to choose from")
    if value == "required":
        return ToolChoice("required")
    if isinstance(value, Mapping) and value.get("type") == "function":
        inner = value.get("function")
        name = inner.get("name") if isinstance(inner, Mapping) else value.get("name")
        names = [tool["function"]["name"] for tool in tools]
        if name in names:
            return ToolChoice("required", str(name))
        raise _bad("tool_choice", f"there is no tool {name!r}; these exist: {', '.join(names)}")
    raise _bad("tool_choice", 'must be "auto", "none", "required", or {"type": "function", "function": {"name": ...}}')


def checked_tools(tools: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Tools in OpenAI's chat form, or None for none. Raises ApiError for another type, or names that no call can carry."""
    for index, tool in enumerate(tools or ()):
        where = f"tools[{index}]"
        function = tool.get("function")
        if tool.get("type", "function") != "function" or not isinstance(function, Mapping):
            raise _bad(where, 'must be {"type": "function", "function": {"name", "description", "parameters"}}')
        name = function.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise _bad(f"{where}.function.name", "must be 1 to 128 letters, digits, and _ . : / -")
        if not isinstance(function.get("parameters") or {}, Mapping):
            raise _bad(f"{where}.function.parameters", "must be a JSON schema, an object")
    return [dict(tool) for tool in tools] if tools else None


def answer_grammar(response_format: Mapping[str, Any] | None, extras: Sampled | None = None) -> Grammar | None:
    """The grammar of a response format (either API's form) or of a guided extra; None for free text. Raises ApiError."""
    wanted = {} if extras is None else _guided(extras)
    if response_format is not None and response_format.get("type") != "text":
        wanted["response_format"] = response_format
    if len(wanted) > 1:
        raise _bad(next(iter(wanted)), f"only one of {', '.join(wanted)} can say what the answer is")
    for name, value in wanted.items():
        try:
            return _from_format(value) if name == "response_format" else _from_extra(name.split(".")[-1], value)
        except UserError as error:
            raise ApiError(400, f"{name}: {error}", param=name, code="invalid_schema") from None
    return None


def call_grammar(
    tools: Sequence[Mapping[str, Any]],
    choice: ToolChoice,
    call_format: CallFormat,
    parallel: bool,
) -> Grammar | None:
    """Calls that are always valid. Raises ApiError where a call is required and a tool's schema is beyond any grammar.

    Where none is required, the arguments of such a tool may be any JSON object; None where not even that can be written.
    """
    required = choice.kind == "required"
    try:
        return Grammar.tool_calls(tools, call_format, required, choice.name, parallel)
    except UserError as error:
        if required:
            raise ApiError(400, f"tools: {error}", param="tools", code="invalid_schema") from None
    try:
        return Grammar.tool_calls([_expressible(tool, call_format) for tool in tools], call_format, parallel=parallel)
    except UserError:
        return None


def _expressible(tool: Mapping[str, Any], call_format: CallFormat) -> Mapping[str, Any]:
    """The tool, without its schema where no grammar can express that."""
    try:
        Grammar.tool_calls([tool], call_format)
    except UserError:
        return {**tool, "function": {**tool["function"], "parameters": {"type": "object"}}}
    return tool


def call_or_answer(tools: Sequence[Mapping[str, Any]], schema: Mapping[str, Any] | bool, parallel: bool) -> Grammar:
    """Calls in the Hermes format or, instead, JSON by `schema`: tools offered beside a response format. Raises ApiError."""
    try:
        rules = ["start: calls | answer", f"answer: %json {json.dumps(prepare(schema, 'JSON schema'))}"]
        heads = []
        for number, tool in enumerate(tools):
            function = tool["function"]
            head = f'\n{{"name": {json.dumps(function["name"])}, "arguments": '
            heads.append(f'{json.dumps(head)} arguments_{number} "}}\\n</tool_call>"')
            parameters = {"type": "object", **(function.get("parameters") or {"properties": {}})}
            layout = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
            closed = prepare(parameters, f"tool {function['name']}")
            rules.append(f"arguments_{number}: %json {json.dumps({**closed, 'x-guidance': layout})}")
        again = ' ("\\n<tool_call>" call)*' if parallel else ""
        rules += [f'calls: "<tool_call>" call{again}', f"call: {' | '.join(heads)}"]
        return replace(Grammar.from_lark("\n".join(rules)), closers='}]":')
    except UserError as error:
        raise ApiError(400, f"tools with response_format: {error}", param="response_format", code="invalid_schema") from None


def schema_of(response_format: Mapping[str, Any]) -> Any:
    """The schema that a response format asks for; an object of any kind for json_object."""
    if response_format.get("type") == "json_object":
        return {"type": "object"}
    inner = response_format.get("json_schema", response_format)
    schema = inner.get("schema") if isinstance(inner, Mapping) else None
    if not isinstance(schema, Mapping | bool):
        raise _bad("response_format.json_schema.schema", "must be a JSON schema, an object")
    return schema


def _from_format(response_format: Mapping[str, Any]) -> Grammar:
    kind = response_format.get("type")
    if kind not in ("json_object", "json_schema"):
        raise _bad("response_format.type", f"{kind!r} is unknown; use text, json_object or json_schema")
    return Grammar.from_json_schema(schema_of(response_format))


def _guided(extras: Sampled) -> dict[str, Any]:
    named = {name: getattr(extras, name) for name in ("guided_json", "guided_regex", "guided_grammar", "guided_choice")}
    given = {name: value for name, value in named.items() if value is not None}
    for name, value in (extras.structured_outputs or {}).items():
        if name in ("json", "regex", "grammar", "choice") and value is not None:
            given[f"structured_outputs.{name}"] = value
    return given


def _from_extra(name: str, value: Any) -> Grammar:
    kind = name.removeprefix("guided_")
    if kind == "json":
        return Grammar.from_json_schema(value)
    if kind == "choice":
        if not isinstance(value, list) or not value or not all(isinstance(text, str) and text for text in value):
            raise UserError("must be a list of texts")
        return Grammar.from_regex("|".join(map(re.escape, value)))
    if not isinstance(value, str):
        raise UserError("must be text")
    return Grammar.from_regex(value) if kind == "regex" else Grammar.from_lark(value)


def _bad(param: str, text: str) -> ApiError:
    return ApiError(400, f"{param}: {text}", param=param, code="invalid_value")
