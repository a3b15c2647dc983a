"""The tasks by name: a table, one line a task, one small file behind each."""

import difflib

from kwen.errors import UserError
from kwen.evals.task import Task
from kwen.evals.tasks import gsm8k, nanoworld_facts, nanoworld_functions, nanoworld_problems, nanoworld_reading, perplexity

TASKS: dict[str, Task] = {
    "nanoworld-facts": nanoworld_facts.TASK,
    "nanoworld-problems": nanoworld_problems.TASK,
    "nanoworld-functions": nanoworld_functions.TASK,
    "nanoworld-reading": nanoworld_reading.TASK,
    "gsm8k": gsm8k.TASK,
    "gsm8k-8-shot": gsm8k.FEW_SHOT_TASK,
    "perplexity": perplexity.TASK,
}


def find_task(name: str) -> Task:
    """The task called `name`; UserError with the nearest names where there is none."""
    if name in TASKS:
        return TASKS[name]
    near = difflib.get_close_matches(name, TASKS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the tasks are {', '.join(TASKS)}"
    raise UserError(f"{name!r} is not a task; {hint}")
