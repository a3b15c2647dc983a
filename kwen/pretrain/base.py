"""A base model from token shards: next-token prediction from fresh weights (report section 2)."""

import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kwen.model.config import ModelConfig
from kwen.model.formats.huggingface import memory_tensors, write_model
from kwen.model.initialize import Initialization, initialize
from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent
from kwen.text.shards import TokenShards
from kwen.text.tokenizer import Tokenizer
from kwen.train.batches import Batches, CopyDrill, Documents
from kwen.train.loop import TrainingConfig, train
from kwen.train.parallel import Group, Ranks

ROWS_MULTIPLE = 128  # embedding rows are padded to a multiple of this, as the released checkpoints' are (report 1.2)


class ModelShape(BaseModel):
    """The shape of a family member; the vocabulary comes from the tokenizer. Defaults follow the report (section 2.3)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    hidden_size: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0)
    num_attention_heads: int = Field(gt=0)
    num_key_value_heads: int | None = Field(None, gt=0, description="None: as many as num_attention_heads")
    head_dim: int | None = Field(None, gt=0, description="None: hidden_size / num_attention_heads")
    intermediate_size: int | None = Field(None, gt=0, description="None: 8/3 of hidden_size, rounded as the report's are")
    max_position_embeddings: int = Field(2048, gt=0)
    rope_theta: float = Field(10000.0, gt=0)
    tie_word_embeddings: bool = False

    def config(self, vocab_size: int, seq_length: int) -> ModelConfig:
        """The model's configuration for a tokenizer of `vocab_size` ids, trained on rows of `seq_length` tokens."""
        doubled = int(8 / 3 * self.hidden_size) * 2
        return ModelConfig(
            vocab_size=-(-vocab_size // ROWS_MULTIPLE) * ROWS_MULTIPLE,
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size or -(-doubled // 256) * 128,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            num_key_value_heads=self.num_key_value_heads or self.num_attention_heads,
            head_dim=self.head_dim or self.hidden_size // self.num_attention_heads,
            max_position_embeddings=self.max_position_embeddings,
            seq_length=min(seq_length, self.max_position_embeddings),
            rope_theta=self.rope_theta,
            tie_word_embeddings=self.tie_word_embeddings,
        )


class PretrainConfig(BaseModel):
    """A base model: its shape, how its weights start, and its training."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    model: ModelShape
    initialization: Initialization = "report"
    drill: CopyDrill = CopyDrill()
    training: TrainingConfig


def pretrain(
    config: PretrainConfig,
    *,
    seed: int,
    shards: Path,
    tokenizer: Path,
    out: Path,
    work: Path,
    ranks: Ranks,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train a base model on the shards folder `shards`/train and write it as a Hugging Face folder into `out`.

    work: keeps checkpoints and metrics between interruptions. Returns the run's metrics.
    Raises UserError when the shards do not fill one batch.
    """
    work.mkdir(parents=True, exist_ok=True)
    arguments = {
        "config": config.model_dump(),
        "seed": seed,
        "shards": str(shards),
        "tokenizer": str(tokenizer),
        "work": str(work),
    }
    model, metrics = ranks.run(pretrain_rank, arguments, progress)
    write_base_model(out, model, tokenizer, work)
    return metrics


def write_base_model(out: Path, model: Transformer, tokenizer: Path, work: Path) -> None:
    """Write the model, the tokenizer of the folder `tokenizer`, and the metrics of the run in `work` as the folder `out`."""
    text = Tokenizer.load(tokenizer)
    write_model(out, model.config, memory_tensors(model), {"eos_token_id": text.eos_token_ids, "pad_token_id": text.pad_token_id})
    text.save(out)
    shutil.copyfile(work / "metrics.jsonl", out / "metrics.jsonl")


def pretrain_rank(
    group: Group, *, config: dict[str, Any], seed: int, shards: str, tokenizer: str, work: str, progress: Progress
) -> tuple[Transformer, dict[str, Any]]:
    """One rank's part of `pretrain`: the trained model and the metrics."""
    settings = PretrainConfig(**config)
    text = Tokenizer.load(tokenizer)
    model = Transformer(settings.model.config(text.vocab_size, settings.training.sequence_length))
    initialize(model, settings.initialization, seed)
    model.to(group.device)
    data = TokenShards(Path(shards) / "train")
    batches = Batches(
        Documents.from_shards(data),
        row_length=settings.training.sequence_length,
        rows=settings.training.rows,
        seed=seed,
        packing=settings.training.packing,
        drill=settings.drill,
        drill_ids=min(text.control_tokens.values()),
        steps=settings.training.steps,
    )
    run = {
        "seed": seed,
        "initialization": settings.initialization,
        "drill": settings.drill.model_dump(),
        "tokens": data.total_tokens,
    }
    metrics = train(model, batches, settings.training, group=group, work=Path(work), run=run, progress=progress)
    return model, metrics | {"epochs": settings.training.steps * settings.training.rows / batches.rows_per_epoch}
