"""Passages: the answer stands in the text, once in its role, and the question fits it."""

import random

import pytest

from kwen.nanoworld.names import Language, Names, split_of
from kwen.nanoworld.reading import NAME_SLOTS, as_document, passage, request, two_people
from kwen.nanoworld.reading_texts import CLAUSES


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_answer_is_read_from_the_text(language: Language) -> None:
    rng, names = random.Random(f"reading/{language}"), Names("held_out")
    for _ in range(2_000):
        made = passage(rng, language, names, only_names=True)
        assert made.slot in NAME_SLOTS and split_of(made.answer) == "held_out"
        assert made.answer in made.text and made.answer not in made.question
        assert made.answer in made.sentence and not any(other in made.sentence for other in made.others)
        assert not any(other in made.question for other in made.others)
        assert made.text in request(rng, made, language)
        assert as_document(rng, made, language).endswith(made.sentence)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_two_people_are_told_apart(language: Language) -> None:
    rng, names = random.Random(f"two/{language}"), Names("train")
    for _ in range(1_000):
        made = two_people(rng, language, names)
        assert made.answer in made.text and made.others


def test_every_question_of_a_clause_is_answered_by_a_slot_of_its_text() -> None:
    for banks in CLAUSES.values():
        for clause in (clause for bank in banks.values() for clause in bank):
            for question, slot in clause.questions:
                assert f"{{{slot}}}" in clause.text or slot == "p"
                assert f"{{{slot}}}" not in question
