"""LAMBADA, the last word of a passage (Paperno et al., 2016): DIR/lambada, lambada_test.jsonl or test.jsonl, packed or not.

lambada   0-shot, for base models: right where each token of the last word is the likeliest (greedy decoding would have said it)

A row is {"text"}: the passage, up to and with its last word, as it was published for GPT-2 and in lm-eval (lambada_openai).
`nats` is what the last word costs on average; the perplexity that is published beside the accuracy is its exponential. An item's
id is its place in the file, from 0.
"""

from pathlib import Path

from kwen.errors import UserError
from kwen.evals.task import Item, Task
from kwen.evals.tasks.choosing import CHOICES, told
from kwen.evals.tasks.files import Files


def zero_shot(data: Path | None, seed: int) -> list[Item]:
    """The passages of the test set."""
    files = Files(data, "lambada", "lambada", "EleutherAI/lambada_openai (lambada_test.jsonl)")
    items = []
    for number, row in enumerate(files.rows(files.first("lambada_test.jsonl", "lambada_test_en.jsonl", "test.jsonl"))):
        before, space, word = row.text("text").rstrip().rpartition(" ")
        if not before.strip():
            raise UserError(f'{row.where}: "text" needs two words at least, with a space before the last')
        items.append(Item(str(number), before, "0", "en", "all", choices=(space + word,)))
    return items


def nats(item: Item, text: str) -> float:
    """What the last word costs, in nats."""
    return -told(item, text)[0][0]


TASK = Task(name="lambada", version=1, kind="choices", items=zero_shot, measures={"nats": nats}, **CHOICES)
