"""The stages: one flat table of how each artifact is made.

    corpus -> tokenizer -> shards -> base-s, base-m, base -> chat-sft-s, -m, chat-sft      all -> evals -> report
    base -> pmp -> reward                  base, chat-sft -> self-instruct; it or chat-sft, with reward, shards -> chat
    all chat-sft -> comparisons -> reward  chat -> online          the reward models, chat-sft, chat -> judging
    code-corpus -> code-shards             base, code-shards -> code -> code-chat          base -> math-chat
    released takes the place of base where a recipe says init_from, and there of the tokenizer too

Each stage is a short function that calls the floor below with what the job names. What it needs is imported when it runs: a
plan, a status or a dry run loads no tensor library for it.
"""

from pathlib import Path
from typing import Any

from rich.text import Text

from kwen.family.contamination import overlaps_with
from kwen.family.document import complete
from kwen.family.graph import Job, Stage
from kwen.family.judging import make_judging
from kwen.family.markdown import from_page
from kwen.family.page import render
from kwen.family.recipe import Recipe
from kwen.family.report import PREFERENCE, collect, read_curve
from kwen.family.scoring import make_evals
from kwen.files import write_json, write_text
from kwen.progress import part_of


def make_corpus(job: Job) -> dict[str, Any]:
    """Text from the recipe's sources: train.jsonl, held_out.jsonl, statistics.json."""
    from kwen.corpus import pipeline

    overlaps = overlaps_with(job.settings.decontaminate)
    statistics = pipeline.build(job.settings, job.seed, job.out, job.progress, overlaps)
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
    """The corpus as token ids, memory-mapped; a share of its code rearranged to fill in the middle."""
    from kwen.corpus import shards

    corpus, tokenizer = job.inputs.values()
    return shards.tokenize(corpus, tokenizer, job.out, job.progress, fim=job.settings, seed=job.seed)


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


def make_code(job: Job) -> dict[str, Any]:
    """The code model: the base model after continued pretraining."""
    from kwen.pretrain.code import ContinueConfig, continue_pretraining

    base, shards = job.inputs.values()
    metrics = continue_pretraining(
        ContinueConfig(training=job.settings.training),
        seed=job.seed,
        base=base,
        shards=shards,
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


def make_self_instruct(job: Job) -> dict[str, Any]:
    """A chat model that learnt tool use from conversations of its own, and these."""
    from kwen.align.self_instruct import self_instruct

    base, chat = job.inputs.values()
    metrics = self_instruct(
        job.settings,
        seed=job.seed,
        base=base,
        chat=chat,
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
    """The family's own technical report: index.html, the same as report.md, and its numbers as report.json."""
    recipe: Recipe = job.settings
    data = recipe.evals.data if recipe.evals is not None else None
    report = collect(recipe.name, recipe.about, recipe.seed, job.inputs, data)
    page = render(report, recipe.to_yaml())
    write_text(job.out / "index.html", page)
    write_text(job.out / "report.md", from_page(page))
    write_json(job.out / "report.json", complete(report))
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
        Stage("base", 2, make_base, trains=True),
        Stage("chat-sft", 1, make_chat_sft, trains=True),
        Stage("self-instruct", 1, make_self_instruct, trains=True),
        Stage("code", 1, make_code, trains=True),
        Stage("comparisons", 2, make_comparisons, trains=True),
        Stage("reward", 2, make_reward, trains=True),
        Stage("chat", 1, make_chat, trains=True),
        Stage("judging", 2, make_judging, trains=True),
        Stage("evals", 3, make_evals, trains=True),
        Stage("report", 2, make_report),
    )
}
