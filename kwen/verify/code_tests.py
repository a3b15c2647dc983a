"""Code answers: finding the code in a text, and running tests on it in the sandbox."""

import ast
import importlib.util
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from kwen.errors import UserError
from kwen.progress import Progress, silent
from kwen.sandbox import run_many
from kwen.verify import harness

_PYTHON_LABELS = ("", "python", "python3", "py", "python2", "pycon")
_DEFINITIONS = ("def ", "async def ", "class ")
# Imported once per jail instead of once per program: what small programs use most.
_COMMON_MODULES = "typing, collections, math, re, itertools, functools, heapq, string"


def extract_code(text: str, entry_point: str | None = None) -> str:
    """The code in a model's answer: a fenced block (``` or ~~~, closed or not), else the whole text.

    Of several blocks the last that defines `entry_point` counts; without one, or where none does, the last that defines a
    function or class at its top level; else the last. Blocks labelled as another language count only if there is no other.
    """
    blocks = fenced_blocks(text)
    python = [code for label, code in blocks if label in _PYTHON_LABELS] or [code for _, code in blocks]
    if not python:
        return text
    if entry_point:
        named = (f"def {entry_point}(", f"async def {entry_point}(", f"class {entry_point}(", f"class {entry_point}:")
        if defining := [code for code in python if any(line.lstrip().startswith(named) for line in code.splitlines())]:
            return defining[-1]
    defining = [code for code in python if any(line.startswith(_DEFINITIONS) for line in code.splitlines())]
    return (defining or python)[-1]


def fenced_blocks(text: str) -> list[tuple[str, str]]:
    """(label in lower case, code) of each fenced block (CommonMark 4.5); an indented fence takes its indent off its lines."""
    blocks: list[tuple[str, str]] = []
    lines: list[str] = []
    fence, indent, label = "", 0, ""
    for line in text.splitlines(keepends=True):
        bare = line.strip()
        if not fence:
            mark = bare[:1]
            length = len(bare) - len(bare.lstrip(mark)) if mark in ("`", "~") else 0
            info = bare[length:].strip()
            if length >= 3 and "`" not in info:
                fence, indent = mark * length, len(line) - len(line.lstrip())
                label, lines = (info.split() or [""])[0].lower(), []
        elif bare.startswith(fence) and not bare.strip(fence[0]):
            blocks.append((label, "".join(lines)))
            fence = ""
        else:
            lines.append(line[min(indent, len(line) - len(line.lstrip(" "))) :])
    if fence:
        blocks.append((label, "".join(lines)))
    return blocks


def passes(
    candidates: Sequence[tuple[str, str]],
    timeout_s: float = 5.0,
    memory_mb: int = 512,
    workers: int | None = None,
    unsafe: bool = False,
    progress: Progress = silent,
) -> list[bool]:
    """Whether each (code, tests) passes: the code runs as a module, then the tests with its names; both within `timeout_s`.

    `tests` is trusted Python text with asserts (for HumanEval: its `check` and the call of it). A pass is a random token on
    stdout that the harness reads, after the last test, from a pipe; so none of these is a pass: leaving early (sys.exit,
    os._exit, a signal) from the module or from a function, any print, a caught or replaced AssertionError, a failed test in a
    thread or an exit handler. Guarded too: replaced builtins and replaced functions of modules that the tests import (both are
    put back before the tests), builtins shadowed by an assignment (the tests see only functions and classes by such names),
    objects that claim to equal everything, at the top of a value or inside plain containers.

    Not guarded: code that walks the interpreter's own frames, or tries every file descriptor, to find the harness and its
    token, and objects whose other operators lie (`abs(x - 3) < 1e-6` with a class of its own). Code and tests share one
    process, so code written against this very harness can win; treat a pass as a measurement of a model, not as a proof.
    Nothing that it does reaches another candidate's verdict (`kwen.sandbox.run_many`).

    Raises UserError for tests that are not Python, naming their index, and where there is no sandbox.
    """
    prelude = f"import {_COMMON_MODULES}\n{Path(harness.__file__).read_text(encoding='utf-8')}"
    tokens = [secrets.token_bytes(16).hex() for _ in candidates]
    inputs = []
    for index, ((code, tests), token) in enumerate(zip(candidates, tokens, strict=True)):
        modules, guarded = _prepare(tests, index)
        parts = [part.encode(errors="replace") for part in (" ".join(modules), code, guarded, token)]
        inputs.append(b"".join(b"%d\n%b" % (len(part), part) for part in parts))
    results = run_many(
        ["main()"] * len(inputs), inputs, timeout_s, memory_mb, workers, prelude, unsafe=unsafe, progress=progress
    )
    return [result.stdout == token for result, token in zip(results, tokens, strict=True)]


class _GuardEquality(ast.NodeTransformer):
    """`left == right` becomes `_kwen_same(left, right)`, `left != right` its negation; `imported` are the modules on the way."""

    def __init__(self) -> None:
        self.imported: list[str] = []

    def visit_Import(self, node: ast.Import) -> ast.Import:
        """`import a, b`."""
        self.imported += [alias.name for alias in node.names]
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        """`from a import b`."""
        if node.module and not node.level:
            self.imported.append(node.module)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        """One comparison; chains stay as they are."""
        self.generic_visit(node)
        if len(node.ops) != 1 or not isinstance(node.ops[0], ast.Eq | ast.NotEq):
            return node
        call = ast.Call(ast.Name("_kwen_same", ast.Load()), [node.left, node.comparators[0]], [])
        return call if isinstance(node.ops[0], ast.Eq) else ast.UnaryOp(ast.Not(), call)


def _prepare(tests: str, index: int) -> tuple[list[str], str]:
    """The standard library's modules that the tests import, and the tests with guarded comparisons."""
    try:
        tree = ast.parse(tests)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UserError(f"code tests: the tests of candidate {index} are not Python ({error}): correct the data set") from None
    guard = _GuardEquality()
    guarded = ast.unparse(guard.visit(tree))
    names = dict.fromkeys(guard.imported)
    return [name for name in names if name.split(".")[0] in sys.stdlib_module_names and _exists(name)], guarded


def _exists(module: str) -> bool:
    """Whether this interpreter can find a module of the standard library."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
