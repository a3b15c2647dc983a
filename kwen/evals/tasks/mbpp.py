"""MBPP, small Python problems told in a sentence (Austin et al., 2021): DIR/mbpp/mbpp.jsonl, packed or not, or the hub's
parquet files of the splits prompt and test; ids 11 to 510.

mbpp        for base models: three worked problems (ids 2, 3, 4, of the set kept for prompts), then the problem and its tests,
            in a text to continue
mbpp-chat   for chat models, zero-shot: the sentence and the tests

The three tests are shown, as the paper does, since they give the function's name. strict and flexible are those of HumanEval; the
kind is the length of the reference code.
"""

import ast
from pathlib import Path
from typing import NamedTuple

from kwen.errors import UserError
from kwen.evals.task import Item, Task
from kwen.evals.tasks.code_answers import CodeProblem, flexible_code, pass_tests, strict_code
from kwen.evals.tasks.files import Files
from kwen.evals.tasks.humaneval import length_kind
from kwen.text.messages import Message

SHOTS = (2, 3, 4)
FIRST, LAST = 11, 510


class Problem(NamedTuple):
    """One problem: its sentence, reference code, shown tests, the code that these need first, and the function that they call."""

    number: int
    text: str
    code: str
    tests: list[str]
    setup: str
    entry_point: str


def read_problems(data: Path | None) -> dict[int, Problem]:
    """All problems by id. Raises UserError without `data` or the file, and with the line number for a malformed row."""
    files = Files(data, "mbpp", "mbpp", "google-research/google-research/mbpp")
    test = files.first("mbpp.jsonl", "full/test-00000-of-00001.parquet")
    names = [test] if test == "mbpp.jsonl" else ["full/prompt-00000-of-00001.parquet", test]
    problems = {}
    for row in (row for name in names for row in files.rows(name)):
        text, code, setup = (row.text(key) for key in ("text", "code", "test_setup_code"))
        number, listed = row.values.get("task_id"), row.texts("test_list")
        if type(number) is not int:
            raise UserError(f'{row.where}: "task_id" must be a whole number')
        code, setup = code.replace("\r\n", "\n"), setup.replace("\r\n", "\n")
        problems[number] = Problem(number, text.strip(), code, listed, setup, _entry_point(code, listed, row.where))
    return problems


def _entry_point(code: str, tests: list[str], where: str) -> str:
    """The function of the reference code that the first test calls."""
    try:
        calls = [node.func for node in ast.walk(ast.parse(tests[0])) if isinstance(node, ast.Call)]
    except SyntaxError:
        raise UserError(f"{where}: its first test is not Python") from None
    for name in [call.id for call in calls if isinstance(call, ast.Name)]:
        if f"def {name}(" in code or f"def {name} (" in code:
            return name
    raise UserError(f"{where}: its first test calls nothing that its code defines")


def _told(row: Problem) -> str:
    """A problem as the opening of a text."""
    return f'"""\n{row.text}\n' + "\n".join(row.tests) + '\n"""\n'


def _item(row: Problem, prompt: list[Message] | str) -> Item:
    problem = CodeProblem(row.entry_point, "", "", "\n".join([row.setup, *row.tests]))
    return Item(str(row.number), prompt, row.code, "en", length_kind(row.code), {"problem": problem})


def few_shot(data: Path | None, seed: int) -> list[Item]:
    """The test problems as texts to continue, after the worked ones."""
    rows = read_problems(data)
    if missing := [number for number in SHOTS if number not in rows]:
        raise UserError(f"mbpp: problem {missing[0]} is not in the file, and its prompts show it; fetch the whole data set")
    shown = "".join(f"{_told(rows[number])}{rows[number].code.strip()}\n\n\n" for number in SHOTS)
    return [_item(row, shown + _told(row)) for number, row in rows.items() if FIRST <= number <= LAST]


def zero_shot(data: Path | None, seed: int) -> list[Item]:
    """The test problems as conversations."""
    items = []
    for number, row in read_problems(data).items():
        if FIRST <= number <= LAST:
            tests = "\n".join(row.tests)
            said = f"{row.text}\n\nAnswer with Python code in one code block. It must pass these tests:\n```python\n{tests}\n```"
            items.append(_item(row, [{"role": "user", "content": said}]))
    return items


TASK = Task(
    name="mbpp",
    version=1,
    kind="generate",
    items=few_shot,
    strict=strict_code,
    flexible=flexible_code,
    judge=pass_tests,
    metric="pass@1",
    # An answer ends where the model goes on to tell a problem of its own.
    settings={"max_new_tokens": 512, "temperature": 0.0, "stop": ['\n"""']},
    needs_sandbox=True,
)

CHAT_TASK = Task(
    name="mbpp-chat",
    version=1,
    kind="generate",
    items=zero_shot,
    strict=strict_code,
    flexible=flexible_code,
    judge=pass_tests,
    metric="pass@1",
    settings={"max_new_tokens": 768, "temperature": 0.0},
    needs_sandbox=True,
)
