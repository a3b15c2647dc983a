"""The stages: one flat table, and the graph that a recipe makes of it.

    corpus -> tokenizer -> shards -> base-s, base-m, base -> chat-sft-s, -m, chat-sft      all -> evals -> report
    base -> pmp -> reward                  chat-sft, reward, shards -> chat
    all chat-sft -> comparisons -> reward  chat -> online          the reward models, chat-sft, chat -> judging

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
from kwen.family.judging import make_judging
from kwen.family.launch import resolve_ranks
from kwen.family.page import render
from kwen.family.recipe import BASES, CHATS, REWARDS, Recipe, base_of
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


def make_comparisons(job: Job) -> dict[str, Any]:
    """Pairs of answers of the chat models that it is made from, ranked by the oracle: train.jsonl and test.jsonl."""
    from kwen.align.preferences import write_pairs
    from kwen.align.sampled import sampled_pairs
    from kwen.engine.language_model import load

    models = {name: load(folder) for name, folder in job.inputs.items()}
    metrics = {}
    parts = ("test",) if job.name == "online" else ("train", "test")
    for index, part in enumerate(parts):
        told = _part_of(job.progress, index, len(parts), set=part)
        found = sampled_pairs(models, job.settings, job.seed, "train" if part == "train" else "held_out", told)
        metrics[part] = write_pairs(job.out / f"{part}.jsonl", found)
    return metrics


def make_reward(job: Job) -> dict[str, Any]:
    """A reward model from pairs: `pmp` from the base model, `reward` from that on the comparisons."""
    from kwen.align.preferences import PairsFile
    from kwen.align.reward import train_reward

    inputs = dict(job.inputs)
    comparisons = inputs.pop("comparisons", None)
    (start,) = inputs.values()
    sampled = [] if comparisons is None else [PairsFile(kind="pairs", path=comparisons / "train.jsonl")]
    metrics = train_reward(
        job.settings.model_copy(update={"data": [*sampled, *job.settings.data]}),
        seed=job.seed,
        base=start,
        out=job.out,
        work=job.work,
        ranks=job.launcher.ranks(),
        progress=job.progress,
    )
    curve = read_curve(job.out)
    return metrics | {"loss": curve["loss"][-1], "accuracy": curve["accuracy"][-1]}


def make_chat(job: Job) -> dict[str, Any]:
    """The chat model after RLHF."""
    from kwen.align.ppo import reinforce

    metrics = reinforce(
        job.settings,
        seed=job.seed,
        policy=job.inputs["chat-sft"],
        reward=job.inputs["reward"],
        shards=job.inputs["shards"],
        out=job.out,
        work=job.work,
        ranks=job.launcher.ranks(),
        progress=job.progress,
    )
    curve = read_curve(job.out)
    return metrics | {name: curve[name][-1] for name in ("score", "kl", "length")}


def make_evals(job: Job) -> dict[str, Any]:
    """Bits a byte of the base models on held-out text, and the tasks on the chat models: scores.json, samples.json, answers/.

    A model's scores are kept in the scratch folder when they are complete, its answers as they come.
    """
    from kwen.engine.language_model import load
    from kwen.evals.run import evaluate

    asked = {name: ["perplexity"] for name in job.inputs if name in BASES}
    answering = [name for name in job.inputs if name in CHATS][-1:] + [name for name in job.inputs if name == "chat"]
    asked |= {name: list(job.settings.tasks) for name in answering if job.settings.tasks}
    if "chat" in job.inputs:  # what RLHF costs on plain text
        for name in ("chat-sft", "chat"):
            asked[name] = ["perplexity", *asked.get(name, [])]
    scores: dict[str, Any] = {}
    for index, (name, tasks) in enumerate(asked.items()):
        kept = job.work / f"{name}.json"
        if not kept.is_file():
            lm = load(job.inputs[name])
            told = _part_of(job.progress, index, len(asked), model=name)
            places: dict[str, Any] = {"data": job.inputs["corpus"], "out": job.work / "answers" / name, "progress": told}
            places["baselines"] = True
            text = [task for task in tasks if task == "perplexity"]  # read whole, whatever the limit
            questions = [task for task in tasks if task not in text]
            results = evaluate(lm, text, limit=None, **places) if text else {}
            results |= evaluate(lm, questions, limit=job.settings.limit, **places) if questions else {}
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
        Stage("comparisons", 1, make_comparisons),
        Stage("reward", 1, make_reward, trains=True),
        Stage("chat", 1, make_chat, trains=True),
        Stage("judging", 1, make_judging),
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
        config, files = _data_config(name, whole[name])
        nodes.append(Node(name, STAGES["chat-sft"], {name: config, **models}, chat, (base_of(name),), files))
    nodes += _alignment_nodes(recipe, whole, models)
    if recipe.evals is not None:
        inputs = ("corpus", *recipe.bases(), *recipe.chats(), *(["chat"] if recipe.chat is not None else []))
        asks_nanoworld = any(task.startswith("nanoworld-") for task in recipe.evals.tasks)
        asked = {"nanoworld's version": nanoworld_version("questions", "baseline")} if asks_nanoworld else {}
        nodes.append(Node("evals", STAGES["evals"], {"evals": whole["evals"]}, recipe.evals, inputs, asked))
    shown = {key: value for key, value in whole.items() if key != "expected_seconds"}
    nodes.append(Node("report", STAGES["report"], shown, recipe, tuple(node.name for node in nodes)))
    return nodes


def _alignment_nodes(recipe: Recipe, whole: dict[str, Any], models: dict[str, Any]) -> list[Node]:
    """Comparisons, reward models, RLHF and its judging, as far as the recipe names them."""
    world = {"nanoworld's version": nanoworld_version("prompts", "oracle", "preferences")}
    nodes = []
    sampled = ("comparisons",) if recipe.comparisons is not None else ()
    if recipe.comparisons is not None:
        config = {"comparisons": whole["comparisons"]}
        nodes.append(Node("comparisons", STAGES["comparisons"], config, recipe.comparisons, tuple(recipe.chats()), world))
    trained = {"pmp": recipe.pmp, "reward": recipe.reward, "reward-alone": recipe.reward_alone}
    for name, settings in trained.items():
        if settings is not None:
            start = "pmp" if name == "reward" and recipe.pmp is not None else "base"
            config, files = _data_config(name, whole[name])
            inputs = (start, *(() if name == "pmp" else sampled))
            nodes.append(Node(name, STAGES["reward"], {name: config, **models}, settings, inputs, files))
    if recipe.chat is not None:
        config, files = _data_config("chat", whole["chat"])
        nodes.append(
            Node("chat", STAGES["chat"], {"chat": config, **models}, recipe.chat, ("chat-sft", "reward", "shards"), files)
        )
    if recipe.online is not None:
        nodes.append(Node("online", STAGES["comparisons"], {"online": whole["online"]}, recipe.online, ("chat",), world))
    if recipe.judging is not None:
        present = {node.name for node in nodes}
        inputs = ("chat-sft", *(name for name in (*REWARDS, "comparisons", "chat", "online") if name in present))
        nodes.append(Node("judging", STAGES["judging"], {"judging": whole["judging"]}, recipe.judging, inputs, world))
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
            sources["nanoworld's version"] = nanoworld_version("documents")
    return config | {"sources": hashed}, sources


def _data_config(name: str, config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Path | str]]:
    """The same of a section with `data`: a file of conversations, pairs or queries counts by what it holds."""
    files: dict[str, Path | str] = {
        f"{name}.data.{index}": Path(source["path"]) for index, source in enumerate(config["data"]) if "path" in source
    }
    if any(source["kind"] == "nanoworld" for source in config["data"]):
        made_by = {"chat": "prompts", **dict.fromkeys(REWARDS, "preferences")}.get(name, "dialogues")
        files["nanoworld's version"] = nanoworld_version(made_by)
    data = [{key: value for key, value in source.items() if key != "path"} for source in config["data"]]
    return config | {"data": data}, files


def check_ready(recipe: Recipe) -> None:
    """UserError for what would stop the family's evals, before hours are spent on its models."""
    if recipe.evals is not None and recipe.evals.tasks:
        from kwen.evals.run import check

        check(recipe.evals.tasks, limit=recipe.evals.limit)
