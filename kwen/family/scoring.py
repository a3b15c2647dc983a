"""The evals stage: perplexity and tasks on the family's models, with what the report shows of their answers.

models and tasks -> shared by the ranks -> scores and answers, kept in the scratch folder -> scores.json, samples.json, answers/
training text and the tasks' items -> contamination.json; held-out text -> compression.json and long_context.json
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache, partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kwen.family.compression import COMPRESSION, run_compression
from kwen.family.contamination import CONTAMINATION, run_contamination, summary
from kwen.family.graph import Job
from kwen.family.long_context import LONG_CONTEXT, long_context_model, run_long_context
from kwen.family.recipe import BASES, CHATS, INTERPRETER, RELEASED, SELF_INSTRUCT, SPECIALISTS, EvalsConfig
from kwen.family.report import SAMPLES, SCORES, metric_of
from kwen.files import write_json
from kwen.progress import Progress, part_of

if TYPE_CHECKING:
    from kwen.evals.task import Item
    from kwen.train.parallel import Group

READING, OVERLAP = "long-context", "contamination"
"""The units of work that are no task: one of a model, one of the whole run."""
_RUN = "run"
SAMPLES_PER_LANGUAGE = 3
"""Kept answers that the report shows of each task in each language."""


def make_evals(job: Job) -> dict[str, Any]:
    """Bits a byte of the base models on held-out text, and the tasks on the chat models: scores.json, samples.json, answers/.

    A score is kept in the scratch folder when it is complete, a model's answers as they come.
    """
    asked = _asked_of(job)
    reader = long_context_model(job.inputs) if job.settings.long_context else None
    units = [[(_RUN, OVERLAP)], *([[(reader, READING)]] if reader else []), *_units(asked)]
    arguments = {"units": units, "folders": dict(job.inputs), "config": job.settings, "work": job.work}
    job.launcher.ranks().run(score_units, arguments, job.progress)
    scores: dict[str, Any] = {}
    samples = []
    items = cache(partial(_items_of, job.settings.data))
    for name, tasks in asked.items():
        scores[name] = {task: json.loads(_kept(job.work, name, task).read_text(encoding="utf-8")) for task in tasks}
        for task in tasks:
            if (answers := job.work / "answers" / name / f"{task}.jsonl").is_file():
                copied = job.out / "answers" / name / answers.name
                copied.parent.mkdir(parents=True, exist_ok=True)
                copied.write_bytes(answers.read_bytes())
                samples += _samples(name, task, copied, items(task))
    write_json(job.out / SCORES, scores)
    write_json(job.out / SAMPLES, samples)
    contamination = json.loads(_kept(job.work, _RUN, OVERLAP).read_text(encoding="utf-8"))
    write_json(job.out / CONTAMINATION, contamination)
    if reader:
        write_json(job.out / LONG_CONTEXT, {reader: json.loads(_kept(job.work, reader, READING).read_text(encoding="utf-8"))})
    if compression := run_compression(job.inputs, job.settings.data):
        write_json(job.out / COMPRESSION, compression)
    headlines = {m: {t: score[metric_of(score)] for t, score in result.items()} for m, result in scores.items()}
    counts = {t: score["n"] for result in scores.values() for t, score in result.items()}
    return {"scores": headlines, "n": counts, "contamination": summary(contamination)}


def score_units(
    group: "Group",
    *,
    units: Sequence[Sequence[tuple[str, str]]],
    folders: Mapping[str, Path],
    config: EvalsConfig,
    work: Path,
    progress: Progress,
) -> None:
    """One rank's part of `make_evals`: the units of (model, task) that it takes, but for those that are kept."""
    from kwen.engine.language_model import load
    from kwen.evals.run import evaluate

    pairs = [pair for unit in units for pair in unit]
    places = accumulate(map(len, units), initial=0)
    for place, unit in group.hand_out([*zip(places, units, strict=False)], work):
        for index, (name, task) in enumerate(unit, place):
            kept = _kept(work, name, task)
            if not kept.is_file():
                told = part_of(progress, index, len(pairs), model=name)
                if task == OVERLAP:
                    named = [each for tasks in config.all_tasks.values() for each in tasks]
                    write_json(kept, run_contamination(folders, named, config.data))
                    continue
                lm = load(folders[name], device=group.device)
                if task == READING:
                    write_json(kept, run_long_context(lm, folders["corpus"], config.long_context, told))
                    continue
                reads = task == "perplexity"  # the corpus's held-out text, whole, whatever the limit
                source: dict[str, Any] = {"data": folders["corpus"]} if reads else {"data": config.data, "limit": config.limit}
                result = evaluate(lm, [task], out=work / "answers" / name, baselines=True, progress=told, **source)
                write_json(kept, result[task])


