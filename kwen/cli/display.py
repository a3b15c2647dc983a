"""What a build looks like on a terminal: one line an artifact, the live one with its curve, and the time that is left.

      done   corpus      41.3 MB · 52,114 documents · en 70 %  zh 16 %  code 14 %            0:11
      now    base        step 812 of 1,400 · loss 1.94 ▇▅▃▃▂▂ · 17.9k tokens/s               0:48
      next   chat-sft, evals, report                                             about 7:10 left
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType

import psutil
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kwen.cli.doctor import cores, precision
from kwen.family.artifact import Manifest
from kwen.family.describe import clock, describe, describe_facts
from kwen.family.estimate import BuildClock
from kwen.family.graph import Step
from kwen.family.watch import PlainLines
from kwen.progress import Progress

BARS = "▁▂▃▄▅▆▇█"
CURVE_FACT = "loss"
STYLES = {"done": "green", "now": "bold cyan", "failed": "bold red"}


def sparkline(values: Sequence[float], width: int = 20) -> str:
    """`values` as a row of at most `width` bars from the lowest to the highest; each bar is the mean of its share."""
    if not values:
        return ""
    bins = min(width, len(values))
    edges = [round(i * len(values) / bins) for i in range(bins + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in zip(edges, edges[1:], strict=False)]
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)


def _line(state: str, text: Text, right: str) -> Table:
    """One line over the whole width: the state, the text (cut where it must be), and a time at the right edge."""
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(width=8, no_wrap=True)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    table.add_row(Text(f"  {state}", style=STYLES.get(state, "dim")), text, right)
    return table


class LiveLines(AbstractContextManager["LiveLines"]):
    """A watcher that draws on a terminal. Lines of finished artifacts scroll up as ordinary text; the rest is redrawn."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(self, console=console, refresh_per_second=3, transient=True)
        self._next: list[str] = []
        self._name, self._began = "", 0.0
        self._done = self._total = self._left_at = 0.0
        self._left: float | None = None
        self._facts: dict[str, float | str] = {}
        self._losses: list[float] = []

    def __enter__(self) -> "LiveLines":
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def planned(self, steps: Sequence[Step]) -> None:
        self._next = [step.node.name for step in steps]

    def started(self, name: str, reasons: Sequence[str]) -> None:
        self._name, self._began = name, time.monotonic()
        self._next = [name for name in self._next if name != self._name]
        self._done, self._total, self._left = 0.0, 0.0, None
        self._facts, self._losses = {}, []

    def progressed(self, name: str, done: float, total: float, left: float | None, facts: Mapping[str, float | str]) -> None:
        self._done, self._total, self._left, self._left_at = done, total, left, time.monotonic()
        self._facts = dict(facts)
        loss = facts.get(CURVE_FACT)
        if isinstance(loss, float):
            self._losses.append(loss)

    def shown(self, name: str, texts: Sequence[Text]) -> None:
        for text in texts:
            self._console.print(text)
            self._console.print()

    def finished(self, manifest: Manifest, built: bool) -> None:
        self._next = [name for name in self._next if name != manifest.name]
        self._name = "" if self._name == manifest.name else self._name
        took = clock(float(manifest.record.get("wall_s", 0.0))) if built else ""
        self._console.print(_line("done" if built else "kept", self._named(manifest.name, Text(describe(manifest))), took))

    def failed(self, name: str) -> None:
        self._console.print(_line("failed", Text(name), clock(time.monotonic() - self._began)))
        self._name, self._next = "", []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        now = time.monotonic()
        left = f"about {clock(max(0.0, self._left - (now - self._left_at)))} left" if self._left is not None else ""
        if self._name:
            right = clock(now - self._began) + (f" · {left}" if not self._next else "")
            yield _line("now", self._named(self._name, self._live_text(), "bold"), right)
        if self._next:
            yield _line("next", Text(", ".join(self._next), style="dim"), left)

    def _named(self, name: str, text: Text, style: str = "") -> Text:
        return Text(f"{name:<11} ", style=style).append_text(text)

    def _live_text(self) -> Text:
        facts = dict(self._facts)
        loss = facts.pop(CURVE_FACT, None)
        share = f"{100 * self._done / self._total:.0f} %" if self._total else ""
        text = Text(share)
        if isinstance(loss, float):
            text.append(f"{' · ' if share else ''}{CURVE_FACT} {loss:.3f} ")
            text.append(sparkline(self._losses), style="cyan")
        rest = describe_facts(facts)
        if rest:
            text.append(f"{' · ' if text.plain else ''}{rest}")
        return text


class PipedLines(PlainLines, AbstractContextManager["PipedLines"]):
    """`PlainLines` on a console that is no terminal."""

    def __init__(self, console: Console) -> None:
        super().__init__(lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None


def display(console: Console) -> LiveLines | PipedLines:
    """The watcher that suits `console`, to be used in a `with`."""
    return LiveLines(console) if console.is_terminal else PipedLines(console)


@contextmanager
def one_line_progress(console: Console, name: str) -> Iterator[Progress]:
    """The progress of one stage that runs alone, drawn on `console` as the live line of a build is."""
    pace = BuildClock({})
    with display(console) as watcher:
        pace.start(name)
        watcher.started(name, ())

        def told(done: float, total: float, **facts: float | str) -> None:
            watcher.progressed(name, done, total, pace.left(done, total), facts)

        yield told


def headline(run: Path) -> str:
    """`runs/nano · 2 cores · bf16 · 22 GiB free`: where a build works and with what."""
    place = run if run.exists() else next(parent for parent in run.absolute().parents if parent.exists())
    free = psutil.disk_usage(str(place)).free / 2**30
    return f"{run} · {cores()} core{'s' if cores() != 1 else ''} · {precision()} · {free:.0f} GiB free"

