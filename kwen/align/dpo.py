"""Direct preference optimisation: a chat model learns from pairs of replies without a reward model (arXiv 2305.18290).

A pair is one document of two sides (`tokenize_pairs`), so both stand in one row. The loss reads what the policy adds to the
logprob of each side's reply over what the initial model, the reference, gives it; the reference computes in the same step.
Legend: B rows, T tokens of a row, P pairs.
"""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from kwen.align.chat_model import Show, check_training, load_tokenizer, write_chat_model
from kwen.align.lora import LoRAConfig, add_lora, lora_layers, without_adapter
from kwen.align.preferences import PairSource, pairs, tokenize_pairs
from kwen.align.reward import score_ends
from kwen.errors import UserError
from kwen.files import write_json
from kwen.model.formats.checkpoint import build_model
from kwen.model.formats.load import load_checkpoint
from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent
from kwen.train.batches import Batch, Batches, Documents
from kwen.train.loop import TrainingConfig, mixed_precision, train
from kwen.train.loss import token_logprobs
from kwen.train.parallel import Group, Ranks


class DPOConfig(BaseModel):
    """Pairs, loss and training; in a family, the sampled comparisons stand beside `data`. `beta` is tau in IPO."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["dpo"] = "dpo"
    data: list[PairSource] = []
    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    beta: float = Field(0.1, gt=0)
    label_smoothing: float = Field(0.0, ge=0, lt=0.5, description="share of pairs taken to be labelled the wrong way round")
    length_normalized: bool = Field(False, description="a reply counts by the mean of its tokens' log-ratios, not their sum")
    sft_coefficient: float = Field(0.0, ge=0, description="of the chosen reply's cross-entropy a token (arXiv 2404.19733)")
    lora: LoRAConfig | None = None
    training: TrainingConfig

    @model_validator(mode="after")
    def _fits(self) -> "DPOConfig":
        if self.loss == "ipo" and self.label_smoothing:
            raise ValueError("label_smoothing is for the sigmoid loss; set it to 0, or loss to sigmoid")
        return self


def preference_losses(
    chosen: Tensor, rejected: Tensor, *, loss: Literal["sigmoid", "ipo"], beta: float, label_smoothing: float = 0.0
) -> Tensor:
    """The loss (P,) of pairs by log(policy / reference) of their sides (P,).

    With h = chosen - rejected: sigmoid is -log sigmoid(beta h) (arXiv 2305.18290, eq. 7), of which `label_smoothing` goes to
    the pair the other way round; ipo is (h - 1 / (2 beta))^2 (arXiv 2310.12036, eq. 17), which stops pulling once h is there.
    """
    margin = chosen - rejected
    if loss == "ipo":
        return (margin - 1 / (2 * beta)).square()
    return (1 - label_smoothing) * F.softplus(-beta * margin) + label_smoothing * F.softplus(beta * margin)


class DirectPreference:
    """The training objective over batches of pairs. A model with an adapter is its own reference, without the adapter."""

    def __init__(self, config: DPOConfig, model: Transformer, dtype: torch.dtype, compiled: bool) -> None:
        self._config, self._model, self._dtype = config, model, dtype
        self._adapted = bool(lora_layers(model))
        self._reference = model if self._adapted else copy.deepcopy(model).requires_grad_(False)
        self._hidden, self._reference_hidden = (
            torch.compile(part.hidden, dynamic=False) if compiled else part.hidden for part in (model, self._reference)
        )

    def count(self, batch: Batch) -> Tensor:
        """Pairs."""
        return score_ends(batch.documents).sum() / 2

    def loss(self, batch: Batch, count: float) -> tuple[Tensor, dict[str, float]]:
        """The loss as a mean over `count` pairs; with the share of pairs ordered right, and the margin and both sides' rewards,
        which are beta times what the loss reads."""
        config = self._config
        trained = batch.weights.flatten().nonzero()[:, 0]
        ends = score_ends(batch.documents).flatten()
        side = (ends.cumsum(0) - ends.long())[trained]  # sides that end before a token: the number of its own
        lengths = side.bincount(minlength=int(ends.sum()))

        logprobs = self._logprobs(self._hidden, self._model, batch, trained)
        with torch.no_grad(), without_adapter(self._model) if self._adapted else nullcontext():
            reference = self._logprobs(self._reference_hidden, self._reference, batch, trained)

        ratios = torch.segment_reduce(logprobs - reference, "sum", lengths=lengths)
        chosen, rejected = (ratios / lengths if config.length_normalized else ratios).view(-1, 2).unbind(dim=1)
        losses = preference_losses(chosen, rejected, loss=config.loss, beta=config.beta, label_smoothing=config.label_smoothing)
        facts = {
            "accuracy": float((chosen > rejected).sum()) / count,
            "margin": config.beta * float((chosen - rejected).detach().sum()) / count,
            "chosen_reward": config.beta * float(chosen.detach().sum()) / count,
            "rejected_reward": config.beta * float(rejected.detach().sum()) / count,
        }
        if config.sft_coefficient:
            means = torch.segment_reduce(logprobs, "sum", lengths=lengths) / lengths
            cross_entropy = -means.view(-1, 2)[:, 0]
            losses = losses + config.sft_coefficient * cross_entropy
            facts["chosen_cross_entropy"] = float(cross_entropy.detach().sum()) / count
        return losses.sum() / count, facts

    def _logprobs(self, hidden: Callable[..., Tensor], model: Transformer, batch: Batch, trained: Tensor) -> Tensor:
        """Logprobs of the `trained` places of the flattened batch."""
        with mixed_precision(batch.token_ids.device, self._dtype):
            states = hidden(batch.token_ids, documents=batch.documents)
        chosen = states.flatten(0, 1)[trained]
        return token_logprobs(chosen, model.output_weight, batch.targets.flatten()[trained], dtype=self._dtype)[0]


def train_dpo(
    config: DPOConfig,
    *,
    seed: int,
    policy: Path,
    out: Path,
    work: Path,
    ranks: Ranks,
    show: Show | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train the chat model in the folder `policy` on pairs and write the result as a chat model into the folder `out`.

    work: keeps checkpoints and metrics between interruptions. show: called with data and plan before training begins. Returns
    the run's metrics.
    """
    if not config.data:
        raise UserError("DPO has no pairs to learn from: name a source under data")
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = load_tokenizer(policy)
    shown = (pair for source in config.data for pair in pairs(source, seed))
    documents, _, counts = tokenize_pairs(shown, tokenizer, longest=config.training.sequence_length, progress=progress)
    documents.save(work)
    check_training(policy, config.training, config.lora, ranks, documents, tokenizer, show)
    arguments = {"config": config.model_dump(), "seed": seed, "policy": str(policy), "work": str(work), "data": counts}
    model, metrics = ranks.run(train_dpo_rank, arguments, progress)
    write_chat_model(out, model, tokenizer, work, base=policy, lora=config.lora)
    write_json(out / "data.json", counts)
    return metrics | counts


def train_dpo_rank(
    group: Group, *, config: dict[str, Any], seed: int, policy: str, work: str, data: dict[str, Any], progress: Progress
) -> tuple[Transformer, dict[str, Any]]:
    """One rank's part of `train_dpo`: the trained model and the metrics."""
    settings = DPOConfig(**config)
    training = settings.training
    model = build_model(load_checkpoint(Path(policy)), torch.float32, group.device)
    if settings.lora is not None:
        add_lora(model, settings.lora, seed)
    batches = Batches(Documents.load(Path(work)), row_length=training.sequence_length, rows=training.rows, seed=seed)
    run = {"seed": seed, "data": data, "objective": settings.model_dump(mode="json", exclude={"training"})}
    objective = partial(DirectPreference, settings)
    metrics = train(model, batches, training, group=group, work=Path(work), run=run, objective=objective, progress=progress)
    return model, metrics | {"epochs": training.steps * training.rows / batches.rows_per_epoch}
