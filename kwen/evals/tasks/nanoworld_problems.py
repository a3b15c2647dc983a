"""Word problems of one and two steps, with numbers that their schema never had in training.

strict: the number after "the answer is" or 答案是; flexible: the last number of the reply.
"""

from kwen.evals.task import Task
from kwen.evals.tasks.nanoworld import HeldOut, nearest_training_answers
from kwen.evals.tasks.numbers import equal_numbers, last_number, stated_number

TASK = Task(
    name="nanoworld-problems",
    version=1,
    kind="generate",
    items=HeldOut("problems"),
    strict=stated_number,
    flexible=last_number,
    judge=equal_numbers,
    settings={"max_new_tokens": 96, "temperature": 0.0},
    baseline=nearest_training_answers,
)
