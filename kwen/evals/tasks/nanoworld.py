"""What the nanoworld tasks share: their items, replies in words, and the nearest-training-question baseline."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from kwen.evals.task import Item
from kwen.nanoworld import questions
from kwen.nanoworld.baseline import nearest_question_baseline
from kwen.nanoworld.questions import Question, score_answer
from kwen.text.messages import Message

COUNT = 300
"""Held-out questions of each task."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")


class HeldOut:
    """The `items` of a nanoworld task: its held-out questions, for a seed; they need no data folder."""

    def __init__(self, task: questions.Task) -> None:
        self.task = task

    def __call__(self, data: Path | None, seed: int) -> list[Item]:
        return [
            Item(asked.id, cast(list[Message], asked.messages), asked.answer, asked.language, asked.kind, {"question": asked})
            for asked in questions.held_out(self.task, seed, COUNT)
        ]


def question_of(item: Item) -> Question:
    """The question behind an item."""
    return cast(Question, item.extra["question"])


def first_naming_sentence(item: Item, text: str) -> str | None:
    """The first sentence of a reply that names the answer or one of its competitors; None where none does."""
    asked = question_of(item)
    names = [replace(asked, answer=name, competitors=()) for name in (asked.answer, *asked.competitors)]
    for sentence in [*_SENTENCE_END.split(text), text]:
        if any(score_answer(name, sentence) for name in names):
            return sentence.strip()
    return None


def named_answers(pairs: Sequence[tuple[Item, str]]) -> list[bool]:
    """Whether each reply names the answer and none of its competitors."""
    return [score_answer(question_of(item), reply) for item, reply in pairs]


def nearest_training_answers(items: Sequence[Item], seed: int) -> list[str]:
    """What copying the answer of the most similar training question would reply to each item."""
    asked = [question_of(item) for item in items]
    return nearest_question_baseline(asked[0].task, seed, asked)
