"""The stages: one flat table, and the graph that a recipe makes of it.

    corpus -> tokenizer -> shards -> base-s, base-m, base -> chat-sft-s, -m, chat-sft      all -> evals -> report
    base -> pmp -> reward                  chat-sft, reward, shards -> chat
    all chat-sft -> comparisons -> reward  chat -> online          the reward models, chat-sft, chat -> judging
    released takes the place of base where a recipe says init_from, and there of the tokenizer too

Each stage is a short function that calls the floor below with what the job names. What it needs is imported when it runs: a
plan, a status or a dry run loads no tensor library for it.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.text import Text

from kwen.corpus.extract import HTML_EXTRACTOR
from kwen.corpus.interpreter import interpreter_version
from kwen.corpus.pipeline import CorpusConfig
from kwen.corpus.sources import FolderSource, InterpreterSource
from kwen.errors import UserError
from kwen.family.graph import Job, Node, Stage
from kwen.family.judging import make_judging
from kwen.family.launch import resolve_ranks
from kwen.family.page import render
from kwen.family.recipe import RELEASED, REWARDS, EvalsConfig, Recipe, base_of
from kwen.family.report import PREFERENCE, collect, read_curve
from kwen.family.scoring import make_evals
from kwen.files import json_hash, write_json, write_text
from kwen.nanoworld.version import nanoworld_version
from kwen.progress import part_of


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


def make_released(job: Job) -> dict[str, Any]:
    """The checkpoint of `init_from`, as an artifact: links to a folder's files; a GGUF file or an adapter becomes a folder."""
    from kwen.model.formats import load_checkpoint
    from kwen.model.formats.convert import convert
    from kwen.text.tokenizer import Tokenizer

    path = Path(job.settings).expanduser().resolve()
    checkpoint = load_checkpoint(path)
    if (path / "config.json").is_file():
        for file in sorted(path.iterdir()):
            if file.is_file() and not file.name.startswith("."):
                (job.out / file.name).symlink_to(file)
    else:
        convert(checkpoint, job.out, "hf", Tokenizer.from_source)
    config = checkpoint.config
    return {"parameters": config.num_parameters, "model_type": config.model_type, "context": config.max_position_embeddings}


def make_shards(job: Job) -> dict[str, Any]:
    """The corpus as token ids, memory-mapped."""
    from kwen.corpus import shards

    (tokenizer,) = (folder for name, folder in job.inputs.items() if name != "corpus")
    return shards.tokenize(job.inputs["corpus"], tokenizer, job.out, job.progress)


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
        show=_shown(job),
        progress=job.progress,
    )
    return metrics | {"loss": read_curve(job.out)["loss"][-1]}


def make_comparisons(job: Job) -> dict[str, Any]:
    """Pairs of answers of the chat models that it is made from, ranked by the oracle: train.jsonl and test.jsonl."""
    from kwen.align.preferences import write_pairs
    from kwen.align.sampled import sampled_pairs

    metrics = {}
    parts = ("test",) if job.name == "online" else ("train", "test")
    for index, part in enumerate(parts):
        split = "train" if part == "train" else "held_out"
        arguments = {"models": list(job.inputs.values()), "config": job.settings, "seed": job.seed, "split": split}
        found = job.launcher.ranks().run(sampled_pairs, arguments, part_of(job.progress, index, len(parts), set=part))
        metrics[part] = write_pairs(job.out / f"{part}.jsonl", found)
    return metrics


def make_reward(job: Job) -> dict[str, Any]:
    """A reward model from pairs: `pmp` from the base model, `reward` from that on the comparisons."""
    from kwen.align.reward import train_reward
    from kwen.family.preference import held_out_accuracy

    (start,) = (folder for name, folder in job.inputs.items() if name != "comparisons")
    metrics = train_reward(
        _pairs_of(job),
        seed=job.seed,
        base=start,
        out=job.out,
        work=job.work,
        ranks=job.launcher.ranks(),
        show=_shown(job),
        progress=job.progress,
    )
    curve = read_curve(job.out)
    metrics |= {"loss": curve["loss"][-1], "accuracy": curve["accuracy"][-1]}
    if held_out := held_out_accuracy(job.out):
        write_json(job.out / PREFERENCE, held_out)
        metrics["held_out"] = {name: score["accuracy"] for name, score in held_out.items()}
    return metrics


