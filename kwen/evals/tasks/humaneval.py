"""HumanEval, 164 Python functions to complete (Chen et al., 2021): DIR/humaneval/HumanEval.jsonl, packed or not,
or the hub's test-00000-of-00001.parquet.

humaneval        for base models, zero-shot: the function's beginning as a text to continue, up to the next thing at its left edge
humaneval-chat   for chat models: the same beginning in a conversation

strict: a fenced block that defines the function, or the continuation; flexible: the function wherever and however it stands. A
block may rely on what stands above the function in the prompt. Ids are the file's ("HumanEval/0"); the kind is the length of
the canonical solution.
"""

from pathlib import Path

from kwen.errors import UserError
from kwen.evals.task import Item, Task
from kwen.evals.tasks.code_answers import STOP, CodeProblem, flexible_code, pass_tests, strict_code
from kwen.evals.tasks.files import Files
from kwen.text.messages import Message

_CHAT = "Complete this Python function. Answer with the whole function in one code block."


def length_kind(solution: str) -> str:
    """The kind of a problem by the lines of its solution."""
    lines = sum(bool(line.strip()) for line in solution.splitlines())
    return "1 to 3 lines" if lines <= 3 else "4 to 8 lines" if lines <= 8 else "9+ lines"


def _items(data: Path | None, chat: bool) -> list[Item]:
    found = []
    files = Files(data, "humaneval-chat" if chat else "humaneval", "humaneval", "openai/human-eval (HumanEval.jsonl.gz)")
    for row in files.rows(files.first("HumanEval.jsonl", "openai_humaneval/test-00000-of-00001.parquet")):
        keys = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
        task_id, prompt, entry_point, solution, test = (row.text(key) for key in keys)
        before, mark, rest = prompt.rpartition(f"def {entry_point}(")
        if not mark:
            raise UserError(f'{row.where}: "prompt" does not define {entry_point}')
        problem = CodeProblem(entry_point, before, mark + rest, f"{test}\n\ncheck({entry_point})\n")
        asked: list[Message] | str = prompt
        if chat:
            asked = [{"role": "user", "content": f"{_CHAT}\n\n```python\n{prompt.rstrip()}\n```"}]
        found.append(Item(task_id, asked, solution, "en", length_kind(solution), {"problem": problem}))
    return found


def continued(data: Path | None, seed: int) -> list[Item]:
    """The prompts as texts to continue."""
    return _items(data, chat=False)


def asked(data: Path | None, seed: int) -> list[Item]:
    """The prompts as conversations."""
    return _items(data, chat=True)


TASK = Task(
    name="humaneval",
    version=1,
    kind="generate",
    items=continued,
    strict=strict_code,
    flexible=flexible_code,
    judge=pass_tests,
    metric="pass@1",
    settings={"max_new_tokens": 512, "temperature": 0.0, "stop": list(STOP)},
    needs_sandbox=True,
)

CHAT_TASK = Task(
    name="humaneval-chat",
    version=1,
    kind="generate",
    items=asked,
    strict=strict_code,
    flexible=flexible_code,
    judge=pass_tests,
    metric="pass@1",
    settings={"max_new_tokens": 768, "temperature": 0.0},
    needs_sandbox=True,
)
