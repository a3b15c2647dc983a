"""The graph that a recipe makes of the stages: every artifact with its settings, inputs and what stands for its sources."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from kwen.corpus.extract import HTML_EXTRACTOR
from kwen.corpus.interpreter import interpreter_version
from kwen.corpus.pipeline import CorpusConfig
from kwen.corpus.sources import FolderSource, InterpreterSource
from kwen.errors import UserError
from kwen.family.compression import rank_files
from kwen.family.contamination import items_of
from kwen.family.graph import Node
from kwen.family.launch import resolve_ranks
from kwen.family.recipe import RELEASED, REWARDS, SELF_INSTRUCT, SPECIALISTS, EvalsConfig, Recipe, base_of
from kwen.family.stages import STAGES
from kwen.files import json_hash
from kwen.nanoworld.version import nanoworld_version

_MADE_BY = {
    "nanoworld-tools": ["tool_dialogues"], "nanoworld-code": ["code_tasks"], "nanoworld-maths": ["maths_tasks"],
}  # fmt: skip
"""The modules of nanoworld that make the conversations of each kind of source."""
_ASKED_BY_TASKS = (
    "questions", "baseline", "tool_tasks", "tool_results", "tool_scores", "interpreter_tasks", "code_tasks", "maths_tasks",
)  # fmt: skip
"""The modules of nanoworld that evaluation tasks ask and grade with."""
_DOCUMENTS = {"nanoworld": "documents", "nanoworld-tools": "tool_dialogues", "nanoworld-code": "code_documents"}
"""The module of nanoworld that makes the documents of each kind of source."""


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
        corpus, sources = _corpus_config("corpus", recipe.corpus, whole["corpus"])
        nodes.append(Node("corpus", STAGES["corpus"], {"corpus": corpus}, recipe.corpus, (), sources))
        if recipe.tokenizer is not None:
            config = {"tokenizer": whole["tokenizer"]}
            nodes.append(Node("tokenizer", STAGES["tokenizer"], config, recipe.tokenizer, ("corpus",)))
        nodes.append(Node("shards", STAGES["shards"], {}, 0.0, ("corpus", tokenizer)))
    models = {"launcher": {"ranks": resolve_ranks(recipe.launcher)}}
    for name, settings in recipe.bases().items():
        nodes.append(Node(name, STAGES["base"], {name: whole[name], **models}, settings, ("tokenizer", "shards")))
    for name, chat in recipe.chats().items():
        config, files = _data_config(name, whole[name])
        start = recipe.start() if name == "chat-sft" else base_of(name)
        nodes.append(Node(name, STAGES["chat-sft"], {name: config, **models}, chat, (start,), files))
    if recipe.self_instruct is not None:
        config, files = _data_config(SELF_INSTRUCT, whole[SELF_INSTRUCT])
        files |= {"the version of nanoworld's tools": nanoworld_version("tool_dialogues", "tool_results")}
        hashed, inputs = {SELF_INSTRUCT: config, **models}, (recipe.start(), "chat-sft")
        nodes.append(Node(SELF_INSTRUCT, STAGES[SELF_INSTRUCT], hashed, recipe.self_instruct, inputs, files))
    nodes += _alignment_nodes(recipe, whole, models)
    nodes += _specialist_nodes(recipe, whole, models, tokenizer)
    if recipe.evals is not None:
        asked_of = (RELEASED, "corpus", "code-corpus", *recipe.bases(), *recipe.chats(), SELF_INSTRUCT, "chat", *SPECIALISTS)
        models_asked = tuple(name for name in asked_of if any(node.name == name for node in nodes))
        tasks = [task for tasks in recipe.evals.all_tasks.values() for task in tasks]
        asks_nanoworld = any(task.startswith("nanoworld-") for task in tasks)
        asked = {"nanoworld's version": nanoworld_version(*_ASKED_BY_TASKS)} if asks_nanoworld else {}
        config = {"evals": {key: value for key, value in whole["evals"].items() if key != "data"}, **models}
        read: dict[str, Path | str] = {**asked, **_benchmark_items(recipe.evals)}
        read |= {f"tokenizers/{file.name}": file for file in rank_files(recipe.evals.data)}
        nodes.append(Node("evals", STAGES["evals"], config, recipe.evals, models_asked, read))
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


def _specialist_nodes(recipe: Recipe, whole: dict[str, Any], models: dict[str, Any], tokenizer: str) -> list[Node]:
    """The code models and the maths model, as far as the recipe names them."""
    nodes = []
    if recipe.code is not None:
        corpus, sources = _corpus_config("code.corpus", recipe.code.corpus, whole["code"]["corpus"])
        training = {"code": {"training": whole["code"]["training"]}, **models}
        nodes.append(Node("code-corpus", STAGES["corpus"], {"code": {"corpus": corpus}}, recipe.code.corpus, (), sources))
        rearranged = {"code": {"fim": recipe.code.fim}} if recipe.code.fim else {}
        nodes.append(Node("code-shards", STAGES["shards"], rearranged, recipe.code.fim, ("code-corpus", tokenizer)))
        nodes.append(Node("code", STAGES["code"], training, recipe.code, (recipe.start(), "code-shards")))
    for name, settings, start in (("code-chat", recipe.code_chat, "code"), ("math-chat", recipe.math_chat, recipe.start())):
        if settings is not None:
            config, files = _data_config(name, whole[name])
            nodes.append(Node(name, STAGES["chat-sft"], {name: config, **models}, settings, (start,), files))
    return nodes


def _corpus_config(key: str, corpus: CorpusConfig, config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Path | str]]:
    """What is hashed of the corpus section, and its sources: a path counts by what lies there, not by its name."""
    hashed, sources = [], dict[str, Path | str]()
    for index, (source, values) in enumerate(zip(corpus.sources, config["sources"], strict=True)):
        hashed.append({key: value for key, value in values.items() if key != "path"} | {"label": source.label})
        if isinstance(source, FolderSource):
            sources[f"{key}.sources.{index}"] = source.path
            sources["the HTML extractor"] = HTML_EXTRACTOR
        elif isinstance(source, InterpreterSource):
            sources["the interpreter's version"] = interpreter_version()
        else:
            sources[f"{source.kind}'s version"] = nanoworld_version(_DOCUMENTS[source.kind])
    config = {name: value for name, value in config.items() if name != "decontaminate"} | {"sources": hashed}
    if (wanted := corpus.decontaminate) is not None:
        config |= {"decontaminate": {"tasks": [*wanted.tasks]}}
        sources |= {f"items of {task}": json_hash(items) for task, items in items_of(wanted.tasks, wanted.data).items()}
    return config, sources


def _data_config(name: str, config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Path | str]]:
    """The same of a section with `data`, and of its further stages: a file of conversations, pairs or queries counts by what it
    holds."""
    files: dict[str, Path | str] = {
        f"{name}.data.{index}": Path(source["path"]) for index, source in enumerate(config["data"]) if "path" in source
    }
    made_by = {"ppo": ["prompts"], "dpo": ["preferences"], "grpo": ["prompts", "oracle"]}.get(
        config.get("kind", ""), ["preferences"] if name in REWARDS else ["dialogues"]
    )
    makers = {"nanoworld": made_by, **_MADE_BY}
    if made_by != ["dialogues"]:
        makers["nanoworld-tools"] = ["tool_preferences"]
    modules = sorted({module for source in config["data"] for module in makers.get(source["kind"], ())})
    if modules:
        files["nanoworld's version"] = nanoworld_version(*modules)
    data = [{key: value for key, value in source.items() if key != "path"} for source in config["data"]]
    hashed = config | {"data": data}
    if config.get("then"):
        stages = [_data_config(f"{name}.then.{number}", stage) for number, stage in enumerate(config["then"])]
        hashed["then"] = [stage for stage, _ in stages]
        files |= {
            f"{key} of stage {number}" if key.startswith("nanoworld") else key: value
            for number, (_, found) in enumerate(stages, 2)
            for key, value in found.items()
        }
    return hashed, files


def _benchmark_items(evals: EvalsConfig) -> dict[str, str]:
    """What stands for the benchmarks' files: a hash of the items that each task makes of them."""
    if evals.data is None:
        return {}
    from kwen.evals.tasks import find_task

    named = [task for tasks in evals.all_tasks.values() for task in tasks if not task.startswith("nanoworld-")]
    return {f"items of {task}": json_hash([asdict(item) for item in find_task(task).items(evals.data, 0)]) for task in named}


def check_ready(recipe: Recipe) -> None:
    """UserError for what would stop the family's evals, before hours are spent on its models."""
    tasks = [task for tasks in recipe.evals.all_tasks.values() for task in tasks] if recipe.evals is not None else []
    if recipe.evals is not None and tasks:
        from kwen.evals.run import check

        check(tasks, data=recipe.evals.data, limit=recipe.evals.limit)
