"""`kwen convert`: write a checkpoint in another format, or with an adapter merged into it."""

from pathlib import Path

import typer


def convert(
    source: str = typer.Argument(..., metavar="SRC", help="A model folder, a .gguf file, or a name on the hub."),
    destination: Path = typer.Argument(..., metavar="DST", help="The new folder."),
    to: str = typer.Option("hf", help="hf (Hugging Face folder) or qwen1 (Qwen-1's own layout, with qwen.tiktoken)."),
    merge: Path | None = typer.Option(None, metavar="ADAPTER", help="The folder of a LoRA adapter to add to the weights."),
) -> None:
    """Write a checkpoint in another format, with its tokenizer, chat template and generation settings."""
    from kwen.engine.hub import find_model  # after the arguments are parsed: these bring the tensor library with them
    from kwen.model.formats import load_checkpoint
    from kwen.model.formats.adapter import merged, read_adapter
    from kwen.model.formats.convert import convert as write
    from kwen.text.tokenizer import Tokenizer

    checkpoint = load_checkpoint(find_model(source))
    format = checkpoint.format
    if merge is not None:
        checkpoint = merged(checkpoint, read_adapter(merge))
    write(checkpoint, destination, to, Tokenizer.from_source)
    added = "" if merge is None else f" with {merge}"
    typer.echo(f"{destination}: {checkpoint.config.num_parameters:,} parameters, from {format}{added} to {to}")
