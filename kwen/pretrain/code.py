"""A base model goes on learning from other text: continued pretraining, as the report makes its code models (section 4.1)."""

from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from kwen.model.formats.checkpoint import build_model
from kwen.model.formats.load import load_checkpoint
from kwen.model.transformer import Transformer
from kwen.pretrain.base import write_base_model
from kwen.progress import Progress, silent
from kwen.text.shards import TokenShards
from kwen.train.batches import Batches, Documents
from kwen.train.loop import TrainingConfig, train
from kwen.train.parallel import Group, Ranks


class ContinueConfig(BaseModel):
    """Continued pretraining: the report warms up for 3 % of the steps and then keeps the learning rate."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    training: TrainingConfig


def continue_pretraining(
    config: ContinueConfig,
    *,
    seed: int,
    base: Path,
    shards: Path,
    out: Path,
    work: Path,
    ranks: Ranks,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train the base model in the folder `base` on the shards folder `shards`/train and write the result into `out`.

    work: keeps checkpoints and metrics between interruptions. Returns the run's metrics. Raises UserError when the shards do not
    fill one batch.
    """
    work.mkdir(parents=True, exist_ok=True)
    arguments = {"config": config.model_dump(), "seed": seed, "base": str(base), "shards": str(shards), "work": str(work)}
    model, metrics = ranks.run(continue_rank, arguments, progress)
    write_base_model(out, model, base, work)
    return metrics


def continue_rank(
    group: Group, *, config: dict[str, Any], seed: int, base: str, shards: str, work: str, progress: Progress
) -> tuple[Transformer, dict[str, Any]]:
    """One rank's part of `continue_pretraining`: the trained model and the metrics."""
    training = ContinueConfig(**config).training
    model = build_model(load_checkpoint(Path(base)), torch.float32, group.device)
    data = TokenShards(Path(shards) / "train")
    documents = Documents.from_shards(data)
    batches = Batches(documents, row_length=training.sequence_length, rows=training.rows, seed=seed, packing=training.packing)
    weights = [float(p.detach().double().sum()) for p in model.parameters()]
    run = {"seed": seed, "tokens": data.total_tokens, "weights": weights}
    metrics = train(model, batches, training, group=group, work=Path(work), run=run, progress=progress)
    return model, metrics | {"epochs": training.steps * training.rows / batches.rows_per_epoch}
