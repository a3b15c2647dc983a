"""What every stage that trains a chat model leaves behind."""

import shutil
from pathlib import Path

from kwen.model.formats.huggingface import memory_tensors, write_model
from kwen.model.transformer import Transformer
from kwen.text.tokenizer import Tokenizer


def write_chat_model(out: Path, model: Transformer, tokenizer: Tokenizer, work: Path) -> None:
    """Write the model, its tokenizer and template, and the metrics of the run in `work` as the Hugging Face folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    generation = {"eos_token_id": tokenizer.eos_token_ids, "pad_token_id": tokenizer.pad_token_id}
    write_model(out, model.config, memory_tensors(model), generation)
    tokenizer.save(out)
    shutil.copyfile(work / "metrics.jsonl", out / "metrics.jsonl")
