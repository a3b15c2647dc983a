"""How the tests choose who runs the sandbox, and with which tool."""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kwen.errors import UserError
from kwen.sandbox import Result, jail, tools

ROOT = Path(__file__).resolve().parents[2]
RunMany = Callable[..., list[Result]]

_AS_ANOTHER_USER = """
import dataclasses, json, sys
from kwen.sandbox import run_many
request = json.load(sys.stdin)
print(json.dumps([dataclasses.asdict(result) for result in run_many(**request)]))
"""


@pytest.fixture
def use_tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Makes the sandbox know one tool only; skips where it cannot build a jail."""

    def use(name: str) -> None:
        chosen = [tool for tool in tools.installed_tools() if tool.name == name]
        monkeypatch.setattr(jail, "installed_tools", lambda: chosen)
        jail.working_tool.cache_clear()
        try:
            jail.working_tool()
        except UserError as error:
            pytest.skip(str(error))

    yield use
    jail.working_tool.cache_clear()


def run_as_ordinary_user(**request: object) -> tuple[list[Result], int]:
    """`run_many(**request)` in a process of an ordinary user, and that user's id: the caller itself if it is one."""
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
        [*prefix, python, "-c", _AS_ANOTHER_USER],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env=environment,
        cwd="/",
    )
    if done.returncode != 0:
        pytest.skip(f"an ordinary user has no sandbox here: {done.stderr.strip().splitlines()[-1:]}")
    return [Result(**fields) for fields in json.loads(done.stdout)], os.geteuid() if uid is None else uid


@pytest.fixture(scope="session")
def ordinary_user() -> Callable[..., tuple[list[Result], int]]:
    """`run_as_ordinary_user`, or a skip where no jail can be had at all."""
    try:
        jail.working_tool()
    except UserError as error:
        pytest.skip(str(error))
    return run_as_ordinary_user
