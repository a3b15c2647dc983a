"""The stages: one flat table, and the graph that a recipe makes of it.

    corpus -> tokenizer -> shards -> base-s, base-m, base -> chat-sft-s, -m, chat-sft      all -> evals -> report

Each stage is a short function that calls the floor below with what the job names. What it needs is imported when it runs: a
plan, a status or a dry run loads no tensor library for it.
"""

import json
from pathlib import Path
from typing import Any

from kwen.corpus.extract import HTML_EXTRACTOR
from kwen.corpus.interpreter import interpreter_version
from kwen.corpus.sources import FolderSource, InterpreterSource
from kwen.family.graph import Job, Node, Stage
from kwen.family.launch import resolve_ranks
from kwen.family.page import render
from kwen.family.recipe import BASES, CHATS, Recipe, base_of
from kwen.family.report import SAMPLES, SCORES, collect, metric_of, read_curve
from kwen.files import write_json, write_text
from kwen.nanoworld.version import nanoworld_version
from kwen.progress import Progress

SAMPLES_PER_LANGUAGE = 3
"""Kept answers that the report shows of each task in each language."""


def make_corpus(job: Job) -> dict[str, Any]:
    """Text from the recipe's sources: train.jsonl, held_out.jsonl, statistics.json."""
    from kwen.corpus import pipeline

    statistics = pipeline.build(job.settings, job.seed, job.out, job.progress)
    excluded = {reason: entry["count"] for reason, entry in statistics["excluded"].items()}
    return {**statistics, "excluded": excluded, "held_out_files": len(statistics["held_out_files"])}


def make_tokenizer(job: Job) -> dict[str, Any]:
    """A tokenizer learnt from the corpus's training text."""
    from kwen.corpus import reading
    from kwen.text import tokenizer_training

    corpus = job.inputs["corpus"]
    texts = (document["text"] for document in reading.documents(corpus))
    total = reading.statistics(corpus)["train"]["bytes"]
    return tokenizer_training.train(texts, job.settings, job.out, job.progress, total_bytes=total)


def make_shards(job: Job) -> dict[str, Any]:
    """The corpus as token ids, memory-mapped."""
    from kwen.corpus import shards

    return shards.tokenize(job.inputs["corpus"], job.inputs["tokenizer"], job.out, job.progress)


def make_base(job: Job) -> dict[str, Any]:
    """A base model from the shards."""
    from kwen.pretrain.base import pretrain

    metrics = pretrain(
        job.settings,
        seed=job.seed,
        shards=job.inputs["shards"],
        tokenizer=job.inputs["tokenizer"],
        out=job.out,
        work=job.work,
        ranks=job.launcher.ranks(),
        progress=job.progress,
    )
    return metrics | {"loss": read_curve(job.out)["loss"][-1]}


def make_chat_sft(job: Job) -> dict[str, Any]:
    """A chat model from its base model."""
    from kwen.align.sft import finetune

    (base,) = job.inputs.values()
    metrics = finetune(
        job.settings,
        seed=job.seed,
        base=base,
        out=job.out,
        work=job.work,
        ranks=job.launcher.ranks(),
        progress=job.progress,
    )
    return metrics | {"loss": read_curve(job.out)["loss"][-1]}


def make_evals(job: Job) -> dict[str, Any]:
    """Bits a byte of the base models on held-out text, and the tasks on the chat models: scores.json, samples.json, answers/.

    A model's scores are kept in the scratch folder when they are complete, its answers as they come.
    """
    from kwen.engine.language_model import load
    from kwen.evals.run import evaluate

    asked = {name: ["perplexity"] for name in job.inputs if name in BASES}
    asked |= {name: list(job.settings.tasks) for name in job.inputs if name in CHATS and job.settings.tasks}
    scores: dict[str, Any] = {}
    for index, (name, tasks) in enumerate(asked.items()):
        kept = job.work / f"{name}.json"
        if not kept.is_file():
            results = evaluate(
                load(job.inputs[name]),
                tasks,
                data=job.inputs["corpus"],
                limit=job.settings.limit if name in CHATS else None,
                out=job.work / "answers" / name,
                baselines=True,
                progress=_part_of(job.progress, index, len(asked), model=name),
            )
            write_json(kept, results)
        scores[name] = json.loads(kept.read_text(encoding="utf-8"))
    samples = []
    for name, tasks in asked.items():
        for task in tasks:
            if (answers := job.work / "answers" / name / f"{task}.jsonl").is_file():
                copied = job.out / "answers" / name / answers.name
                copied.parent.mkdir(parents=True, exist_ok=True)
                copied.write_bytes(answers.read_bytes())
                samples += _samples(name, task, copied)
    write_json(job.out / SCORES, scores)
    write_json(job.out / SAMPLES, samples)
    headlines = {m: {t: score[metric_of(score)] for t, score in result.items()} for m, result in scores.items()}
    return {"scores": headlines, "n": {t: score["n"] for result in scores.values() for t, score in result.items()}}


def _part_of(progress: Progress, index: int, parts: int, **named: str) -> Progress:
    """The progress of part `index` of `parts`, told as the progress of the whole."""

    def told(done: float, total: float, **facts: float | str) -> None:
        progress(index + done / max(total, 1.0), parts, **named, **facts)

    return told


