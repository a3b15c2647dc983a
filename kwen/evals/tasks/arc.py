"""ARC, science questions of American schools (Clark et al., 2018): DIR/arc, ARC-Easy-Test.jsonl and ARC-Challenge-Test.jsonl of
ARC-V1-Feb2018, packed or not, or the hub's parquet files of its configurations ARC-Easy and ARC-Challenge.

arc-e, arc-c   0-shot, for base models: the likeliest of the choices' texts after Question: and Answer:; flexible: by character

A row is {"id", "question": {"stem", "choices": [{"text", "label"}]}, "answerKey"}, on the hub {"id", "question", "choices":
{"text": [], "label": []}, "answerKey"}; labels are letters or digits, three to five of them. The words are lm-eval's
(arc_easy). Ids are the file's, and the kind is the number of choices.
"""

from itertools import zip_longest
from pathlib import Path

from kwen.errors import UserError
from kwen.evals.generations import check_text
from kwen.evals.task import Item, Task
from kwen.evals.tasks.choosing import CHOICES, LETTERS
from kwen.evals.tasks.files import Files, Row


def stem_and_choices(row: Row) -> tuple[str, list[str], int]:
    """The question, the choices' texts, and the place of the right one, of a row in the form of ARC and CommonsenseQA."""
    question, choices = row.values.get("question"), row.values.get("choices")
    if isinstance(question, str) and isinstance(choices, dict) and {"text", "label"} <= choices.keys():
        pairs = zip_longest(*(Row(row.where, choices).texts(key) for key in ("text", "label")))
        question = {"stem": question, "choices": [{"text": text, "label": label} for text, label in pairs]}
    if not isinstance(question, dict):
        question = {}
    choices = question.get("choices")
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(LETTERS) or not all(isinstance(c, dict) for c in choices):
        raise UserError(f'{row.where}: "question" must hold "stem" and "choices", a list of 2 to {len(LETTERS)} objects')
    stem = check_text(question.get("stem"), f'{row.where}: "stem"')
    texts = [check_text(choice.get("text"), f'{row.where}: "text" of a choice') for choice in choices]
    labels = [check_text(choice.get("label"), f'{row.where}: "label" of a choice') for choice in choices]
    right = row.text("answerKey")
    if labels.count(right) != 1:
        raise UserError(f'{row.where}: "answerKey" is {right!r}; it must be one of {", ".join(labels)}')
    return stem.strip(), texts, labels.index(right)


def _items(data: Path | None, task: str, name: str) -> list[Item]:
    items = []
    files = Files(data, task, "arc", "allenai/arc (ARC-V1-Feb2018)")
    for row in files.rows(files.first(f"{name}-Test.jsonl", f"{name}/test-00000-of-00001.parquet")):
        stem, texts, right = stem_and_choices(row)
        choices = tuple(f" {text}" for text in texts)
        tag = f"{len(texts)} choices"
        items.append(Item(row.text("id"), f"Question: {stem}\nAnswer:", str(right), "en", tag, choices=choices))
    return items


def easy(data: Path | None, seed: int) -> list[Item]:
    """The test questions of the easy set."""
    return _items(data, "arc-e", "ARC-Easy")


def challenge(data: Path | None, seed: int) -> list[Item]:
    """The test questions of the challenge set."""
    return _items(data, "arc-c", "ARC-Challenge")


EASY = Task(name="arc-e", version=1, kind="choices", items=easy, **CHOICES)
CHALLENGE = Task(name="arc-c", version=1, kind="choices", items=challenge, **CHOICES)
