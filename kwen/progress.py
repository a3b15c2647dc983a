"""How long work tells how far it is, without knowing who is looking."""

from typing import Protocol


class Progress(Protocol):
    """Called now and then by long work: `done` of `total` units, and named facts worth showing (loss, tokens_per_s)."""

    def __call__(self, done: float, total: float, **facts: float | str) -> None: ...


def silent(done: float, total: float, **facts: float | str) -> None:
    """The progress of those who do not want any."""


def part_of(progress: Progress, index: int, parts: int, **named: str) -> Progress:
    """The progress of part `index` of `parts`, told as the progress of the whole and with `named` facts."""

    def told(done: float, total: float, **facts: float | str) -> None:
        progress(index + done / max(total, 1.0), parts, **named, **facts)

    return told
