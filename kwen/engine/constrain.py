"""Constrained decoding: grammars that an answer, or each tool call in it, is certain to follow.

A request with a grammar samples only from the tokens with which its text can still become a sentence of the grammar; stop
tokens are among them exactly where the text is one already. The work is llguidance's (an Earley parser over a lexer of
regex derivatives); this module writes the grammars, `kwen.engine.constrain_matcher` runs them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kwen.engine.constrain_matcher import refusal, regex_source
from kwen.engine.constrain_schema import prepare
from kwen.errors import UserError
from kwen.text.messages import validate_tools

CallFormat = Literal["hermes", "react"]

_LONGEST = 1_000_000  # characters of a grammar's text
# One line of thought before the action of a call that is required: so long that it can say why, and it must end.
_THOUGHT = 400
# What json.dumps and chat templates print, and so what models were trained on.
_CALL_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_JSON_CLOSERS = '}]":'  # the colon tells where a string is open
# One space, or a new line with its indentation, wherever JSON lets whitespace stand.
_JSON_LAYOUT = {"whitespace_pattern": r" |\n {0,32}"}


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an answer may be; immutable, hashable, and compiled once for each tokenizer however many requests share it.

    Made by `from_json_schema`, `from_regex`, `from_lark` or `tool_calls`, which raise UserError in one line for what cannot
    be expressed or is too large, and where llguidance (the extra "agent") is missing. `kind` says what it was made from.
    closers: characters that end what is open, those that end most of it first. A request whose tokens are nearly used up
    writes these wherever they may stand, so that what it began is whole at its end.
    """

    kind: str
    source: str = field(repr=False)
    closers: str = ""

    @classmethod
    def from_json_schema(cls, schema: Mapping[str, Any] | bool | str) -> "Grammar":
        """JSON that is valid under `schema`: a JSON schema (draft 2020-12) as an object or as JSON text.

        Properties come in the order of the schema. An object that names its properties has no others unless the schema asks
        for them (`additionalProperties`). Formats that no grammar knows are notes, as the standard has it; other keywords
        that no grammar can express are refused.
        """
        prepared = prepare(schema, "JSON schema")
        return cls._checked("JSON schema", _json_source(prepared, _JSON_LAYOUT), _JSON_CLOSERS)

    @classmethod
    def from_regex(cls, pattern: str) -> "Grammar":
        """Text that `pattern` matches as a whole: the syntax of Rust's regex crate, no look-around and no back-references."""
        return cls._checked("regular expression", regex_source(pattern))

    @classmethod
    def from_lark(cls, text: str) -> "Grammar":
        """Text of the context-free grammar `text`, in llguidance's variant of Lark with the start rule `start`."""
        if not isinstance(text, str):
            raise UserError(f"Lark grammar: must be text, not {type(text).__name__}")
        return cls._checked("Lark grammar", json.dumps({"grammars": [{"lark_grammar": text}]}))

    @classmethod
    def tool_calls(
        cls,
        definitions: Sequence[Mapping[str, Any]],
        format: CallFormat,
        required: bool = False,
        name: str | None = None,
        parallel: bool = True,
    ) -> "Grammar":
        """Free text, in which a call that begins is a call of one of `definitions` with arguments valid by its schema.

        definitions: OpenAI's tool definitions. In the format "hermes" a call begins with `<tool_call>` and a new line, is one
        JSON object of name and arguments laid out as templates print it, and ends with a new line and `</tool_call>`; after
        it come only further calls (none where `parallel` is false), since what a tool says is not the model's to write. In
        "react" a call begins with a line's `Action:` and ends with the arguments of `Action Input:`, one call a turn.
        required: the answer is a call (in "react" after one line of thought at most). name: the one tool that must be called.
        Raises UserError naming the tool whose schema no grammar can express.
        """
        functions = _functions(definitions)
        if format not in ("hermes", "react"):
            raise UserError(f"tool calls: the format {format!r} is unknown; use 'hermes' or 'react'")
        if name is not None:
            if name not in functions:
                raise UserError(f"tool calls: there is no tool {name!r}; these exist: {', '.join(functions)}")
            functions, required = {name: functions[name]}, True
        schemas = {tool: _arguments(tool, parameters) for tool, parameters in functions.items()}
        write = _hermes if format == "hermes" else _react
        lines = [*write(list(schemas), required, parallel)]
        for number, schema in enumerate(schemas.values()):
            lines.append(f"arguments_{number}: %json {json.dumps({**schema, 'x-guidance': _CALL_LAYOUT})}")
        closers = _JSON_CLOSERS if format == "hermes" else "\n" + _JSON_CLOSERS  # a thought's line ends before its call
        return cls._checked("tool calls", json.dumps({"grammars": [{"lark_grammar": "\n".join(lines)}]}), closers)

    @classmethod
    def _checked(cls, kind: str, source: str, closers: str = "") -> "Grammar":
        if len(source) > _LONGEST:
            raise UserError(f"{kind}: {len(source):,} characters; a grammar holds {_LONGEST:,} at most")
        if reason := refusal(source):
            raise UserError(f"{kind}: {reason}")
        return cls(kind, source, closers)


