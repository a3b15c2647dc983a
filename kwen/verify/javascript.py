"""JavaScript answers: finding the code in a text, and running tests on it under node in the sandbox."""

import functools
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from kwen.errors import UserError
from kwen.progress import Progress, silent
from kwen.sandbox import Result, run_many
from kwen.verify.code_tests import fenced_blocks

_LABELS = ("", "javascript", "js", "node", "mjs", "ecmascript")
_HELP = "install it (`apt install nodejs`)"
_HARNESS = Path(__file__).with_name("harness.js")
# The jail starts Python; this makes it node. Most of the address space is left to what node reserves beside its heap.
_LAUNCH = """\
import os
os.execv({node!r}, ["node", "--max-old-space-size={heap}", "--disallow-code-generation-from-strings", "-e", {harness!r}])
"""
MEMORY_MB = 1024
"""The default limit: node reserves some 600 MB of address space before it runs anything."""


def extract_code(text: str, entry_point: str | None = None) -> str:
    """The JavaScript in a model's answer: the last fenced block that defines `entry_point`, else the last, else the whole text.

    Blocks labelled as another language count only if there is no other.
    """
    blocks = fenced_blocks(text)
    known = [code for label, code in blocks if label in _LABELS] or [code for _, code in blocks]
    if not known:
        return text
    if entry_point:
        named = re.compile(rf"(?:function\*?\s+|(?:const|let|var|class)\s+){re.escape(entry_point)}\b")
        if defining := [code for code in known if named.search(code)]:
            return defining[-1]
    return known[-1]


def passes(
    candidates: Sequence[tuple[str, str]],
    timeout_s: float = 5.0,
    memory_mb: int = MEMORY_MB,
    workers: int | None = None,
    unsafe: bool = False,
    progress: Progress = silent,
) -> list[bool]:
    """Whether each (code, tests) passes: the code runs as a script, then the tests with its names; both within `timeout_s`.

    `tests` is trusted text with one `assertEqual(f(3), 9);` a line. Numbers must be equal as with ===, arrays and objects in
    their parts. A pass is a random token on stdout, which node reads from a pipe after the last test; code and tests run in a
    context without anything of node (no require, no process, no timers, no eval), and values are compared outside it. Not
    guarded: a hole in node's contexts, which are no sandbox of their own; but nothing that a candidate does leaves the jail or
    reaches another candidate's verdict.

    Raises UserError where node is missing or does not start in the sandbox, and where there is no sandbox.
    """
    if not candidates:
        return []
    node = find_node()
    if not unsafe:
        _check_node(node)
    tokens = [secrets.token_bytes(16).hex() for _ in candidates]
    inputs = [
        b"".join(b"%d\n%b" % (len(part), part) for part in (text.encode(errors="replace") for text in (code, tests, token)))
        for (code, tests), token in zip(candidates, tokens, strict=True)
    ]
    results = _run(node, inputs, timeout_s, memory_mb, workers, unsafe, progress)
    return [result.stdout == token for result, token in zip(results, tokens, strict=True)]


def find_node() -> str:
    """The path of node's executable. Raises UserError where the PATH has none."""
    found = shutil.which("node") or shutil.which("nodejs")
    if found is None:
        raise UserError(f"javascript: node is not on the PATH: {_HELP}")
    return os.path.realpath(found)


def _run(
    node: str, inputs: Sequence[bytes], timeout_s: float, memory_mb: int, workers: int | None, unsafe: bool, progress: Progress
) -> list[Result]:
    """Feed each input to the harness under node."""
    launch = _LAUNCH.format(node=node, heap=memory_mb // 4, harness=_HARNESS.read_text(encoding="utf-8"))
    show = [path for path in (node, "/usr/share/nodejs") if os.path.exists(path)]  # Debian's node loads some of itself from there
    return run_many([launch] * len(inputs), inputs, timeout_s, memory_mb, workers, show=show, unsafe=unsafe, progress=progress)


@functools.cache
def _check_node(node: str) -> None:
    """Raise UserError where node does not run in the sandbox; asked once a process."""
    code, tests, token = b"const f = (x) => x + 1;", b"assertEqual(f(1), 2);", b"started"
    asked = b"".join(b"%d\n%b" % (len(part), part) for part in (code, tests, token))
    (result,) = _run(node, [asked], 20.0, MEMORY_MB, 1, False, silent)
    if result.stdout != "started":
        lines = result.stderr.strip().splitlines() or [f"exit code {result.exit_code}"]
        raise UserError(f"javascript: {node} does not run in the sandbox ({lines[-1]}): {_HELP}")
