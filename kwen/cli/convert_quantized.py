"""`kwen convert` where weights become integers, or the file a GGUF: calibrate, write, read back, say what it cost.

held-out text -> the original's reading          checkpoint -> (GPTQ on the other text) -> file -> read back -> its reading
"""

import json
import pydoc_data.topics
from pathlib import Path
from typing import Any

import torch
import typer
from rich.console import Console
from torch import Tensor

from kwen.cli.convert_plan import Plan
from kwen.cli.display import one_line_progress
from kwen.errors import UserError
from kwen.family.describe import size
from kwen.model.fidelity import Reading, read_rows
from kwen.model.formats import Checkpoint, build_model, load_checkpoint
from kwen.model.formats.convert import convert_gguf, convert_packed, has_tokenizer, refuse_existing
from kwen.model.gptq import calibrate_model
from kwen.model.quantize import QuantizedLinear, quantize_model
from kwen.model.transformer import Transformer
from kwen.text.gguf_metadata import gguf_tokenizer
from kwen.text.tokenizer import Tokenizer

ROW, CALIBRATION_ROWS, HELD_OUT_ROWS = 512, 48, 16
"""Tokens of a row, and rows at most: 24,576 tokens to calibrate on, 8,192 to measure on."""
LEAST_TOKENS = 640
"""A tenth of it is the least that says anything."""


def write_as_planned(checkpoint: Checkpoint, out: Path, plan: Plan) -> None:
    """Write `checkpoint` at the new `out` as `plan` says; print what quantising cost.

    Raises UserError for a checkpoint without a tokenizer, which GGUF and measuring both need, and for a text that is too short.
    """
    if plan.gguf_kind is None:
        refuse_existing(out)
    if checkpoint.config.scores:
        raise UserError("a reward model is not quantised: it has no words to compare; convert it to hf as it is")
    if not has_tokenizer(checkpoint):
        raise UserError(f"{checkpoint.path}: no tokenizer beside the weights; a quantised or GGUF model needs one")
    tokenizer = Tokenizer.from_source(checkpoint.tokenizer_source)
    console = Console(stderr=True)
    if not plan.quantizes:
        _write(checkpoint, None, out, plan, tokenizer, console)
        return
    text, where = _text(plan.calibrate)
    calibration, held_out = _rows(tokenizer, text, min(ROW, checkpoint.config.max_position_embeddings), where)
    model = build_model(checkpoint)
    original = _read(model, held_out, console, "original")
    _round(model, plan, calibration, console)
    _write(checkpoint, model, out, plan, tokenizer, console)
    del model
    written = _read(build_model(load_checkpoint(out), keep_quantized=True), held_out, console, "quantised")
    change = 100 * (written.perplexity / original.perplexity - 1)
    typer.echo(
        f"on {len(original.choices):,} tokens of {where}: perplexity {original.perplexity:.3f} -> {written.perplexity:.3f} "
        f"({change:+.2f} %), the same first choice at {100 * written.agreement(original):.1f} % of them"
    )


def _round(model: Transformer, plan: Plan, calibration: Tensor, console: Console) -> None:
    """The blocks' layers as integers, in place, where the plan's file holds them as `QuantizedLinear` does."""
    if plan.bits is None or (plan.gguf_kind is not None and plan.calibrate is None):
        return
    with one_line_progress(console, "calibrate" if plan.calibrate else "quantise") as progress:
        if plan.calibrate is not None:
            calibrate_model(
                model, calibration, plan.bits, plan.group_size, None,
                symmetric=not plan.zero_points, value_bits=8 if plan.keep_values else None, progress=progress,
            )  # fmt: skip
        else:
            quantize_model(model, plan.bits, plan.group_size, head_bits=None, progress=progress)


