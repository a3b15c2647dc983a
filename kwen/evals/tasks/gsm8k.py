"""GSM8K, grade-school word problems (Cobbe et al., 2021): DIR/gsm8k/test.jsonl, and train.jsonl for the examples; .gz too.

gsm8k          zero-shot, for chat models: the question and the form to answer in
gsm8k-8-shot   for base models: eight worked examples in one text, as in the report's table 2. The published eight belong to
               others; these are the first eight of the training set, so a figure is near the report's and not the same.
gsm8k-4-shot-chat   for chat models: four worked examples as turns before the question

strict: the number after ####, \\boxed{ or "the answer is"; flexible: the last number. An item's id is its place in the file,
from 0, and its kind is the number of lines of its worked solution.
"""

import gzip
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from kwen.errors import UserError
from kwen.evals.generations import check_text, parse_rows
from kwen.evals.task import Item, Task
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

    Raises UserError without `data` or the file, and with the line number for a malformed row.
    """
    if data is None:
        raise UserError("gsm8k needs its problems: give --data a folder that holds gsm8k/test.jsonl")
    path = data / "gsm8k" / f"{split}.jsonl"
    packed = path.with_name(path.name + ".gz")
    if not path.is_file() and not packed.is_file():
        raise UserError(f"{path}: no such file; give --data a folder that holds gsm8k/{split}.jsonl")
    problems = []
    for number, row in _rows(path if path.is_file() else packed):
        where = f"{path}, line {number}"
        question, answer = (check_text(row.get(key), f'{where}: "{key}"') for key in ("question", "answer"))
        solution, mark, gold = answer.rpartition("####")
        if not mark or number_value(gold) is None:
            raise UserError(f'{where}: "answer" does not end in #### and a number')
        problems.append(Problem(question.strip(), _CALCULATION.sub("", solution).strip(), gold.strip()))
    if not problems:
        raise UserError(f"{path}: no problem in it")
    return problems


def _rows(path: Path) -> Iterable[tuple[int, dict[str, object]]]:
    data = path.read_bytes()
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path}: damaged or cut off ({error}); fetch it again") from None
    return parse_rows(data.splitlines(), path)


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
