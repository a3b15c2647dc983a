"""RLHF by PPO as the report does it (section 3.2.2): policy, value, reference and reward model, and the pretraining gradient.

One step, numbered below: answers, what the four models say of them, rewards, advantages, updates. The value model starts from the
reward model and learns alone for the first `warmup_steps`. What the report leaves open (GAE, policy clip, epochs) is a named
setting; its default is what most of the field's trainers use.
Legend: N answers of a pack, R sampled tokens of the longest one.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from kwen.align.advantages import KL, RunningMoments, centred, generalized_advantages, kl_estimate, token_rewards, whiten
from kwen.align.answer_figures import add_up, answer_figures, moments, product_sums
from kwen.align.chat_model import load_tokenizer, write_chat_model
from kwen.align.on_policy import OnPolicy, OnPolicyConfig, check_shares
from kwen.align.on_policy_plan import ShowPlan, check_plan
from kwen.align.queries import QuerySource, query_tokens
from kwen.align.reward import score_rows, scoring_model
from kwen.align.rollouts import Pack, Rollout, rollout_logprobs, rollout_values
from kwen.errors import UserError
from kwen.files import write_json
from kwen.model.formats.load import load_checkpoint
from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent
from kwen.text.control import IM_END
from kwen.text.shards import TokenShards
from kwen.train.batches import Batches, Documents
from kwen.train.loop import NextToken
from kwen.train.optimizer import Optimizer, OptimizerConfig
from kwen.train.parallel import Group, Ranks


class PPOConfig(OnPolicyConfig):
    """Settings of PPO. `steps` are updates of the policy; the warm-up comes before them."""

    kind: Literal["ppo"] = "ppo"
    data: list[QuerySource] = Field(min_length=1)
    warmup_steps: int = Field(50, ge=0, description="updates of the value model alone (report)")
    samples: int = Field(2, gt=0, description="answers a query (report)")
    top_p: float = Field(0.9, gt=0, le=1, description="of sampling alone (report)")
    kl_coefficient: float = Field(0.04, ge=0, description="report")
    kl: KL = "k1"
    centre_queries: bool = Field(False, description="take the mean score of a query's answers off each of them first")
    normalize: Literal["none", "mean", "mean_deviation"] = Field("mean", description="scores, by running moments (report: mean)")
    unended_penalty: float = Field(1.0, ge=0, description="taken off the normalised score of an answer that does not end")
    gamma: float = Field(1.0, gt=0, le=1)
    lam: float = Field(0.95, ge=0, le=1)
    whiten: bool = True
    epochs: int = Field(1, gt=0, description="passes over a step's answers")
    policy_clip: float = Field(0.2, gt=0)
    value_clip: float = Field(0.15, gt=0, description="absolute distance from the old value (report)")
    value: OptimizerConfig = OptimizerConfig(lr=5e-6)
    pretrain_coefficient: float = Field(0.0, ge=0, description="of the language-model loss on pretraining text; 0: none")
    pretrain_batch_tokens: int = Field(4096, gt=0)

    @property
    def total_steps(self) -> int:
        """Warm-up and policy updates."""
        return self.warmup_steps + self.steps


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
    show: ShowPlan | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train the chat model `policy` against the reward model in `reward` and write the result as a chat model into `out`.

    shards: token shards of pretraining text, needed where `pretrain_coefficient` is not 0. show: called with the plan before
    the run begins. Returns the run's metrics.
    """
    if config.pretrain_coefficient and shards is None:
        raise UserError("pretrain_coefficient is set, but no shards are named: name the shards, or set it to 0")
    check_shares(config, ranks.world)
    check_plan(
        config, policy, learners=[reward], frozen=[policy, reward], epochs=config.epochs, world=ranks.world, show=show
    )
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
    write_chat_model(out, model, load_tokenizer(policy), work, base=policy, lora=config.lora)
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
    settings, text = PPOConfig(**config), None if shards is None else Path(shards)
    run = PPO(settings, seed=seed, policy=Path(policy), reward=Path(reward), shards=text, work=Path(work), group=group)
    model, metrics, samples = run.train(progress)
    metrics["record"]["generate_share"] = run.generate_seconds / max(metrics["record"]["train_seconds"], 1e-9)
    return model, metrics | {"warmup_steps": settings.warmup_steps}, samples


