"""Running a chat template that nobody here wrote: Jinja in a sandbox, with the names that Hugging Face templates use."""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
import jinja2.ext
from jinja2.compiler import CodeGenerator, Frame
from jinja2.filters import do_join
from jinja2.nodes import CallBlock, Concat, EvalContext, Node
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from kwen.errors import UserError

MAX_TEMPLATE = 1_000_000
_MAX_STRING = 50_000_000
# Methods and filters that make a long string of a short one by a number alone.
_PADDING_METHODS = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs"})
_PADDING_FILTERS = ("center", "format", "indent", "wordwrap", "pprint", "urlize", "xmlattr")

_OUTSIDE_ASCII = re.compile("[^\x00-\x7f\U000f0000-\U000ffffd]")


def run_template(template: str, variables: Mapping[str, Any], max_characters: int) -> str:
    """The text that `template` renders from `variables`, with blocks trimmed as transformers trims them.

    The template sees `tojson` (plain JSON, characters as they are), `raise_exception`, `strftime_now`, loop controls and
    `{% generation %}`. It cannot reach Python objects beyond its variables or change them. Raises UserError with the
    template's own message where it refuses the conversation, and for errors, forbidden access, or more than
    `max_characters` of output.
    """
    parts: list[str] = []
    size = 0
    try:
        for part in _compile(template).generate(variables):
            parts.append(part)
            size += len(part)
            if size > max_characters:
                raise UserError(f"chat template: renders more than {max_characters} characters; it is broken or hostile")
    except UserError:
        raise
    except _FAILURES as error:
        raise _fault(error) from None
    return "".join(parts)


class _GenerationTag(jinja2.ext.Extension):
    """`{% generation %}...{% endgeneration %}` marks assistant text in some templates; its body is rendered as it stands."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller: Macro) -> str:
        return caller()


def _concat(parts: Iterable[str]) -> str:
    """What joins the pieces of blocks, macros and `~`."""
    pieces = list(parts)
    _require_size(sum(map(len, pieces)))
    return "".join(pieces)


class _CodeGenerator(CodeGenerator):
    """Compiles `~` to the environment's own joining, which is bounded; jinja2's is not."""

    def visit_Concat(self, node: Concat, frame: Frame) -> None:
        self.write("environment.concat(map(str, (")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write(")))")


class _Environment(ImmutableSandboxedEnvironment):
    """jinja2's immutable sandbox, which also refuses steps whose result would fill the memory.

    Without this, forty doublings of one string in an otherwise harmless template end the process.
    """

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    code_generator_class = _CodeGenerator
    concat = staticmethod(_concat)  # type: ignore[assignment]

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(owner, str) and name == "replace":
            return _replace(owner, *args)
        if isinstance(owner, str) and name == "join" and len(args) == 1:
            return owner.join(_joinable(args[0], owner))
        return super().call(context, obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
            _require_size(len(left) + len(right))
        elif operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(one, str | list | tuple) and isinstance(other, int):
                    _require_size(len(one) * other)
            if isinstance(left, int) and isinstance(right, int):
                _require_size(left.bit_length() + right.bit_length())
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            _require_size(left.bit_length() * abs(right))
        elif operator == "%" and isinstance(left, str) and re.search(r"\d{4}|\*", left):
            raise jinja2.exceptions.SecurityError("a format with so wide a field is not allowed")
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Any:
        wrapped = super().wrap_str_format(value)
        if wrapped is not None and re.search(r"\d{4}|\{[^{}]*\{", value.__self__):
            raise jinja2.exceptions.SecurityError("a format with so wide a field is not allowed")
        return wrapped

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return not (isinstance(obj, str) and attr in _PADDING_METHODS) and super().is_safe_attribute(obj, attr, value)


_FAILURES = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    MemoryError,
)


def _require_size(size: int) -> None:
    if size > _MAX_STRING:
        raise jinja2.exceptions.SecurityError(f"a value of {size} characters or bits is not allowed")


def _replace(text: Any, old: Any, new: Any, count: int | None = None) -> str:
    """`str.replace`, as method and filter, with its result bounded before it is made."""
    text, old, new = str(text), str(old), str(new)
    _require_size(len(text) + text.count(old) * max(0, len(new) - len(old)))
    return text.replace(old, new, -1 if count is None else count)


def _joinable(items: Any, separator: str) -> list[Any]:
    parts = list(items)
    _require_size(sum(len(str(part)) + len(separator) for part in parts))
    return parts


@jinja2.pass_eval_context
def _join(context: EvalContext, value: Any, d: str = "", attribute: str | int | None = None) -> str:
    """The filter `join`, bounded."""
    return do_join(context, _joinable(value, str(d)), d, attribute)


def _fault(error: BaseException) -> UserError:
    line = getattr(error, "lineno", None)
    what = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"chat template{f', line {line}' if line else ''}: {what[:300]}")


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as transformers' filter of this name prints it: no HTML escapes, characters as they are.

    Private characters (kwen.text.templates puts them in place of marks) stay what they are with `ensure_ascii` too.
    """
    if isinstance(indent, int):
        indent = min(indent, 16)
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys)
    return _OUTSIDE_ASCII.sub(lambda match: json.dumps(match.group())[1:-1], text) if ensure_ascii else text


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(str(message))


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern[:200])


@lru_cache(maxsize=16)
def _compile(template: str) -> jinja2.Template:
    if len(template) > MAX_TEMPLATE:
        raise UserError(f"chat template: {len(template)} characters are too many (limit {MAX_TEMPLATE})")
    environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols])
    for name in _PADDING_FILTERS:
        del environment.filters[name]
    del environment.globals["lipsum"]
    environment.filters["tojson"] = _tojson
    environment.filters["replace"] = _replace
    environment.filters["join"] = _join
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment.from_string(template)
