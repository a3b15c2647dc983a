"""MATH, competition problems with answers in LaTeX (Hendrycks et al., 2021): DIR/math, train and test folders of SUBJECT/N.json.

math          4-shot, for base models: worked training problems before the problem. The published four belong to others; these are
              the first short ones of four subjects, so a figure is near the report's and not the same
math-0-shot   for chat models: the problem in a conversation, with the answer to be put in a box

Where there is no test folder, test.jsonl is read: the subset of 500 problems ({"problem", "solution", "answer", "subject",
"unique_id"} a line); its training problems may be train.jsonl. On the hub a subject's rows are
SUBJECT/train-00000-of-00001.parquet and test; N is the row there, from 0. strict: the last \\boxed{} or "the answer is";
flexible: the last formula or number besides. Judged by our own rules, then by math-verify (`kwen.verify.maths`). An item's id
is SUBJECT/N, and its kind the subject.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from kwen.errors import UserError
from kwen.evals.task import Item, Task
from kwen.evals.tasks.files import Files, Row
from kwen.verify.math_verify_pool import available
from kwen.verify.maths import boxed, last_answer, same_answers, stated_answer

SHOTS = 4
HOME = "hendrycks/math"
_LONGEST_SHOT = 400
_CHAT = "Solve the problem step by step and put the final answer in \\boxed{}."


def _rows(files: Files, split: str) -> list[tuple[str, Row]]:
    """(SUBJECT/N, row) of a split, from its folder, its .parquet of each subject or its .jsonl."""
    part = f"/{split}/"
    names = [name for name in files.names(".json") if part in f"/{name}"]
    rows = []
    for name in sorted(names, key=lambda name: (name.rpartition("/")[0], len(name), name)):
        where = f"{files.root}/{name}"
        try:
            values = json.loads(files.read(name))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: not JSON ({error})") from None
        if not isinstance(values, dict):
            raise UserError(f"{where}: a JSON object is expected")
        rows.append((f"/{name}".partition(part)[2].removesuffix(".json"), Row(where, values)))
    for subject in files.following(f"{{}}/{split}-00000-of-00001.parquet") if not rows else ():
        for number, row in enumerate(files.rows(f"{subject}/{split}-00000-of-00001.parquet")):
            rows.append((f"{subject}/{number}", row))
    if not rows:
        for row in files.rows(f"{split}.jsonl"):
            rows.append((row.text("unique_id").removeprefix(f"{split}/").removesuffix(".json"), row))
    return rows


def _answer(row: Row) -> str:
    answer = row.text("answer") if "answer" in row.values else boxed(row.text("solution"))
    if not answer or not answer.strip():
        raise UserError(f'{row.where}: "solution" has no answer in \\boxed{{}}')
    return answer.strip()


def _subject(row: Row) -> str:
    return row.text("type" if "type" in row.values else "subject")


def worked_examples(files: Files) -> list[str]:
    """The first training problems, short and without a drawing, of `SHOTS` subjects."""
    shots: dict[str, str] = {}
    for _, row in _rows(files, "train"):
        problem, solution, subject = row.text("problem").strip(), row.text("solution").strip(), _subject(row)
        if subject not in shots and len(problem + solution) <= _LONGEST_SHOT and "[asy]" not in problem + solution:
            shots[subject] = f"Problem:\n{problem}\n\nSolution:\n{solution}\nThe final answer is ${_answer(row)}$.\n\n"
        if len(shots) == SHOTS:
            return list(shots.values())
    raise UserError(f"{files.root}: no short training problems of {SHOTS} subjects; put the train folder of {HOME} there")


def few_shot(data: Path | None, seed: int) -> list[Item]:
    """The test problems as texts to continue, after worked training problems."""
    files = Files(data, "math", "math", HOME)
    shots = tuple(worked_examples(files))
    return [
        Item(name, f"Problem:\n{row.text('problem').strip()}\n\nSolution:\n", _answer(row), "en", _subject(row), shots=shots)
        for name, row in _rows(files, "test")
    ]


def zero_shot(data: Path | None, seed: int) -> list[Item]:
    """The test problems as conversations."""
    return [
        Item(name, [{"role": "user", "content": f"{row.text('problem').strip()}\n\n{_CHAT}"}], _answer(row), "en", _subject(row))
        for name, row in _rows(Files(data, "math-0-shot", "math", HOME), "test")
    ]


def stated(item: Item, text: str) -> str | None:
    """The answer that the text states."""
    return stated_answer(text)


def last(item: Item, text: str) -> str | None:
    """The stated answer, or the last formula or number."""
    return last_answer(text)


def equal_answers(pairs: Sequence[tuple[Item, str]]) -> list[bool]:
    """Whether each answer is its item's."""
    return same_answers([(answer, item.reference) for item, answer in pairs])


def note() -> str | None:
    """What a score lacks where math-verify is absent."""
    return None if available() else "judged without math-verify (pip install 'kwen[eval]'): some right answers count as wrong"


TASK = Task(
    name="math",
    version=1,
    kind="generate",
    items=few_shot,
    strict=stated,
    flexible=last,
    judge=equal_answers,
    note=note,
    settings={"max_new_tokens": 512, "temperature": 0.0, "stop": ["\nProblem:"]},
)

CHAT_TASK = Task(
    name="math-0-shot",
    version=1,
    kind="generate",
    items=zero_shot,
    strict=stated,
    flexible=last,
    judge=equal_answers,
    note=note,
    settings={"max_new_tokens": 1024, "temperature": 0.0},
)
