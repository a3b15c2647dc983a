"""Supervised fine-tuning: a base model learns to answer in ChatML (report section 3.1)."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from kwen.align.datasets import ChatSource, tokenize_conversations
from kwen.files import write_json
from kwen.model.formats.checkpoint import build_model
from kwen.model.formats.huggingface import memory_tensors, write_model
from kwen.model.formats.load import load_checkpoint
from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent
from kwen.text.chatml import Masking
from kwen.text.control import DEFAULT_SYSTEM
from kwen.text.tokenizer import Tokenizer
from kwen.train.batches import Batches, Documents
from kwen.train.loop import TrainingConfig, train
from kwen.train.parallel import Group, Ranks


class SFTConfig(BaseModel):
    """Fine-tuning data and training. `masking`: "team" is the report's (7.2), "content" trains answers and their end alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    data: list[ChatSource] = Field(min_length=1)
    masking: Masking = "team"
    default_system: str | None = DEFAULT_SYSTEM
    training: TrainingConfig


def finetune(
    config: SFTConfig,
    *,
    seed: int,
    base: Path,
    out: Path,
    work: Path,
    ranks: Ranks,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Fine-tune the model in the folder `base` and write the chat model as a Hugging Face folder into `out`.

    work: keeps checkpoints and metrics between interruptions. Returns the run's metrics.
    """
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.load(base).for_chat(config.default_system)
    longest = config.training.sequence_length
    documents, counts = tokenize_conversations(
        list(config.data), tokenizer, seed=seed, masking=config.masking, longest=longest, progress=progress
    )
    assert documents.trained is not None
    np.save(work / "tokens.npy", documents.tokens)
    np.save(work / "offsets.npy", documents.offsets)
    np.save(work / "trained.npy", documents.trained)
    arguments = {"config": config.training.model_dump(), "seed": seed, "base": str(base), "work": str(work), "data": counts}
    model, metrics = ranks.run(finetune_rank, arguments, progress)
    generation = {"eos_token_id": tokenizer.eos_token_ids, "pad_token_id": tokenizer.pad_token_id}
    write_model(out, model.config, memory_tensors(model), generation)
    tokenizer.save(out)
    shutil.copyfile(work / "metrics.jsonl", out / "metrics.jsonl")
    write_json(out / "data.json", counts)
    return metrics | counts


def finetune_rank(
    group: Group, *, config: dict[str, Any], seed: int, base: str, work: str, data: dict[str, Any], progress: Progress
) -> tuple[Transformer, dict[str, Any]]:
    """One rank's part of `finetune`: the trained model and the metrics."""
    training = TrainingConfig(**config)
    model = build_model(load_checkpoint(Path(base)), torch.float32, group.device)
    parts = [np.load(Path(work) / f"{name}.npy", allow_pickle=False) for name in ("tokens", "offsets", "trained")]
    batches = Batches(
        Documents(*parts), row_length=training.sequence_length, rows=training.rows, seed=seed, packing=training.packing
    )
    metrics = train(model, batches, training, group=group, work=Path(work), run={"seed": seed, "data": data}, progress=progress)
    return model, metrics | {"epochs": training.steps * training.rows / batches.rows_per_epoch}
