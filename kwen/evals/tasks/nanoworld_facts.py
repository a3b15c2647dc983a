"""Facts of the seeded world, asked in phrasings that training never used.

strict: the whole reply names the right answer and none of its competitors; flexible: its first sentence that names any does.
"""

from kwen.evals.task import Task
from kwen.evals.tasks.nanoworld import HeldOut, first_naming_sentence, named_answers, nearest_training_answers

TASK = Task(
    name="nanoworld-facts",
    version=1,
    kind="generate",
    items=HeldOut("facts"),
    flexible=first_naming_sentence,
    judge=named_answers,
    settings={"max_new_tokens": 64, "temperature": 0.0},
    baseline=nearest_training_answers,
)
