"""CommonsenseQA, questions of five choices (Talmor et al., 2019): DIR/commonsenseqa, dev_rand_split.jsonl, and
train_rand_split.jsonl for the worked questions, packed or not, or the hub's parquet files of validation and train.

commonsenseqa   8-shot, for base models: the likeliest of " A" to " E" after the choices and Answer:

Rows are ARC's. The dev split is scored, since the test split's answers are not published; the worked questions are the first
eight of the training set. The words are lm-eval's (commonsense_qa). An item's id is its place in the file, from 0.
"""

from pathlib import Path

from kwen.evals.task import Item, Task
from kwen.evals.tasks.arc import stem_and_choices
from kwen.evals.tasks.choosing import CHOICES, LETTERS, lettered
from kwen.evals.tasks.files import Files

SHOTS = 8


def few_shot(data: Path | None, seed: int) -> list[Item]:
    """The dev questions, each after eight training questions."""
    files = Files(data, "commonsenseqa", "commonsenseqa", "tau/commonsense_qa (train_rand_split.jsonl, dev_rand_split.jsonl)")
    shots = []
    for row in files.rows(files.first("train_rand_split.jsonl", "data/train-00000-of-00001.parquet"))[:SHOTS]:
        stem, texts, right = stem_and_choices(row)
        shots.append(f"{lettered(f'Question: {stem}', texts)} {LETTERS[right]}\n\n")
    items = []
    dev = files.first("dev_rand_split.jsonl", "data/validation-00000-of-00001.parquet")
    for number, row in enumerate(files.rows(dev)):
        stem, texts, right = stem_and_choices(row)
        choices = tuple(f" {letter}" for letter in LETTERS[: len(texts)])
        prompt = lettered(f"Question: {stem}", texts)
        items.append(Item(str(number), prompt, str(right), "en", "all", choices=choices, shots=tuple(shots)))
    return items


TASK = Task(name="commonsenseqa", version=1, kind="choices", items=few_shot, **CHOICES)
