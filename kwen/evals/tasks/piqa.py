"""PIQA, how to do everyday things (Bisk et al., 2020): DIR/piqa, valid.jsonl with valid-labels.lst, or dev.jsonl with
dev-labels.lst, packed or not, or the hub's plain_text/validation/0000.parquet.

piqa   0-shot, for base models: the likelier of two solutions after Question: and Answer:; flexible: by character

A row is {"goal", "sol1", "sol2"}; the labels' file holds 0 or 1 a line, the hub's rows hold it as "label". The words are
lm-eval's (piqa). An item's id is its place in the file, from 0.
"""

from pathlib import Path

from kwen.evals.task import Item, Task
from kwen.evals.tasks.choosing import CHOICES
from kwen.evals.tasks.files import Files


def zero_shot(data: Path | None, seed: int) -> list[Item]:
    """The goals of the validation set."""
    files = Files(data, "piqa", "piqa", "ybisk/piqa (physicaliqa-train-dev.zip)")
    file = files.first("valid.jsonl", "dev.jsonl", "plain_text/validation/0000.parquet")
    rows = files.rows(file)
    if file.endswith(".parquet"):
        rights = files.labelled(rows, "label", ("0", "1"))
    else:
        rights = files.labels(f"{file.removesuffix('.jsonl')}-labels.lst", ("0", "1"), rows)
    return [
        Item(
            str(number), f"Question: {row.text('goal')}\nAnswer:", str(right), "en", "all",
            choices=(f" {row.text('sol1')}", f" {row.text('sol2')}"),
        )
        for number, (row, right) in enumerate(zip(rows, rights, strict=True))
    ]  # fmt: skip


TASK = Task(name="piqa", version=1, kind="choices", items=zero_shot, **CHOICES)
