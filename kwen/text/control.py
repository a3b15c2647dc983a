"""Kwen's control tokens, and ChatML as the Jinja text that its chat models ship."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

ENDOFTEXT = "<|endoftext|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
DEFAULT_SYSTEM = "You are a helpful assistant."
"""The system prompt of a ChatML conversation that brings none (report 7.2)."""

TOOLS_HEAD = "<tools>"
TOOLS_TAIL = "\n</tools>"


def tool_line(tool: Mapping[str, Any]) -> str:
    """A tool's definition, in OpenAI's form, as Kwen's own models read it: `order(item: string, count?: integer): order an item`.

    A mark stands at what may be left out. A parameter that is more than a type is written as its JSON schema, and so are
    parameters that are no plain list: a small model pays for every token of a definition, and nothing is lost.
    """
    function = tool.get("function", tool)
    schema = function.get("parameters") or {}
    properties = schema.get("properties") or {}
    if set(schema) <= {"type", "properties", "required"}:
        needed = schema.get("required") or []
        told = [
            f"{name}{'' if name in needed else '?'}: "
            + (part["type"] if list(part) == ["type"] and isinstance(part["type"], str) else as_json(part))
            for name, part in properties.items()
        ]
    else:
        told = [as_json(schema)]
    return f"{function['name']}({', '.join(told)}): {function.get('description') or ''}"


def tools_text(tools: Iterable[Mapping[str, Any]]) -> str:
    """Tools, each a definition in OpenAI's form, as the system turn of Kwen's own models tells them."""
    return "\n".join((TOOLS_HEAD, *map(tool_line, tools))) + TOOLS_TAIL


def as_json(value: Any) -> str:
    """JSON as chat templates print it: spaces after separators, characters as they are."""
    return json.dumps(value, ensure_ascii=False)


def control_surfaces(extras: int) -> list[str]:
    """The control tokens in id order (report 1.2): end of text, turn start, turn end, then `<|extra_0|>` and so on."""
    return [ENDOFTEXT, IM_START, IM_END, *(f"<|extra_{number}|>" for number in range(extras))]


def chatml_template(default_system: str | None) -> str:
    """The Jinja text that renders what `kwen.text.chatml.render` renders, for readers of Hugging Face folders.

    Without `default_system` a conversation that brings no system prompt has no system turn. Tools are told in the system turn;
    calls and results travel as JSON between tags, results inside a user turn (report 11.4).
    """
    return _TEMPLATE.replace("DEFAULT", json.dumps(default_system or "", ensure_ascii=False)).replace(
        "HEAD", json.dumps(TOOLS_HEAD)
    )


_TEMPLATE = """\
{%- set first = 1 if messages[0].role == 'system' else 0 %}
{%- set system = (messages[0].content or '') if first else DEFAULT %}
{%- if first or system or tools %}
    {{- '<|im_start|>system\\n' + system }}
    {%- if tools %}
        {{- ('\\n\\n' if system else '') + HEAD }}
        {%- for tool in tools %}
            {%- set function = tool.function if tool.function is defined else tool %}
            {%- set schema = function.parameters or {} %}
            {{- '\\n' + function.name + '(' }}
            {%- if schema.keys() | reject('in', ['type', 'properties', 'required']) | list %}
                {{- schema | tojson }}
            {%- else %}
                {%- for name, part in (schema.properties or {}).items() %}
                    {{- (', ' if not loop.first else '') + name + ('' if name in (schema.required or []) else '?') + ': ' }}
                    {{- part.type if part.keys() | list == ['type'] and part.type is string else part | tojson }}
                {%- endfor %}
            {%- endif %}
            {{- '): ' + (function.description or '') }}
        {%- endfor %}
        {{- '\\n</tools>' }}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages[first:] %}
    {%- if message.role == 'tool' %}
        {{- '\\n' if loop.previtem is defined and loop.previtem.role == 'tool' else '<|im_start|>user\\n' }}
        {{- '<tool_response>\\n' + (message.content or '') + '\\n</tool_response>' }}
        {%- if loop.last or loop.nextitem.role != 'tool' %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + (message.content or '') }}
        {%- for call in message.tool_calls or [] %}
            {{- '\\n' if message.content or not loop.first else '' }}
            {{- '<tool_call>\\n{"name": ' }}{{- call.function.name | tojson }}{{- ', "arguments": ' }}
            {{- call.function.arguments if call.function.arguments is string else call.function.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
CHATML_TEMPLATE = chatml_template(DEFAULT_SYSTEM)