def _units(asked: Mapping[str, Sequence[str]]) -> list[list[tuple[str, str]]]:
    """What ranks share, the tasks of most models first: text model by model, a task with all its models, so that one rank alone
    makes its baseline."""
    answering = {task: [(name, task) for name in asked if task in asked[name]] for tasks in asked.values() for task in tasks}
    reading = answering.pop("perplexity", [])
    return [*sorted(answering.values(), key=len, reverse=True), *([pair] for pair in reading)]


def _kept(work: Path, model: str, task: str) -> Path:
    return work / f"{model}.{task}.json"


def _asked_of(job: Job) -> dict[str, list[str]]:
    """Model -> tasks: questions for the released checkpoint, the largest SFT model and the one after RLHF; code, maths and tools
    for those that `EvalsConfig` names; text, where there is a corpus, for models without fine-tuning, and for those before and
    after RLHF."""
    models = [name for name in (RELEASED, *BASES, *CHATS, SELF_INSTRUCT, "chat", *SPECIALISTS) if name in job.inputs]
    tuned = [name for name in models if name in CHATS]
    answering = [name for name in models if name in (RELEASED, *tuned[-1:], "chat")]
    reading = {name for name in models if name not in (*CHATS, SELF_INSTRUCT, "chat", *SPECIALISTS)}
    reading |= {*answering} if "chat" in models else set()
    config: EvalsConfig = job.settings
    more = {"base": config.code, "code": config.code, "math-chat": config.maths}
    more["code-chat"] = (*config.code, *(task for task in config.tools if task == INTERPRETER))
    more |= {name: config.tools for name in (*tuned, SELF_INSTRUCT)} | {"chat": (*config.code, *config.maths, *config.tools)}
    asked = {
        name: [
            *(["perplexity"] if name in reading and "corpus" in job.inputs else []),
            *(config.tasks if name in answering else []),
            *more.get(name, ()),
        ]
        for name in models
    }
    return {name: tasks for name, tasks in asked.items() if tasks}


def _items_of(data: Path | None, task: str) -> dict[str, "Item"]:
    """Id -> item."""
    from kwen.evals.tasks import find_task

    return {item.id: item for item in find_task(task).items(data, 0)}


def _samples(model: str, task: str, answers: Path, items: Mapping[str, "Item"]) -> list[dict[str, Any]]:
    """The first kept answers of a task in each language, with what was asked."""
    from kwen.evals.generations import HEADER, read_rows

    shown: list[dict[str, Any]] = []
    for row in (row for _, row in read_rows(answers) if HEADER not in row):
        item = items[row["id"]]
        if sum(sample["language"] == item.language for sample in shown) < SAMPLES_PER_LANGUAGE:
            question = item.prompt if isinstance(item.prompt, str) else str(item.prompt[-1]["content"])
            about = {"model": model, "task": task, "id": item.id, "language": item.language, "question": question}
            shown.append({**about, "answer": _read(row["text"], item), "reference": item.reference, "correct": row["correct"]})
    return shown


def _read(text: str, item: "Item") -> str:
    """An answer as people read it: of a conversation with tools a line for each call, result and reply."""
    if not item.tools:
        return str(text)
    lines = []
    for message in json.loads(text):
        calls = [call["function"] for call in message.get("tool_calls") or ()]
        lines += [f"{call['name']}({call['arguments']})" for call in calls]
        if message["content"]:
            lines.append(f"→ {message['content']}" if message["role"] == "tool" else message["content"])
    return "\n".join(lines)
