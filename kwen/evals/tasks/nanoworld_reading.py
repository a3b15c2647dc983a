"""Never-seen names read out of a short passage.

strict: the whole reply names the right one and no other of the passage; flexible: its first sentence that names any does.
"""

from kwen.evals.task import Task
from kwen.evals.tasks.nanoworld import HeldOut, first_naming_sentence, named_answers, nearest_training_answers

TASK = Task(
    name="nanoworld-reading",
    version=1,
    kind="generate",
    items=HeldOut("reading"),
    flexible=first_naming_sentence,
    judge=named_answers,
    settings={"max_new_tokens": 64, "temperature": 0.0},
    baseline=nearest_training_answers,
)
