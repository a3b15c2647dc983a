"""OCNLI, whether one Chinese sentence follows from another (Hu et al., 2020): DIR/ocnli/dev.json, JSON lines, packed or not.

ocnli   0-shot, for base models: the likeliest of 对 (entailment), 可能 (neutral) and 错 (contradiction) after both sentences

A row is {"sentence1", "sentence2", "label", "genre", ...}; rows with the label "-", on which the annotators did not agree, are
left out, as the benchmark asks. The report does not give its words: these are ours, with the answers that OpenCompass compares.
An item's id is its line in the file, from 0, and its kind is the premise's genre.
"""

from pathlib import Path

from kwen.errors import UserError
from kwen.evals.task import Item, Task
from kwen.evals.tasks.choosing import CHOICES
from kwen.evals.tasks.files import Files

_LABELS = ("entailment", "neutral", "contradiction")
_WORDS = ("对", "可能", "错")


def zero_shot(data: Path | None, seed: int) -> list[Item]:
    """The pairs of the dev set that have a label."""
    items = []
    for number, row in enumerate(Files(data, "ocnli", "ocnli", "CLUEbenchmark/OCNLI").rows("dev.json", json_lines=True)):
        label = row.text("label")
        if label == "-":
            continue
        if label not in _LABELS:
            raise UserError(f'{row.where}: "label" is {label!r}; it must be one of {", ".join(_LABELS)} or -')
        prompt = f"{row.text('sentence1')}\n问题：{row.text('sentence2')}，对吗？\n答案："
        tag = row.text("genre") if "genre" in row.values else "all"
        items.append(Item(str(number), prompt, str(_LABELS.index(label)), "zh", tag, choices=_WORDS))
    return items


TASK = Task(name="ocnli", version=1, kind="choices", items=zero_shot, **CHOICES)
