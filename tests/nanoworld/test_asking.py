"""Asking for facts: many training phrasings of every relation, made of parts, none of which is a held-out one."""

import random
import re
from itertools import product

import pytest

from kwen.nanoworld.asking import KIND_WEIGHTS, phrasings, training_question, training_questions
from kwen.nanoworld.facts import fill
from kwen.nanoworld.names import Language
from kwen.nanoworld.questions import normalise
from kwen.nanoworld.world import RELATIONS, build_world

LANGUAGES: tuple[Language, ...] = ("en", "zh")
HELD_OUT_FRAME = {"en": "Could you tell me ", "zh": "你可以告诉我"}
WAYS = tuple(product(RELATIONS, LANGUAGES))


@pytest.mark.parametrize(("relation", "language"), WAYS)
def test_every_relation_is_asked_in_at_least_sixty_different_ways(relation: str, language: Language) -> None:
    made = training_questions(relation, language)
    assert set(made) == set(KIND_WEIGHTS)
    texts = [text for kind in made.values() for text in kind]
    assert len({normalise(text) for text in texts}) >= 60 and len(set(made["question"])) >= 14
    assert all(text.count("{s}") == 1 and not re.search(r"\{[^s]", text) for text in texts)


@pytest.mark.parametrize(("relation", "language"), WAYS)
def test_some_questions_of_every_relation_have_the_subject_first(relation: str, language: Language) -> None:
    texts = [text for kind in training_questions(relation, language).values() for text in kind]
    assert any(text.startswith("{s}") for text in texts)
    assert language == "zh" or any(text.startswith("The ") and text.endswith(" is what?") for text in texts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_held_out_question_is_made_by_training_about_any_fact(language: Language) -> None:
    training: set[str] = set()
    held_out: set[str] = set()
    for fact in build_world(0).facts:
        for texts in training_questions(fact.relation, language).values():
            training |= {normalise(fill(text, fact, language)) for text in texts}
        held_out |= {normalise(fill(text, fact, language)) for text in phrasings(fact.relation, language).held_out}
    assert len(training) > 50_000 and len(held_out) >= 4 * len(build_world(0).facts)
    assert not training & held_out


@pytest.mark.parametrize(("relation", "language"), WAYS)
def test_a_held_out_question_has_an_unseen_frame_or_words_of_its_own(relation: str, language: Language) -> None:
    made = training_questions(relation, language)
    asked = [text for kind in made.values() for text in kind]
    framed = [text for text in phrasings(relation, language).held_out if text.startswith(HELD_OUT_FRAME[language])]
    worded = [text for text in phrasings(relation, language).held_out if text not in framed]
    assert len(framed) >= 1 and len(worded) >= 2
    assert not any(text.startswith(HELD_OUT_FRAME[language]) for text in asked)
    # A worded one is no training question with words added before or after.
    for text, known in product(worded, made["question"]):
        assert normalise(known) not in normalise(text)


def test_every_kind_of_question_is_drawn_as_often_as_its_weight() -> None:
    rng = random.Random("asking")
    kinds = {text: kind for kind, texts in training_questions("age", "en").items() for text in texts}
    drawn = [kinds[training_question(rng, "age", "en")] for _ in range(5_000)]
    for kind, weight in KIND_WEIGHTS.items():
        assert abs(drawn.count(kind) / len(drawn) - weight / sum(KIND_WEIGHTS.values())) < 0.03
