"""`kwen corpus`: build a corpus from a configuration file, look into one, compare text with the items of benchmarks."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from kwen.corpus import pipeline, reading
from kwen.corpus.documents import Document
from kwen.corpus.sources import FolderSource, read
from kwen.errors import UserError
from kwen.family.contamination import items_of, overlaps_with
from kwen.family.training_texts import texts_in, training_texts
from kwen.files import folder_aside, write_json
from kwen.verify.rows import read_rows

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

SHOWN_CHARACTERS = 300


@app.command()
def build(
    config: Annotated[Path, typer.Argument(help="YAML file: `sources`, a list, `deduplicate`, `decontaminate`.")],
    out: Annotated[Path, typer.Option(help="Folder to write; it takes the place of an older corpus there.")],
    seed: Annotated[int, typer.Option(help="Decides the order of the training documents.")] = 0,
) -> None:
    """Build a corpus: train.jsonl, held_out.jsonl and statistics.json."""
    corpus_config = pipeline.load_config(config)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[facts]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars, folder_aside(out) as folder:
        bar = bars.add_task("corpus", facts="")

        def progress(done: float, total: float, **facts: float | str) -> None:
            bars.update(bar, completed=done, total=total, facts=f"{facts['documents']:,} documents")

        statistics = pipeline.build(corpus_config, seed, folder, progress, overlaps_with(corpus_config.decontaminate))
    _show_counts(Console(), statistics)


@app.command()
def inspect(
    corpus: Annotated[Path, typer.Argument(help="A corpus folder.")],
    samples: Annotated[int, typer.Option(min=0, help="Training documents to show.")] = 3,
    seed: Annotated[int, typer.Option(help="Decides which ones.")] = 0,
) -> None:
    """Show what a corpus holds: counts, sample documents, and what was left out and why."""
    console, statistics = Console(), reading.statistics(corpus)
    _show_counts(console, statistics)
    if statistics["excluded"]:
        console.print(_excluded_table(statistics))
    for record in reading.sample(corpus, samples, seed):
        console.rule(escape(record["id"]), align="left", style="dim")
        console.print(_beginning(record["text"]), markup=False, highlight=False)


@app.command()
def overlap(
    sources: Annotated[list[Path], typer.Argument(help="Text, JSON rows of any form, a corpus, or an artifact of a run.")],
    tasks: Annotated[str, typer.Option(help="Tasks whose items are looked for, comma-separated.")],
    data: Annotated[Path | None, typer.Option(help="Folder of the benchmarks' own files.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the counts and all ids to this file too.")] = None,
) -> None:
    """Show which test items share 13 words in a row with training text."""
    # Imported late: numpy takes longer than most of the other commands.
    from kwen.verify.overlap import contamination

    left_out: Counter[str] = Counter()
    items = items_of([name.strip() for name in tasks.split(",") if name.strip()], data)
    found = contamination((text for source in sources for text in _training_texts(source, left_out)), items)
    table = Table("task", title="Overlap", title_justify="left")
    for column in ("items", "overlapping", "whole", "unchecked"):
        table.add_column(column, justify="right")
    for name, counts in found["tasks"].items():
        table.add_row(escape(name), *(f"{counts[key]:,}" for key in ("items", "overlapping", "whole", "unchecked")))
    console = Console()
    console.print(table)
    if left_out:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items()))
        console.print(f"not read: {reasons}", markup=False, highlight=False)
    if json_file is not None:
        write_json(json_file, found)


def _training_texts(source: Path, left_out: Counter[str]) -> Iterator[str]:
    """The texts of a source; what cannot be read of it is counted by reason. UserError where there is no text at all."""
    empty = True
    for text in _texts_of(source, left_out):
        empty = False
        yield text
    if empty:
        raise UserError(f"{source}: no text in it; name text, rows of data, a corpus or an artifact that was trained on text")


def _texts_of(source: Path, left_out: Counter[str]) -> Iterator[str]:
    if (texts := training_texts(source)) is not None:
        yield from texts
    elif (source / pipeline.STATISTICS).is_file():
        yield from (document["text"] for document in reading.documents(source))
    elif source.name.removesuffix(".gz").endswith((".jsonl", ".json")) and source.is_file():
        yield from (text for _, row in read_rows(source) for text in texts_in(row))
    else:
        for found in read(FolderSource(kind="folder", path=source)):
            if isinstance(found, Document):
                yield found.text
            else:
                left_out[found.reason] += 1


def _show_counts(console: Console, statistics: dict[str, Any]) -> None:
    table = Table("source", title="Corpus", title_justify="left")
    for column in ("train documents", "train MB", "held-out documents", "held-out MB", "left out", "invalid UTF-8"):
        table.add_column(column, justify="right")
    for name, counts in statistics["sources"].items():
        table.add_row(
            escape(name),
            f"{counts['train_documents']:,}",
            f"{counts['train_bytes'] / 1e6:.2f}",
            f"{counts['held_out_documents']:,}",
            f"{counts['held_out_bytes'] / 1e6:.2f}",
            f"{counts['excluded']:,}",
            f"{counts['invalid_utf8']:,}",
        )
    console.print(table)
    shares = (f"{escape(name)} {counts['bytes'] / statistics['bytes']:.0%}" for name, counts in statistics["languages"].items())
    console.print(f"{statistics['bytes'] / 1e6:.2f} MB · {statistics['documents']:,} documents · {'  '.join(shares)}")


def _excluded_table(statistics: dict[str, Any]) -> Table:
    table = Table("left out because", title="Left out", title_justify="left")
    table.add_column("count", justify="right")
    table.add_column("for example")
    for reason, entry in statistics["excluded"].items():
        examples = "\n".join(f"{sample['id']}  {' '.join(sample['text'].split())[:60]}".rstrip() for sample in entry["samples"])
        table.add_row(escape(reason), f"{entry['count']:,}", escape(examples))
    return table


def _beginning(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