def _json_source(schema: dict[str, Any], layout: dict[str, Any]) -> str:
    return json.dumps({"grammars": [{"json_schema": {**schema, "x-guidance": layout}}]})


def _functions(definitions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Name -> parameters of each tool."""
    functions: dict[str, Any] = {}
    for tool in validate_tools(definitions) or []:
        function = tool.get("function", tool)
        if function["name"] in functions:
            raise UserError(f"tool calls: two tools are named {function['name']!r}; names must differ")
        functions[function["name"]] = function.get("parameters")
    if not functions:
        raise UserError("tool calls: there are no tools; give at least one definition")
    return functions


def _arguments(tool: str, parameters: Any) -> dict[str, Any]:
    """The schema of a tool's arguments, which are always an object."""
    where = f"tool {tool}: parameters"
    if parameters is not None and not isinstance(parameters, Mapping):
        raise UserError(f"{where}: must be a JSON schema of an object, not {type(parameters).__name__}")
    schema = {"type": "object", "properties": {}} if not parameters else {"type": "object", **parameters}
    if schema["type"] != "object":
        raise UserError(f"{where}: arguments are an object; the schema's type is {schema['type']!r}")
    prepared = prepare(schema, where)
    if reason := refusal(_json_source(prepared, _CALL_LAYOUT)):
        raise UserError(f"{where}: {reason}")
    return prepared


def _hermes(names: list[str], required: bool, parallel: bool) -> list[str]:
    """Rules of the format of Hermes and Qwen 2.5 and 3: calls between tags."""
    heads = [json.dumps(f'\n{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": ') for name in names]
    calls = [f'{head} arguments_{number} "}}\\n</tool_call>"' for number, head in enumerate(heads)]
    return [
        *_start("<tool_call>" if required else "(?s:.*)<tool_call>", required, "(again* NEWLINE?)" if parallel else ""),
        r'again: "\n<tool_call>" call',
        r'NEWLINE: "\n"',
        f"call: {' | '.join(calls)}",
    ]


def _react(names: list[str], required: bool, parallel: bool) -> list[str]:
    """Rules of ReAct as Qwen writes it (report 8.2): the name, and the arguments on the next line; always one call."""
    for name in names:
        if name != name.strip() or "\n" in name:
            raise UserError(f"tool {name!r}: ReAct writes a name on one line; use one without spaces around it")
    calls = [f"{json.dumps(f' {name}' + chr(10) + 'Action Input: ')} arguments_{number}" for number, name in enumerate(names)]
    head = rf"([^\n]{{0,{_THOUGHT}}}\n)?Action:" if required else r"((?s:.*)\n)?Action:"
    return [*_start(head, required, ""), f"call: {' | '.join(calls)}"]


def _start(head: str, required: bool, after: str) -> list[str]:
    """`head` is lazy: it ends where a call first begins, and from there on the text is not free any more."""
    call = f"head call {after}"
    free = [] if required else ["TEXT: /(?s:.*)/"]
    return [f"start: {call if required else f'TEXT | {call}'}", *free, f"head[lazy]: /{head}/"]
