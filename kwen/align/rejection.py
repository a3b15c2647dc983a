"""Rejection sampling (RFT, arXiv 2308.01825): a model answers many times, and its right answers become fine-tuning data.

A query's answers are taken shortest first: of several that are right, the one of fewest sampled tokens, and of equally short
ones the one drawn first. An answer that differs from one taken before in white space alone is no further answer.
The work is done in parts that are kept as they come, so that a killed run goes on; a part is the same on any number of ranks.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from kwen.align.chat_model import load_tokenizer
from kwen.align.rollouts import Rollout, roll_out
from kwen.align.verifiable import Task, TaskSource, score_answers, task_tokens
from kwen.errors import UserError
from kwen.files import json_hash, write_json, write_text
from kwen.model.formats.checkpoint import build_model
from kwen.model.formats.load import load_checkpoint
from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent
from kwen.text.tokenizer import Tokenizer
from kwen.train.loop import training_dtype
from kwen.train.parallel import Group, Ranks

CONVERSATIONS = "conversations.jsonl"
"""The file of what was kept, {"messages": [...]} a line."""


class RejectionConfig(BaseModel):
    """Tasks, sampling, and what is kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    data: list[TaskSource] = Field(min_length=1)
    samples: int = Field(8, gt=0, description="answers a query")
    keep: int | None = Field(None, gt=0, description="most answers of a query that are kept; None: all")
    least_score: float = Field(0.9, gt=0, le=1, description="score from which an answer counts as right")
    sequence_length: int = Field(2048, gt=1, description="longest query and answer together")
    max_new_tokens: int = Field(512, gt=0)
    temperature: float = Field(0.7, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    queries_at_once: int = Field(64, gt=0, description="queries of a part")


def sample_right_answers(
    config: RejectionConfig,
    *,
    seed: int,
    policy: Path,
    out: Path,
    work: Path,
    ranks: Ranks,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Sample with the chat model in the folder `policy` and write `CONVERSATIONS` and counts.json into the folder `out`.

    work: keeps finished parts between interruptions. Returns the counts: queries, answers, right, repeated (right, but the
    same as one taken), dropped (beyond `keep`), kept, queries_solved. Raises UserError when no answer was right.
    """
    if config.max_new_tokens >= config.sequence_length:
        raise UserError(f"max_new_tokens {config.max_new_tokens} leaves no room for a query: raise sequence_length")
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    arguments = {"config": config.model_dump(), "seed": seed, "policy": str(policy), "work": str(work)}
    parts, counts = ranks.run(sample_rank, arguments, progress)
    totals = Counter[str](answers=0, right=0, repeated=0, dropped=0, kept=0, queries_solved=0)
    lines: list[str] = []
    for part in parts:
        found = json.loads(part.read_text(encoding="utf-8"))
        totals.update(found["counts"])
        lines += [json.dumps({"messages": messages}, ensure_ascii=False) + "\n" for messages in found["conversations"]]
    if not lines:
        raise UserError(
            f"none of {totals['answers']} answers scored {config.least_score:g}: give easier tasks, more samples, or a lower "
            "least_score"
        )
    write_text(out / CONVERSATIONS, "".join(lines))
    write_json(out / "counts.json", counts | totals)
    return counts | totals


def sample_rank(
    group: Group, *, config: dict[str, Any], seed: int, policy: str, work: str, progress: Progress
) -> tuple[list[Path], dict[str, int]]:
    """One rank's part of `sample_right_answers`, every world-th part; all parts' files in order, and the tasks' counts."""
    settings = RejectionConfig(**config)
    checkpoint = load_checkpoint(Path(policy))
    model = build_model(checkpoint, training_dtype("auto", group.device), group.device).eval()
    tokenizer = load_tokenizer(Path(policy))
    room = settings.sequence_length - settings.max_new_tokens
    template = tokenizer.chat_template or checkpoint.chat_template
    queries, tasks, counts = task_tokens(settings.data, tokenizer, template, seed, room)
    name = json_hash({"config": settings.model_dump(mode="json"), "seed": seed, "model": checkpoint.config.to_hf(), **counts})
    starts = range(0, len(queries), settings.queries_at_once)
    parts = [Path(work) / f"{name[:16]}-{start:08d}.json" for start in starts]
    for number, (start, path) in enumerate(zip(starts, parts, strict=True)):
        if number % group.world == group.rank and not path.exists():
            numbers = range(start, min(start + settings.queries_at_once, len(queries)))
            rollouts = _sample(model, tokenizer, settings, [(i, queries[i]) for i in numbers], seed)
            write_json(path, _kept(settings, tasks, rollouts))
        progress(number + 1, len(parts))
    group.barrier()
    return parts, counts


@torch.inference_mode()
def _sample(
    model: Transformer, tokenizer: Tokenizer, settings: RejectionConfig, prompts: list[tuple[int, list[int]]], seed: int
) -> list[Rollout]:
    """`samples` answers to each of `prompts`; what is drawn for a query depends on its number, not on the part it is in."""
    seeds: list[int] = []
    for number, _ in prompts:
        generator = np.random.Generator(np.random.PCG64([seed, number, 3]))
        seeds += generator.integers(2**62, size=settings.samples).tolist()
    return roll_out(
        model, tokenizer, prompts, seeds, samples=settings.samples, max_new_tokens=settings.max_new_tokens,
        temperature=settings.temperature, top_p=settings.top_p, stop_token_ids=tokenizer.eos_token_ids,
    )  # fmt: skip


def _kept(settings: RejectionConfig, tasks: Sequence[Task], rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """The conversations of a part that are kept, and its counts."""
    scores = score_answers([tasks[r.query] for r in rollouts], [r.text for r in rollouts], [r.ended for r in rollouts])
    counts: Counter[str] = Counter(answers=len(rollouts))
    conversations: list[list[Mapping[str, Any]]] = []
    for start in range(0, len(rollouts), settings.samples):
        places = range(start, start + settings.samples)
        right = [rollouts[i] for i in places if rollouts[i].ended and scores[i] >= settings.least_score]
        different = list(distinct_answers(right))
        taken = different[: settings.keep]
        counts.update(
            right=len(right),
            repeated=len(right) - len(different),
            dropped=len(different) - len(taken),
            kept=len(taken),
            queries_solved=bool(right),
        )
        for rollout in taken:
            conversations.append([*tasks[rollout.query].messages, {"role": "assistant", "content": rollout.text.strip()}])
    return {"counts": dict(counts), "conversations": conversations}


def distinct_answers(answers: Sequence[Rollout]) -> Iterator[Rollout]:
    """The answers that say something and differ in more than white space, shortest first, equally short ones in their order."""
    seen = {""}
    for answer in sorted(answers, key=lambda answer: answer.length):
        text = " ".join(answer.text.split())
        if text not in seen:
            seen.add(text)
            yield answer
