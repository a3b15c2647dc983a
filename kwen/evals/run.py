"""Running tasks: ask or read, keep every answer, judge, summarise.

    items -> prompts -> answers, a slice at a time -> extract (strict, flexible) -> judge -> kept on disk -> score

An answer is judged and kept before the next slice is asked, so that a kill costs one slice at most and the same command
goes on where it stopped. `score_saved` enters at "extract" with answers from a file, and needs no model.
"""

import functools
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import torch

from kwen import sandbox
from kwen.engine.language_model import LanguageModel
from kwen.errors import UserError
from kwen.evals.asking import ScoringModel, ask
from kwen.evals.generations import Answer, KeptAnswers, read_saved_answers
from kwen.evals.perplexity import score_tokens
from kwen.evals.score import in_order, ratio_standard_error, summarise
from kwen.evals.task import Item, Task, prompt_hash
from kwen.evals.tasks import TASKS, find_task
from kwen.progress import Progress, silent


def evaluate(
    lm: LanguageModel | ScoringModel,
    tasks: Sequence[str],
    *,
    data: Path | None = None,
    limit: int | None = None,
    out: Path | None = None,
    seed: int = 0,
    baselines: bool = False,
    progress: Progress = silent,
) -> dict[str, dict[str, Any]]:
    """Score `lm` on `tasks`, in the form of `kwen eval --json`: task -> metric, standard error, n, version, hashes, parts.

    `limit` takes the first items of each task. `out` is a folder for the answers, one TASK.jsonl each, and makes the run
    resumable. `seed` is the seed of generated questions and of sampling. `baselines` adds the nearest-training-question
    baseline. `lm` may be a reward model, which compares pairs alone (kind "preference"). Everything a user can get wrong (unknown
    task, missing data, no sandbox, answers of another model in `out`) raises UserError before the first answer is asked for.
    """
    chosen = _with_items(tasks, data, limit, seed)
    for task, _, _ in chosen:
        if task.kind != "preference" and not isinstance(lm, LanguageModel):
            raise UserError(f"{task.name} asks a language model; a reward model scores pairs: --tasks preference")
    model = model_hash(lm)
    total = sum(len(asked) for _, _, asked in chosen)
    results: dict[str, dict[str, Any]] = {}
    done = 0
    with ExitStack() as stack:
        kept = {
            task.name: stack.enter_context(
                KeptAnswers(out / f"{task.name}.jsonl", {"task": task.name, "model_hash": model} | _facts(task, items, seed))
            )
            for task, items, _ in chosen
            if out is not None and task.kind != "perplexity"
        }
        for task, items, asked in chosen:

            def task_progress(share: float, base: int = done, size: int = len(asked), name: str = task.name) -> None:
                progress(base + share * size, total, task=name)

            if task.kind == "perplexity":
                score = _perplexity(cast(LanguageModel, lm), task, asked, task_progress)
            else:
                answers = ask(lm, task, asked, seed, judge, kept.get(task.name), task_progress)
                score = summarise([(item, answers[item.id]) for item in asked], task.metric, task.measures)
                score |= _baseline(task, asked, data, seed) if baselines else {}
            results[task.name] = _facts(task, items, seed) | {"model_hash": model} | score
            done += len(asked)
    return results


def check(names: Sequence[str], *, data: Path | None = None, limit: int | None = None, seed: int = 0) -> None:
    """Raise UserError for what `evaluate` would refuse before it needs a model, so that none is loaded in vain."""
    _with_items(names, data, limit, seed)


def score_saved(
    generations: Path,
    tasks: Sequence[str],
    *,
    data: Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    baselines: bool = False,
) -> dict[str, dict[str, Any]]:
    """Score answers that were saved before, as `evaluate` would: `generations` holds {"task", "id", "text"} a line.

    Only items with an answer are scored; `missing` says how many of the task's items have none. Raises UserError with the
    line number for a malformed row, an id that the task does not have, or one that stands twice; and for a task without
    any answer in the file.
    """
    chosen = _with_items(tasks, data, limit, seed)
    for task, _, _ in chosen:
        if task.kind == "perplexity":
            raise UserError(f"{task.name} reads text and has no answers to score again; leave it out of --tasks")
    saved = read_saved_answers(generations, [task.name for task, _, _ in chosen])
    results: dict[str, dict[str, Any]] = {}
    for task, items, asked in chosen:
        texts = saved[task.name]
        known = {item.id for item in items}
        for item_id, (number, _) in texts.items():
            if item_id not in known:
                raise UserError(f"{generations}, line {number}: {task.name} has no item {item_id!r} (seed {seed})")
        answered = [item for item in asked if item.id in texts]
        if not answered:
            raise UserError(f'{generations}: no answer to {task.name} in it; each line needs "task": "{task.name}"')
        answers = judge(task, answered, [texts[item.id][1] for item in answered])
        score = summarise(list(zip(answered, answers, strict=True)), task.metric, task.measures)
        score |= _baseline(task, answered, data, seed) if baselines else {}
        results[task.name] = _facts(task, items, seed) | score | {"missing": len(asked) - len(answered)}
    return results


def judge(task: Task, items: Sequence[Item], texts: Sequence[str]) -> list[Answer]:
    """Extract and judge one answer text for each item. What both extractors agree on is judged once."""
    assert task.judge is not None
    found = [(task.strict(item, text), task.flexible(item, text)) for item, text in zip(items, texts, strict=True)]
    asked = {
        (index, extracted): (item, extracted)
        for index, (item, both) in enumerate(zip(items, found, strict=True))
        for extracted in both
        if extracted is not None
    }
    verdicts = dict(zip(asked, task.judge(list(asked.values())), strict=True))
    return [
        Answer(
            task=task.name,
            id=item.id,
            text=text,
            strict=strict,
            flexible=flexible,
            correct=strict is not None and verdicts[index, strict],
            correct_flexible=flexible is not None and verdicts[index, flexible],
        )
        for index, (item, text, (strict, flexible)) in enumerate(zip(items, texts, found, strict=True))
    ]


