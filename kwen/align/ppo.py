"""RLHF by PPO as the report does it (section 3.2.2): policy, value, reference and reward model, and the pretraining gradient.

One step, numbered below: queries, two answers each, what the four models say of them, rewards, advantages, updates. The value
model starts from the reward model and learns alone for the first `warmup_steps`. What the report leaves open (GAE, policy clip,
epochs) is a named setting; its default is what most of the field's trainers use.
Legend: N answers of a pack, R sampled tokens of the longest one.
"""

import math
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from kwen.align.advantages import KL, RunningMoments, generalized_advantages, kl_estimate, token_rewards, whiten
from kwen.align.ppo_figures import add_up, before_and_after, rollout_figures
from kwen.align.queries import QuerySource, queries_of_step, query_tokens
from kwen.align.reward import score_rows, scoring_model
from kwen.align.rollouts import Pack, Rollout, pack_rollouts, roll_out, rollout_logprobs, rollout_values
from kwen.errors import UserError
from kwen.files import json_hash, write_json
from kwen.model.formats.checkpoint import build_model
from kwen.model.formats.huggingface import memory_tensors, write_model
from kwen.model.formats.load import load_checkpoint
from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent
from kwen.text.control import IM_END
from kwen.text.shards import TokenShards
from kwen.text.tokenizer import Tokenizer
from kwen.train.batches import Batches, Documents
from kwen.train.checkpoint import load_checkpoint as load_state
from kwen.train.checkpoint import save_checkpoint
from kwen.train.loop import NextToken, training_dtype
from kwen.train.metrics import MetricsLog
from kwen.train.optimizer import Optimizer, OptimizerConfig
from kwen.train.parallel import Group, Ranks

EXPLODED = 10.0
"""A KL of this many times `kl_stop` has not grown but burst: the run fails."""


class PPOConfig(BaseModel):
    """Settings of PPO. Lengths are in steps; a step has `queries` queries with `samples` answers each, over all ranks."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    data: list[QuerySource] = Field(min_length=1)
    steps: int = Field(gt=0, description="updates of the policy, after the warm-up")
    warmup_steps: int = Field(50, ge=0, description="updates of the value model alone (report)")
    queries: int = Field(32, gt=0)
    samples: int = Field(2, gt=0, description="answers a query (report)")
    sequence_length: int = Field(2048, gt=1, description="longest query and answer together, and the length of a packed row")
    max_new_tokens: int = Field(512, gt=0)
    temperature: float = Field(1.0, gt=0, description="of sampling and of every logprob")
    top_p: float = Field(0.9, gt=0, le=1, description="of sampling alone (report)")
    kl_coefficient: float = Field(0.04, ge=0, description="report")
    kl: KL = "k1"
    normalize: Literal["none", "mean", "mean_deviation"] = Field("mean", description="scores, by running moments (report: mean)")
    unended_penalty: float = Field(1.0, ge=0, description="taken off the normalised score of an answer that does not end")
    gamma: float = Field(1.0, gt=0, le=1)
    lam: float = Field(0.95, ge=0, le=1)
    whiten: bool = True
    epochs: int = Field(1, gt=0, description="passes over a step's answers")
    minibatches: int = Field(1, gt=0, description="updates a pass")
    policy_clip: float = Field(0.2, gt=0)
    value_clip: float = Field(0.15, gt=0, description="absolute distance from the old value (report)")
    policy: OptimizerConfig = OptimizerConfig(lr=1e-6)
    value: OptimizerConfig = OptimizerConfig(lr=5e-6)
    pretrain_coefficient: float = Field(0.0, ge=0, description="of the language-model loss on pretraining text; 0: none")
    pretrain_batch_tokens: int = Field(4096, gt=0)
    rows_at_once: int = Field(32, gt=0, description="packed rows of one pass")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    reduce_precision: Literal["float32", "bfloat16"] = "float32"
    kl_stop: float | None = Field(None, gt=0, description="nats an answer from the reference at which training ends")
    checkpoint_every: int = Field(20, gt=0)


def reinforce(
    config: PPOConfig,
    *,
    seed: int,
    policy: Path,
    reward: Path,
    out: Path,
    work: Path,
    ranks: Ranks,
    shards: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train the chat model in the folder `policy` against the reward model in `reward` and write the result into `out`.

    shards: token shards of pretraining text, needed where `pretrain_coefficient` is not 0. Returns the run's metrics.
    """
    if config.pretrain_coefficient and shards is None:
        raise UserError("pretrain_coefficient is set, but no shards are named: name the shards, or set it to 0")
    if config.queries % ranks.world:
        raise UserError(f"queries {config.queries} do not divide among {ranks.world} ranks: make queries a multiple of them")
    work.mkdir(parents=True, exist_ok=True)
    arguments = {
        "config": config.model_dump(),
        "seed": seed,
        "policy": str(policy),
        "reward": str(reward),
        "shards": None if shards is None else str(shards),
        "work": str(work),
    }
    model, metrics, samples = ranks.run(reinforce_rank, arguments, progress)
    tokenizer = Tokenizer.load(policy)
    generation = {"eos_token_id": tokenizer.eos_token_ids, "pad_token_id": tokenizer.pad_token_id}
    write_model(out, model.config, memory_tensors(model), generation)
    tokenizer.save(out)
    shutil.copyfile(work / "metrics.jsonl", out / "metrics.jsonl")
    write_json(out / "samples.json", samples)
    return metrics