def _write(
    checkpoint: Checkpoint, model: Transformer | None, out: Path, plan: Plan, tokenizer: Tokenizer, console: Console
) -> None:
    if plan.gguf_kind is None:
        assert model is not None and plan.bits is not None
        convert_packed(model, checkpoint, out, Tokenizer.from_source, plan.group_size)
        _say_what_does_not_divide(model, plan.group_size)
        return
    layers = {} if model is None else {name: part for name, part in model.named_modules() if isinstance(part, QuantizedLinear)}
    with one_line_progress(console, "write") as progress:
        convert_gguf(checkpoint, out, plan.gguf_kind, _tokenizer_keys(checkpoint, tokenizer), layers, progress)
    typer.echo(f"{out.name}: {size(out.stat().st_size)}")


def _say_what_does_not_divide(model: Transformer, group_size: int) -> None:
    widths = {part.in_features for part in model.modules() if isinstance(part, QuantizedLinear)}
    if uneven := sorted(width for width in widths if width % group_size):
        typer.echo(f"note: groups of {group_size} do not divide {uneven[0]} inputs; Kwen reads that, vLLM wants groups that do")


def _tokenizer_keys(checkpoint: Checkpoint, tokenizer: Tokenizer) -> dict[str, Any]:
    """A GGUF file's own keys as they are, or the tokenizer's, with a word of warning where llama.cpp cuts text otherwise."""
    if checkpoint.format == "gguf":
        return {key: value for key, value in checkpoint.metadata.items() if key.startswith("tokenizer.")}
    found = gguf_tokenizer(tokenizer, checkpoint.config.vocab_size)
    if found.differing:
        pre = found.metadata["tokenizer.ggml.pre"]
        typer.echo(
            f"note: llama.cpp cuts text in no way that gives this tokenizer's ids; {pre} is nearest and differs in "
            f"{100 * found.differing:.0f} % of tokens: prompts given as token ids are exact, text is not"
        )
    keys = found.metadata
    if checkpoint.chat_template is not None:
        keys.setdefault("tokenizer.chat_template", checkpoint.chat_template)
    return keys


def _read(model: Transformer, rows: Tensor, console: Console, name: str) -> Reading:
    with one_line_progress(console, name) as progress:
        return read_rows(model, rows, progress)


def _text(path: Path | None) -> tuple[str, str]:
    """The text to calibrate and measure on, and what it is called; without one, Python's own documentation."""
    if path is None:
        topics = pydoc_data.topics.topics
        return "\n\n".join(topics[name] for name in sorted(topics)), "the Python documentation's last tenth"
    try:
        lines = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--calibrate {path}: not a readable UTF-8 file ({error})") from error
    if path.suffix == ".jsonl":
        lines = "\n\n".join(_record(path, number, line) for number, line in enumerate(lines.splitlines(), 1) if line.strip())
    return lines, f"{path}'s last tenth"


def _record(path: Path, number: int, line: str) -> str:
    try:
        value = json.loads(line)
        if isinstance(value["messages"] if "messages" in value else value["text"], str):
            return value["text"]
        return "\n\n".join(message["content"] for message in value["messages"] if message.get("content"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(f'--calibrate {path}: line {number} has neither "text" nor "messages" with text content') from error


def _rows(tokenizer: Tokenizer, text: str, length: int, where: str) -> tuple[Tensor, Tensor]:
    """(calibration rows, held-out rows), spread evenly over the first nine tenths and the last."""
    token_ids = tokenizer.encode(text)
    if len(token_ids) < LEAST_TOKENS:
        raise UserError(
            f"{where} comes of {len(token_ids)} tokens in all; give a text of {LEAST_TOKENS} at least, better 100,000"
        )
    border = len(token_ids) * 9 // 10
    return _spread(token_ids[:border], length, CALIBRATION_ROWS), _spread(token_ids[border:], length, HELD_OUT_ROWS)


def _spread(token_ids: list[int], length: int, most: int) -> Tensor:
    length = min(length, len(token_ids))
    rows = min(most, len(token_ids) // length)
    step = (len(token_ids) - length) / max(1, rows - 1)
    return torch.tensor([token_ids[round(row * step) : round(row * step) + length] for row in range(rows)])