def model_hash(lm: LanguageModel | ScoringModel) -> str:
    """SHA-256 of what decides the model's answers: configuration, chat template, and every weight's name, type, shape, bytes."""
    digest = hashlib.sha256(json.dumps([lm.config.to_hf(), lm.tokenizer.chat_template], sort_keys=True).encode())
    for name, weight in sorted(lm.model.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {list(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _with_items(
    names: Sequence[str], data: Path | None, limit: int | None, seed: int
) -> list[tuple[Task, list[Item], list[Item]]]:
    """Each named task once, with all its items and those that `limit` leaves; every check that needs no model is made here."""
    if limit is not None and limit < 1:
        raise UserError(f"limit {limit}: give a number of items of at least 1")
    if not names:
        raise UserError(f"no task is named; the tasks are {', '.join(TASKS)}")
    chosen = []
    for task in [find_task(name) for name in dict.fromkeys(names)]:
        if task.needs_sandbox:
            _require_sandbox(task)
        items = task.items(data, seed)
        seen: set[str] = set()
        for item in items:
            if item.id in seen:
                raise UserError(f"{task.name}: the id {item.id!r} stands twice among its items; ids must differ")
            seen.add(item.id)
        chosen.append((task, items, items[:limit]))
    return chosen


def _require_sandbox(task: Task) -> None:
    try:
        sandbox.describe()
        if task.require is not None:
            task.require()
    except UserError as error:
        raise UserError(f"{task.name} runs code that a model wrote, and nothing was asked yet: {error}") from None


def _facts(task: Task, items: Sequence[Item], seed: int) -> dict[str, Any]:
    """What makes two scores comparable. The hash covers all items, so a score of the first ten names the same prompts."""
    settings = dict(task.settings) | ({"seed": seed} if task.kind == "generate" else {})
    if shots := max((len(item.shots) for item in items), default=0):
        settings["shots"] = shots
    facts = {"version": task.version, "prompt_hash": prompt_hash(items), "settings": settings}
    return facts | ({"note": note} if task.note and (note := task.note()) else {})


def _perplexity(lm: LanguageModel, task: Task, items: Sequence[Item], progress: Callable[[float], None]) -> dict[str, Any]:
    """Bits a byte of all texts together and by source, language, kind and file; the settings are cut to the model's context."""
    window = min(task.settings["window"], lm.config.max_position_embeddings)
    disjoint = task.settings["stride"] == task.settings["window"]
    stride = window if disjoint else min(task.settings["stride"], max(1, window // 2))
    documents = lm.tokenizer.encode_batch([str(item.prompt) for item in items])
    nats = score_tokens(
        lm, documents, window, stride, progress=lambda done, total, **_: progress(done / max(total, 1)), fill_last=disjoint
    )
    sizes = [len(str(item.prompt).encode()) for item in items]

    def score(chosen: Sequence[int]) -> dict[str, Any]:
        bits = [nats[index] / math.log(2) for index in chosen]
        of_bytes = [sizes[index] for index in chosen]
        tokens = sum(len(documents[index]) for index in chosen)
        words = sum(items[index].extra.get("words", 0) for index in chosen)
        result = {
            task.metric: sum(bits) / sum(of_bytes),
            f"{task.metric}_stderr": ratio_standard_error(bits, of_bytes),
            "perplexity": math.exp(sum(nats[index] for index in chosen) / tokens),
            "n": len(chosen),
            "bytes": sum(of_bytes),
            "tokens": tokens,
        }
        if words:
            exponents = {"word_perplexity": sum(bits) / words, "byte_perplexity": sum(bits) / sum(of_bytes)}
            result |= {name: 2 ** min(exponent, 1000.0) for name, exponent in exponents.items()} | {"words": words}
        return result

    def parts(value_of: Callable[[Item], str | None]) -> dict[str, Any]:
        members: dict[str, list[int]] = {}
        for index, item in enumerate(items):
            if (value := value_of(item)) is not None:
                members.setdefault(value, []).append(index)
        return {value: score(members[value]) for value in in_order(members)}

    return score(range(len(items))) | {
        "by_source": parts(lambda item: item.extra["source"]),
        "by_language": parts(lambda item: item.language),
        "by_kind": parts(lambda item: item.tag),
        "by_file": parts(lambda item: item.extra.get("file")),
        "settings": {"window": window, "stride": stride},
    }


def _baseline(task: Task, items: Sequence[Item], data: Path | None, seed: int) -> dict[str, float]:
    """The score of answering each item with the answer of the most similar training question."""
    if task.baseline is None:
        return {}
    return {f"baseline_{task.metric}": _baseline_score(task.name, data, seed, tuple(item.id for item in items))}


@functools.lru_cache(maxsize=32)
def _baseline_score(name: str, data: Path | None, seed: int, ids: tuple[str, ...]) -> float:
    """Remembered, because no model takes part in it: a family's models are asked the same questions one after the other."""
    task = find_task(name)
    assert task.baseline is not None
    by_id = {item.id: item for item in task.items(data, seed)}
    items = [by_id[item_id] for item_id in ids]
    answers = judge(task, items, task.baseline(items, seed))
    return sum(answer.correct for answer in answers) / len(items)
