"""`kwen tokenizer`: train one on text, encode with one, compare several."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from kwen.corpus.by_language import texts_by_language
from kwen.corpus.documents import Document
from kwen.corpus.sources import FolderSource, read
from kwen.errors import UserError
from kwen.files import write_json
from kwen.model.formats.gguf_file import read_gguf
from kwen.text.comparison import compression_by_language, relative_tokens
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
    tokenizers: Annotated[list[Path], typer.Argument(help="Tokenizers: folders, or files such as cl100k_base.tiktoken.gz.")],
    text: Annotated[list[Path], typer.Option(help="A folder, file or archive of text; one row of the table each.")],
    by_language: Annotated[bool, typer.Option("--by-language", help="A row for each language that the data names.")] = False,
    reference: Annotated[str, typer.Option(help="The measure of the others, by its column's name; else each row's best.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file too.")] = None,
) -> None:
    """Show how many tokens each tokenizer needs for the same text, as a multiple of the reference's."""
    names = [path.name.removesuffix(".gz").removesuffix(".tiktoken") for path in tokenizers]
    loaded = {
        str(path) if names.count(name) > 1 or not name else name: _load(path)
        for path, name in zip(tokenizers, names, strict=True)
    }
    texts = (pair for path in text for pair in (texts_by_language(path) if by_language else _named_texts(path)))
    found = compression_by_language(loaded, texts, reference or None)
    table = Table(Column("language" if by_language else "text", overflow="fold"))
    for column in ("MB", *loaded):
        table.add_column(escape(column), justify="right", overflow="fold")
    for language, counts in found["languages"].items():
        ratios = relative_tokens(counts["tokens"], reference or None)
        table.add_row(escape(language), f"{counts['bytes'] / 1e6:,.2f}", *(f"{ratios[name]:.3f}" for name in loaded))
    Console().print(table)
    if json_file is not None:
        write_json(json_file, found)


def _named_texts(path: Path) -> Iterator[tuple[str, str]]:
    empty = True
    for text in _texts(path):
        empty = empty and not text
        yield str(path), text
    if empty:
        raise UserError(f"{path}: no text to compare tokenizers on; name a folder, file or archive of text")


def _texts(path: Path) -> Iterator[str]:
    for found in read(FolderSource(kind="folder", path=path)):
        if isinstance(found, Document):
            yield found.text


def _load(path: Path) -> Tokenizer:
    return Tokenizer.from_gguf(read_gguf(path).metadata) if path.suffix == ".gguf" else Tokenizer.load(path)
