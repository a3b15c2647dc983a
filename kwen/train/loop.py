"""The training loop: pretraining, SFT and whatever else trains run through it.

One step: make the global batch of (seed, step); each rank takes its rows, in micro-batches; losses are sums weighted by the
global count of what is trained (tokens, or pairs); gradients are added over the ranks; a sane gradient norm updates the weights.
Every `checkpoint_every` steps the whole state is written, so that the same command after a kill goes on to the same weights.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from kwen.errors import UserError
from kwen.files import json_hash
from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent
from kwen.train.batches import Batch, Batches
from kwen.train.checkpoint import load_checkpoint, save_checkpoint
from kwen.train.loss import chunk_loss, linear_cross_entropy
from kwen.train.metrics import MetricsLog, flops_per_token, matmul_peak
from kwen.train.optimizer import Optimizer, OptimizerConfig, ScheduleConfig, learning_rate_scale
from kwen.train.parallel import Group

Precision = Literal["auto", "float32", "bfloat16"]
"""What matrix products of training compute in; weights stay float32."""


class TrainingConfig(BaseModel):
    """Settings of a training run; lengths are in steps and tokens, never in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    steps: int = Field(gt=0)
    batch_tokens: int = Field(gt=0, description="tokens of a global batch: rows times sequence_length")
    sequence_length: int = Field(gt=1)
    micro_batch_tokens: int | None = Field(None, gt=0, description="tokens a rank takes at once; None: its whole share")
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    packing: Literal["best_fit", "concatenate"] = "best_fit"
    precision: Precision = "auto"
    reduce_precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    checkpoint_every: int = Field(200, gt=0)
    log_every: int = Field(10, gt=0)
    skip_sigma: float | None = Field(6.0, gt=0, description="skip a step whose log gradient norm lies this far above its mean")
    tensorboard: bool = False

    @property
    def rows(self) -> int:
        """Rows of a global batch."""
        return self.batch_tokens // self.sequence_length


class NormWatch:
    """Running statistics of the log gradient norm, and the verdict whether a step is sane; they are part of the state."""

    DECAY, LEAST = 0.98, 30

    def __init__(self, sigma: float | None) -> None:
        self.sigma = sigma
        self.count, self.mean, self.variance, self.skipped = 0, 0.0, 0.0, 0

    def accepts(self, norm: float) -> bool:
        """Whether to take a step with this gradient norm; it enters the statistics if finite, and a refusal is counted."""
        if not math.isfinite(norm):
            self.skipped += 1
            return False
        value = math.log(norm + 1e-12)
        limit = math.inf
        if self.sigma is not None and self.count >= self.LEAST:
            limit = self.mean + self.sigma * max(math.sqrt(self.variance), 0.05)
        outlying = value > limit
        weight = max(1 - self.DECAY, 1 / (self.count + 1))
        change = min(value, limit) - self.mean  # an outlier counts as the limit: norms that stay high become the rule
        self.mean += weight * change
        self.variance = (1 - weight) * (self.variance + weight * change * change)
        self.count += 1
        self.skipped += outlying
        return not outlying

    def state(self) -> dict[str, float]:
        """The statistics as plain numbers."""
        return {"count": self.count, "mean": self.mean, "variance": self.variance, "skipped": self.skipped}

    def load(self, state: dict[str, float]) -> None:
        """Take up what `state` gave."""
        self.count, self.skipped = int(state["count"]), int(state["skipped"])
        self.mean, self.variance = state["mean"], state["variance"]


def training_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """float32, or bfloat16 where asked, or where the hardware multiplies it faster (`auto`)."""
    if precision == "auto":
        fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    return getattr(torch, precision)


