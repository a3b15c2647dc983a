"""Group policy optimisation on answers that can be checked: GRPO, GSPO, DAPO and CISPO (losses: kwen/align/group_policy.py).

One step: queries, `samples` answers each, their scores, each answer's advantage over its group, updates with the KL from the
initial model in the loss. There is no value model and no reward model.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from kwen.align.advantages import kl_estimate
from kwen.align.answer_figures import add_up, answer_figures
from kwen.align.chat_model import load_tokenizer, write_chat_model
from kwen.align.group_policy import CLIPS, Variant, group_advantages, group_policy_loss
from kwen.align.on_policy import OnPolicy, OnPolicyConfig, check_shares
from kwen.align.on_policy_plan import ShowPlan, check_plan
from kwen.align.rollouts import Pack, Rollout, rollout_logprobs
from kwen.align.verifiable import TaskSource, score_answers, task_tokens
from kwen.errors import UserError
from kwen.files import write_json
from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent
from kwen.train.parallel import Group, Ranks

Scores = Callable[[Sequence[Rollout]], list[float]]
"""The score of each answer; `query` of a rollout is its place in the run's list of tasks."""


class GRPOConfig(OnPolicyConfig):
    """Settings of group policy optimisation. Clips of None are the variant's own (`CLIPS`)."""

    kind: Literal["grpo"] = "grpo"
    data: list[TaskSource] = Field(min_length=1)
    variant: Variant = "grpo"
    samples: int = Field(8, gt=1, description="answers a query: the group")
    epochs: int = Field(1, gt=0, description="passes over a step's answers")
    clip_low: float | None = Field(None, gt=0, le=1)
    clip_high: float | None = Field(None, gt=0)
    kl_coefficient: float = Field(0.0, ge=0, description="of the KL from the initial model (k3) in the loss")
    patience: int = Field(20, gt=0, description="steps without two different scores in any group after which the run fails")


