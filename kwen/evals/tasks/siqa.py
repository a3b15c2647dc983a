"""Social IQa, why people do what they do (Sap et al., 2019): DIR/siqa, dev.jsonl with dev-labels.lst, packed or not, or the
hub's default/validation/0000.parquet.

siqa   0-shot, for base models: the likeliest of three answers after Q: and A:; flexible: by character

A row is {"context", "question", "answerA", "answerB", "answerC"}; the labels' file holds 1, 2 or 3 a line, the hub's rows hold
it as "label". The words are lm-eval's (social_iqa). An item's id is its place in the file, from 0.
"""

from pathlib import Path

from kwen.evals.task import Item, Task
from kwen.evals.tasks.choosing import CHOICES
from kwen.evals.tasks.files import Files


def zero_shot(data: Path | None, seed: int) -> list[Item]:
    """The questions of the dev set."""
    files = Files(data, "siqa", "siqa", "allenai/social_i_qa (socialiqa-train-dev.zip)")
    file = files.first("dev.jsonl", "default/validation/0000.parquet")
    rows = files.rows(file)
    if file.endswith(".parquet"):
        rights = files.labelled(rows, "label", ("1", "2", "3"))
    else:
        rights = files.labels("dev-labels.lst", ("1", "2", "3"), rows)
    return [
        Item(
            str(number), f"Q: {row.text('context')} {row.text('question')}\nA:", str(right), "en", "all",
            choices=tuple(f" {row.text(key)}" for key in ("answerA", "answerB", "answerC")),
        )
        for number, (row, right) in enumerate(zip(rows, rights, strict=True))
    ]  # fmt: skip


TASK = Task(name="siqa", version=1, kind="choices", items=zero_shot, **CHOICES)