def train(
    model: Transformer,
    batches: Batches,
    config: TrainingConfig,
    *,
    group: Group,
    work: Path,
    run: dict[str, Any],
    objective: Callable[[Any, torch.dtype, bool], "Objective"] | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train the parameters of `model` that require gradients, in place on every rank, and return the metrics of the run.

    objective: makes what is minimised from (model, dtype of the products, whether to compile); by default `NextToken`.
    work: folder of the checkpoint and of metrics.jsonl (rank 0 writes). run: what else shapes this run (seed, data, initial
    weights), as plain data; with the configuration it names the run a checkpoint belongs to.
    Raises UserError when the rows do not divide among the ranks.
    """
    if config.rows == 0 or config.rows % group.world:
        raise UserError(
            f"batch_tokens {config.batch_tokens} gives {config.rows} rows of {config.sequence_length}, which {group.world} ranks "
            "cannot share: make batch_tokens a multiple of sequence_length times ranks"
        )
    device = next(model.parameters()).device
    dtype = training_dtype(config.precision, device)
    model.train()
    minimised = (objective or NextToken)(model, dtype, config.compile)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    parameters = list(trained.values())
    optimizer = Optimizer(model, config.optimizer, group)
    watch = NormWatch(config.skip_sigma)
    name = json_hash({"config": config.model_dump(), "model": asdict(model.config), "run": run})
    step = _resume(work / "checkpoint", name, trained, optimizer, watch)
    log = (
        MetricsLog(work / "metrics.jsonl", step, work / "tensorboard" if config.tensorboard else None)
        if group.rank == 0
        else None
    )
    peak = matmul_peak(dtype, device) * group.world
    flops = flops_per_token(model.config, config.sequence_length)
    sums, started, mark = Counter[str](), time.monotonic(), (time.monotonic(), step)
    while step < config.steps:
        scale = learning_rate_scale(config.schedule, step, config.steps)
        batch = batches(step, group.rank, group.world).to(device)
        torch.manual_seed(int(name[:15], 16) + step * group.world + group.rank)  # dropout, too, is a function of (run, step)
        sums.update(_gradients(batch, config, minimised, group))
        group.add_gradients(parameters, getattr(torch, config.reduce_precision))
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.optimizer.clip, foreach=True))
        if watch.accepts(norm):
            optimizer.step(scale)
        for p in parameters:
            p.grad = None
        step += 1
        checkpoint_due = step % config.checkpoint_every == 0 and step < config.steps
        if checkpoint_due or step % config.log_every == 0 or step == config.steps:
            names = sorted(sums)
            totals = group.add(torch.tensor([sums[name] for name in names], dtype=torch.float64, device=device)).tolist()
            now, since = time.monotonic(), step - mark[1]
            speed = since * config.batch_tokens / max(now - mark[0], 1e-9)
            facts = {
                **{name: total / since for name, total in zip(names, totals, strict=True)},
                "grad_norm": norm,
                "lr": scale * config.optimizer.lr,
                "skipped_steps": watch.skipped,
                "tokens_per_s": speed,
                "mfu": speed * flops / peak,
            }
            if log is not None:
                log.write({"step": step, **facts})
            progress(step, config.steps, loss=facts["loss"], tokens_per_s=speed)
            sums, mark = Counter(), (now, step)
        if checkpoint_due:
            tensors = {f"model/{key}": value.data for key, value in trained.items()}
            tensors |= {f"optimizer/{key}": value for key, value in optimizer.state_dict().items()}
        if checkpoint_due and group.rank == 0:
            save_checkpoint(work / "checkpoint", tensors, {"run": name, "step": step, "norm": watch.state()})
    if log is not None:
        log.close()
    model.eval()
    return {
        "steps": config.steps,
        "tokens": config.steps * config.batch_tokens,
        "skipped_steps": watch.skipped,
        "parameters": model.config.num_parameters,
        "record": {"train_seconds": time.monotonic() - started, "matmul_peak_gflops": peak / 1e9},
    }


class Objective(Protocol):
    """What a step minimises, as a sum over units that every rank adds to."""

    def count(self, batch: Batch) -> Tensor:
        """How many units (trained tokens, pairs) the batch holds, a scalar."""

    def loss(self, batch: Batch, count: float) -> tuple[Tensor, dict[str, float]]:
        """The batch's loss summed over its units and divided by `count`, that of all ranks; further sums of the same kind
        to log, by name."""


class NextToken:
    """Cross-entropy of the next token; compiled: one graph for hidden states, one for a chunk of the loss."""

    def __init__(self, model: Transformer, dtype: torch.dtype, compiled: bool) -> None:
        self._model, self._dtype = model, dtype
        self._chunk = torch.compile(chunk_loss, dynamic=False) if compiled else chunk_loss
        self._hidden = torch.compile(model.hidden, dynamic=False) if compiled else model.hidden

    def count(self, batch: Batch) -> Tensor:
        """Trained tokens."""
        return batch.weights.sum()

    def loss(self, batch: Batch, count: float) -> tuple[Tensor, dict[str, float]]:
        """Nats, as a mean over `count` tokens."""
        with mixed_precision(batch.token_ids.device, self._dtype):
            hidden = self._hidden(batch.token_ids, documents=batch.documents)
        weights = batch.weights / count
        flat = hidden.reshape(-1, hidden.shape[-1])
        targets, output = batch.targets.reshape(-1), self._model.output_weight
        loss = linear_cross_entropy(flat, output, targets, weights.reshape(-1), dtype=self._dtype, chunk=self._chunk)
        return loss, {"trained_tokens": float(batch.weights.sum())}


def mixed_precision(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Autocast to `dtype` where that is bfloat16, else nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


def _gradients(batch: Batch, config: TrainingConfig, objective: Objective, group: Group) -> dict[str, float]:
    """Leave this rank's gradients on the parameters; return its share of the mean loss and of the objective's other sums."""
    count = max(float(group.add(objective.count(batch).double())), 1.0)
    rows = batch.token_ids.shape[0]
    at_once = rows if config.micro_batch_tokens is None else max(1, config.micro_batch_tokens // config.sequence_length)
    sums = Counter[str]()
    for start in range(0, rows, at_once):
        loss, others = objective.loss(batch.rows(start, start + at_once), count)
        loss.backward()
        sums.update({"loss": float(loss.detach())} | others)
    return dict(sums)


def _resume(path: Path, run: str, trained: Mapping[str, Tensor], optimizer: Optimizer, watch: NormWatch) -> int:
    found = load_checkpoint(path, run)
    if found is None:
        return 0
    tensors, state = found
    for name, p in trained.items():
        p.data.copy_(tensors[f"model/{name}"])
    optimizer.load_state_dict({name[10:]: value for name, value in tensors.items() if name.startswith("optimizer/")})
    watch.load(state["norm"])
    return state["step"]
