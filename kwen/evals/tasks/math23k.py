"""Math23K, Chinese word problems of primary school (Wang et al., 2017): DIR/math23k, the test split as a .json or .jsonl file.

The file has "test" in its name and rows {"id", "original_text", "equation", "ans"}; "answer" in place of "ans" is read too. For
chat models, zero-shot. strict: the number after 答案是; flexible: the last number. Answers such as 3/4, 25%, (1/2) and 1((1)/(2))
are compared as numbers, to one part in 10,000. An item's kind is the number of operations of its equation.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from kwen.errors import UserError
from kwen.evals.task import Item, Task
from kwen.evals.tasks.files import Files, Row
from kwen.evals.tasks.numbers import last_number, stated_number
from kwen.verify.answers import number_value, same_number

HOME = "Math23K, Deep Neural Solver for Math Word Problems"
TOLERANCE = 1e-4
_CHAT = "请一步一步地解答。最后一行写“答案是”和一个数。"
_IN_BRACKETS = re.compile(r"\((\d{1,30})\)")
_OPERATION = re.compile(r"[-+*/^]")
_MOST = 4


def _answer(row: Row) -> str:
    key = "ans" if "ans" in row.values else "answer"
    value = row.values.get(key)
    text = str(value) if type(value) in (int, float) else row.text(key)
    text = _IN_BRACKETS.sub(r"\1", text.strip())
    if number_value(text) is None:
        raise UserError(f'{row.where}: "{key}" is {value!r}; a number is expected')
    return text


def _kind(equation: str) -> str:
    # A fraction in brackets of its own, (1/5), is a number of the problem and no operation.
    count = len(_OPERATION.findall(re.sub(r"\(\d{1,30}/\d{1,30}\)", "1", equation.partition("=")[2])))
    return f"{min(count, _MOST)}{'+' * (count >= _MOST)} operation{'s' * (count != 1)}"


def items(data: Path | None, seed: int) -> list[Item]:
    """The problems of the test split as conversations."""
    files = Files(data, "math23k", "math23k", HOME)
    names = [name for name in (*files.names(".json"), *files.names(".jsonl")) if "test" in name.rpartition("/")[2]]
    if len(names) != 1:
        raise UserError(
            f"math23k: {files.root} holds {len(names)} .json or .jsonl files with test in their name; one is expected"
        )
    found = []
    for number, row in enumerate(files.rows(names[0])):
        said = f"{row.text('original_text').strip()}\n\n{_CHAT}"
        name = str(row.values.get("id", number))
        found.append(Item(name, [{"role": "user", "content": said}], _answer(row), "zh", _kind(row.text("equation"))))
    return found


def equal_numbers(pairs: Sequence[tuple[Item, str]]) -> list[bool]:
    """Whether each number is its item's, up to `TOLERANCE`."""
    return [same_number(number, item.reference, TOLERANCE) for item, number in pairs]


TASK = Task(
    name="math23k",
    version=1,
    kind="generate",
    items=items,
    strict=stated_number,
    flexible=last_number,
    judge=equal_numbers,
    settings={"max_new_tokens": 400, "temperature": 0.0},
)
