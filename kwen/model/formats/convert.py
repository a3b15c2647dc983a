"""One checkpoint into another format: weights one tensor at a time, and the tokenizer, template and settings beside them."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kwen.errors import UserError
from kwen.files import folder_aside, write_text
from kwen.model.formats import huggingface, qwen1
from kwen.model.formats.checkpoint import Checkpoint

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
        raise UserError(f"{to}: no such format; use {' or '.join(FORMATS)}")
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists already and is left as it is; name a new folder")
    settings = dict(checkpoint.generation_config)
    same_layout = checkpoint.format == ("huggingface" if to == "hf" else "qwen1")
    with folder_aside(out) as aside:
        if to == "hf":
            huggingface.write_model(aside, checkpoint.config, checkpoint.tensors, settings)
        else:
            chatml = checkpoint.format == "qwen1" or "<|im_start|>" in (checkpoint.chat_template or "")
            settings.setdefault("chat_format", "chatml" if chatml else "raw")
            qwen1.write_model(aside, checkpoint.config, checkpoint.tensors, settings)
        if same_layout:
            for name in TOKENIZER_FILES:
                if (checkpoint.path / name).is_file():
                    shutil.copyfile(checkpoint.path / name, aside / name)
        elif _has_tokenizer(checkpoint):
            tokenizer = load_tokenizer(checkpoint.tokenizer_source)
            if to == "hf":
                tokenizer.save(aside)
            else:
                qwen1.write_tokenizer(aside, tokenizer)
            if checkpoint.chat_template is not None:
                write_text(aside / "chat_template.jinja", checkpoint.chat_template)


def _has_tokenizer(checkpoint: Checkpoint) -> bool:
    if checkpoint.format == "gguf":
        return "tokenizer.ggml.model" in checkpoint.metadata
    return any((checkpoint.path / name).is_file() for name in ("tokenizer.json", "qwen.tiktoken", "tokenizer.model"))
