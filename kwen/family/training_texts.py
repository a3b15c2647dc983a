"""What an artifact was trained on, as text: read where its folder keeps it, made again where its stage made it.

    corpus                       the documents of train.jsonl
    chat-sft (code-chat, ...)    the conversations of its data, those of further stages too
    self-instruct                the same, with its seeds and the conversations that it kept
    chat                         what it was asked and shown: queries of PPO, pairs of DPO, tasks of GRPO

A manifest says which sources a stage had and with what seed; the files among them must still lie where they were.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from kwen.family.artifact import Manifest, read_manifest


def training_texts(folder: Path) -> Iterator[str] | None:
    """The texts behind the artifact in `folder`; None where it has none of its own (a base model: its corpus has them).

    The iterator raises UserError where a file of the data is gone or damaged.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    if manifest.stage == "corpus":
        from kwen.corpus import reading

        return (document["text"] for document in reading.documents(folder))
    if manifest.stage in ("chat-sft", "self-instruct", "chat"):
        return _of_data(manifest, folder)
    return None


def texts_in(value: Any) -> Iterator[str]:
    """Every string inside a JSON value, keys left out: the texts of a conversation, a pair or any row of data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_in(inner)


def _of_data(manifest: Manifest, folder: Path) -> Iterator[str]:
    section = manifest.config[manifest.name]
    for source in _sources(manifest, manifest.name, section):
        for example in _examples(section.get("kind", "sft"), source, manifest.seed):
            yield from texts_in(example)
    if manifest.stage == "self-instruct":
        from kwen.align.self_instruct import CONVERSATIONS

        seeds = {"kind": "nanoworld-tools", "count": section["seeds"]}
        for source in (seeds, {"kind": "messages", "path": folder / CONVERSATIONS}):
            for example in _examples("sft", source, manifest.seed):
                yield from texts_in(example)


def _sources(manifest: Manifest, key: str, section: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The sources of a section and of the stages after it, each with the path that is recorded for it."""
    for index, source in enumerate(section["data"]):
        path = manifest.record.get("sources", {}).get(f"{key}.data.{index}")
        yield source | ({} if path is None else {"path": path})
    for number, stage in enumerate(section.get("then") or ()):
        yield from _sources(manifest, f"{key}.then.{number}", stage)


def _examples(kind: str, source: Mapping[str, Any], seed: int) -> Iterator[Any]:
    """The examples of one source as JSON values, read as the stage that learns by `kind` reads them."""
    if kind == "ppo":
        from kwen.align.queries import QuerySource, queries

        return iter(queries(TypeAdapter(QuerySource).validate_python(source), seed))
    if kind == "dpo":
        from kwen.align.preferences import PairSource, pairs

        return (asdict(pair) for pair in pairs(TypeAdapter(PairSource).validate_python(source), seed))
    if kind == "grpo":
        from kwen.align.verifiable import TaskSource, tasks

        return (task.messages for task in tasks(TypeAdapter(TaskSource).validate_python(source), seed))
    from kwen.align.datasets import ChatSource, conversations

    return (conversation.messages for conversation in conversations(TypeAdapter(ChatSource).validate_python(source), seed))
