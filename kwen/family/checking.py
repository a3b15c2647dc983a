"""From a YAML file and `--set` to validated settings, with errors in the user's own terms.

    file: YAML (no key twice) -> overrides by dotted path -> pydantic (frozen, no unknown keys) -> settings
                                                                  |
                                            one line: file, full path, what is wrong, the nearest right name
"""

import difflib
import json
import re
import types
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from kwen.errors import UserError

Settings = TypeVar("Settings", bound=BaseModel)

_EXPECTED = {
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "text",
    "a valid boolean": "true or false",
    "a valid list": "a list",
    "a valid array": "a list",
    "a valid tuple": "a list",
    "an object": "a section with keys of its own",
    "a valid path": "a path",
}


class _Loader(yaml.SafeLoader):
    """YAML's safe subset, with `1e-3` read as a number (YAML 1.1 wants a point) and a key that stands twice refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key_node.value} stands twice", key_node.start_mark)
            seen.add(str(key_node.value))
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(text: str, where: str) -> dict[str, Any]:
    """The mapping that `text` holds. UserError with file and line for broken YAML, a repeated key, or no mapping."""
    try:
        value = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{where}, line {line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{where}: not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(value, dict):
        raise UserError(f"{where}: a mapping of keys is expected, such as `name: nano`")
    return value


def override(data: dict[str, Any], assignment: str) -> None:
    """Apply `key=value` to `data`: the key is a dotted path (list items by number), the value is YAML.

    Sections that are not there yet are made; whether the key is a right one is for the validation to say.
    UserError where there is no `=`, where the value is not YAML, or where the path leads through a plain value.
    """
    path, equals, text = assignment.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise UserError(f"--set {assignment}: write key=value, such as --set base.training.steps=200")
    value = read_yaml(f"value: {text}" if text.strip() else "value: null", f"--set {path}")["value"]
    here: Any = data
    for depth, name in enumerate(names):
        above, last = ".".join(names[:depth]), depth == len(names) - 1
        if isinstance(here, list):
            if not name.isdigit() or int(name) >= len(here):
                raise UserError(f"--set {path}: {above} is a list of {len(here)}; name an item by its number from 0")
            key: Any = int(name)
        elif isinstance(here, dict):
            key = name
            here.setdefault(key, {})
        else:
            raise UserError(f"--set {path}: {above} is the plain value {here!r} and has no keys")
        if last:
            here[key] = value
        elif here[key] is None:
            here[key] = {}
        here = here[key]


def validate(
    kind: type[Settings],
    data: Mapping[str, Any],
    where: str,
    written: Callable[[str], str] = str,
    lifted: Collection[str] = (),
) -> Settings:
    """`data` as `kind`. UserError in one line for the first thing that is wrong, unknown keys before all others.

    `written` gives the path under which the user wrote what stands at a path of `data` now; the keys of sections whose
    name is in `lifted` may be written in the section above.
    """
    try:
        # JSON in strict mode takes a list for a tuple and text for a path, but no text for a number and no 1 for true.
        return kind.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as failure:
        errors = failure.errors(include_url=False, include_context=False)
    lines: dict[str, str] = {}
    # A list with a bad item is also said to be too short: what an inner error explains is left out.
    inner = {error["loc"][:end] for error in errors for end in range(len(error["loc"]))}
    errors = [error for error in errors if error["loc"] not in inner]
    for error in sorted(errors, key=lambda error: error["type"] != "extra_forbidden"):
        path, options = _place(kind, error["loc"], error["type"] == "extra_forbidden")
        shown = written(path)
        heads = tuple(f"{name}." for name in lifted)
        options += [option.partition(".")[2] for option in options if option.startswith(heads)]
        wanted = _expected(str(error["msg"]))
        if error["type"] == "extra_forbidden":
            lines[shown] = f"{shown} is not a key; {_suggestion(shown, options)}"
        elif error["type"] == "missing":
            lines[shown] = f"{shown} is missing; add it"
        elif shown in lines and wanted not in lines[shown]:
            lines[shown] += f" or {wanted}"
        else:
            value = json.dumps(error["input"], ensure_ascii=False, default=str)
            lines.setdefault(shown, f"{shown} is {value if len(value) <= 60 else value[:57] + '...'}; expected {wanted}")
    first, *others = lines.values()
    more = f" (and {len(others)} more)" if others else ""
    raise UserError(f"{where}: {first}{more}")


def _expected(message: str) -> str:
    text = message.removeprefix("Value error, ").removeprefix("Assertion failed, ").removeprefix("Input should be ")
    return _EXPECTED.get(text, text)


def _suggestion(path: str, options: Sequence[str]) -> str:
    parent, _, name = path.rpartition(".")
    prefix = f"{parent}." if parent else ""
    siblings = [option for option in options if "." not in option]
    near = difflib.get_close_matches(name, siblings, n=1, cutoff=0.5)
    if not near:
        # The right name may stand one section deeper: base.steps for base.training.steps.
        deeper = {option.rpartition(".")[2]: option for option in reversed(options) if "." in option}
        near = [deeper[match] for match in difflib.get_close_matches(name, list(deeper), n=1, cutoff=0.6)]
    return f"did you mean {prefix}{near[0]}?" if near else f"the keys of {parent or 'a recipe'} are {', '.join(siblings)}"


def _place(kind: type[BaseModel], loc: Sequence[str | int], unknown: bool) -> tuple[str, list[str]]:
    """The dotted path that a pydantic location stands for, without the names of union members, and the keys known there."""
    names: list[str] = []
    here: list[Any] = [kind]
    for index, element in enumerate(loc):
        if unknown and index == len(loc) - 1:
            names.append(str(element))
            break
        below = [child for annotation in here for child in _children(annotation, element)]
        if below:
            names.append(str(element))
            here = [member for annotation in below for member in _members(annotation)]
        else:
            # A union member's tag: keep the members that carry it.
            here = [annotation for annotation in here if _carries(annotation, element)] or here
    return ".".join(names), [path for annotation in here for path in _paths(annotation)]


def _members(annotation: Any) -> Iterator[Any]:
    """The alternatives of an annotation, with `Annotated`, `Optional` and unions taken apart."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _members(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _children(annotation: Any, element: str | int) -> list[Any]:
    if _is_model(annotation):
        fields = annotation.model_fields
        return [field.annotation for name, field in fields.items() if element in (name, field.alias)]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (list, tuple, Sequence) and isinstance(element, int) and arguments:
        return [arguments[0]]
    if origin in (dict, Mapping) and len(arguments) == 2:
        return [arguments[1]]
    return []


def _carries(annotation: Any, tag: str | int) -> bool:
    if not _is_model(annotation):
        return False
    literals = (field.annotation for field in annotation.model_fields.values() if get_origin(field.annotation) is Literal)
    return annotation.__name__ == tag or any(tag in get_args(literal) for literal in literals)


def _paths(annotation: Any, depth: int = 2) -> Iterator[str]:
    """The keys of a settings class, then those of its sections as `section.key`."""
    if not _is_model(annotation):
        return
    fields = {field.alias or name: field.annotation for name, field in annotation.model_fields.items()}
    yield from fields
    if depth > 1:
        for name, below in fields.items():
            yield from (f"{name}.{path}" for member in _members(below) for path in _paths(member, depth - 1) if "." not in path)