def train_grpo(
    config: GRPOConfig,
    *,
    seed: int,
    policy: Path,
    out: Path,
    work: Path,
    ranks: Ranks,
    show: ShowPlan | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train the chat model in the folder `policy` on tasks and write the result as a chat model into the folder `out`.

    work: keeps checkpoints and metrics between interruptions. show: called with the plan before the run begins. Returns the
    run's metrics.
    """
    check_shares(config, ranks.world)
    frozen = [policy] if config.kl_coefficient or config.kl_stop is not None else []
    check_plan(config, policy, frozen=frozen, epochs=config.epochs, world=ranks.world, show=show)
    work.mkdir(parents=True, exist_ok=True)
    arguments = {"config": config.model_dump(), "seed": seed, "policy": str(policy), "work": str(work)}
    model, metrics, samples = ranks.run(train_grpo_rank, arguments, progress)
    write_chat_model(out, model, load_tokenizer(policy), work, base=policy, lora=config.lora)
    write_json(out / "samples.json", samples)
    return metrics


def train_grpo_rank(
    group: Group, *, config: dict[str, Any], seed: int, policy: str, work: str, progress: Progress
) -> tuple[Transformer, dict[str, Any], list[dict[str, Any]]]:
    """One rank's part of `train_grpo`: the trained policy, the metrics, and answers from before and after."""
    run = GRPO(GRPOConfig(**config), seed=seed, policy=Path(policy), work=Path(work), group=group)
    return run.train(progress)


class GRPO(OnPolicy):
    """One rank's policy and reference."""

    def __init__(
        self, config: GRPOConfig, *, seed: int, policy: Path, work: Path, group: Group, scores: Scores | None = None
    ) -> None:
        """scores: in place of the tasks' own check."""
        super().__init__(config, seed=seed, policy=policy, work=work, group=group)
        self.config = config
        self.queries, self.tasks, self.counts = task_tokens(config.data, self.tokenizer, self.template, seed, self.longest_query)
        self.scores = scores or self._verified
        self.reference = self.frozen_copy() if config.kl_coefficient or config.kl_stop is not None else None
        low, high = CLIPS[config.variant]
        self.low = low if config.clip_low is None else config.clip_low
        self.high = high if config.clip_high is None else config.clip_high
        self.idle = 0
        self.name_run()

    def step(self, step: int) -> dict[str, float]:
        """One step, in place; its figures over all ranks."""
        config = self.config

        # 1. Answers, and how good they are.
        rollouts = self.answers(step)
        scores = torch.tensor(self.scores(rollouts), dtype=torch.float32, device=self.device)

        # 2. Advantages within each group. DAPO leaves groups out in which there is nothing to prefer.
        advantages, equal = group_advantages(scores, config.samples)
        self._check(scores, equal, step)
        kept = (~equal).tolist() if config.variant == "dapo" else None

        # 3. Logprobs of the policy that sampled, and of the reference.
        minibatches = self.minibatches(rollouts, step, kept)
        packs = [pack for part in minibatches for pack in part]
        with torch.no_grad():
            told = [rollout_logprobs(self.policy, pack, config.temperature, self.dtype) for pack in packs]
            references: list[Tensor] = []
            if self.reference is not None:
                references = [rollout_logprobs(self.reference, pack, config.temperature, self.dtype)[0] for pack in packs]

        # 4. Updates.
        sums = {"loss": 0.0, "clipped": 0.0, "ratio": 0.0, "grad_norm": 0.0, "updates": 0.0}
        for _ in range(config.epochs):
            first = 0
            for part in minibatches:
                places = range(first, first + len(part))
                first += len(part)
                answers, tokens = self.sizes(part)
                if not answers:
                    continue
                for i in places:
                    reference = references[i] if references and config.kl_coefficient else None
                    chosen = advantages[packs[i].rollouts]
                    for name, value in self._backward(packs[i], told[i][0], reference, chosen, answers, tokens).items():
                        sums[name] += value
                sums["grad_norm"] += self.update(step) / self.group.world
                sums["updates"] += 1 / self.group.world

        # 5. Figures.
        left_out = 0 if kept is None else kept.count(False)
        totals = add_up({**sums, "left_out": float(left_out), "equal": float(equal.sum())}, self.group)
        facts = {name: totals[name] / max(totals["updates"], 1.0) for name in ("loss", "clipped", "ratio", "grad_norm")}
        entropies = [entropy for _, entropy in told]
        kls = None
        if self.reference is not None:
            kls = [kl_estimate(old, reference) for (old, _), reference in zip(told, references, strict=True)]
        facts |= answer_figures(rollouts, self.group, scores=scores, packs=packs, entropies=entropies, kls=kls)
        groups = {"equal_groups": totals["equal"], "groups_left_out": totals["left_out"]}
        return facts | {name: total / config.samples for name, total in groups.items()}

    def judged(self, rollouts: Sequence[Rollout]) -> list[float]:
        """The scores of answers."""
        return self.scores(rollouts)

    def extra_state(self) -> dict[str, Any]:
        """What else a checkpoint holds."""
        return super().extra_state() | {"idle": self.idle}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take up what `extra_state` gave."""
        super().load_extra_state(state)
        self.idle = state["idle"]

    def _verified(self, rollouts: Sequence[Rollout]) -> list[float]:
        asked = [self.tasks[rollout.query] for rollout in rollouts]
        return score_answers(asked, [rollout.text for rollout in rollouts], [rollout.ended for rollout in rollouts])

    def _check(self, scores: Tensor, equal: Tensor, step: int) -> None:
        """UserError for a score that is no number, and when for `patience` steps no group had two different scores."""
        own = torch.tensor([float((~scores.isfinite()).sum()), float((~equal).sum())], dtype=torch.float64, device=self.device)
        broken, varied = self.group.add(own).tolist()
        if broken:
            raise UserError(f"step {step + 1}: {int(broken)} answers got a score that is no number: correct what scores them")
        self.idle = 0 if varied else self.idle + 1
        if self.idle >= self.config.patience:
            raise UserError(
                f"step {step + 1}: for {self.idle} steps all answers to each query got one score (now {float(scores[0]):.3g}), "
                "which teaches nothing: give tasks that the model gets right sometimes, more samples, or a higher temperature"
            )

    def _backward(
        self, pack: Pack, old: Tensor, reference: Tensor | None, advantages: Tensor, answers: float, tokens: float
    ) -> dict[str, float]:
        """Backward of the pack's share of the loss; its shares of the figures."""
        new, _ = rollout_logprobs(self.policy, pack, self.config.temperature, self.dtype)
        penalty: Tensor | float = 0.0
        if reference is not None:
            penalty = self.config.kl_coefficient * kl_estimate(new, reference, "k3")
        loss, clipped = group_policy_loss(
            self.config.variant, new, old, advantages, pack.mask,
            low=self.low, high=self.high, answers=answers, tokens=tokens, penalty=penalty,
        )  # fmt: skip
        loss.backward()
        ratio = (new.detach() - old).exp()[pack.mask].sum()
        return {"loss": float(loss.detach()), "clipped": float(clipped.sum()) / tokens, "ratio": float(ratio) / tokens}