def make_chat(job: Job) -> dict[str, Any]:
    """The chat model after RLHF: PPO against the reward model, DPO on pairs, or GRPO on tasks that can be checked."""
    from kwen.align.dpo import DPOConfig, train_dpo
    from kwen.align.grpo import GRPOConfig, train_grpo
    from kwen.align.ppo import reinforce

    (policy,) = (folder for name, folder in job.inputs.items() if name not in ("reward", "shards", "comparisons"))
    places: dict[str, Any] = {"seed": job.seed, "policy": policy, "out": job.out, "work": job.work}
    places |= {"ranks": job.launcher.ranks(), "progress": job.progress}
    if isinstance(job.settings, DPOConfig):
        metrics = train_dpo(_pairs_of(job), show=_shown(job), **places)
    elif isinstance(job.settings, GRPOConfig):
        metrics = train_grpo(job.settings, show=_planned(job), **places)
    else:
        places |= {"reward": job.inputs["reward"], "shards": job.inputs.get("shards")}
        metrics = reinforce(job.settings, show=_planned(job), **places)
    curve = read_curve(job.out)
    return metrics | {name: curve[name][-1] for name in ("score", "accuracy", "kl", "length") if name in curve}


def make_report(job: Job) -> dict[str, Any]:
    """The family's own technical report: index.html, and its numbers as report.json."""
    recipe: Recipe = job.settings
    report = collect(recipe.name, recipe.about, recipe.seed, job.inputs)
    write_text(job.out / "index.html", render(report, recipe.to_yaml()))
    write_json(job.out / "report.json", report)
    return {"artifacts": len(report["artifacts"])}


def _shown(job: Job) -> Any:
    """What a stage calls with its data and plan before the first step, where the data is the user's own; else None."""
    if not _own_data(job):
        return None
    from kwen.align.preview import introduction

    return lambda documents, tokenizer, plan: job.show(introduction(job.settings.data, documents, tokenizer, plan))


def _planned(job: Job) -> Any:
    """The same with the plan alone, for stages that sample what they train on."""
    return (lambda plan: job.show([Text(f"plan  {plan}")])) if _own_data(job) else None


def _own_data(job: Job) -> bool:
    return any(hasattr(source, "path") for source in job.settings.data)


def _pairs_of(job: Job) -> Any:
    """The settings of a stage that learns from pairs, with the sampled comparisons before its own data where it is given them."""
    if "comparisons" not in job.inputs:
        return job.settings
    from kwen.align.preferences import PairsFile

    sampled = PairsFile(kind="pairs", path=job.inputs["comparisons"] / "train.jsonl")
    return job.settings.model_copy(update={"data": [sampled, *job.settings.data]})


STAGES = {
    stage.name: stage
    for stage in (
        Stage("released", 1, make_released),
        Stage("corpus", 1, make_corpus),
        Stage("tokenizer", 1, make_tokenizer),
        Stage("shards", 1, make_shards),
        Stage("base", 1, make_base, trains=True),
        Stage("chat-sft", 1, make_chat_sft, trains=True),
        Stage("comparisons", 2, make_comparisons, trains=True),
        Stage("reward", 2, make_reward, trains=True),
        Stage("chat", 1, make_chat, trains=True),
        Stage("judging", 2, make_judging, trains=True),
        Stage("evals", 1, make_evals, trains=True),
        Stage("report", 1, make_report),
    )
}


def family_nodes(recipe: Recipe) -> list[Node]:
    """The artifacts of a family in build order. UserError where there is no checkpoint at `init_from`."""
    whole = recipe.as_dict()
    nodes: list[Node] = []
    tokenizer = "tokenizer"
    if recipe.init_from is not None:
        if not recipe.init_from.expanduser().exists():
            raise UserError(f"init_from: {recipe.init_from} does not exist; name a model's folder or a GGUF file")
        tokenizer = RELEASED
        nodes.append(Node(RELEASED, STAGES[RELEASED], {}, recipe.init_from, (), {"init_from": recipe.init_from}))
    if recipe.corpus is not None:
        corpus, sources = _corpus_config(recipe.corpus, whole["corpus"])
        nodes.append(Node("corpus", STAGES["corpus"], {"corpus": corpus}, recipe.corpus, (), sources))
        if recipe.tokenizer is not None:
            config = {"tokenizer": whole["tokenizer"]}
            nodes.append(Node("tokenizer", STAGES["tokenizer"], config, recipe.tokenizer, ("corpus",)))
        nodes.append(Node("shards", STAGES["shards"], {}, None, ("corpus", tokenizer)))
    models = {"launcher": {"ranks": resolve_ranks(recipe.launcher)}}
    for name, settings in recipe.bases().items():
        nodes.append(Node(name, STAGES["base"], {name: whole[name], **models}, settings, ("tokenizer", "shards")))
    for name, chat in recipe.chats().items():
        config, files = _data_config(name, whole[name])
        start = recipe.start() if name == "chat-sft" else base_of(name)
        nodes.append(Node(name, STAGES["chat-sft"], {name: config, **models}, chat, (start,), files))
    nodes += _alignment_nodes(recipe, whole, models)
    if recipe.evals is not None:
        asked_of = (RELEASED, "corpus", *recipe.bases(), *recipe.chats(), "chat")
        inputs = tuple(name for name in asked_of if any(node.name == name for node in nodes))
        asks_nanoworld = any(task.startswith("nanoworld-") for task in recipe.evals.tasks)
        asked = {"nanoworld's version": nanoworld_version("questions", "baseline")} if asks_nanoworld else {}
        config = {"evals": {key: value for key, value in whole["evals"].items() if key != "data"}, **models}
        nodes.append(Node("evals", STAGES["evals"], config, recipe.evals, inputs, asked | _benchmark_items(recipe.evals)))
    shown = {key: value for key, value in whole.items() if key != "expected_seconds"}
    nodes.append(Node("report", STAGES["report"], shown, recipe, tuple(node.name for node in nodes)))
    return nodes


