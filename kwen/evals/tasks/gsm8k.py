"""GSM8K, grade-school word problems (Cobbe et al., 2021): DIR/gsm8k/test.jsonl, and train.jsonl for the examples, packed or
not, or the hub's parquet files of its configuration main.

gsm8k          zero-shot, for chat models: the question and the form to answer in
gsm8k-8-shot   for base models: eight worked examples in one text, as in the report's table 2. The published eight belong to
               others; these are the first eight of the training set, so a figure is near the report's and not the same.
gsm8k-4-shot-chat   for chat models: four worked examples as turns before the question

strict: the number after ####, \\boxed{ or "the answer is"; flexible: the last number. An item's id is its place in the file,
from 0, and its kind is the number of lines of its worked solution.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kwen.errors import UserError
from kwen.evals.task import Item, Task
from kwen.evals.tasks.files import Files
from kwen.evals.tasks.numbers import equal_numbers, last_number, stated_number
from kwen.text.messages import Message
from kwen.verify.answers import number_value

SHOTS = 8
CHAT_SHOTS = 4
_CALCULATION = re.compile(r"<<[^<>]*>>")
_LONGEST_KIND = 8


class Problem(NamedTuple):
    """One row: the question, its worked solution without calculator marks, and the number it ends in."""

    question: str
    solution: str
    number: str


def read_problems(data: Path | None, split: str) -> list[Problem]:
    """The problems of a split ("test", "train") in the file's order.

    Raises UserError without `data` or the file, and with its place for a malformed row.
    """
    files = Files(data, "gsm8k", "gsm8k", "openai/grade-school-math")
    problems = []
    for row in files.rows(files.first(f"{split}.jsonl", f"main/{split}-00000-of-00001.parquet")):
        solution, mark, gold = row.text("answer").rpartition("####")
        if not mark or number_value(gold) is None:
            raise UserError(f'{row.where}: "answer" does not end in #### and a number')
        problems.append(Problem(row.text("question").strip(), _CALCULATION.sub("", solution).strip(), gold.strip()))
    return problems


def chat_prompt(question: str) -> list[Message]:
    """A question as a chat model is asked it; training rows for this task are to be asked in the same words."""
    return [{"role": "user", "content": f"{question}\n\nSolve it step by step. End with a line that holds #### and the number."}]


def chat_answer(problem: Problem) -> str:
    """The worked solution in the form that `chat_prompt` asks for."""
    return f"{problem.solution}\n#### {problem.number}"


def _item(index: int, problem: Problem, prompt: list[Message] | str, shots: Sequence[str | list[Message]] = ()) -> Item:
    lines = min(problem.solution.count("\n") + 1, _LONGEST_KIND)
    return Item(str(index), prompt, problem.number, "en", f"{lines}{'+' * (lines == _LONGEST_KIND)} lines", shots=shots)


def zero_shot(data: Path | None, seed: int) -> list[Item]:
    """The test problems as conversations."""
    return [_item(index, problem, chat_prompt(problem.question)) for index, problem in enumerate(read_problems(data, "test"))]


def few_shot(data: Path | None, seed: int) -> list[Item]:
    """The test problems as texts to continue, after `SHOTS` worked training problems."""
    shown = read_problems(data, "train")[:SHOTS]
    shots = tuple(
        f"Question: {problem.question}\nAnswer: {problem.solution}\nThe answer is {problem.number}.\n\n" for problem in shown
    )
    return [
        _item(index, problem, f"Question: {problem.question}\nAnswer:", shots)
        for index, problem in enumerate(read_problems(data, "test"))
    ]


def few_shot_chat(data: Path | None, seed: int) -> list[Item]:
    """The test problems as conversations in which `CHAT_SHOTS` training problems were answered before."""
    shots: list[list[Message]] = [
        [*chat_prompt(problem.question), {"role": "assistant", "content": chat_answer(problem)}]
        for problem in read_problems(data, "train")[:CHAT_SHOTS]
    ]
    return [
        _item(index, problem, chat_prompt(problem.question), shots) for index, problem in enumerate(read_problems(data, "test"))
    ]


TASK = Task(
    name="gsm8k",
    version=1,
    kind="generate",
    items=zero_shot,
    strict=stated_number,
    flexible=last_number,
    judge=equal_numbers,
    settings={"max_new_tokens": 400, "temperature": 0.0},
)

FEW_SHOT_TASK = Task(
    name="gsm8k-8-shot",
    version=2,
    kind="generate",
    items=few_shot,
    strict=stated_number,
    flexible=last_number,
    judge=equal_numbers,
    # An answer ends at a blank line or where the model goes on to ask a question of its own, as in the report's scripts.
    settings={"max_new_tokens": 400, "temperature": 0.0, "stop": ["\n\n", "\nQuestion:"]},
)

FEW_SHOT_CHAT_TASK = Task(
    name="gsm8k-4-shot-chat",
    version=1,
    kind="generate",
    items=few_shot_chat,
    strict=stated_number,
    flexible=last_number,
    judge=equal_numbers,
    settings={"max_new_tokens": 400, "temperature": 0.0},
)
