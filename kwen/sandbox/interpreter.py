"""Runs inside a session's jail: the IPython interpreter that a session's cells run in, and its side of the wire.

Cells share this process, so whatever it says is only as true as the code that it ran: the supervisor treats every byte of it
as hostile. The wire, little-endian. Supervisor to interpreter: `COMMAND`, code. Back: `REPORT`, error, then for each image
`SIZE`, PNG. Printed text goes to descriptors 1 and 2, which are one pipe, so that its order is that of printing.
"""

import base64
import importlib
import importlib.util
import io
import linecache
import os
import signal
import struct
import sys
import warnings
from types import FrameType
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from kwen.sandbox.forkserver import read_exactly, write_all

COMMAND = struct.Struct("<8sI")  # nonce, bytes of code
REPORT = struct.Struct("<8sII")  # the command's nonce, bytes of error, number of images
SIZE = struct.Struct("<I")

MAX_IMAGES = 16
IMAGE_BYTES = 4 << 20
ERROR_BYTES = 8192
_MESSAGE_CHARS, _LINE_CHARS, _MAX_FRAMES = 1500, 160, 6
_CELL_FILE = "<ipython-input-"  # then the cell's number
_WARM = ("numpy", "pandas", "matplotlib.pyplot")  # imported before the fork, where they are installed


class _Images:
    """The images of the running cell."""

    def __init__(self) -> None:
        self.found: list[bytes] = []

    def add(self, image: object) -> None:
        """Keep an image/png of IPython's display data: bytes, or base64 text."""
        data = base64.b64decode(image) if isinstance(image, str) else image
        if isinstance(data, bytes) and len(data) <= IMAGE_BYTES and len(self.found) < MAX_IMAGES:
            self.found.append(data)

    def take_figures(self) -> None:
        """Draw every open figure of pyplot, in order, and close it."""
        if (pyplot := sys.modules.get("matplotlib.pyplot")) is None:
            return
        try:
            for number in pyplot.get_fignums():
                drawn = io.BytesIO()
                pyplot.figure(number).savefig(drawn, format="png", bbox_inches="tight")
                self.add(drawn.getvalue())
        finally:
            pyplot.close("all")


class _PlainDisplayHook(DisplayHook):
    """Prints the last expression's text without a prompt; keeps its PNG."""

    def write_output_prompt(self) -> None:
        """No prompt: it says nothing to a model."""

    def write_format_data(self, format_dict: dict[str, Any], md_dict: dict[str, Any] | None = None) -> None:
        """The PNG if the value has one, else its text."""
        assert self.shell is not None
        self.shell.display_pub.publish(format_dict)


class _PlainDisplayPublisher(DisplayPublisher):
    """`display(...)`: the PNG if the value has one, else its text."""

    images: _Images

    def publish(self, data: dict[str, Any], *arguments: Any, **options: Any) -> None:
        """Print or keep one value's display data."""
        if "image/png" in data:
            self.images.add(data["image/png"])
        elif "text/plain" in data:
            print(data["text/plain"])


