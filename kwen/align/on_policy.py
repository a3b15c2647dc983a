"""A run in which a policy learns from answers that it samples itself: what such runs share.

A subclass fills `queries`, `counts` and `name`, and says what one `step` is; here are the models' loading, the sampling, the
packing into minibatches, the update, and the loop with its checkpoints. Everything random is a function of (seed, step), and a
minibatch is the same answers on any number of ranks.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from kwen.align.chat_model import load_tokenizer
from kwen.align.lora import LoRAConfig, add_lora
from kwen.align.queries import queries_of_step
from kwen.align.rollouts import Pack, Rollout, pack_rollouts, roll_out
from kwen.errors import UserError
from kwen.files import json_hash
from kwen.model.config import ModelConfig
from kwen.model.formats.checkpoint import build_model
from kwen.model.formats.load import load_checkpoint
from kwen.model.transformer import Transformer
from kwen.progress import Progress
from kwen.train.checkpoint import load_checkpoint as load_state
from kwen.train.checkpoint import save_checkpoint
from kwen.train.loop import Precision, training_dtype
from kwen.train.metrics import MetricsLog
from kwen.train.optimizer import Optimizer, OptimizerConfig, ScheduleConfig, learning_rate_scale
from kwen.train.parallel import Group

SAMPLES = 12
"""Queries whose answers are kept from before and after."""

EXPLODED = 10.0
"""A KL of this many times `kl_stop` has not grown but burst: the run fails."""


class OnPolicyConfig(BaseModel):
    """Settings of sampling and updating. A step has `queries` queries with `samples` answers each, over all ranks."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    steps: int = Field(gt=0)
    queries: int = Field(32, gt=0)
    samples: int = Field(8, gt=0, description="answers a query")
    sequence_length: int = Field(2048, gt=1, description="longest query and answer together, and the length of a packed row")
    max_new_tokens: int = Field(512, gt=0)
    temperature: float = Field(1.0, gt=0, description="of sampling and of every logprob")
    top_p: float = Field(1.0, gt=0, le=1, description="of sampling alone")
    minibatches: int = Field(1, gt=0, description="updates a step")
    policy: OptimizerConfig = OptimizerConfig(lr=1e-6)
    schedule: ScheduleConfig = ScheduleConfig(kind="constant")
    rows_at_once: int = Field(32, gt=0, description="packed rows of one pass")
    precision: Precision = "auto"
    reduce_precision: Literal["float32", "bfloat16"] = "float32"
    kl_stop: float | None = Field(None, gt=0, description="nats an answer from the reference at which training ends")
    checkpoint_every: int = Field(20, gt=0)
    lora: LoRAConfig | None = None

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.steps


def check_shares(config: OnPolicyConfig, world: int) -> None:
    """UserError where the queries of a step cannot be shared by the ranks, or an answer leaves no room for a query."""
    if config.queries % world:
        raise UserError(f"queries {config.queries} do not divide among {world} ranks: make queries a multiple of them")
    if config.max_new_tokens >= config.sequence_length:
        raise UserError(
            f"max_new_tokens {config.max_new_tokens} leaves no room for a query in sequence_length {config.sequence_length}: "
            "raise sequence_length"
        )


def check_context(config: OnPolicyConfig, folder: Path, model: ModelConfig) -> None:
    """UserError where `config`'s sequences are longer than the model of `folder` can be trained on what it samples."""
    if config.sequence_length > model.max_position_embeddings:
        context = model.max_position_embeddings
        raise UserError(f"sequence_length {config.sequence_length} exceeds the context of {folder}, {context}: lower it")
    if config.sequence_length > model.on_policy_context:
        raise UserError(
            f"sequence_length {config.sequence_length} exceeds what {folder} was trained at, {model.on_policy_context}; beyond "
            "it dynamic NTK and LogN change what is sampled, and training has neither: lower it, or switch them off"
        )


