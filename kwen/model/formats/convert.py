"""One checkpoint into another format: weights one tensor at a time, and the tokenizer, template and settings beside them."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kwen.errors import UserError
from kwen.files import folder_aside, write_text
from kwen.model.formats import gptq, huggingface, qwen1
from kwen.model.formats.checkpoint import Checkpoint, read_json
from kwen.model.formats.gguf_write import write_gguf
from kwen.model.quantize import QuantizedLinear
from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent

FORMATS = ("hf", "qwen1")
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "chat_template.jinja", "qwen.tiktoken", "tokenizer.model", "tokenization_kwen.py",
)  # fmt: skip
"""What a folder may hold beside config.json and weights; copied as it is where the layout stays the same."""


def convert(
    checkpoint: Checkpoint,
    out: Path | str,
    to: str,
    load_tokenizer: Callable[[Path | Mapping[str, Any]], Any],
) -> None:
    """Write `checkpoint` to the new folder `out` as a Hugging Face folder (`to` is "hf") or in Qwen-1's layout ("qwen1").

    Every tensor keeps its stored values and dtype; quantised ones become float32. `load_tokenizer` makes a tokenizer from
    `checkpoint.tokenizer_source`; it is called only where the tokenizer has to change its form. Raises UserError where `out`
    exists, and for a model or tokenizer that the format cannot express.
    """
    if to not in FORMATS:
        raise UserError(f"{to}: no such format of a folder; use {' or '.join(FORMATS)}")
    out = Path(out)
    refuse_existing(out)
    settings = dict(checkpoint.generation_config)
    with folder_aside(out) as aside:
        if to == "hf":
            huggingface.write_model(aside, checkpoint.config, checkpoint.tensors, settings)
        else:
            chatml = checkpoint.format == "qwen1" or "<|im_start|>" in (checkpoint.chat_template or "")
            settings.setdefault("chat_format", "chatml" if chatml else "raw")
            qwen1.write_model(aside, checkpoint.config, checkpoint.tensors, settings)
        _write_tokenizer(aside, checkpoint, to, load_tokenizer)


def convert_packed(
    model: Transformer,
    checkpoint: Checkpoint,
    out: Path | str,
    load_tokenizer: Callable[[Path | Mapping[str, Any]], Any],
    group_size: int,
) -> None:
    """Write `model`, the one of `checkpoint` with its blocks quantised, as the new GPTQ or AWQ folder `out` (`gptq`).

    Raises UserError where `out` exists and for layers that the layout cannot hold.
    """
    out = Path(out)
    refuse_existing(out)
    tensors = gptq.packed_tensors(model)
    with folder_aside(out) as aside:
        huggingface.write_model(aside, checkpoint.config, tensors, checkpoint.generation_config)
        gptq.write_settings(aside, read_json(aside / "config.json"), model, group_size)
        _write_tokenizer(aside, checkpoint, "hf", load_tokenizer)


def convert_gguf(
    checkpoint: Checkpoint,
    out: Path | str,
    kind: str,
    tokenizer_keys: Mapping[str, Any],
    layers: Mapping[str, QuantizedLinear] | None = None,
    progress: Progress = silent,
) -> None:
    """Write `checkpoint` as the new GGUF file `out`; kind, layers and refusals are `gguf_write.write_gguf`'s.

    tokenizer_keys: the metadata `tokenizer.*`.
    """
    out = Path(out)
    if out.suffix != ".gguf":
        raise UserError(f"{out}: a GGUF file's name ends in .gguf; name the file")
    if out.exists():
        raise UserError(f"{out}: exists already and is left as it is; name a new file")
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.aside")
    try:
        write_gguf(aside, checkpoint.config, checkpoint.tensors, kind, tokenizer_keys, out.stem, layers, progress)
        os.replace(aside, out)
    finally:
        aside.unlink(missing_ok=True)


def refuse_existing(out: Path) -> None:
    """UserError where something stands at `out` that a new folder would replace."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists already and is left as it is; name a new folder")


def _write_tokenizer(
    aside: Path, checkpoint: Checkpoint, to: str, load_tokenizer: Callable[[Path | Mapping[str, Any]], Any]
) -> None:
    """Tokenizer and chat template: copied where the layout stays the same, else made anew."""
    if checkpoint.format == ("huggingface" if to == "hf" else "qwen1"):
        for name in TOKENIZER_FILES:
            if (checkpoint.path / name).is_file():
                shutil.copyfile(checkpoint.path / name, aside / name)
    elif has_tokenizer(checkpoint):
        tokenizer = load_tokenizer(checkpoint.tokenizer_source)
        if to == "hf":
            tokenizer.save(aside)
        else:
            qwen1.write_tokenizer(aside, tokenizer)
        if checkpoint.chat_template is not None:
            write_text(aside / "chat_template.jinja", checkpoint.chat_template)


def has_tokenizer(checkpoint: Checkpoint) -> bool:
    """Whether a tokenizer lies beside the weights."""
    if checkpoint.format == "gguf":
        return "tokenizer.ggml.model" in checkpoint.metadata
    return any((checkpoint.path / name).is_file() for name in ("tokenizer.json", "qwen.tiktoken", "tokenizer.model"))
