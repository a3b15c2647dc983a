"""HellaSwag, how a description goes on (Zellers et al., 2019): DIR/hellaswag/hellaswag_val.jsonl, packed or
not, or the hub's data/validation-00000-of-00001.parquet.

hellaswag   0-shot, for base models: the likeliest of four endings; flexible: by character, which is what papers print

A row is {"activity_label", "ctx_a", "ctx_b", "endings": 4 texts, "label": 0 to 3, "split_type", ...}. The text is
"ACTIVITY: CONTEXT", cleaned as in lm-eval (hellaswag): " [title]" becomes ". ", other marks in brackets go, and the second part
of the context begins with a capital. An item's id is its place in the file, from 0, and its kind is the row's split_type.
"""

from pathlib import Path

from kwen.evals.task import Item, Task
from kwen.evals.tasks.choosing import CHOICES
from kwen.evals.tasks.files import Files

_PLACES = ("0", "1", "2", "3")


def clean(text: str) -> str:
    """A text without the marks that its WikiHow part carries."""
    text = text.strip().replace(" [title]", ". ")
    kept, place = [], 0
    while (begin := text.find("[", place)) >= 0 and (end := text.find("]", begin)) >= 0:
        kept.append(text[place:begin])
        place = end + 1
    return ("".join(kept) + text[place:]).replace("  ", " ")


def zero_shot(data: Path | None, seed: int) -> list[Item]:
    """The descriptions of the validation set."""
    items = []
    files = Files(data, "hellaswag", "hellaswag", "rowanz/hellaswag (data/hellaswag_val.jsonl)")
    validation = files.first("hellaswag_val.jsonl", "data/validation-00000-of-00001.parquet")
    for number, row in enumerate(files.rows(validation)):
        context = f"{row.text('ctx_a')} {row.text('ctx_b').capitalize()}"
        endings = [f" {clean(ending)}" for ending in row.texts("endings", 2)]
        right = row.choice("label", _PLACES[: len(endings)])
        tag = row.text("split_type") if "split_type" in row.values else "all"
        prompt = clean(f"{row.text('activity_label')}: {context}")
        items.append(Item(str(number), prompt, str(right), "en", tag, choices=tuple(endings)))
    return items


TASK = Task(name="hellaswag", version=1, kind="choices", items=zero_shot, **CHOICES)