def _alignment_nodes(recipe: Recipe, whole: dict[str, Any], models: dict[str, Any]) -> list[Node]:
    """Comparisons, reward models, RLHF and its judging, as far as the recipe names them."""
    world = {"nanoworld's version": nanoworld_version("prompts", "oracle", "preferences")}
    nodes = []
    sampled = ("comparisons",) if recipe.comparisons is not None else ()
    if recipe.comparisons is not None:
        config = {"comparisons": whole["comparisons"], **models}
        nodes.append(Node("comparisons", STAGES["comparisons"], config, recipe.comparisons, tuple(recipe.chats()), world))
    trained = {"pmp": recipe.pmp, "reward": recipe.reward, "reward-alone": recipe.reward_alone}
    for name, settings in trained.items():
        if settings is not None:
            start = "pmp" if name == "reward" and recipe.pmp is not None else recipe.start()
            config, files = _data_config(name, whole[name])
            inputs = (start, *(() if name == "pmp" else sampled))
            nodes.append(Node(name, STAGES["reward"], {name: config, **models}, settings, inputs, files))
    if recipe.chat is not None:
        config, files = _data_config("chat", whole["chat"])
        against = {"ppo": ("reward",), "dpo": sampled, "grpo": ()}[recipe.chat.kind]
        text = ("shards",) if whole["chat"].get("pretrain_coefficient") else ()
        inputs = (recipe.policy(), *against, *text)
        nodes.append(Node("chat", STAGES["chat"], {"chat": config, **models}, recipe.chat, inputs, files))
    if recipe.online is not None:
        config = {"online": whole["online"], **models}
        nodes.append(Node("online", STAGES["comparisons"], config, recipe.online, ("chat",), world))
    if recipe.judging is not None:
        present = {node.name for node in nodes}
        inputs = ("chat-sft", *(name for name in (*REWARDS, "comparisons", "chat", "online") if name in present))
        config = {"judging": whole["judging"], **models}
        nodes.append(Node("judging", STAGES["judging"], config, recipe.judging, inputs, world))
    return nodes


def _corpus_config(corpus: CorpusConfig, config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Path | str]]:
    """What is hashed of the corpus section, and its sources: a path counts by what lies there, not by its name."""
    hashed, sources = [], dict[str, Path | str]()
    for index, (source, values) in enumerate(zip(corpus.sources, config["sources"], strict=True)):
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
        made_by = {"ppo": ["prompts"], "dpo": ["preferences"], "grpo": ["prompts", "oracle"]}.get(
            config.get("kind", ""), ["preferences"] if name in REWARDS else ["dialogues"]
        )
        files["nanoworld's version"] = nanoworld_version(*made_by)
    data = [{key: value for key, value in source.items() if key != "path"} for source in config["data"]]
    return config | {"data": data}, files


def _benchmark_items(evals: EvalsConfig) -> dict[str, str]:
    """What stands for the benchmarks' files: a hash of the items that each task makes of them."""
    if evals.data is None:
        return {}
    from kwen.evals.tasks import find_task

    named = [task for task in evals.tasks if not task.startswith("nanoworld-")]
    return {f"items of {task}": json_hash([asdict(item) for item in find_task(task).items(evals.data, 0)]) for task in named}


def check_ready(recipe: Recipe) -> None:
    """UserError for what would stop the family's evals, before hours are spent on its models."""
    if recipe.evals is not None and recipe.evals.tasks:
        from kwen.evals.run import check

        check(recipe.evals.tasks, data=recipe.evals.data, limit=recipe.evals.limit)
