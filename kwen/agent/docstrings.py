"""What a docstring says about a function and its parameters, in Google's, NumPy's or reST's form."""

import inspect
import re

_GOOGLE_HEAD = re.compile(r"(?:Args|Arguments|Parameters):\s*$")
_GOOGLE_LINE = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")
_NUMPY_LINE = re.compile(r"\*{0,2}(\w+(?:\s*,\s*\w+)*)\s*(?::.*)?$")
_REST_LINE = re.compile(r":(?:param|parameter|arg|argument)\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.*)$")


def describe(docstring: str | None) -> tuple[str, dict[str, str]]:
    """(the first paragraph on one line, parameter name -> description); empty where nothing is said."""
    if not docstring or not docstring.strip():
        return "", {}
    lines = inspect.cleandoc(docstring).splitlines()
    first: list[str] = []
    for index, line in enumerate(lines):
        if not line.strip() or _starts_section(lines, index):
            break
        first.append(line.strip())
    return " ".join(first), _google(lines) | _numpy(lines) | _rest(lines)


def _starts_section(lines: list[str], index: int) -> bool:
    line = lines[index]
    underlined = index + 1 < len(lines) and set(lines[index + 1].strip()) == {"-"}
    return bool(_GOOGLE_HEAD.match(line) or _REST_LINE.match(line)) or underlined


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _google(lines: list[str]) -> dict[str, str]:
    """`Args:` and below it, indented, `name (type): text` with further lines indented more."""
    found: dict[str, list[str]] = {}
    inside, depth, name = False, 0, ""
    for line in lines:
        if _GOOGLE_HEAD.match(line):
            inside, depth, name = True, 0, ""
        elif inside and line.strip():
            indent = _indent(line)
            if indent == 0:
                inside = False
                continue
            depth = depth or indent
            match = _GOOGLE_LINE.match(line.strip()) if indent == depth else None
            if match:
                name = match[1]
                found[name] = [match[2]]
            elif name:
                found[name].append(line.strip())
    return _joined(found)


def _numpy(lines: list[str]) -> dict[str, str]:
    """`Parameters` underlined, then `name : type` with its text indented below."""
    found: dict[str, list[str]] = {}
    inside = False
    names: list[str] = []
    for index, line in enumerate(lines):
        if index + 1 < len(lines) and line.strip() and set(lines[index + 1].strip()) == {"-"}:
            inside, names = line.strip() in ("Parameters", "Other Parameters"), []
        elif inside and line.strip() and set(line.strip()) != {"-"}:
            match = _NUMPY_LINE.match(line) if _indent(line) == 0 else None
            if match:
                names = [name.strip() for name in match[1].split(",")]
            elif _indent(line):
                for name in names:
                    found.setdefault(name, []).append(line.strip())
    return _joined(found)


def _rest(lines: list[str]) -> dict[str, str]:
    """`:param type name: text`, further lines indented."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in lines:
        if match := _REST_LINE.match(line.strip()):
            name = match[1]
            found[name] = [match[2]]
        elif name and line.strip() and _indent(line) and not line.strip().startswith(":"):
            found[name].append(line.strip())
        else:
            name = ""
    return _joined(found)


def _joined(found: dict[str, list[str]]) -> dict[str, str]:
    return {name: text for name, parts in found.items() if (text := " ".join(part for part in parts if part))}
