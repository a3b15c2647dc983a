"""Grades of replies to nanoworld's prompts, functions by running their tests."""

from collections.abc import Sequence

from kwen.nanoworld.oracle import Grade, grade
from kwen.nanoworld.prompts import Prompt
from kwen.progress import Progress, silent
from kwen.verify.code_tests import extract_code, passes


def grade_replies(
    prompts: Sequence[Prompt],
    replies: Sequence[str],
    ended: Sequence[bool] | None = None,
    *,
    timeout_s: float = 2.0,
    workers: int | None = None,
    unsafe: bool = False,
    progress: Progress = silent,
) -> list[Grade]:
    """The grade of each reply to its prompt; functions run in the sandbox, all at once, equal ones once.

    ended: for each reply, whether the model ended it rather than a limit of length; by default all did. timeout_s, workers,
    unsafe, progress: as for `kwen.verify.code_tests.passes`; the sandbox is not entered where no reply defines its function.
    Raises UserError where there is code to run and no sandbox.
    """
    ends = [True] * len(replies) if ended is None else list(ended)
    outcome: dict[tuple[str, str], bool] = {}
    programs: list[tuple[str, str] | None] = []
    for prompt, reply in zip(prompts, replies, strict=True):
        program = _program(prompt, reply)
        programs.append(program)
        if program is not None:
            outcome[program] = False
    if outcome:
        candidates = list(outcome)
        verdicts = passes(candidates, timeout_s=timeout_s, workers=workers, unsafe=unsafe, progress=progress)
        outcome = dict(zip(candidates, verdicts, strict=True))
    grades = []
    for prompt, reply, end, program in zip(prompts, replies, ends, programs, strict=True):
        passed = None if prompt.topic != "functions" else program is not None and outcome[program]
        grades.append(grade(prompt, reply, ended=end, passed=passed))
    return grades


def _program(prompt: Prompt, reply: str) -> tuple[str, str] | None:
    """The code of a reply and its tests; None where there is nothing to run, since no function has the name asked for."""
    if prompt.topic != "functions":
        return None
    code = extract_code(reply, prompt.entry_point)
    return (code, "\n".join(prompt.tests)) if prompt.entry_point in code else None
