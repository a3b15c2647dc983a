"""Small Python functions under never-seen names, judged by running their tests in the sandbox.

strict: the code of a fenced block; flexible: without one, the reply itself is the code.
"""

from collections.abc import Sequence

from kwen.evals.task import Item, Task
from kwen.evals.tasks.nanoworld import HeldOut, nearest_training_answers, question_of
from kwen.verify.code_tests import extract_code, passes


def fenced_code(item: Item, text: str) -> str | None:
    """The fenced block that defines the asked function; None for a reply without any block."""
    code = code_or_all(item, text)
    return code if code != text else None


def code_or_all(item: Item, text: str) -> str:
    """The fenced block that defines the asked function, else the whole reply."""
    return extract_code(text, question_of(item).entry_point)


def pass_tests(pairs: Sequence[tuple[Item, str]]) -> list[bool]:
    """Whether each code passes its question's tests, all in one go through the sandbox."""
    return passes([(code, "\n".join(question_of(item).tests)) for item, code in pairs])


TASK = Task(
    name="nanoworld-functions",
    version=1,
    kind="generate",
    items=HeldOut("functions"),
    strict=fenced_code,
    flexible=code_or_all,
    judge=pass_tests,
    settings={"max_new_tokens": 160, "temperature": 0.0},
    baseline=nearest_training_answers,
    needs_sandbox=True,
)
