"""`kwen generate`: continue a prompt, written to standard output as it comes."""

import sys

import typer

from kwen.cli.streaming import PieceWriter


def generate(
    model: str = typer.Argument(..., help="A model folder, a .gguf file, or a name on the hub."),
    prompt: str = typer.Argument(..., help="The text to continue, without any template; - reads it from standard input."),
    max_new_tokens: int = typer.Option(64, help="Tokens to generate at most."),
    temperature: float = typer.Option(0.0, help="0 takes the likeliest token each time."),
    top_p: float = typer.Option(1.0, help="Sample from the likeliest tokens of this much probability."),
    top_k: int = typer.Option(0, help="Sample from this many likeliest tokens; 0 is all."),
    repetition_penalty: float = typer.Option(1.0, help="Above 1, tokens that occurred become less likely."),
    seed: int = typer.Option(0, help="Equal seeds give equal text."),
    stop: list[str] = typer.Option([], help="End before this text; may be given several times."),
    dtype: str = typer.Option(None, help="float32, bfloat16, float16, int8, int4; default: float32 on a CPU, bfloat16 on a GPU."),
    device: str = typer.Option(None, help="cpu, cuda, cuda:1, ...; default: a GPU where there is one."),
) -> None:
    """Continue a prompt."""
    from kwen.engine.language_model import load  # after the arguments are parsed: it brings the tensor library with it

    text = sys.stdin.read() if prompt == "-" else prompt
    lm = load(model, dtype=dtype, device=device)
    pieces = lm.stream(
        text,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        repetition_penalty=repetition_penalty,
        seed=seed,
        stop=stop,
    )
    writer = PieceWriter(sys.stdout)
    for piece in pieces:
        writer.write(piece.text)
    writer.end()
