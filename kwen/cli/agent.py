"""How an agent's steps look in the terminal, and where its images and files go.

    kwen  calculator(expression="17 * 23") = 391
          17 lamps cost 391 coins.

What a tool says stands behind `=`, cut, on lines that nothing else begins with; it never looks like the model's own words.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from kwen.agent import events
from kwen.agent.events import Event
from kwen.agent.tool import File, cut
from kwen.cli.streaming import PieceWriter
from kwen.files import write_bytes

_SHOWN = 600  # characters of what a tool said
_ARGUMENTS = 200  # of a call


class AgentWriter:
    """Writes a run's events as they come. `label` stands before the first line, `indent` before all others."""

    def __init__(self, out: TextIO, label: str, indent: str) -> None:
        self._out, self._label, self._indent = out, label, indent
        self._writer = PieceWriter(out, indent)
        self._lines = 0
        self._open = False

    def write(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, events.TextDelta):
            if not self._open:
                self._begin()
                self._open = True
            self._writer.write(event.text)
        elif isinstance(event, events.CallEnd):
            self._line(described(event))
        elif isinstance(event, events.Limit):
            self._line(f"(stopped: {event.text})")

    def note(self, text: str) -> None:
        """A line of our own among the model's."""
        self._line(text)

    def end(self) -> None:
        """End the line that is open."""
        if self._open:
            self._writer.end()
            self._open = False

    def _begin(self) -> None:
        self._out.write(self._indent if self._lines else self._label)
        self._lines += 1

    def _line(self, text: str) -> None:
        self.end()
        self._begin()
        self._writer.write(text)
        self._writer.end()


def described(end: events.CallEnd) -> str:
    """A call and what came of it: `name(argument="value") = result`, further lines of the result behind a bar."""
    first, *more = cut(end.observation, _SHOWN).splitlines() or [""]
    head = f"{end.name or 'call'}({cut(_arguments(end), _ARGUMENTS)}) = {first}"
    return "\n".join([head, *(f"  | {line}" for line in more)])


def _arguments(end: events.CallEnd) -> str:
    try:
        values = json.loads(end.arguments)
    except ValueError:
        return end.arguments
    if not isinstance(values, dict):
        return end.arguments
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in values.items())


def save_files(files: list[File], folder: Path) -> Iterator[Path]:
    """Write a run's files and images into `folder`, each beside what is there already; where they are."""
    for file in files:
        relative = Path(file.name)
        if relative.is_absolute() or ".." in relative.parts:
            continue
        path = folder / relative
        number = 1
        while path.exists() and path.read_bytes() != file.data:
            number += 1
            path = folder / relative.with_name(f"{relative.stem}-{number}{relative.suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_bytes(path, file.data)
        yield path
