"""BoolQ, yes or no about a passage (Clark et al., 2019): DIR/boolq/dev.jsonl, packed or not, or the
hub's data/validation-00000-of-00001.parquet.

boolq   0-shot, for base models: the likelier of " yes" and " no" after the passage, Question: and Answer:

A row is {"question", "passage", "answer": true or false, ...}. The words are lm-eval's (boolq). An item's id is its place in the
file, from 0, and its kind is the right answer.
"""

from pathlib import Path

from kwen.errors import UserError
from kwen.evals.task import Item, Task
from kwen.evals.tasks.choosing import CHOICES
from kwen.evals.tasks.files import Files


def zero_shot(data: Path | None, seed: int) -> list[Item]:
    """The dev questions."""
    items = []
    files = Files(data, "boolq", "boolq", "google-research-datasets/boolean-questions")
    for number, row in enumerate(files.rows(files.first("dev.jsonl", "data/validation-00000-of-00001.parquet"))):
        answer = row.values.get("answer")
        if not isinstance(answer, bool):
            raise UserError(f'{row.where}: "answer" is {answer!r}; it must be true or false')
        question = row.text("question").strip().removesuffix("?")
        prompt = f"{row.text('passage').strip()}\nQuestion: {question}?\nAnswer:"
        items.append(Item(str(number), prompt, str(int(not answer)), "en", "yes" if answer else "no", choices=(" yes", " no")))
    return items


TASK = Task(name="boolq", version=1, kind="choices", items=zero_shot, **CHOICES)
