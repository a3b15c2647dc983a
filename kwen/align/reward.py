"""The reward model: a score read at the final im_end, trained on pairs (report section 3.2.1).

Preference model pretraining (PMP) starts from a base model on a large noisy set of comparisons; fine-tuning on a small clean set
starts from what that gave. Both are this one stage: pairwise logistic loss, -log sigmoid(chosen - rejected), report 7.4.
Legend: B rows, T tokens of a row, D hidden, P pairs.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from kwen.align.chat_model import Show, chat_tokenizer, check_training
from kwen.align.datasets import render_conversation
from kwen.align.lora import LoRAConfig, add_lora, fold_adapter
from kwen.align.preferences import PairsFile, PairSource, fitting, hold_out, pairs, tokenize_pairs, write_pairs
from kwen.errors import UserError
from kwen.files import write_json
from kwen.model.config import ModelConfig
from kwen.model.formats.checkpoint import Checkpoint, build_model
from kwen.model.formats.huggingface import memory_tensors, write_model
from kwen.model.formats.load import load_checkpoint
from kwen.model.formats.tensors import MemoryTensor
from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent
from kwen.text.control import IM_END
from kwen.text.tokenizer import Tokenizer
from kwen.train.batches import Batch, Batches, Documents
from kwen.train.loop import Precision, TrainingConfig, mixed_precision, train, training_dtype
from kwen.train.parallel import Group, Ranks
from kwen.verify.pairs import Pair

HELD_OUT = "held_out"
"""The folder, inside a reward model's own, of the pairs that it was kept from."""

_PASS_TOKENS = 8192  # most tokens of one scoring pass, padding included


class RewardConfig(BaseModel):
    """Pairs and training of a reward model; in a family, `reward` has the sampled comparisons beside its `data`.

    held_out: share of the conversations that are kept for testing, as held_out/SOURCE.jsonl in the model's folder; of them, those
    pairs that training would have taken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    data: list[PairSource] = []
    held_out: float = Field(0.0, ge=0, lt=1)
    default_system: str | None = None
    lora: LoRAConfig | None = None
    training: TrainingConfig


def score_ends(documents: Tensor) -> Tensor:
    """Bool (B, T): the last token of each document of (B, T) document ids; -1 is padding."""
    last = torch.ones_like(documents, dtype=torch.bool)
    last[:, :-1] = documents[:, 1:] != documents[:, :-1]
    return last & (documents >= 0)


class PairwiseLogistic:
    """The training objective: minus the log-probability that the chosen side wins, by Bradley and Terry's model."""

    def __init__(self, model: Transformer, dtype: torch.dtype, compiled: bool) -> None:
        self._model, self._dtype = model, dtype
        self._hidden = torch.compile(model.hidden, dynamic=False) if compiled else model.hidden

    def count(self, batch: Batch) -> Tensor:
        """Pairs."""
        return score_ends(batch.documents).sum() / 2

    def loss(self, batch: Batch, count: float) -> tuple[Tensor, dict[str, float]]:
        """Nats, as a mean over `count` pairs; with the share of pairs ordered right and the mean margin."""
        with mixed_precision(batch.token_ids.device, self._dtype):
            hidden = self._hidden(batch.token_ids, documents=batch.documents, seen_by=batch.seen_by)
        ends = score_ends(batch.documents)
        margins = self._model.scores(hidden[ends].float()).view(-1, 2).diff(dim=1)[:, 0].neg()
        loss = F.softplus(-margins).sum() / count
        right = float((margins > 0).sum()) / count
        return loss, {"accuracy": right, "margin": float(margins.detach().sum()) / count}


