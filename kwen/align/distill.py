"""On-policy distillation: the student answers, and a larger teacher of its family says at every token what should have come.

The loss is KL(student || teacher) of the next token over the whole vocabulary, at the places that the student's own answers
lead to (arXiv 2306.13649, with all data from the student and reverse KL; the sampling itself is not differentiated).
"""

from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from kwen.align.answer_figures import add_up, answer_figures
from kwen.align.chat_model import load_tokenizer, write_chat_model
from kwen.align.on_policy import OnPolicy, OnPolicyConfig, check_context, check_shares
from kwen.align.on_policy_plan import ShowPlan, check_plan
from kwen.align.queries import QuerySource, query_tokens
from kwen.align.reverse_kl import linear_reverse_kl
from kwen.align.rollouts import Pack
from kwen.errors import UserError
from kwen.files import write_json
from kwen.model.formats.checkpoint import build_model
from kwen.model.formats.load import load_checkpoint
from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent
from kwen.text.tokenizer import Tokenizer
from kwen.train.loop import mixed_precision
from kwen.train.optimizer import OptimizerConfig
from kwen.train.parallel import Group, Ranks


class DistillConfig(OnPolicyConfig):
    """Settings of on-policy distillation; one answer a query is enough, as every token of it teaches."""

    data: list[QuerySource] = Field(min_length=1)
    samples: int = Field(1, gt=0, description="answers a query")
    policy: OptimizerConfig = OptimizerConfig(lr=1e-5)


def distill(
    config: DistillConfig,
    *,
    seed: int,
    policy: Path,
    teacher: Path,
    out: Path,
    work: Path,
    ranks: Ranks,
    show: ShowPlan | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train the chat model in the folder `policy` towards the one in `teacher` and write the result into the folder `out`.

    work: keeps checkpoints and metrics between interruptions. show: called with the plan before the run begins. Returns the
    run's metrics. Raises UserError when the two do not have one tokenizer.
    """
    check_shares(config, ranks.world)
    tokenizer = load_tokenizer(policy)
    check_same_tokenizer(tokenizer, load_tokenizer(teacher), policy, teacher)
    check_plan(config, policy, frozen=[teacher], world=ranks.world, show=show)
    work.mkdir(parents=True, exist_ok=True)
    arguments = {
        "config": config.model_dump(),
        "seed": seed,
        "policy": str(policy),
        "teacher": str(teacher),
        "work": str(work),
    }
    model, metrics, samples = ranks.run(distill_rank, arguments, progress)
    write_chat_model(out, model, tokenizer, work, base=policy, lora=config.lora)
    write_json(out / "samples.json", samples)
    return metrics


def distill_rank(
    group: Group, *, config: dict[str, Any], seed: int, policy: str, teacher: str, work: str, progress: Progress
) -> tuple[Transformer, dict[str, Any], list[dict[str, Any]]]:
    """One rank's part of `distill`: the trained student, the metrics, and answers from before and after."""
    settings = DistillConfig(**config)
    run = Distillation(settings, seed=seed, policy=Path(policy), teacher=Path(teacher), work=Path(work), group=group)
    return run.train(progress)


def check_same_tokenizer(student: Tokenizer, teacher: Tokenizer, policy: Path, folder: Path) -> None:
    """UserError unless every id means the same to both; chat templates may differ, as the teacher reads the student's ids."""
    same = student.vocab_size == teacher.vocab_size and student.control_tokens == teacher.control_tokens
    if not same or any(student.token_bytes(i) != teacher.token_bytes(i) for i in range(student.vocab_size)):
        raise UserError(f"{folder}: its tokenizer is not that of {policy}; distil from a larger model of one family")


class Distillation(OnPolicy):
    """One rank's student and teacher. Rows of the vocabulary beyond the smaller of the two matrices are padding, left out."""

    def __init__(self, config: DistillConfig, *, seed: int, policy: Path, teacher: Path, work: Path, group: Group) -> None:
        super().__init__(config, seed=seed, policy=policy, work=work, group=group)
        self.queries, self.counts = query_tokens(config.data, self.tokenizer, self.template, seed, self.longest_query)
        found = load_checkpoint(teacher)
        check_context(config, teacher, found.config)
        self.teacher = build_model(found, self.dtype, self.device).requires_grad_(False).train()
        self.vocabulary = min(found.config.vocab_size, self.checkpoint.config.vocab_size)
        self.name_run(teacher=found.config.to_hf())

    def step(self, step: int) -> dict[str, float]:
        """One step, in place; its figures over all ranks."""
        rollouts = self.answers(step)
        minibatches = self.minibatches(rollouts, step)
        sums = {"loss": 0.0, "grad_norm": 0.0}
        for part in minibatches:
            _, tokens = self.sizes(part)
            for pack in part:
                sums["loss"] += self._backward(pack, tokens)
            sums["grad_norm"] += self.update(step) / self.group.world
        totals = add_up(sums, self.group)
        return {name: total / len(minibatches) for name, total in totals.items()} | answer_figures(rollouts, self.group)

    def _backward(self, pack: Pack, tokens: float) -> float:
        """Backward of the pack's share of the mean KL over `tokens` sampled tokens, in nats; that share."""
        places = pack.places[pack.mask]
        with mixed_precision(self.device, self.dtype):
            student = self.policy.hidden(pack.token_ids, documents=pack.documents).flatten(0, 1)[places]
            with torch.no_grad():
                teacher = self.teacher.hidden(pack.token_ids, documents=pack.documents).flatten(0, 1)[places]
        loss, _ = linear_reverse_kl(
            student,
            self.policy.output_weight[: self.vocabulary],
            teacher,
            self.teacher.output_weight[: self.vocabulary],
            scale=1 / tokens,
            temperature=self.settings.temperature,
            dtype=self.dtype,
        )
        loss.backward()
        return float(loss.detach())
