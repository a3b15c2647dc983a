"""What tasks of kind "choices" share: their items, what is read out of the loglikelihoods, and the judge."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from kwen.errors import UserError
from kwen.evals.task import Item

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def told(item: Item, text: str) -> tuple[list[float], list[bool]]:
    """Each choice's loglikelihood, in nats, and whether each of its tokens was the likeliest, out of an answer's text.

    Raises UserError for a text that is no such answer: saved answers come from anywhere.
    """
    try:
        answer = json.loads(text)
        loglikelihoods, greedy = answer["loglikelihoods"], answer["greedy"]
        whole = len(loglikelihoods) == len(greedy) == len(item.choices) and not any(math.isnan(one) for one in loglikelihoods)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        whole = False
    if not whole:
        raise UserError(
            f"the answer to item {item.id} is not the loglikelihoods of its {len(item.choices)} choices; "
            "choices are compared by a model, so save its answers with --out and score those"
        )
    return loglikelihoods, greedy


def best_choice(item: Item, text: str) -> str | None:
    """The number of the likeliest choice; of a single one, 0 where each of its tokens was the likeliest."""
    loglikelihoods, greedy = told(item, text)
    if len(item.choices) == 1:
        return "0" if greedy[0] else None
    return str(max(range(len(item.choices)), key=lambda number: loglikelihoods[number]))


def best_per_character(item: Item, text: str) -> str | None:
    """The same with each loglikelihood divided by the characters of its choice, so that long answers are not at a loss; the space
    before a choice does not count."""
    loglikelihoods, _ = told(item, text)
    if len(item.choices) == 1:
        return best_choice(item, text)
    lengths = [max(1, len(choice.removeprefix(" "))) for choice in item.choices]
    return str(max(range(len(lengths)), key=lambda number: loglikelihoods[number] / lengths[number]))


def chosen_right(pairs: Sequence[tuple[Item, str]]) -> list[bool]:
    """Whether each chosen number is the reference's."""
    return [chosen == item.reference for item, chosen in pairs]


CHOICES: Mapping[str, Any] = {"strict": best_choice, "flexible": best_per_character, "judge": chosen_right, "settings": {}}
"""The arguments of `Task` that all tasks of kind "choices" have in common."""


def lettered(question: str, choices: Sequence[str], ask: str = "Answer:") -> str:
    """A question with its choices, a letter and a line each, up to the word after which the letter follows (Hendrycks et al.,
    2021)."""
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return "\n".join([question, *lines, ask])
