"""Real English and code that every machine has: the running interpreter's own documentation and standard library source.

Nothing of the library is run: docstrings are read from the source, and only modules that are part of the interpreter's binary
are looked into. The texts differ between Python versions, so `interpreter_version` belongs to what a corpus is made from.
"""

import ast
import hashlib
import importlib
import inspect
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kwen.errors import UserError

# Tests, tables of constants, demonstrations, and what an installation adds: not the prose and code that one would read.
# fmt: off
SKIPPED_FOLDERS = frozenset([
    "test", "tests", "idle_test", "lib2to3", "encodings", "pydoc_data", "turtledemo", "lib-dynload", "__pycache__",
    "site-packages", "dist-packages",
])
# fmt: on


class Text(NamedTuple):
    """A text of the interpreter and the label that it goes by."""

    label: str
    text: str


def interpreter_version() -> str:
    """Implementation and version in one line, such as `cpython 3.11.9`."""
    return f"{sys.implementation.name} {sys.version.split()[0]}"


def documentation() -> Iterator[Text]:
    """Topics of the language reference, then docstrings module by module, in an order that labels alone decide."""
    names: dict[str, Path | None] = {f"module/{name}": path for name, path in _library_files()}
    # What sys holds depends on the program that runs (hooks are replaced), so it is no document.
    names |= {f"builtin/{name}": None for name in sys.builtin_module_names if not name.startswith("_") and name != "sys"}
    topics = _topics()
    for label in _scattered([*names, *topics]):
        if label in topics:
            text = topics[label]
        elif path := names[label]:
            text = _docstrings_of_source(label.removeprefix("module/").removesuffix(".py"), path)
        else:
            text = _docstrings_of_builtin(label.removeprefix("builtin/"))
        if text:
            yield Text(f"documentation/{label}", text)


def source_code() -> Iterator[Text]:
    """The standard library's Python files, in an order that labels alone decide."""
    files = dict(_library_files())
    for label in _scattered(list(files)):
        yield Text(f"source/{label}", files[label].read_text(encoding="utf-8", errors="replace"))


def _scattered(labels: list[str]) -> list[str]:
    """`labels` in the order of their hashes: a budget that takes the first ones takes a fair sample, not the letter a."""
    return sorted(labels, key=lambda label: hashlib.sha256(label.encode()).digest())


def _library_files() -> list[tuple[str, Path]]:
    root = Path(sysconfig.get_paths()["stdlib"])
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS and not name.startswith("config-")]
        # _sysconfigdata holds the paths and flags of the machine that built the interpreter.
        paths = [Path(folder, name) for name in names if name.endswith(".py") and not name.startswith("_sysconfigdata")]
        found += [(path.relative_to(root).as_posix(), path) for path in paths]
    if not found:
        raise UserError(f"{root}: this interpreter has no standard library source; remove the interpreter source")
    return sorted(found)


def _topics() -> dict[str, str]:
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except ImportError:
        # Some distributions package the topics apart.
        return {}
    return {f"topic/{name}": text for name, text in topics.items()}


def _docstrings_of_source(name: str, path: Path) -> str:
    """A module's docstring, then each public function and class with its signature and docstring."""
    with warnings.catch_warnings():
        # Old escapes in the library's strings are not the user's business.
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            return ""
    pieces = [ast.get_docstring(tree) or "", *_documented(tree, "")]
    body = "\n\n".join(piece for piece in pieces if piece)
    return f"Module {name.replace('/', '.').removesuffix('.__init__')}\n\n{body}" if body else ""


def _documented(node: ast.AST, owner: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or child.name.startswith("_"):
            continue
        docstring = ast.get_docstring(child)
        if isinstance(child, ast.ClassDef):
            signature = f"class {owner}{child.name}"
        else:
            signature = f"{owner}{child.name}({ast.unparse(child.args)})"
        if docstring:
            yield f"{signature}\n\n{docstring}"
        if isinstance(child, ast.ClassDef):
            yield from _documented(child, f"{owner}{child.name}.")


def _docstrings_of_builtin(name: str) -> str:
    module = importlib.import_module(name)
    pieces = [inspect.getdoc(module) or ""]
    for key, value in sorted(vars(module).items()):
        if key.startswith("_"):
            continue
        if inspect.isbuiltin(value) or inspect.isclass(value):
            pieces.append(_documented_object(key, value))
        if inspect.isclass(value):
            members = sorted((k, v) for k, v in vars(value).items() if not k.startswith("_") and callable(v))
            pieces += [_documented_object(f"{key}.{k}", v) for k, v in members]
    body = "\n\n".join(piece for piece in pieces if piece)
    return f"Module {name}\n\n{body}" if body else ""


def _documented_object(name: str, value: object) -> str:
    docstring = getattr(value, "__doc__", None)
    signature = getattr(value, "__text_signature__", None) or ""
    return f"{name}{signature}\n\n{inspect.cleandoc(docstring)}" if isinstance(docstring, str) and docstring.strip() else ""
