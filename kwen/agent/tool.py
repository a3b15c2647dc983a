"""A tool: something a model may call by name with JSON arguments, and that answers with text, images and files.

Whatever happens inside a tool, `Tool.run` comes back with a `ToolResult` that a model can read: wrong arguments, an exception,
a call that does not end in time and an answer without end all become one short text.
"""

import inspect
import re
import threading
import typing
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pydantic
import pydantic_core

from kwen.agent.docstrings import describe
from kwen.errors import UserError

_NAME = re.compile(r"[\w.:/-]{1,64}")
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class File:
    """A file that a tool made: its name, relative to where it was made, and its bytes."""

    name: str
    data: bytes
    __pydantic_config__ = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


@dataclass(frozen=True)
class ToolResult:
    """What a tool gives back. `error` says that `text` tells what went wrong; images are PNG bytes."""

    text: str = ""
    images: tuple[bytes, ...] = ()
    files: tuple[File, ...] = ()
    error: bool = False


class Tool:
    """A name, a description and a JSON schema for the model; a function of the arguments behind them.

    call: takes the arguments as a dict and returns a str, a ToolResult, PNG bytes, or any value that JSON can tell.
    timeout_s: how long a call may take. It runs in a thread of its own; one that takes longer is abandoned: the model is told,
        the thread goes on in the background until it ends by itself or the process does, and its result is dropped. None: the
        call runs in the caller's thread and keeps its own limit.
    max_characters: longer text is cut in the middle, with a mark.
    Raises UserError for a name that a call format cannot carry, or a schema that is not one of an object.
    """

    def __init__(
        self,
        name: str,
        description: str,
        parameters: Mapping[str, Any],
        call: Callable[[dict[str, Any]], Any],
        *,
        timeout_s: float | None = 30.0,
        max_characters: int = 8000,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise UserError(f"tool {name!r}: a name has 1 to 64 letters, digits or _ - . : /; name the tool so")
        if parameters.get("type", "object") != "object":
            raise UserError(f"tool {name}: its parameters must be a JSON schema of type object, not {parameters.get('type')!r}")
        self.name, self.description = name, description
        self.parameters: dict[str, Any] = {"type": "object", "properties": {}, **parameters}
        self.timeout_s, self.max_characters = timeout_s, max_characters
        self._call = call

    @classmethod
    def of(
        cls,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout_s: float | None = 30.0,
        max_characters: int = 8000,
    ) -> "Tool":
        """The tool that a typed function with a docstring is; coroutine functions too.

        The docstring's first paragraph is the description, its lines on arguments (Google, NumPy, reST) describe them.
        Arguments are checked and converted by pydantic before the call. Raises UserError for a parameter without a type or of
        a type that JSON cannot carry, `*args`, `**kwargs`, or a name that no call format can carry.
        """
        called = name or str(getattr(function, "__name__", type(function).__name__))
        summary, about = describe(inspect.getdoc(function))
        signature, model = _arguments_model(function, called, about)
        fields = {parameter: f"field_{index}" for index, parameter in enumerate(signature.parameters)}

        def call(arguments: dict[str, Any]) -> Any:
            try:
                checked = model.model_validate(arguments)
            except pydantic.ValidationError as error:
                return ToolResult(_wrong_arguments(error, schema), error=True)
            positional, keyword = [], {}
            for parameter in signature.parameters.values():
                value = getattr(checked, fields[parameter.name])
                if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                    positional.append(value)
                else:
                    keyword[parameter.name] = value
            result = function(*positional, **keyword)
            if inspect.iscoroutine(result):
                import asyncio  # only tools that wait need it

                return asyncio.run(result)
            return result

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", pydantic.json_schema.PydanticJsonSchemaWarning)  # odd defaults
                schema = _without_titles(model.model_json_schema())
        except pydantic.errors.PydanticInvalidForJsonSchema as error:
            problem = f"a parameter's type has no JSON form ({_first_line(error)})"
            raise UserError(f"tool {called}: {problem}; use plain types") from None
        return cls(called, description or summary, schema, call, timeout_s=timeout_s, max_characters=max_characters)

    def definition(self) -> dict[str, Any]:
        """The tool in OpenAI's form, as chat templates show it to a model."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}

    def run(self, arguments: dict[str, Any]) -> ToolResult:
        """Call the tool; never raises for what the tool does."""
        if self.timeout_s is None:
            return self._answer(arguments)
        box: list[ToolResult] = []
        thread = threading.Thread(target=lambda: box.append(self._answer(arguments)), name=f"tool {self.name}", daemon=True)
        thread.start()
        thread.join(self.timeout_s)
        if not box:
            return ToolResult(f"error: {self.name} did not answer within {self.timeout_s:g} s; the call was given up", error=True)
        return box[0]

    def _answer(self, arguments: dict[str, Any]) -> ToolResult:
        try:
            result = _result(self._call(arguments))
        except KeyboardInterrupt:
            raise
        except UserError as error:
            result = ToolResult(f"error: {_clean(str(error))}", error=True)
        except BaseException as error:  # a tool that exits must not take the agent with it, nor print from its thread
            result = ToolResult(f"error: {type(error).__name__}: {_clean(str(error))}", error=True)
        return ToolResult(cut(result.text, self.max_characters), result.images, result.files, result.error)


def cut(text: str, limit: int) -> str:
    """`text` if it has at most `limit` characters; else its beginning and its end around a mark that says how much is missing."""
    if len(text) <= limit:
        return text
    head, tail = limit * 3 // 4, limit // 4
    return f"{text[:head]}\n[{len(text) - head - tail:,} of {len(text):,} characters left out here]\n{text[len(text) - tail :]}"


def _result(value: Any) -> ToolResult:
    if isinstance(value, bytes) and value.startswith(_PNG):
        value = ToolResult("(an image)", images=(value,))
    if isinstance(value, ToolResult):
        return ToolResult(_clean(value.text), tuple(value.images), tuple(value.files), value.error)
    if value is None:
        return ToolResult("done")
    return ToolResult(_clean(value if isinstance(value, str) else pydantic_core.to_json(value, fallback=str).decode()))


def _clean(text: str) -> str:
    """Text that UTF-8 can carry."""
    return text.encode(errors="replace").decode()


def _arguments_model(
    function: Callable[..., Any], name: str, about: dict[str, str]
) -> tuple[inspect.Signature, type[pydantic.BaseModel]]:
    """The function's signature, and a model with a field (aliased to its name) for each parameter."""
    try:
        signature = inspect.signature(function)
        target = function if inspect.isroutine(function) or inspect.isclass(function) else type(function).__call__
        hints = typing.get_type_hints(target, include_extras=True)
    except (TypeError, ValueError, NameError) as error:
        raise UserError(f"tool {name}: its signature cannot be read ({_first_line(error)})") from None
    fields: dict[str, Any] = {}
    for index, (parameter, declared) in enumerate(signature.parameters.items()):
        if declared.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            stars = "*" if declared.kind is inspect.Parameter.VAR_POSITIONAL else "**"
            raise UserError(f"tool {name}: {stars}{parameter} has no names to call it by; give every parameter a name and a type")
        if parameter not in hints:
            raise UserError(f"tool {name}: parameter {parameter} has no type; write it as {parameter}: int, str, ...")
        default = ... if declared.default is inspect.Parameter.empty else declared.default
        fields[f"field_{index}"] = (hints[parameter], pydantic.Field(default, alias=parameter, description=about.get(parameter)))
    try:
        model = pydantic.create_model("Arguments", __config__=pydantic.ConfigDict(extra="forbid"), **fields)
    except (pydantic.errors.PydanticUserError, pydantic.errors.PydanticUndefinedAnnotation) as error:
        raise UserError(f"tool {name}: a parameter's type cannot be checked ({_first_line(error)}); use plain types") from None
    return signature, model


def _wrong_arguments(error: pydantic.ValidationError, schema: Mapping[str, Any]) -> str:
    """What is wrong with which argument, and what the tool takes, in one line."""
    problems = []
    for item in error.errors(include_url=False, include_context=False):
        place = ".".join(str(part) for part in item["loc"]) or "the arguments"
        if item["type"] == "missing":
            problems.append(f"{place} is missing")
        elif item["type"] == "extra_forbidden":
            problems.append(f"{place} is no argument of this tool")
        else:
            problems.append(f"{place} {_lower(item['msg'].removeprefix('Input '))}, not {cut(repr(item['input']), 80)}")
    required = set(schema.get("required", ()))
    takes = ", ".join(
        f"{name}: {_type_name(part)}{'' if name in required else ' (optional)'}"
        for name, part in schema.get("properties", {}).items()
    )
    return f"error: wrong arguments: {'; '.join(problems[:5])}. The arguments are {takes or 'none'}"


def _type_name(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(repr, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(_type_name(part) for part in schema["anyOf"])
    if schema.get("type") == "array":
        return f"array of {_type_name(schema.get('items', {}))}"
    return str(schema.get("type", schema.get("$ref", "any").rsplit("/", 1)[-1]))


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _without_titles(schema: Any, inside_names: bool = False) -> Any:
    """The schema without the titles that pydantic makes up; a property may be called title."""
    if isinstance(schema, list):
        return [_without_titles(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if inside_names:
        return {name: _without_titles(item) for name, item in schema.items()}
    return {
        key: item if key in ("default", "enum", "const", "examples") else _without_titles(item, key in ("properties", "$defs"))
        for key, item in schema.items()
        if key != "title"
    }
