"""How training asks for a fact: direct questions, and noun phrases and clauses in frames that all relations share.

The frames make a request a kind of its own ("I forgot ...", "... is what?") beside the words that name a relation, so that a model
learns to tell a relation by its words in any frame. The held-out phrasings are written by hand and never made here.
"""

import random
from functools import cache

from kwen.nanoworld.names import Language, pick
from kwen.nanoworld.people_english import PEOPLE
from kwen.nanoworld.phrasings import Phrasings
from kwen.nanoworld.places_english import PLACES
from kwen.nanoworld.relations_chinese import CHINESE

_PHRASINGS: dict[Language, dict[str, Phrasings]] = {"en": PEOPLE | PLACES, "zh": CHINESE}

# `{q}` is a direct question, `{np}` a noun phrase (`{Np}` with a capital), `{c}` a clause.
QUESTION_FRAMES: dict[Language, tuple[str, ...]] = {
    "en": (
        "Hello! {q}", "Hi Kwen. {q}", "Quick question: {q}", "A question: {q}", "I have a question. {q}", "Please help me. {q}",
        "{q} Please tell me.", "{q} Do you know?",
    ),
    "zh": ("请问{q}", "请问一下，{q}", "你好！{q}", "Kwen，{q}", "我有一个问题：{q}", "问一个问题：{q}", "我问你，{q}", "请帮帮我。{q}"),
}  # fmt: skip
NOUN_FRAMES: dict[Language, tuple[str, ...]] = {
    "en": (
        "What is {np}?", "And what is {np}?", "Hello! What is {np}?", "{Np} is what?", "Tell me {np}.", "Please tell me {np}.",
        "Please name {np}.", "Can you name {np}?", "Do you know {np}?", "Do you remember {np}?", "I would like to know {np}.",
        "I forgot {np}. Can you help?",
    ),
    "zh": (
        "告诉我{np}。", "请告诉我{np}。", "请说出{np}。", "请问{np}？", "你知道{np}吗？", "你还记得{np}吗？", "我想知道{np}。",
        "我忘了{np}，你能告诉我吗？", "你好！我想知道{np}。",
    ),
}  # fmt: skip
CLAUSE_FRAMES: dict[Language, tuple[str, ...]] = {
    "en": (
        "Tell me {c}.", "Please tell me {c}.", "Do you know {c}?", "Hi! Do you know {c}?", "Do you remember {c}?",
        "I would like to know {c}.", "I want to know {c}.", "I wonder {c}.", "I forgot {c}. Can you help?",
    ),
    "zh": (
        "告诉我{c}。", "请告诉我{c}。", "你知道{c}吗？", "你好！你知道{c}吗？", "你还记得{c}吗？", "谁知道{c}？", "我想知道{c}。",
        "我忘了{c}，你能告诉我吗？", "我不知道{c}，请帮帮我。",
    ),
}  # fmt: skip
KIND_WEIGHTS = {"question": 45, "framed_question": 12, "noun_phrase": 20, "clause": 23}
"""How often training asks in each way, as relative weights."""


def phrasings(relation: str, language: Language) -> Phrasings:
    """The phrasings of a relation in a language."""
    return _PHRASINGS[language][relation]


@cache
def training_questions(relation: str, language: Language) -> dict[str, tuple[str, ...]]:
    """Every training question of a relation, `{s}` its subject, by the keys of `KIND_WEIGHTS`."""
    known = phrasings(relation, language)
    clauses = known.clauses or tuple(question.removesuffix("？") for question in known.questions)
    return {
        "question": known.questions,
        "framed_question": tuple(
            frame.replace("{q}", question) for frame in QUESTION_FRAMES[language] for question in known.questions
        ),
        "noun_phrase": tuple(
            frame.replace("{np}", noun).replace("{Np}", noun[0].upper() + noun[1:])
            for frame in NOUN_FRAMES[language]
            for noun in known.noun_phrases
        ),
        "clause": tuple(frame.replace("{c}", clause) for frame in CLAUSE_FRAMES[language] for clause in clauses),
    }


def training_question(rng: random.Random, relation: str, language: Language) -> str:
    """One training question of a relation, `{s}` its subject."""
    [kind] = rng.choices(tuple(KIND_WEIGHTS), tuple(KIND_WEIGHTS.values()))
    return pick(rng, training_questions(relation, language)[kind])