class _Shell(InteractiveShell):
    """An InteractiveShell that leaves the telling of errors to its owner."""

    displayhook_class = _PlainDisplayHook  # type: ignore[assignment]
    display_pub_class = _PlainDisplayPublisher  # type: ignore[assignment]

    def showtraceback(self, *arguments: Any, **options: Any) -> None:
        """Nothing: the error is in the cell's result."""

    def showsyntaxerror(self, *arguments: Any, **options: Any) -> None:
        """Nothing: the error is in the cell's result."""

    def _format_exception_for_storage(self, exception: BaseException, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Nothing kept: IPython's history would format the whole traceback, which takes seconds for a deep one."""
        return {"ename": type(exception).__name__, "evalue": "", "traceback": []}

    def ask_exit(self) -> None:
        """`exit` ends a cell, not the session."""
        raise SystemExit

    def enable_gui(self, gui: str | None = None) -> None:
        """No event loop: `%matplotlib inline` and the like change nothing here."""

    def enable_matplotlib(self, gui: str | None = None) -> tuple[None, str]:
        """Figures are shown without it."""
        return None, "agg"


class Interpreter:
    """The shell with all that is done once before a fork; `serve` is its life after."""

    def __init__(self) -> None:
        self.images = _Images()
        config = Config()
        config.HistoryManager.enabled = False
        config.InteractiveShell.colors = "nocolor"
        config.InteractiveShell.autoindent = False
        config.Completer.use_jedi = False
        self.shell = _Shell.instance(config=config)
        assert isinstance(self.shell.display_pub, _PlainDisplayPublisher)
        self.shell.display_pub.images = self.images
        warnings.filterwarnings("ignore", message="To exit: use")
        self.running = self.interrupted = False
        for name in _WARM:
            if importlib.util.find_spec(name.partition(".")[0]) is not None:
                importlib.import_module(name)
        if (pyplot := sys.modules.get("matplotlib.pyplot")) is not None:

            def show(*arguments: object, **options: object) -> None:
                self.images.take_figures()

            vars(pyplot)["show"] = show
            pyplot.plot([0, 1])
            pyplot.title("$x$")
            self.images.take_figures()  # the first figure finds fonts and starts the formula parser: 0.3 s
            assert self.shell.display_formatter is not None
            self.shell.display_formatter.formatters["image/png"].for_type_by_name("matplotlib.figure", "Figure", _draw)
        self.run("None")
        self.shell.reset()
        self.images.found.clear()

    def run(self, code: str) -> str | None:
        """Run a cell; what went wrong, as `short_error` tells it."""
        self.images.found = []
        signal.signal(signal.SIGINT, self._interrupt)
        try:
            self.running, self.interrupted = True, False
            result = self.shell.run_cell(code, store_history=True)
            error = result.error_before_exec or result.error_in_exec
            self.images.take_figures()
        except BaseException as raised:  # an interrupt between two lines of IPython's own, or a figure that cannot be drawn
            error = raised
        finally:
            self.running = False
        return None if error is None else short_error(error)

    def serve(self, commands: int, reports: int) -> None:
        """Run the commands that come; returns when there are no more."""
        own = os.getpid()
        if (numpy := sys.modules.get("numpy")) is not None:
            numpy.random.seed()  # else every fork draws the same numbers
        files = [io.FileIO(fd, "w", closefd=False) for fd in (1, 2)]
        streams = [io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=True) for raw in files]
        while len(head := read_exactly(commands, COMMAND.size)) == COMMAND.size:
            nonce, code_bytes = COMMAND.unpack(head)
            sys.stdout, sys.stderr = streams
            error = self.run(read_exactly(commands, code_bytes).decode(errors="replace"))
            if os.getpid() != own:
                os._exit(0)  # a fork that a cell made and forgot: only the first may speak
            for stream in {*streams, sys.stdout, sys.stderr}:
                stream.flush()
            text = (error or "").encode(errors="replace")[:ERROR_BYTES]
            parts = [REPORT.pack(nonce, len(text), len(self.images.found)), text]
            for image in self.images.found:
                parts += (SIZE.pack(len(image)), image)
            write_all(reports, b"".join(parts))

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Once wherever we are; again only within the cell's own code, else it would hit what reports the first."""
        again, self.interrupted = self.interrupted, True
        while again and frame is not None and not frame.f_code.co_filename.startswith(_CELL_FILE):
            frame = frame.f_back
        if self.running and frame is not None:
            raise KeyboardInterrupt


def _draw(figure: Any) -> bytes:
    """A figure that is a cell's value; closed, so that it is not shown again at the cell's end."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", bbox_inches="tight")
    sys.modules["matplotlib.pyplot"].close(figure)
    return drawn.getvalue()


def short_error(error: BaseException) -> str:
    """What a model needs of an error: the lines of its own code that led to it, then the exception.

    Frames of libraries are left out; of many frames, the first two and the last four stay.
    """
    if isinstance(error, SyntaxError):
        lines = _syntax_lines(error)
    else:
        lines, trace = [], error.__traceback__
        while trace is not None:
            if (line := _own_line(trace.tb_frame, trace.tb_lineno)) is not None:
                lines.append(line)
            trace = trace.tb_next
        if len(lines) > _MAX_FRAMES:
            lines[2 : 2 - _MAX_FRAMES] = [f"... {len(lines) - _MAX_FRAMES} more calls ..."]
    try:
        message = error.msg if isinstance(error, SyntaxError) else str(error)
    except BaseException as failure:  # __str__ is the cell's own
        message = f"<its text raised {type(failure).__name__}>"
    if len(message) > _MESSAGE_CHARS:
        message = f"{message[:_MESSAGE_CHARS]} ..."
    return "\n".join([*lines, f"{type(error).__name__}: {message}" if message else type(error).__name__])


def _own_line(frame: FrameType, number: int) -> str | None:
    """A frame's line if it is of a cell or of a file in the workspace."""
    path, function = frame.f_code.co_filename, frame.f_code.co_name
    if path.startswith(_CELL_FILE):
        place = f"In [{path.removeprefix(_CELL_FILE).partition('-')[0]}]"
    elif path.startswith(os.path.join(_workspace(), "")):
        place = os.path.relpath(path, _workspace())
    else:
        return None
    inside = "" if function.startswith("<") else f" in {function}"
    return f"{place} line {number}{inside}: {linecache.getline(path, number).strip()[:_LINE_CHARS]}"


def _syntax_lines(error: SyntaxError) -> list[str]:
    """The line that is no Python, and a mark below its place."""
    if not error.text:
        return [f"line {error.lineno}:"] if error.lineno else []
    text = error.text.rstrip("\n")
    indent = len(text) - len(text.lstrip())
    prefix = f"line {error.lineno}: "
    lines = [prefix + text.strip()[:_LINE_CHARS]]
    if error.offset:
        lines.append(" " * (len(prefix) + min(max(error.offset - 1 - indent, 0), _LINE_CHARS)) + "^")
    return lines


def _workspace() -> str:
    return os.environ.get("KWEN_WORKSPACE", "/workspace")