def reinforce_rank(
    group: Group,
    *,
    config: dict[str, Any],
    seed: int,
    policy: str,
    reward: str,
    shards: str | None,
    work: str,
    progress: Progress,
) -> tuple[Transformer, dict[str, Any], list[dict[str, Any]]]:
    """One rank's part of `reinforce`: the trained policy, the metrics, and answers from before and after."""
    settings = PPOConfig(**config)
    text = None if shards is None else Path(shards)
    run = PPO(settings, seed=seed, policy=Path(policy), reward=Path(reward), shards=text, work=Path(work), group=group)
    return run.train(progress)


class PPO:
    """One rank's four models and their state."""

    def __init__(
        self, config: PPOConfig, *, seed: int, policy: Path, reward: Path, shards: Path | None, work: Path, group: Group
    ) -> None:
        self.config, self.seed, self.work, self.group = config, seed, work, group
        self.device, self.dtype = group.device, training_dtype(config.precision, group.device)
        chat, judge = load_checkpoint(policy), load_checkpoint(reward)
        if not judge.config.scores:
            raise UserError(f"{reward}: a language model where a reward model is needed; kwen train reward makes one")
        if judge.config.vocab_size != chat.config.vocab_size:
            raise UserError(f"{reward}: its vocabulary is not that of {policy}; train both from one family")
        self.policy = build_model(chat, torch.float32, self.device).train()
        self.reference = build_model(chat, torch.float32, self.device).requires_grad_(False).train()
        self.reward = scoring_model(judge, self.device).requires_grad_(False)
        self.value = scoring_model(judge, self.device).train()
        self.policy_optimizer = Optimizer(self.policy, config.policy, group)
        self.value_optimizer = Optimizer(self.value, config.value, group)
        self.moments = RunningMoments()
        self.tokenizer = Tokenizer.load(policy)
        template = self.tokenizer.chat_template or chat.chat_template
        room = config.sequence_length - config.max_new_tokens - 1  # an im_end that the reward model reads may follow
        self.queries, self.counts = query_tokens(config.data, self.tokenizer, template, seed, room)
        self.end = self.tokenizer.control_id(IM_END)
        self.pretraining: Batches | None = None
        if config.pretrain_coefficient and shards is not None:
            rows = max(group.world, config.pretrain_batch_tokens // config.sequence_length // group.world * group.world)
            documents = Documents.from_shards(TokenShards(shards / "train"))
            self.pretraining = Batches(documents, row_length=config.sequence_length, rows=rows, seed=seed)
        self.name = json_hash(
            {"config": config.model_dump(mode="json"), "seed": seed, "model": asdict(chat.config), **self.counts}
        )

    def train(self, progress: Progress) -> tuple[Transformer, dict[str, Any], list[dict[str, Any]]]:
        """All steps from where the last start of this run stopped; policy, metrics, and samples from before and after."""
        config = self.config
        total = config.warmup_steps + config.steps
        step = self._resume()
        log = MetricsLog(self.work / "metrics.jsonl", step) if self.group.rank == 0 else None
        stopped, generating, began = None, 0.0, time.monotonic()
        while step < total:
            facts = self.step(step)
            generating += facts.pop("generate_seconds")
            step += 1
            if log is not None:
                log.write({"step": step, **facts})
            progress(step, total, **{key: facts[key] for key in ("score", "kl", "length")})
            if config.kl_stop is not None and facts["kl"] > config.kl_stop:
                if facts["kl"] > EXPLODED * config.kl_stop:
                    raise UserError(
                        f"step {step}: the KL of an answer burst to {facts['kl']:.3g} nats (kl_stop is {config.kl_stop}); the "
                        f"checkpoint before it is kept in {self.work / 'checkpoint'}: lower policy.lr or raise kl_coefficient"
                    )
                stopped = step
                break
            if step % config.checkpoint_every == 0 and step < total:
                self._save(step)
        if log is not None:
            log.close()
        wall = time.monotonic() - began
        metrics = {
            "steps": config.steps,
            "warmup_steps": config.warmup_steps,
            "parameters": self.policy.config.num_parameters,
            **self.counts,
            **({"stopped_by_kl": stopped} if stopped else {}),
            "record": {"train_seconds": wall, "generate_share": generating / max(wall, 1e-9)},
        }
        samples = before_and_after(self) if self.group.rank == 0 else []
        return self.policy.eval(), metrics, samples

    def step(self, step: int) -> dict[str, float]:
        """One step, in place; its figures over all ranks."""
        config, group = self.config, self.group
        warming = step < config.warmup_steps

        # 1. Queries: a share of the step's for each rank.
        numbers = queries_of_step(len(self.queries), config.queries, self.seed, step)
        own = slice(group.rank * config.queries // group.world, (group.rank + 1) * config.queries // group.world)
        prompts = [(number, self.queries[number]) for number in numbers[own]]

        # 2. Answers from the policy as it is, through the shared engine.
        start = time.monotonic()
        seeds = np.random.Generator(np.random.PCG64([self.seed, step, 1])).integers(2**62, size=config.queries * config.samples)
        share = slice(own.start * config.samples, own.stop * config.samples)
        rollouts = self._roll_out(prompts, seeds[share].tolist())
        generate_seconds = time.monotonic() - start

        # 3. What the models say: logprobs of policy and reference, values, and the score at the final im_end.
        order = np.random.Generator(np.random.PCG64([self.seed, step, 2])).permutation(len(rollouts))
        parts = np.array_split(order, config.minibatches)
        layout = (config.sequence_length, config.rows_at_once, self.device)
        minibatches = [pack_rollouts(rollouts, part.tolist(), *layout) for part in parts]
        packs = [pack for packs in minibatches for pack in packs]
        with torch.no_grad():
            old = [rollout_logprobs(self.policy, pack, config.temperature, self.dtype) for pack in packs]
            reference = [rollout_logprobs(self.reference, pack, config.temperature, self.dtype)[0] for pack in packs]
            values = [rollout_values(self.value, pack, self.dtype) for pack in packs]
        scores = torch.tensor(score_rows(self.reward, [self.as_scored(rollout) for rollout in rollouts]), device=self.device)
        self._check_scores(scores, step)

        # 4. The score is normalised before the KL is taken off, so that the coefficient keeps its meaning.
        mean, deviation = self.moments.update(scores, group)
        unended = torch.tensor([0.0 if rollout.ended else config.unended_penalty for rollout in rollouts], device=self.device)
        final = self._normalize(scores) - unended

        # 5. Rewards of tokens, advantages by GAE, returns; then the advantages are whitened over the global batch.
        kls = [kl_estimate(logprobs, ref, config.kl) for (logprobs, _), ref in zip(old, reference, strict=True)]
        rewards = [
            token_rewards(final[pack.rollouts], kl, pack.mask, config.kl_coefficient) for pack, kl in zip(packs, kls, strict=True)
        ]
        estimates = [
            generalized_advantages(reward, value, pack.mask, config.gamma, config.lam)
            for pack, reward, value in zip(packs, rewards, values, strict=True)
        ]
        returns = [pair[1] for pair in estimates]
        advantages = [pair[0] for pair in estimates]
        if config.whiten:
            advantages = _whitened(advantages, packs, group)

        # 6. Updates: the value model always, the policy after the warm-up.
        sums: dict[str, float] = {}
        for _ in range(config.epochs):
            first = 0
            for minibatch in minibatches:
                chosen = range(first, first + len(minibatch))
                first += len(minibatch)
                count = float(group.add(torch.tensor(float(sum(pack.actions for pack in minibatch)))))
                for i in chosen:
                    _add(sums, self._value_loss(packs[i], values[i], returns[i], count))
                self._update(self.value, self.value_optimizer, config.value)
                if warming:
                    continue
                for i in chosen:
                    _add(sums, self._policy_loss(packs[i], old[i][0], advantages[i], count))
                if self.pretraining is not None:
                    _add(sums, self._pretraining_loss(step - config.warmup_steps))
                _add(sums, {"grad_norm": self._update(self.policy, self.policy_optimizer, config.policy) / group.world})

        # 7. Figures.
        updates = config.epochs * config.minibatches
        facts = {name: total / updates for name, total in add_up(sums, group).items()}
        told = {"entropies": [entropy for _, entropy in old], "kls": kls, "values": values, "returns": returns}
        facts |= rollout_figures(rollouts, packs, scores, **told, group=group)
        return facts | {"score": mean, "score_deviation": deviation, "generate_seconds": generate_seconds}

    def _roll_out(self, prompts: list[tuple[int, list[int]]], seeds: list[int]) -> list[Rollout]:
        config = self.config
        return roll_out(
            self.policy, self.tokenizer, prompts, seeds, samples=config.samples, max_new_tokens=config.max_new_tokens,
            temperature=config.temperature, top_p=config.top_p, stop_token_ids=self.tokenizer.eos_token_ids,
        )  # fmt: skip

    def as_scored(self, rollout: Rollout) -> list[int]:
        """The answer as the reward model was taught to read one: it ends with im_end, also where the policy did not write it."""
        token_ids = rollout.token_ids
        return token_ids if token_ids[-1] == self.end else [*(token_ids[:-1] if rollout.ended else token_ids), self.end]

    def _check_scores(self, scores: Tensor, step: int) -> None:
        """UserError for a reward that is no number, or the same for all answers of all ranks."""
        facts = torch.tensor([float((~scores.isfinite()).sum()), float((scores == scores[0]).all()), 1.0])
        broken, constant, ranks = self.group.add(facts).tolist()
        if broken:
            raise UserError(f"step {step + 1}: the reward model gave {int(broken)} scores that are no numbers: train it again")
        if constant == ranks and len(scores) > 1:
            same = float(scores[0])
            raise UserError(f"step {step + 1}: the reward model gives every answer the score {same:.4g}: it has learnt nothing")

    def _normalize(self, scores: Tensor) -> Tensor:
        if self.config.normalize == "none":
            return scores
        centred = scores - self.moments.mean
        return centred / self.moments.deviation if self.config.normalize == "mean_deviation" else centred

    def _value_loss(self, pack: Pack, old: Tensor, returns: Tensor, count: float) -> dict[str, float]:
        """Backward of half the squared error, the worse of the new value and of one clipped to `value_clip` from the old."""
        new = rollout_values(self.value, pack, self.dtype)
        clipped = old + (new - old).clamp(-self.config.value_clip, self.config.value_clip)
        errors = torch.maximum((new - returns).square(), (clipped - returns).square())
        loss = 0.5 * errors[pack.mask].sum() / count
        loss.backward()
        share = float(((new - old).abs() > self.config.value_clip)[pack.mask].sum()) / count
        return {"value_loss": float(loss.detach()), "value_clipped": share}

    def _policy_loss(self, pack: Pack, old: Tensor, advantages: Tensor, count: float) -> dict[str, float]:
        """Backward of PPO's clipped objective (arXiv 1707.06347, eq. 7), a mean over the sampled tokens of all ranks."""
        new, _ = rollout_logprobs(self.policy, pack, self.config.temperature, self.dtype)
        ratio = (new - old).exp()
        clipped = ratio.clamp(1 - self.config.policy_clip, 1 + self.config.policy_clip)
        losses = -torch.minimum(ratio * advantages, clipped * advantages)
        loss = losses[pack.mask].sum() / count
        loss.backward()
        share = float(((ratio.detach() - 1).abs() > self.config.policy_clip)[pack.mask].sum()) / count
        drift = float(kl_estimate(old, new.detach(), "k3")[pack.mask].sum()) / count
        mean_ratio = float(ratio.detach()[pack.mask].sum()) / count
        return {"policy_loss": float(loss.detach()), "policy_clipped": share, "drift": drift, "ratio": mean_ratio}

    def _pretraining_loss(self, step: int) -> dict[str, float]:
        """Backward of `pretrain_coefficient` times the language-model loss on a batch of pretraining text."""
        assert self.pretraining is not None
        batch = self.pretraining(step, self.group.rank, self.group.world).to(self.device)
        objective = NextToken(self.policy, self.dtype, compiled=False)
        count = max(float(self.group.add(objective.count(batch).double())), 1.0)
        loss, _ = objective.loss(batch, count)
        (self.config.pretrain_coefficient * loss).backward()
        return {"pretrain_loss": float(loss.detach())}

    def _update(self, model: Transformer, optimizer: Optimizer, config: OptimizerConfig) -> float:
        """Add the gradients of all ranks, clip, step unless the norm is no number; the norm."""
        parameters = [p for p in model.parameters() if p.grad is not None]
        self.group.add_gradients(parameters, getattr(torch, self.config.reduce_precision))
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.clip, foreach=True))
        if math.isfinite(norm):
            optimizer.step(1.0)
        for p in parameters:
            p.grad = None
        return norm

    def _save(self, step: int) -> None:
        tensors = {f"policy/{name}": p.data for name, p in self.policy.named_parameters()}
        tensors |= {f"value/{name}": p.data for name, p in self.value.named_parameters()}
        tensors |= {f"policy_optimizer/{name}": tensor for name, tensor in self.policy_optimizer.state_dict().items()}
        tensors |= {f"value_optimizer/{name}": tensor for name, tensor in self.value_optimizer.state_dict().items()}
        if self.group.rank == 0:
            save_checkpoint(self.work / "checkpoint", tensors, {"run": self.name, "step": step, "moments": self.moments.state()})

    def _resume(self) -> int:
        found = load_state(self.work / "checkpoint", self.name)
        if found is None:
            return 0
        tensors, state = found
        for part, model in (("policy/", self.policy), ("value/", self.value)):
            for name, p in model.named_parameters():
                p.data.copy_(tensors[part + name])
        for part, optimizer in (("policy_optimizer/", self.policy_optimizer), ("value_optimizer/", self.value_optimizer)):
            optimizer.load_state_dict({name[len(part) :]: t for name, t in tensors.items() if name.startswith(part)})
        self.moments.load(state["moments"])
        return state["step"]


def _whitened(advantages: list[Tensor], packs: list[Pack], group: Group) -> list[Tensor]:
    """All packs' advantages whitened together."""
    flat = torch.cat([part[pack.mask] for part, pack in zip(advantages, packs, strict=True)])
    white = whiten(flat, torch.ones_like(flat, dtype=torch.bool), group)
    parts = white.split([pack.actions for pack in packs])
    return [torch.zeros_like(old).masked_scatter(pack.mask, new) for old, pack, new in zip(advantages, packs, parts, strict=True)]


def _add(sums: dict[str, float], more: dict[str, float]) -> None:
    for name, value in more.items():
        sums[name] = sums.get(name, 0.0) + value
