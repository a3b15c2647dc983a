"""How the tests choose who runs the sandbox, and with which tool."""

import contextlib
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kwen.errors import UserError
from kwen.sandbox import Result, jail, tools

ROOT = Path(__file__).resolve().parents[2]

_AS_ANOTHER_USER = """
import dataclasses, json, sys
from kwen.sandbox import run_many
request = json.load(sys.stdin)
print(json.dumps([dataclasses.asdict(result) for result in run_many(**request)]))
"""
_SESSIONS_AS_ANOTHER_USER = """
import dataclasses, json, sys
from kwen.sandbox import Session
request = json.load(sys.stdin)
outcomes = []
for cells in request["cells"]:
    with Session(timeout_s=request["timeout_s"], memory_mb=request["memory_mb"]) as session:
        found = [session.run(cell) for cell in cells]
    outcomes.append([dataclasses.asdict(outcome) | {"images": len(outcome.images)} for outcome in found])
print(json.dumps(outcomes))
"""


@contextlib.contextmanager
def only_tool(name: str) -> Iterator[None]:
    """The sandbox knows one tool only; skips where it cannot build a jail."""
    chosen = [tool for tool in tools.installed_tools() if tool.name == name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jail, "installed_tools", lambda: chosen)
        jail.working_tool.cache_clear()
        try:
            jail.working_tool()
        except UserError as error:
            pytest.skip(str(error))
        yield
    jail.working_tool.cache_clear()


@pytest.fixture
def use_tool() -> Iterator[Callable[[str], None]]:
    """`only_tool` for the rest of the test."""
    with contextlib.ExitStack() as stack:
        yield lambda name: stack.enter_context(only_tool(name))


def run_as_ordinary_user(**request: object) -> tuple[list[Result], int]:
    """`run_many(**request)` in a process of an ordinary user, and that user's id: the caller itself if it is one."""
    found, uid = as_ordinary_user(_AS_ANOTHER_USER, request)
    return [Result(**fields) for fields in found], uid


def sessions_as_ordinary_user(**request: object) -> tuple[list[list[dict[str, Any]]], int]:
    """For each list of `cells` the outcomes of a session's, with the number of images, and the user's id, likewise."""
    return as_ordinary_user(_SESSIONS_AS_ANOTHER_USER, request)


def as_ordinary_user(script: str, request: dict[str, object]) -> tuple[Any, int]:
    """What `script` prints, JSON, on the request as JSON on its stdin, in a process of an ordinary user; and that user's id."""
    base, executable = os.path.realpath(sys.base_prefix), os.path.realpath(sys.executable)
    packages = sysconfig.get_path("purelib")
    uid = tools.unused_uid() if os.geteuid() == 0 else None
    reachable = tools.Reachable(uid)
    inside = reachable(base)
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "PYTHONPATH": os.pathsep.join((reachable(str(ROOT)), reachable(packages))),
        "LD_LIBRARY_PATH": f"{inside}/lib",
    }
    python = inside + executable.removeprefix(base)
    prefix = tools.drop_root(tools.installed_tools()[0], reachable)
    done = subprocess.run(
        [*prefix, python, "-c", script],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env=environment,
        cwd="/",
    )
    if done.returncode != 0:
        pytest.skip(f"an ordinary user has no sandbox here: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout), os.geteuid() if uid is None else uid