class OnPolicy(ABC):
    """One rank's policy, its optimiser, and its place in the run."""

    queries: list[list[int]]
    """The token ids that answers continue."""
    counts: dict[str, int]
    """What became of the data."""
    name: str
    """The hash of everything that shapes the run; `name_run` makes it."""

    def __init__(self, config: OnPolicyConfig, *, seed: int, policy: Path, work: Path, group: Group) -> None:
        check_shares(config, group.world)
        self.settings, self.seed, self.work, self.group = config, seed, work, group
        self.device, self.dtype = group.device, training_dtype(config.precision, group.device)
        self.checkpoint = load_checkpoint(policy)
        check_context(config, policy, self.checkpoint.config)
        self.policy = build_model(self.checkpoint, torch.float32, self.device).train()
        if config.lora is not None:
            add_lora(self.policy, config.lora, seed)
        self.optimizer = Optimizer(self.policy, config.policy, group)
        self.tokenizer = load_tokenizer(policy)
        self.template = self.tokenizer.chat_template or self.checkpoint.chat_template
        self.longest_query = config.sequence_length - config.max_new_tokens
        self.skipped = 0

    def name_run(self, **shape: Any) -> None:
        """Set `name`: a checkpoint is continued only by a run of the same settings, model, counts, and further `shape`."""
        settings, model = self.settings.model_dump(mode="json"), asdict(self.checkpoint.config)
        self.name = json_hash({"config": settings, "seed": self.seed, "model": model, **self.counts, **shape})

    def frozen_copy(self) -> Transformer:
        """The initial policy once more, as the reference; it computes as the policy does, so that they differ by exactly 0."""
        return build_model(self.checkpoint, torch.float32, self.device).requires_grad_(False).train()

    @abstractmethod
    def step(self, step: int) -> dict[str, float]:
        """One step, in place; its figures over all ranks. `kl` among them is what `kl_stop` looks at."""

    def extra_state(self) -> dict[str, Any]:
        """What else a checkpoint holds, as plain data."""
        return {"skipped": self.skipped}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take up what `extra_state` gave."""
        self.skipped = state["skipped"]

    def extra_tensors(self) -> dict[str, Tensor]:
        """What else a checkpoint holds, as tensors of names that no policy has; all ranks call it together."""
        return {}

    def load_extra_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `extra_tensors` gave, from all tensors of the checkpoint."""
        assert not self.extra_tensors(), "a run with tensors of its own must say how they are taken up"

    def answers(self, step: int) -> list[Rollout]:
        """This rank's share of the answers of `step`, by the policy as it is, in groups of `samples` to a query."""
        settings, group = self.settings, self.group
        numbers = queries_of_step(len(self.queries), settings.queries, self.seed, step)
        first, last = (rank * settings.queries // group.world for rank in (group.rank, group.rank + 1))
        total = settings.queries * settings.samples
        seeds = np.random.Generator(np.random.PCG64([self.seed, step, 1])).integers(2**62, size=total)
        return roll_out(
            self.policy,
            self.tokenizer,
            [(number, self.queries[number]) for number in numbers[first:last]],
            seeds[first * settings.samples : last * settings.samples].tolist(),
            samples=settings.samples,
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            stop_token_ids=self.tokenizer.eos_token_ids,
        )

    def minibatches(self, rollouts: Sequence[Rollout], step: int, kept: Sequence[bool] | None = None) -> list[list[Pack]]:
        """The answers that are `kept` (None: all), packed, in `minibatches` parts of a random order over all ranks."""
        settings, first = self.settings, self.group.rank * len(rollouts)
        total = settings.queries * settings.samples
        order = np.random.Generator(np.random.PCG64([self.seed, step, 2])).permutation(total)
        parts = []
        for part in np.array_split(order, settings.minibatches):
            own = [int(place) - first for place in part if first <= place < first + len(rollouts)]
            chosen = [number for number in own if kept is None or kept[number]]
            parts.append(pack_rollouts(rollouts, chosen, settings.sequence_length, settings.rows_at_once, self.device))
        return parts

    def sizes(self, packs: Sequence[Pack]) -> tuple[float, float]:
        """How many answers and how many sampled tokens `packs` hold on all ranks together."""
        own = torch.tensor(
            [float(sum(len(pack.rollouts) for pack in packs)), float(sum(pack.actions for pack in packs))],
            dtype=torch.float64,
            device=self.device,
        )
        answers, tokens = self.group.add(own).tolist()
        return answers, tokens

    def update(self, step: int) -> float:
        """Add the gradients of all ranks, clip, and step unless the norm is no number, which is counted; the norm."""
        scale = learning_rate_scale(self.settings.schedule, step, self.settings.steps)
        return self.apply_gradients(self.policy, self.optimizer, self.settings.policy.clip, scale)

    def apply_gradients(self, model: Transformer, optimizer: Optimizer, clip: float, scale: float = 1.0) -> float:
        """The same for any model of the run, at `scale` times its peak learning rate."""
        parameters = [p for p in model.parameters() if p.requires_grad]
        for p in parameters:
            if p.grad is None:  # a rank may have no answer in a minibatch; all ranks add the same parameters
                p.grad = torch.zeros_like(p)
        self.group.add_gradients(parameters, getattr(torch, self.settings.reduce_precision))
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, clip, foreach=True))
        if math.isfinite(norm):
            optimizer.step(scale)
        else:
            self.skipped += 1
        for p in parameters:
            p.grad = None
        return norm

    def likeliest(self, count: int = SAMPLES) -> list[Rollout]:
        """The policy's greedy answers to the first `count` queries."""
        prompts = list(enumerate(self.queries[:count]))
        return roll_out(
            self.policy, self.tokenizer, prompts, [0] * len(prompts), samples=1, max_new_tokens=self.settings.max_new_tokens,
            temperature=0.0, top_p=1.0, stop_token_ids=self.tokenizer.eos_token_ids,
        )  # fmt: skip

    def judged(self, rollouts: Sequence[Rollout]) -> list[float] | None:
        """The scores of answers where the run has any, for the samples that it shows."""
        return None

    def train(self, progress: Progress) -> tuple[Transformer, dict[str, Any], list[dict[str, Any]]]:
        """All steps from where the last start of this run stopped; policy, metrics, and answers from before and after.

        Raises UserError when the KL bursts; the last checkpoint stays.
        """
        settings = self.settings
        before = self.likeliest() if self.group.rank == 0 else []
        step = self._resume()
        log = MetricsLog(self.work / "metrics.jsonl", step) if self.group.rank == 0 else None
        stopped, began = 0, time.monotonic()
        while step < settings.total_steps and not stopped:
            facts = self.step(step)
            step += 1
            if log is not None:
                log.write({"step": step, **facts, "skipped_steps": self.skipped})
            progress(step, settings.total_steps, **{key: facts[key] for key in ("score", "loss", "kl", "length") if key in facts})
            stopped = step if self._drifted(step, facts.get("kl")) else 0
            if step % settings.checkpoint_every == 0 and step < settings.total_steps and not stopped:
                self._save(step)
        if log is not None:
            log.close()
        metrics = {
            "steps": settings.steps,
            "parameters": self.policy.config.num_parameters,
            "skipped_steps": self.skipped,
            **self.counts,
            **({"stopped_by_kl": stopped} if stopped else {}),
            "record": {"train_seconds": time.monotonic() - began},
        }
        samples = self._samples(before, self.likeliest()) if self.group.rank == 0 else []
        return self.policy.eval(), metrics, samples

    def _drifted(self, step: int, kl: float | None) -> bool:
        limit = self.settings.kl_stop
        if limit is None or kl is None or kl <= limit:
            return False
        if kl > EXPLODED * limit:
            raise UserError(
                f"step {step}: the KL of an answer burst to {kl:.3g} nats (kl_stop is {limit}); the checkpoint before it is kept "
                f"in {self.work / 'checkpoint'}: lower policy.lr or raise kl_coefficient"
            )
        return True

    def _samples(self, before: list[Rollout], after: list[Rollout]) -> list[dict[str, Any]]:
        samples: list[dict[str, Any]] = [
            {"query": self.tokenizer.decode(self.queries[number]), "before": old.text, "after": new.text}
            for number, (old, new) in enumerate(zip(before, after, strict=True))
        ]
        for moment, rollouts in (("before", before), ("after", after)):
            for sample, score in zip(samples, self.judged(rollouts) or [], strict=False):
                sample[f"score_{moment}"] = score
        return samples

    def _save(self, step: int) -> None:
        tensors = {f"policy/{name}": p.data for name, p in self.policy.named_parameters() if p.requires_grad}
        tensors |= {f"optimizer/{name}": tensor for name, tensor in self.optimizer.state_dict().items()} | self.extra_tensors()
        if self.group.rank == 0:
            state = {"run": self.name, "step": step, "extra": self.extra_state()}
            save_checkpoint(self.work / "checkpoint", tensors, state)

    def _resume(self) -> int:
        found = load_state(self.work / "checkpoint", self.name)
        if found is None:
            return 0
        tensors, state = found
        for name, p in self.policy.named_parameters():
            if p.requires_grad:
                p.data.copy_(tensors[f"policy/{name}"])
        self.optimizer.load_state_dict({name[10:]: t for name, t in tensors.items() if name.startswith("optimizer/")})
        self.load_extra_tensors(tensors)
        self.load_extra_state(state["extra"])
        return state["step"]
