"""Contamination of a run: which test items of its evals share 13 words in a row with what its models were trained on.

Items are a task's questions with their right answers; `kwen.verify.overlap` says what counts as shared.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kwen.family.training_texts import texts_in, training_texts

if TYPE_CHECKING:
    from kwen.corpus.pipeline import Decontaminate
    from kwen.evals.task import Item

CONTAMINATION = "contamination.json"
MOST_IDS = 20


def items_of(tasks: Sequence[str], data: Path | None) -> dict[str, list[tuple[str, str]]]:
    """Task -> (id, text) of its test items: what is asked, and the right answer, each a part of its item.

    Raises UserError for an unknown task, and for data that is missing or malformed.
    """
    from kwen.evals.tasks import find_task

    return {name: [part for item in find_task(name).items(data, 0) for part in _parts(item)] for name in dict.fromkeys(tasks)}


def overlaps_with(config: "Decontaminate | None") -> Callable[[str], bool] | None:
    """What `kwen.corpus.pipeline.build` asks of each training document where the configuration names tasks."""
    if config is None:
        return None
    from kwen.verify.overlap import Index

    index = Index(items_of(config.tasks, config.data))
    return lambda text: bool(index.overlapping(text))


def run_contamination(folders: Mapping[str, Path], tasks: Sequence[str], data: Path | None) -> dict[str, Any]:
    """{"n": 13, "artifacts": {artifact: {task: {"items", "overlapping", "whole", "unchecked", "ids"}}}} of the artifacts in
    `folders` (name -> folder) that have training text of their own; of the ids the first `MOST_IDS`."""
    from kwen.verify.overlap import Index, N

    found = {name: texts for name, folder in folders.items() if (texts := training_texts(folder)) is not None}
    index = Index(items_of(tasks, data) if found else {})
    return {"n": N, "artifacts": {name: index.report(texts, MOST_IDS) for name, texts in found.items()}}


def summary(contamination: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Artifact -> the counts of all its tasks together."""
    return {
        name: {key: sum(counts[key] for counts in tasks.values()) for key in ("items", "overlapping", "whole", "unchecked")}
        for name, tasks in contamination["artifacts"].items()
    }


def _parts(item: "Item") -> Iterable[tuple[str, str]]:
    asked = [item.prompt] if isinstance(item.prompt, str) else [message["content"] for message in item.prompt]
    return [(item.id, text) for text in texts_in([*asked, item.reference])]
