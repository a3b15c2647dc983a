"""Natural Questions without a passage, NQ-open (Kwiatkowski et al., 2019; Lee et al., 2019):
DIR/naturalquestions/NQ-open.dev.jsonl, packed or not, or the hub's nq_open/validation-00000-of-00001.parquet.

naturalquestions   0-shot, for base models: an answer in a line after Q: and A:

strict: the first line is one of the right answers, both without case, punctuation, articles and surplus white space (SQuAD's
normalisation); flexible: one of them stands in what the model says before it asks itself the next question. A row is
{"question", "answer": texts}. The words are lm-eval's (nq_open). An item's id is its place in the file, from 0, and its kind is
the word that asks.
"""

import re
import string
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from kwen.evals.task import Item, Task
from kwen.evals.tasks.files import Files

_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_ASKS = ("who", "what", "when", "where", "which", "how", "why")


def normalised(text: str) -> str:
    """`text` in lower case without punctuation, surplus white space and articles; what would be nothing then ("A",
    "---") stays."""
    folded = unicodedata.normalize("NFKC", text).lower()
    kept = "".join(one for one in folded if one not in string.punctuation and not unicodedata.category(one).startswith("P"))
    return " ".join((_ARTICLE.sub(" ", kept).strip() or kept.strip() or folded).split())


def first_line(item: Item, text: str) -> str | None:
    """The first line with something in it."""
    return next((line.strip() for line in text.splitlines() if line.strip()), None)


def answer_within(item: Item, text: str) -> str | None:
    """The first of the right answers that stands as whole words in the text, up to a next "Q:"; else the first line."""
    said = f" {normalised(text.partition(chr(10) + 'Q:')[0])} "
    within = (answer for answer in item.extra["answers"] if f" {normalised(answer)} " in said)
    return next(within, None) or first_line(item, text)


def exactly(pairs: Sequence[tuple[Item, str]]) -> list[bool]:
    """Whether each text equals one of its item's answers, both normalised."""
    return [normalised(said) in {normalised(answer) for answer in item.extra["answers"]} for item, said in pairs]


def zero_shot(data: Path | None, seed: int) -> list[Item]:
    """The questions of the dev set."""
    items = []
    files = Files(data, "naturalquestions", "naturalquestions", "google-research-datasets/natural-questions (nq_open)")
    dev = files.first("NQ-open.dev.jsonl", "nq_open/validation-00000-of-00001.parquet")
    for number, row in enumerate(files.rows(dev)):
        answers = row.texts("answer")
        question = row.text("question").strip().removesuffix("?")
        first = question.partition(" ")[0].lower()
        tag = first if first in _ASKS else "other"
        prompt = f"Q: {question}?\nA:"
        items.append(
            Item(str(number), prompt, answers[0], "en", tag, {"answers": answers}, opening="Answer these questions:\n\n")
        )
    return items


TASK = Task(
    name="naturalquestions",
    version=1,
    kind="generate",
    items=zero_shot,
    strict=first_line,
    flexible=answer_within,
    judge=exactly,
    settings={"max_new_tokens": 32, "temperature": 0.0, "stop": ["\n"]},
)
