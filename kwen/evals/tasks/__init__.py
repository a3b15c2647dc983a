"""The tasks by name: a table, one line a task, one small file behind each."""

import difflib

from kwen.errors import UserError
from kwen.evals.task import Task
from kwen.evals.tasks import (
    agieval,
    arc,
    boolq,
    ceval,
    cmmlu,
    commonsenseqa,
    gaokao,
    gsm8k,
    hellaswag,
    humaneval,
    humanevalpack,
    lambada,
    mbpp,
    mmlu,
    nanoworld_code,
    nanoworld_facts,
    nanoworld_functions,
    nanoworld_interpreter,
    nanoworld_maths,
    nanoworld_problems,
    nanoworld_reading,
    nanoworld_tools,
    naturalquestions,
    ocnli,
    perplexity,
    piqa,
    siqa,
)

TASKS: dict[str, Task] = {
    "nanoworld-facts": nanoworld_facts.TASK,
    "nanoworld-problems": nanoworld_problems.TASK,
    "nanoworld-functions": nanoworld_functions.TASK,
    "nanoworld-reading": nanoworld_reading.TASK,
    "nanoworld-code-1": nanoworld_code.LEVEL_1,
    "nanoworld-code-2": nanoworld_code.LEVEL_2,
    "nanoworld-code-3": nanoworld_code.LEVEL_3,
    "nanoworld-code-js": nanoworld_code.JAVASCRIPT,
    "nanoworld-arithmetic": nanoworld_maths.ARITHMETIC,
    "nanoworld-equations": nanoworld_maths.EQUATIONS,
    "nanoworld-problems-zh": nanoworld_maths.PROBLEMS_ZH,
    "nanoworld-tools": nanoworld_tools.SEEN,
    "nanoworld-tools-unseen": nanoworld_tools.UNSEEN,
    "nanoworld-interpreter": nanoworld_interpreter.TASK,
    "mmlu": mmlu.TASK,
    "mmlu-0-shot": mmlu.CHAT_TASK,
    "mmlu-5-shot-chat": mmlu.FEW_SHOT_CHAT_TASK,
    "agieval": agieval.TASK,
    "arc-c": arc.CHALLENGE,
    "arc-e": arc.EASY,
    "boolq": boolq.TASK,
    "ceval": ceval.TASK,
    "ceval-0-shot": ceval.CHAT_TASK,
    "ceval-5-shot-chat": ceval.FEW_SHOT_CHAT_TASK,
    "cmmlu": cmmlu.TASK,
    "cmmlu-0-shot": cmmlu.CHAT_TASK,
    "commonsenseqa": commonsenseqa.TASK,
    "gaokao": gaokao.TASK,
    "hellaswag": hellaswag.TASK,
    "lambada": lambada.TASK,
    "naturalquestions": naturalquestions.TASK,
    "ocnli": ocnli.TASK,
    "piqa": piqa.TASK,
    "siqa": siqa.TASK,
    "gsm8k": gsm8k.TASK,
    "gsm8k-8-shot": gsm8k.FEW_SHOT_TASK,
    "humaneval": humaneval.TASK,
    "humaneval-chat": humaneval.CHAT_TASK,
    "mbpp": mbpp.TASK,
    "mbpp-chat": mbpp.CHAT_TASK,
    **humanevalpack.TASKS,
    "perplexity": perplexity.TASK,
}


def find_task(name: str) -> Task:
    """The task called `name`; UserError with the nearest names where there is none."""
    if name in TASKS:
        return TASKS[name]
    near = difflib.get_close_matches(name, TASKS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the tasks are {', '.join(TASKS)}"
    raise UserError(f"{name!r} is not a task; {hint}")
