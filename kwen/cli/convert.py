"""`kwen convert`: write a checkpoint in another format, quantised, or with an adapter merged into it."""

from pathlib import Path

import typer


def convert(
    source: str = typer.Argument(..., metavar="SRC", help="A model folder, a .gguf file, or a name on the hub."),
    destination: Path = typer.Argument(..., metavar="DST", help="The new folder; with --to gguf the new .gguf file."),
    to: str = typer.Option(
        "hf", help="hf (Hugging Face folder), qwen1 (Qwen-1's layout, with qwen.tiktoken) or gguf (llama.cpp)."
    ),
    merge: Path | None = typer.Option(None, metavar="ADAPTER", help="The folder of a LoRA adapter to add to the weights."),
    quantize: str | None = typer.Option(
        None,
        help="int8 or int4: hf as GPTQ (calibrated int4 as AWQ), gguf as Q8_0 and Q4_0; "
        "gguf also f32, f16 (its default), bf16, q8_0, q4_0, q4_k_m.",
    ),
    group_size: int | None = typer.Option(None, min=8, help="Inputs that share a scale, for hf; default 32. GGUF's are 32."),
    calibrate: Path | None = typer.Option(
        None, metavar="FILE", help="A .txt or .jsonl file: int8 and int4 by GPTQ on nine tenths of it, measured on the last."
    ),
    keep_values: bool = typer.Option(
        False,
        "--keep-values",
        help="With int4 and --calibrate: round the projections of attention's values to 8 bits alone, stored as 16, which halves "
        "what int4 costs. Kwen and transformers read that, vLLM does not.",
    ),
) -> None:
    """Write a checkpoint in another format, with its tokenizer, chat template and generation settings.

    Quantising prints what it cost: perplexity and equal first choices on text that it did not see.
    """
    from kwen.cli.convert_plan import plan_of  # after the arguments are parsed: these bring the tensor library with them

    plan = plan_of(to, quantize, group_size, calibrate, keep_values)
    from kwen.engine.hub import find_model
    from kwen.model.formats import load_checkpoint
    from kwen.model.formats.adapter import merged, read_adapter
    from kwen.model.formats.convert import convert as write
    from kwen.text.tokenizer import Tokenizer

    checkpoint = load_checkpoint(find_model(source))
    format = checkpoint.format
    if merge is not None:
        checkpoint = merged(checkpoint, read_adapter(merge))
    if plan.gguf_kind is None and plan.bits is None:
        write(checkpoint, destination, to, Tokenizer.from_source)
    else:
        from kwen.cli.convert_quantized import write_as_planned

        write_as_planned(checkpoint, destination, plan)
    added = "" if merge is None else f" with {merge}"
    typer.echo(f"{destination}: {checkpoint.config.num_parameters:,} parameters, from {format}{added} to {plan.description}")
