"""Supervised fine-tuning: a base model learns to answer in ChatML (report section 3.1)."""

from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from kwen.align.chat_model import Show, chat_tokenizer, check_training, write_chat_model
from kwen.align.datasets import ChatSource, tokenize_conversations
from kwen.align.lora import LoRAConfig, add_lora
from kwen.files import write_json
from kwen.model.formats.checkpoint import build_model
from kwen.model.formats.load import load_checkpoint
from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent
from kwen.text.chatml import Masking
from kwen.text.control import DEFAULT_SYSTEM
from kwen.train.batches import Batches, Documents
from kwen.train.loop import TrainingConfig, train
from kwen.train.parallel import Group, Ranks


class SFTConfig(BaseModel):
    """Fine-tuning data and training. `masking`: "team" is the report's (7.2), "content" trains answers and their end alone.

    `default_system` is for models without a chat template of their own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    data: list[ChatSource] = Field(min_length=1)
    masking: Masking = "team"
    default_system: str | None = DEFAULT_SYSTEM
    lora: LoRAConfig | None = None
    training: TrainingConfig


def finetune(
    config: SFTConfig,
    *,
    seed: int,
    base: Path,
    out: Path,
    work: Path,
    ranks: Ranks,
    show: Show | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Fine-tune the model at `base` (whatever `kwen.load` reads from disk) and write the chat model as a folder into `out`.

    work: keeps checkpoints and metrics between interruptions. show: called with data and plan before training begins. Returns
    the run's metrics. Raises UserError for data that trains nothing and for a run that does not fit the memory.
    """
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = chat_tokenizer(base, config.default_system)
    longest = config.training.sequence_length
    documents, counts = tokenize_conversations(
        list(config.data), tokenizer, seed=seed, masking=config.masking, longest=longest, progress=progress
    )
    check_training(base, config.training, config.lora, ranks, documents, tokenizer, show)
    documents.save(work)
    settings = {"config": config.training.model_dump(), "lora": config.lora and config.lora.model_dump()}
    arguments = {**settings, "seed": seed, "base": str(base), "work": str(work), "data": counts}
    model, metrics = ranks.run(finetune_rank, arguments, progress)
    write_chat_model(out, model, tokenizer, work, base=base, lora=config.lora)
    write_json(out / "data.json", counts)
    return metrics | counts


def finetune_rank(
    group: Group,
    *,
    config: dict[str, Any],
    lora: dict[str, Any] | None,
    seed: int,
    base: str,
    work: str,
    data: dict[str, Any],
    progress: Progress,
) -> tuple[Transformer, dict[str, Any]]:
    """One rank's part of `finetune`: the trained model and the metrics."""
    training = TrainingConfig(**config)
    model = build_model(load_checkpoint(Path(base)), torch.float32, group.device)
    if lora is not None:
        add_lora(model, LoRAConfig(**lora), seed)
    documents = Documents.load(Path(work))
    batches = Batches(documents, row_length=training.sequence_length, rows=training.rows, seed=seed, packing=training.packing)
    run = {"seed": seed, "data": data, **({"lora": lora} if lora else {})}
    metrics = train(model, batches, training, group=group, work=Path(work), run=run, progress=progress)
    return model, metrics | {"epochs": training.steps * training.rows / batches.rows_per_epoch}