class PPO(OnPolicy):
    """One rank's four models and their state."""

    def __init__(
        self, config: PPOConfig, *, seed: int, policy: Path, reward: Path, shards: Path | None, work: Path, group: Group
    ) -> None:
        super().__init__(config, seed=seed, policy=policy, work=work, group=group)
        judge = load_checkpoint(reward)
        if not judge.config.scores:
            raise UserError(f"{reward}: a language model where a reward model is needed; kwen train reward makes one")
        if judge.config.vocab_size != self.checkpoint.config.vocab_size:
            raise UserError(f"{reward}: its vocabulary is not that of {policy}; train both from one family")
        self.config = config
        self.reference = self.frozen_copy()
        self.reward = scoring_model(judge, self.device).requires_grad_(False)
        self.value = scoring_model(judge, self.device).train()
        if config.centre_queries:
            self._start_from_zero()
        self.value_optimizer = Optimizer(self.value, config.value, group)
        self.moments = RunningMoments()
        room = self.longest_query - 1  # an im_end that the reward model reads may follow
        self.queries, self.counts = query_tokens(config.data, self.tokenizer, self.template, seed, room)
        self.end = self.tokenizer.control_id(IM_END)
        self.pretraining: Batches | None = None
        if config.pretrain_coefficient and shards is not None:
            rows = max(group.world, config.pretrain_batch_tokens // config.sequence_length // group.world * group.world)
            documents = Documents.from_shards(TokenShards(shards / "train"))
            self.pretraining = Batches(documents, row_length=config.sequence_length, rows=rows, seed=seed)
        self.generate_seconds = 0.0
        self.name_run(reward=[p.double().sum().item() for p in self.reward.parameters()])

    def _start_from_zero(self) -> None:
        """Answers that are measured against those to the same query are worth 0 on the average, whatever the query: a value model
        that began with the reward model's scores would be wrong by what queries differ, and that exceeds what answers do."""
        assert self.value.score is not None
        torch.nn.init.zeros_(self.value.score.weight)

    def step(self, step: int) -> dict[str, float]:
        """One step, in place; its figures over all ranks."""
        config, group = self.config, self.group
        warming = step < config.warmup_steps

        # 1. Answers to this step's queries from the policy as it is, through the shared engine.
        start = time.monotonic()
        rollouts = self.answers(step)
        self.generate_seconds += time.monotonic() - start

        # 2. What the models say: logprobs of policy and reference, values, and the score at the final im_end.
        minibatches = self.minibatches(rollouts, step)
        packs = [pack for minibatch in minibatches for pack in minibatch]
        with torch.no_grad():
            old = [rollout_logprobs(self.policy, pack, config.temperature, self.dtype) for pack in packs]
            reference = [rollout_logprobs(self.reference, pack, config.temperature, self.dtype)[0] for pack in packs]
            values = [rollout_values(self.value, pack, self.dtype) for pack in packs]
        scores = torch.tensor(self.judged(rollouts), device=self.device)
        self._check_scores(scores, step)

        # 3. The score is normalised before the KL is taken off, so that the coefficient keeps its meaning.
        judged = centred(scores, config.samples) if config.centre_queries else scores
        self.moments.update(judged, group)
        unended = torch.tensor([0.0 if rollout.ended else config.unended_penalty for rollout in rollouts], device=self.device)
        final = self._normalize(judged) - unended

        # 4. Rewards of tokens, advantages by GAE, returns; then the advantages are whitened over the global batch.
        kls = [kl_estimate(logprobs, ref, config.kl) for (logprobs, _), ref in zip(old, reference, strict=True)]
        rewards = [
            token_rewards(final[pack.rollouts], kl, pack.mask, config.kl_coefficient) for pack, kl in zip(packs, kls, strict=True)
        ]
        estimates = [
            generalized_advantages(reward, value, pack.mask, config.gamma, config.lam)
            for pack, reward, value in zip(packs, rewards, values, strict=True)
        ]
        advantages, returns = [pair[0] for pair in estimates], [pair[1] for pair in estimates]
        if config.whiten:
            advantages = _whitened(advantages, packs, group)

        # 5. Updates: the value model always, the policy after the warm-up.
        sums = dict.fromkeys(("value_loss", "value_clipped", *(() if warming else self._policy_sums())), 0.0)
        for epoch in range(config.epochs):
            first = 0
            for number, minibatch in enumerate(minibatches):
                chosen = range(first, first + len(minibatch))
                first += len(minibatch)
                _, count = self.sizes(minibatch)
                for i in chosen:
                    _add(sums, self._value_loss(packs[i], values[i], returns[i], count))
                self.apply_gradients(self.value, self.value_optimizer, config.value.clip)
                if warming:
                    continue
                for i in chosen:
                    _add(sums, self._policy_loss(packs[i], old[i][0], advantages[i], count))
                if self.pretraining is not None:
                    update = ((step - config.warmup_steps) * config.epochs + epoch) * config.minibatches + number
                    _add(sums, self._pretraining_loss(update))
                _add(sums, {"grad_norm": self.update(step - config.warmup_steps) / group.world})

        # 6. Figures.
        updates = config.epochs * config.minibatches
        facts = {name: total / updates for name, total in add_up(sums, group).items()}
        entropies = [entropy for _, entropy in old]
        facts |= answer_figures(rollouts, group, scores=scores, packs=packs, entropies=entropies, kls=kls)
        return facts | _value_figures(packs, values, returns, group)

    def _policy_sums(self) -> list[str]:
        """The sums of a policy update: all ranks name them, also one that has no answer in a minibatch."""
        names = ["policy_loss", "policy_clipped", "drift", "ratio", "grad_norm"]
        return names if self.pretraining is None else [*names, "pretrain_loss"]

    def judged(self, rollouts: Sequence[Rollout]) -> list[float]:
        """The reward model's scores; every answer is given to it as it was taught to read one: ending in im_end."""
        return score_rows(self.reward, [self._as_scored(rollout) for rollout in rollouts])

    def _as_scored(self, rollout: Rollout) -> list[int]:
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

    def extra_state(self) -> dict[str, Any]:
        """The running moments too."""
        return super().extra_state() | {"moments": self.moments.state()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take up what `extra_state` gave."""
        super().load_extra_state(state)
        self.moments.load(state["moments"])

    def extra_tensors(self) -> dict[str, Tensor]:
        """The value model and its optimiser."""
        tensors = {f"value/{name}": p.data for name, p in self.value.named_parameters()}
        return tensors | {f"value_optimizer/{name}": tensor for name, tensor in self.value_optimizer.state_dict().items()}

    def load_extra_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `extra_tensors` gave."""
        for name, p in self.value.named_parameters():
            p.data.copy_(tensors[f"value/{name}"])
        prefix = "value_optimizer/"
        own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        self.value_optimizer.load_state_dict(own)


def _value_figures(packs: Sequence[Pack], values: Sequence[Tensor], returns: Sequence[Tensor], group: Group) -> dict[str, float]:
    """The mean return of a token, and how much of the returns' variance the values foretold."""
    flat = torch.cat([part[pack.mask] for part, pack in zip(returns, packs, strict=True)]).double()
    errors = flat - torch.cat([part[pack.mask] for part, pack in zip(values, packs, strict=True)]).double()
    totals = add_up(product_sums(flat, errors) | {"count": float(len(flat))}, group)
    count = max(totals["count"], 1.0)
    variance, of_errors, _ = moments(totals, count)
    explained = 1 - of_errors / variance if variance > 1e-12 else 0.0
    return {"return": totals["x"] / count, "explained_variance": explained}


def _whitened(advantages: list[Tensor], packs: list[Pack], group: Group) -> list[Tensor]:
    """All packs' advantages whitened together."""
    flat = torch.cat([part[pack.mask] for part, pack in zip(advantages, packs, strict=True)])
    white = whiten(flat, torch.ones_like(flat, dtype=torch.bool), group)
    parts = white.split([pack.actions for pack in packs])
    return [torch.zeros_like(old).masked_scatter(pack.mask, new) for old, pack, new in zip(advantages, packs, parts, strict=True)]


def _add(sums: dict[str, float], more: dict[str, float]) -> None:
    for name, value in more.items():
        sums[name] = sums.get(name, 0.0) + value
