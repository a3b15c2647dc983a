"""The tools that come with Kwen: python, calculator, clock, read and search, by name."""

import shutil
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

from pydantic import Field

from kwen.agent.calculator import calculate
from kwen.agent.folder import Folder
from kwen.agent.tool import File, Tool, ToolResult
from kwen.errors import UserError

if TYPE_CHECKING:
    from kwen.sandbox.session import Session

_MAX_FILE_BYTES = 32 << 20  # of a file that a run brings out


class Workspace:
    """The folder that an agent's tools work in, and the interpreter in it, which starts when it is first used.

    folder: of the user's, or None for an empty one that goes when the workspace is closed.
    """

    def __init__(self, folder: Path | None = None, unsafe: bool = False) -> None:
        if folder is not None and not folder.is_dir():
            raise UserError(f"workspace {folder}: no such folder; make it or name another")
        self._folder, self._unsafe = folder, unsafe
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._session: Session | None = None

    @property
    def folder(self) -> Path:
        """Where it is; made now, if it is ours and was not needed before."""
        if self._folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="kwen-agent-")
            self._folder = Path(self._temporary.name)
        return self._folder

    def put(self, path: Path) -> str:
        """Bring a user's file in; its name here. Raises UserError for no file, and for another one that has its name already."""
        if not path.is_file():
            raise UserError(f"{path}: no such file; name one that exists")
        target = self.folder / path.name
        if target.exists() and not target.samefile(path) and target.read_bytes() != path.read_bytes():
            raise UserError(f"{path}: the workspace has another file called {path.name}; rename one of them")
        if not target.exists():
            shutil.copyfile(path, target)
        if self._session is not None:
            self._session.put(target)
        return path.name

    def run_python(self, code: str) -> ToolResult:
        """Run Python code in a session like a notebook's: variables stay between calls, plots become images.

        Args:
            code: the code to run; the value of its last line is shown
        """
        outcome = self._interpreter().run(code)
        parts = [outcome.text.rstrip(), (outcome.error or "").rstrip()]
        if outcome.images:
            parts.append(f"[{len(outcome.images)} image{'s' if len(outcome.images) > 1 else ''} shown to the user]")
        if outcome.files:
            parts.append(f"[files written: {', '.join(outcome.files[:20])}]")
        text = "\n".join(part for part in parts if part) or "done, nothing printed"
        files = tuple(file for name in outcome.files if (file := self._file(name)) is not None)
        return ToolResult(text, tuple(outcome.images), files, error=outcome.error is not None)

    def close(self) -> None:
        """End the interpreter; remove the folder where it was ours."""
        if self._session is not None:
            self._session.close()
            self._session = None
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = self._folder = None

    def _interpreter(self) -> "Session":
        if self._session is None:
            from kwen.sandbox.session import Session  # not before code is to be run

            self._session = Session(workspace=self.folder, unsafe=self._unsafe)
        return self._session

    def _file(self, name: str) -> File | None:
        """A file of the folder's, unless it is too large to carry along or gone again."""
        path = self.folder / name
        try:
            return File(name, path.read_bytes()) if path.stat().st_size <= _MAX_FILE_BYTES else None
        except OSError:
            return None


def clock(timezone: Annotated[str, Field(max_length=60)] = "") -> str:
    """Tell the current date and time.

    Args:
        timezone: such as Asia/Shanghai; left out, the time of this machine
    """
    try:
        now = datetime.now(ZoneInfo(timezone)) if timezone else datetime.now().astimezone()
    except (KeyError, ValueError, OSError):
        raise UserError(f"time zone {timezone!r} is unknown; name one such as Europe/Paris") from None
    return f"{now:%Y-%m-%d %H:%M:%S} {now.tzname()}, {now:%A}"


def _python(workspace: Workspace) -> Tool:
    return Tool.of(workspace.run_python, name="python", timeout_s=None, max_characters=12_000)  # the session has its own limits


_MAKERS: dict[str, Callable[[Workspace], Tool]] = {
    "python": _python,
    "calculator": lambda workspace: Tool.of(calculate, name="calculator"),
    "clock": lambda workspace: Tool.of(clock),
    "read": lambda workspace: Tool.of(Folder(workspace.folder).read),
    "search": lambda workspace: Tool.of(Folder(workspace.folder).search),
}
NAMES = tuple(_MAKERS)


def builtin(name: str, workspace: Workspace) -> Tool:
    """The tool of that name, at work in `workspace`. Raises UserError for a name that is none."""
    if name not in _MAKERS:
        raise UserError(f"tool {name!r} is unknown; the tools that come with Kwen are {', '.join(NAMES)}")
    return _MAKERS[name](workspace)
