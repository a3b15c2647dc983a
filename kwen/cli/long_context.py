"""`kwen eval MODEL --long-context`: perplexity by length with each technique (the report's Table 3), needle and passkey."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kwen.errors import UserError
from kwen.progress import Progress

COUNT = 5
"""Texts where --limit says nothing."""
OUT = "long-context.json"


def long_context(
    model: str,
    data: Path | None,
    lengths: Sequence[int] | None,
    limit: int | None,
    seed: int,
    out: Path | None,
    dtype: str | None,
    device: str | None,
    progress: Progress,
) -> dict[str, Any]:
    """What `kwen.evals.long_context.long_context` gives, its parts kept in `out` as they are done.

    data: a folder with held_out.jsonl, whose documents are joined by source, or with .txt files, a text each; without one, needle
    and passkey alone are asked. lengths: in tokens. limit: how many texts are read.
    """
    from kwen.engine.language_model import load
    from kwen.evals import long_context as measured

    if limit is not None and limit < 1:
        raise UserError(f"limit {limit}: give a number of texts of at least 1")
    sources = {} if data is None else _sources(data)
    lm = load(model, dtype=dtype, device=device)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    wanted = max(lengths) if lengths else 8 * lm.config.trained_length
    texts = measured.joined(lm, sources, wanted)[: limit or COUNT] if sources else []
    kept = None if out is None else out / OUT
    return measured.long_context(lm, texts, lengths, seed=seed, keep=kept, progress=_named(progress))


def read_lengths(text: str) -> list[int]:
    """Numbers of tokens out of "1024,2048". Raises UserError for whatever is none."""
    try:
        lengths = sorted({int(part) for part in text.split(",") if part.strip()})
    except ValueError:
        raise UserError(f"--lengths {text}: give numbers of tokens, as in 1024,2048") from None
    if not lengths or lengths[0] < 2:
        raise UserError(f"--lengths {text}: give numbers of tokens of at least 2, as in 1024,2048")
    return lengths


def show(found: Mapping[str, Any]) -> None:
    """Print a row for each technique, and one for each depth of a test."""
    console = Console()
    if "perplexity" in found:
        rows = {
            name: [f"{mean:.2f} ± {error:.2f}" for mean, error in zip(row, found["stderr"][name], strict=True)]
            for name, row in found["perplexity"].items()
        }
        _print(console, f"perplexity of {found['documents']} texts", found["lengths"], rows)
        full, window = (found["memory_bytes"][kind] / 2**20 for kind in ("full", "window"))
        console.print(f"keys and values of the longest: {full:,.1f} MiB, with windows {window:,.1f}", highlight=False)
    for kind in ("needle", "passkey"):
        test = found[kind]
        rows = {
            f"at {100 * depth:.0f} %": [f"{100 * share:.0f}" for share in row]
            for depth, row in zip(test["depths"], test["found"], strict=True)
        }
        _print(console, f"{kind} found, per cent of {test['n']}", test["lengths"], rows)
    console.print(f"trained at {found['trained']:,} tokens; lengths in tokens", style="dim", highlight=False)


def _print(console: Console, title: str, lengths: Sequence[int], rows: Mapping[str, Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(title, no_wrap=True)
    for length in lengths:
        table.add_column(f"{length:,}", justify="right", no_wrap=True)
    for name, cells in rows.items():
        table.add_row(name, *cells)
    console.print(table, highlight=False)


def _sources(data: Path) -> dict[str, list[str]]:
    """Documents by source."""
    from kwen.evals.tasks.perplexity import items

    texts = sorted(data.glob("*.txt"))
    if (data / "held_out.jsonl").exists() or not texts:
        sources: dict[str, list[str]] = {}
        for item in items(data, 0):
            sources.setdefault(item.extra["source"], []).append(str(item.prompt))
        return sources
    try:
        return {path.name: [path.read_text("utf-8")] for path in texts}
    except UnicodeDecodeError as error:
        raise UserError(f"{data}: a .txt file is not UTF-8 ({error}); convert it") from None


def _named(progress: Progress) -> Progress:
    """The progress with a part's name where tasks have theirs."""

    def told(done: float, total: float, **facts: float | str) -> None:
        progress(done, total, task=f"long context, {facts.get('part', '')}")

    return told
