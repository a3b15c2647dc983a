"""`kwen corpus`: build a corpus from a configuration file, look into one."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from kwen.corpus import pipeline, reading
from kwen.files import folder_aside

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

SHOWN_CHARACTERS = 300


@app.command()
def build(
    config: Annotated[Path, typer.Argument(help="YAML file: `sources`, a list, and `deduplicate`.")],
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

        statistics = pipeline.build(corpus_config, seed, folder, progress)
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