def train_reward(
    config: RewardConfig,
    *,
    seed: int,
    base: Path,
    out: Path,
    work: Path,
    ranks: Ranks,
    show: Show | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train a reward model from the folder `base` (a language model or a reward model) and write it into `out`.

    out: a Hugging Face folder that transformers loads for sequence classification. show: called with data and plan before
    training begins. Returns the run's metrics. Raises UserError without pairs, and for a run that does not fit the memory.
    """
    if not config.data:
        raise UserError("the reward model has no pairs to learn from: name a source under data")
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = chat_tokenizer(base, config.default_system)
    longest = config.training.sequence_length
    shown: list[Pair] = []
    for number, source in enumerate(config.data, 1):
        kept, held = hold_out(pairs(source, seed), config.held_out, seed)
        shown += kept
        if config.held_out:
            name = source.path.name.partition(".")[0] if isinstance(source, PairsFile) else source.kind
            (out / HELD_OUT).mkdir(exist_ok=True)
            whole = fitting(held, tokenizer, longest=longest, prompt_once=True)
            write_pairs(out / HELD_OUT / f"{number}-{name}.jsonl", whole)
    documents, _, counts = tokenize_pairs(shown, tokenizer, longest=longest, prompt_once=True, progress=progress)
    documents.save(work)
    check_training(base, config.training, config.lora, ranks, documents, tokenizer, show)
    settings = {"config": config.training.model_dump(), "lora": config.lora and config.lora.model_dump()}
    arguments = {**settings, "seed": seed, "base": str(base), "work": str(work), "data": counts}
    model, metrics = ranks.run(train_reward_rank, arguments, progress)
    if config.lora is not None:
        fold_adapter(model)
    write_model(out, model.config, memory_tensors(model), {"pad_token_id": tokenizer.pad_token_id})
    tokenizer.save(out)
    shutil.copyfile(work / "metrics.jsonl", out / "metrics.jsonl")
    write_json(out / "data.json", counts)
    return metrics | counts


def train_reward_rank(
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
    """One rank's part of `train_reward`: the trained model and the metrics."""
    training = TrainingConfig(**config)
    model = scoring_model(load_checkpoint(Path(base)), group.device)
    if lora is not None:
        add_lora(model, LoRAConfig(**lora), seed)
    batches = Batches(Documents.load(Path(work)), row_length=training.sequence_length, rows=training.rows, seed=seed)
    run = {"seed": seed, "data": data, "objective": "pairwise logistic", **({"lora": lora} if lora else {})}
    metrics = train(
        model, batches, training, group=group, work=Path(work), run=run, objective=PairwiseLogistic, progress=progress
    )
    return model, metrics | {"epochs": training.steps * training.rows / batches.rows_per_epoch}


def scoring_model(checkpoint: Checkpoint, device: torch.device | str = "cpu") -> Transformer:
    """The checkpoint as a float32 model of scores: itself, or a language model whose head is replaced by one that scores 0."""
    if checkpoint.config.scores:
        return build_model(checkpoint, torch.float32, device)
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if name != "lm_head.weight"}
    head = MemoryTensor(torch.zeros(1, checkpoint.config.hidden_size))
    scoring = replace(checkpoint, config=replace(checkpoint.config, scores=True), tensors={**tensors, "score.weight": head})
    return build_model(scoring, torch.float32, device)


@torch.inference_mode()
def score_rows(model: Transformer, rows: Sequence[Sequence[int]]) -> list[float]:
    """The score at the last token of each row of token ids, whatever rows it stands beside."""
    model.eval()
    device = next(model.parameters()).device
    scores = [0.0] * len(rows)
    waiting = sorted(range(len(rows)), key=lambda index: -len(rows[index]))
    while waiting:
        longest = len(rows[waiting[0]])
        together, waiting = waiting[: max(1, _PASS_TOKENS // longest)], waiting[max(1, _PASS_TOKENS // longest) :]
        padded = torch.tensor([[*rows[index], *[0] * (longest - len(rows[index]))] for index in together], device=device)
        last = torch.tensor([len(rows[index]) - 1 for index in together], device=device)
        hidden = model.hidden(padded, lengths=last + 1)[torch.arange(len(together), device=device), last]
        for index, score in zip(together, model.scores(hidden).tolist(), strict=True):
            scores[index] = score
    return scores


class RewardModel:
    """A reward model ready to score conversations; in bfloat16 scores are off by about half a per cent of their deviation."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer, dtype: torch.dtype = torch.float32) -> None:
        self.model, self.tokenizer, self.dtype = model, tokenizer, dtype
        self._end = tokenizer.control_id(IM_END)

    @classmethod
    def load(
        cls, folder: Path, precision: Precision = "float32", device: torch.device = torch.device("cpu")
    ) -> "RewardModel":
        """The model that `train_reward` wrote, computing on `device` as training would at this `precision`.

        Raises UserError for a folder that holds no reward model.
        """
        checkpoint = load_checkpoint(folder)
        if not checkpoint.config.scores:
            raise UserError(f"{folder}: a language model; a reward model is what kwen train reward makes")
        return cls(scoring_model(checkpoint, device), Tokenizer.load(folder), training_dtype(precision, device))

    @property
    def config(self) -> ModelConfig:
        """The model's own."""
        return self.model.config

    def score(self, conversations: Sequence[Sequence[Mapping[str, Any]]]) -> list[float]:
        """The score of each conversation, messages that end with the assistant's reply, read at its im_end.

        Raises UserError for a conversation longer than the model's context.
        """
        rows = [self.token_ids(messages) for messages in conversations]
        longest = self.model.config.max_position_embeddings
        if too_long := [len(row) for row in rows if len(row) > longest]:
            raise UserError(f"a conversation of {too_long[0]} tokens exceeds the reward model's context of {longest}")
        with mixed_precision(next(self.model.parameters()).device, self.dtype):
            return score_rows(self.model, rows)

    def token_ids(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """A conversation as the model reads it: up to its last im_end."""
        token_ids = render_conversation(messages, self.tokenizer).token_ids
        while token_ids and token_ids[-1] != self._end:
            token_ids.pop()
        return token_ids