def _samples(model: str, task: str, answers: Path) -> list[dict[str, Any]]:
    """The first kept answers of a task in each language, with what was asked."""
    from kwen.evals.generations import HEADER, read_rows
    from kwen.evals.tasks import find_task

    items = {item.id: item for item in find_task(task).items(None, 0)}
    shown: list[dict[str, Any]] = []
    for row in (row for _, row in read_rows(answers) if HEADER not in row):
        item = items[row["id"]]
        if sum(sample["language"] == item.language for sample in shown) < SAMPLES_PER_LANGUAGE:
            question = item.prompt if isinstance(item.prompt, str) else str(item.prompt[-1]["content"])
            about = {"model": model, "task": task, "id": item.id, "language": item.language, "question": question}
            shown.append({**about, "answer": row["text"], "reference": item.reference, "correct": row["correct"]})
    return shown


def make_report(job: Job) -> dict[str, Any]:
    """The family's own technical report: index.html, and its numbers as report.json."""
    recipe: Recipe = job.settings
    report = collect(recipe.name, recipe.about, recipe.seed, job.inputs)
    write_text(job.out / "index.html", render(report, recipe.to_yaml()))
    write_json(job.out / "report.json", report)
    return {"artifacts": len(report["artifacts"])}


STAGES = {
    stage.name: stage
    for stage in (
        Stage("corpus", 1, make_corpus),
        Stage("tokenizer", 1, make_tokenizer),
        Stage("shards", 1, make_shards),
        Stage("base", 1, make_base, trains=True),
        Stage("chat-sft", 1, make_chat_sft, trains=True),
        Stage("evals", 1, make_evals),
        Stage("report", 1, make_report),
    )
}


def family_nodes(recipe: Recipe) -> list[Node]:
    """The artifacts of a family in build order."""
    whole = recipe.as_dict()
    corpus, sources = _corpus_config(recipe, whole["corpus"])
    nodes = [
        Node("corpus", STAGES["corpus"], {"corpus": corpus}, recipe.corpus, (), sources),
        Node("tokenizer", STAGES["tokenizer"], {"tokenizer": whole["tokenizer"]}, recipe.tokenizer, ("corpus",)),
        Node("shards", STAGES["shards"], {}, None, ("corpus", "tokenizer")),
    ]
    models = {"launcher": {"ranks": resolve_ranks(recipe.launcher)}} if recipe.bases() else {}
    for name, settings in recipe.bases().items():
        nodes.append(Node(name, STAGES["base"], {name: whole[name], **models}, settings, ("tokenizer", "shards")))
    for name, chat in recipe.chats().items():
        config, files = _chat_config(name, whole[name])
        nodes.append(Node(name, STAGES["chat-sft"], {name: config, **models}, chat, (base_of(name),), files))
    if recipe.evals is not None:
        inputs = ("corpus", *recipe.bases(), *recipe.chats())
        asks_nanoworld = any(task.startswith("nanoworld-") for task in recipe.evals.tasks)
        asked = {"nanoworld's version": nanoworld_version()} if asks_nanoworld else {}
        nodes.append(Node("evals", STAGES["evals"], {"evals": whole["evals"]}, recipe.evals, inputs, asked))
    shown = {key: value for key, value in whole.items() if key != "expected_seconds"}
    nodes.append(Node("report", STAGES["report"], shown, recipe, tuple(node.name for node in nodes)))
    return nodes


def _corpus_config(recipe: Recipe, config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Path | str]]:
    """What is hashed of the corpus section, and its sources: a path counts by what lies there, not by its name."""
    hashed, sources = [], dict[str, Path | str]()
    for index, (source, values) in enumerate(zip(recipe.corpus.sources, config["sources"], strict=True)):
        hashed.append({key: value for key, value in values.items() if key != "path"} | {"label": source.label})
        if isinstance(source, FolderSource):
            sources[f"corpus.sources.{index}"] = source.path
            sources["the HTML extractor"] = HTML_EXTRACTOR
        elif isinstance(source, InterpreterSource):
            sources["the interpreter's version"] = interpreter_version()
        else:
            sources["nanoworld's version"] = nanoworld_version()
    return config | {"sources": hashed}, sources


def _chat_config(name: str, config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Path | str]]:
    """The same of a chat section: a file of conversations counts by what it holds."""
    files: dict[str, Path | str] = {
        f"{name}.data.{index}": Path(source["path"]) for index, source in enumerate(config["data"]) if "path" in source
    }
    if any(source["kind"] == "nanoworld" for source in config["data"]):
        files["nanoworld's version"] = nanoworld_version()
    data = [{key: value for key, value in source.items() if key != "path"} for source in config["data"]]
    return config | {"data": data}, files


def check_ready(recipe: Recipe) -> None:
    """UserError for what would stop the family's evals, before hours are spent on its models."""
    if recipe.evals is not None and recipe.evals.tasks:
        from kwen.evals.run import check

        check(recipe.evals.tasks, limit=recipe.evals.limit)
