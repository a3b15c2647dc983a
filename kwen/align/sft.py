"""Supervised fine-tuning: a base model learns to answer in ChatML (report section 3.1)."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from kwen.align.chat_model import Show, chat_tokenizer, check_training, write_chat_model
from kwen.align.datasets import ChatSource, Tokenized, as_documents, tokenize_conversations
from kwen.align.lora import LoRAConfig, add_lora
from kwen.files import folder_aside, write_json, write_text
from kwen.model.formats.checkpoint import build_model
from kwen.model.formats.load import load_checkpoint
from kwen.model.transformer import Transformer
from kwen.progress import Progress, part_of, silent
from kwen.text.chatml import Masking
from kwen.text.control import DEFAULT_SYSTEM
from kwen.train.batches import Batches, Documents
from kwen.train.loop import TrainingConfig, train
from kwen.train.parallel import Group, Ranks

METRICS = "metrics.json"
"""A stage's metrics, in the folder of its model while later stages run."""
_COUNTS = ("conversations", "too_long", "no_answer", "empty_answer", "data_tokens", "data_trained_tokens")


class SFTStage(BaseModel):
    """Conversations, and how a model is trained on them."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    data: list[ChatSource] = Field(min_length=1)
    training: TrainingConfig


class SFTConfig(SFTStage):
    """Fine-tuning, in one stage or several; `then` are those after the first.

    `masking`: "team" is the report's (7.2), "content" trains answers and their end alone. `default_system` is for models without
    a chat template of their own.
    """

    masking: Masking = "team"
    default_system: str | None = DEFAULT_SYSTEM
    lora: LoRAConfig | None = None
    then: list[SFTStage] = []

    @model_validator(mode="after")
    def _one_stage_of_lora(self) -> "SFTConfig":
        if self.lora is not None and self.then:
            raise ValueError("lora trains one stage: leave `then` out, or train the whole model")
        return self

    @property
    def stages(self) -> list[SFTStage]:
        """All stages, the first one included."""
        return [self, *self.then]


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

    work: keeps checkpoints, metrics and the models between stages. show: called with data and plan of the first stage before
    training begins. Returns the run's metrics, counts added up over the stages. Raises UserError for data that trains nothing
    and for a run that does not fit the memory.
    """
    stages = config.stages
    models = [*(work / f"model-{number}" for number in range(1, len(stages))), out]
    start, told = base, list[dict[str, Any]]()
    for number, (stage, model) in enumerate(zip(stages, models, strict=True), 1):
        if model == out or not model.is_dir():
            place = work if number == 1 else work / f"stage-{number}"
            part = part_of(progress, number - 1, len(stages), **({"stage": str(number)} if config.then else {}))
            with nullcontext(out) if model == out else folder_aside(model) as folder:
                facts = _finetune(config, stage, seed, start, folder, place, ranks, show if number == 1 else None, part)
                write_json(folder / METRICS, facts)
        told.append(json.loads((model / METRICS).read_text(encoding="utf-8")))
        start = model
    (out / METRICS).unlink()
    _join_curves(models)
    return told[-1] | _added(told, ("steps", "tokens", "skipped_steps", *_COUNTS))


def _finetune(
    config: SFTConfig,
    stage: SFTStage,
    seed: int,
    base: Path,
    out: Path,
    work: Path,
    ranks: Ranks,
    show: Show | None,
    progress: Progress,
) -> dict[str, Any]:
    """One stage: the model at `base` into `out`, and its metrics and counts."""
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = chat_tokenizer(base, config.default_system)
    told = {"config": config, "stage": stage, "seed": seed, "base": base, "work": work}
    own = ranks.run(tokenize_rank, told, progress)
    others = [Tokenized.load(work / _part(rank)) for rank in range(1, ranks.world)]
    documents, counts = as_documents([own, *others], stage.training.sequence_length)
    check_training(base, stage.training, config.lora, ranks, documents, tokenizer, show)
    documents.save(work)
    settings = {"config": stage.training.model_dump(), "lora": config.lora and config.lora.model_dump()}
    arguments = {**settings, "seed": seed, "base": str(base), "work": str(work), "data": counts}
    model, metrics = ranks.run(finetune_rank, arguments, progress)
    write_chat_model(out, model, tokenizer, work, base=base, lora=config.lora)
    write_json(out / "data.json", counts)
    return metrics | counts


def tokenize_rank(
    group: Group, *, config: SFTConfig, stage: SFTStage, seed: int, base: Path, work: Path, progress: Progress
) -> Tokenized:
    """One rank's part of the conversations; the ranks after the first leave theirs in `work`."""
    part = tokenize_conversations(
        stage.data,
        chat_tokenizer(base, config.default_system),
        seed=seed,
        masking=config.masking,
        longest=stage.training.sequence_length,
        part=(group.rank, group.world),
        progress=progress,
    )
    if group.rank:
        part.save(work / _part(group.rank))
    return part


def _part(rank: int) -> str:
    return f"part-{rank}"


def _added(stages: list[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """The sums over the stages of what each has of `names`."""
    return {name: sum(stage.get(name, 0) for stage in stages) for name in names if any(name in stage for stage in stages)}


def _join_curves(models: Sequence[Path]) -> None:
    """The last model's metrics.jsonl becomes the curve of all stages, its steps counted on."""
    rows: list[dict[str, Any]] = []
    for model in models:
        before = rows[-1]["step"] if rows else 0
        lines = (model / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        rows += [row | {"step": row["step"] + before} for row in map(json.loads, lines)]
    write_text(models[-1] / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


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
