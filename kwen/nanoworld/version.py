"""Which nanoworld this is: artifacts made from it are stale when what made their text changes, and not before."""

import ast
import hashlib
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_PACKAGE = "kwen.nanoworld"


@cache
def nanoworld_version(*modules: str) -> str:
    """SHA-256, in hex, of the sources of `modules` ("documents") and of all of nanoworld that they import: what these give is a
    function of their arguments and of that."""
    digest = hashlib.sha256()
    for name in sources_of(*modules):
        digest.update(name.encode() + b"\0" + (_FOLDER / f"{name}.py").read_bytes() + b"\0")
    return digest.hexdigest()


def sources_of(*modules: str) -> list[str]:
    """The names of `modules` and of nanoworld's modules that they import, directly or not, sorted."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _imported(name)
    return sorted(found)


def _imported(name: str) -> list[str]:
    tree = ast.parse((_FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    modules = [str(node.module) for node in imports]
    inside = [module.removeprefix(f"{_PACKAGE}.") for module in modules if module.startswith(f"{_PACKAGE}.")]
    named = [alias.name for node in imports if node.module == _PACKAGE for alias in node.names]
    return [*inside, *named]
