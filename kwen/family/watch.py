"""Who looks on while a family is built: the protocol, and plain log lines for files and pipes."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from rich.text import Text

from kwen.family.artifact import Manifest
from kwen.family.describe import clock, describe, describe_facts
from kwen.family.graph import Step, in_short


class Watcher(Protocol):
    """Told what a build does. Times are in seconds; `left` is the estimate for the whole build, None while unknown."""

    def planned(self, steps: Sequence[Step]) -> None:
        """The build begins; this is what it expects to do."""

    def started(self, name: str, reasons: Sequence[str]) -> None:
        """A stage begins; `reasons` say why its artifact has to be built."""

    def progressed(self, name: str, done: float, total: float, left: float | None, facts: Mapping[str, float | str]) -> None:
        """The live stage is at `done` of `total`."""

    def shown(self, name: str, texts: Sequence[Text]) -> None:
        """The live stage shows its data and its plan before it begins."""

    def finished(self, manifest: Manifest, built: bool) -> None:
        """An artifact stands: `built` just now, or found up to date."""

    def failed(self, name: str) -> None:
        """The live stage raised; the exception follows."""


class PlainLines:
    """Log lines: one for each event, and while a stage runs one every `every_s` seconds or each tenth of the way.

    `write` gets each line without its end; `stamp` puts the local date and time before it.
    """

    def __init__(self, write: Callable[[str], None], every_s: float = 5.0, stamp: bool = False) -> None:
        self._write, self._every_s, self._stamp = write, every_s, stamp
        self._last_time, self._last_tenth = 0.0, 0

    def _line(self, state: str, name: str, text: str) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S ") if self._stamp else ""
        self._write(f"{stamp}{state:<6} {name:<11} {text}".rstrip())

    def planned(self, steps: Sequence[Step]) -> None:
        todo = [step.node.name for step in steps if step.state != "done"]
        self._line("plan", f"{len(todo)} of {len(steps)}", ", ".join(todo) if todo else "everything is up to date")

    def started(self, name: str, reasons: Sequence[str]) -> None:
        self._last_time, self._last_tenth = time.monotonic(), 0
        self._line("start", name, in_short(reasons))

    def progressed(self, name: str, done: float, total: float, left: float | None, facts: Mapping[str, float | str]) -> None:
        now, tenth = time.monotonic(), int(10 * done / total) if total else 0
        if now - self._last_time < self._every_s and tenth <= self._last_tenth:
            return
        self._last_time, self._last_tenth = now, tenth
        share = f"{100 * done / total:3.0f} %" if total else ""
        rest = f"about {clock(left)} left" if left is not None else ""
        self._line("now", name, " · ".join(part for part in (share, describe_facts(facts), rest) if part))

    def shown(self, name: str, texts: Sequence[Text]) -> None:
        for text in texts:
            self._write(text.plain)

    def finished(self, manifest: Manifest, built: bool) -> None:
        took = clock(float(manifest.record.get("wall_s", 0.0)))
        self._line("done" if built else "kept", manifest.name, f"{describe(manifest)} · {took}" if built else describe(manifest))

    def failed(self, name: str) -> None:
        self._line("failed", name, "")
