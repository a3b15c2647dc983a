"""`kwen tokenizer`: train one on text, encode with one, compare several."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from kwen.corpus.documents import Document
from kwen.corpus.sources import FolderSource, read
from kwen.errors import UserError
from kwen.files import write_json
from kwen.model.formats.gguf_file import read_gguf
from kwen.text.comparison import compare as compare_tokenizers
from kwen.text.tokenizer import Tokenizer
from kwen.text.tokenizer_training import TokenizerConfig
from kwen.text.tokenizer_training import train as train_tokenizer

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.command()
def train(
    sources: Annotated[list[Path], typer.Argument(help="Folders, files or archives of text.")],
    out: Annotated[Path, typer.Option(help="Folder for the tokenizer.")],
    vocab_size: Annotated[int, typer.Option(help="Entries, control tokens included.")] = 4096,
    pattern: Annotated[str, typer.Option(help="report, or copying (one spelling for a name wherever it stands).")] = "report",
    whole_words: Annotated[int, typer.Option(help="copying: this many common words keep their leading space.")] = 300,
    extra_tokens: Annotated[int, typer.Option(help="Spare control tokens.")] = 205,
) -> None:
    """Train a byte-level BPE tokenizer."""
    values = {"vocab_size": vocab_size, "pattern": pattern, "whole_words": whole_words, "extra_tokens": extra_tokens}
    try:
        config = TokenizerConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "vocab_size"
        raise UserError(f"--{key.replace('_', '-')}: {first['msg'].removeprefix('Value error, ')}") from None
    metrics = train_tokenizer((text for source in sources for text in _texts(source)), config, out)
    size = f"{metrics['bytes'] / 1e6:,.1f} MB, {metrics['documents']:,} documents"
    typer.echo(f"{out}: {metrics['vocab_size']:,} entries from {size}")


@app.command()
def encode(
    tokenizer: Annotated[Path, typer.Argument(help="A folder, tokenizer.json, qwen.tiktoken, or .gguf file.")],
    text: Annotated[str, typer.Argument(help="The text; - reads standard input.")],
    control: Annotated[bool, typer.Option("--control", help="Let control tokens in the text be control tokens.")] = False,
    pieces: Annotated[bool, typer.Option("--pieces", help="Show each token's text beside its id.")] = False,
) -> None:
    """Print the ids of a text."""
    loaded = _load(tokenizer)
    content = sys.stdin.buffer.read().decode(errors="replace") if text == "-" else text
    ids = loaded.encode(content, allowed_special="all" if control else ())
    if pieces:
        for number in ids:
            piece = loaded.token_bytes(number).decode(errors="backslashreplace")
            typer.echo(f"{number}\t{json.dumps(piece, ensure_ascii=False)}")
    else:
        typer.echo(" ".join(map(str, ids)))


@app.command()
def compare(
    tokenizers: Annotated[list[Path], typer.Argument(help="Two or more tokenizers; the first is the measure of the others.")],
    text: Annotated[list[Path], typer.Option(help="A folder, file or archive of text; one group of the table each.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file too.")] = None,
) -> None:
    """Show how many tokens each tokenizer needs for the same text."""
    loaded = {str(path): _load(path) for path in tokenizers}
    rows = compare_tokenizers(loaded, {str(path): _texts(path) for path in text})
    table = Table("text", "tokenizer")
    for column in ("MB", "tokens", "bytes a token", "ratio"):
        table.add_column(column, justify="right")
    for row in rows:
        figures = (f"{row.bytes / 1e6:,.2f}", f"{row.tokens:,}", f"{row.bytes_per_token:.3f}", f"{row.ratio:.3f}")
        table.add_row(row.group, row.tokenizer, *figures)
    Console().print(table)
    if json_file is not None:
        write_json(json_file, [{**asdict(row), "bytes_per_token": row.bytes_per_token} for row in rows])


def _texts(path: Path) -> Iterator[str]:
    for found in read(FolderSource(kind="folder", path=path)):
        if isinstance(found, Document):
            yield found.text


def _load(path: Path) -> Tokenizer:
    return Tokenizer.from_gguf(read_gguf(path).metadata) if path.suffix == ".gguf" else Tokenizer.load(path)
