"""Passages to read: short texts about never-seen names, with questions that only the text can answer."""

import random
from dataclasses import dataclass

from kwen.nanoworld.items import ITEMS
from kwen.nanoworld.names import Language, Names, pick
from kwen.nanoworld.reading_texts import CLAUSES, REQUESTS, SCENERY, Clause
from kwen.nanoworld.world import COLOURS, FOODS, INSTRUMENTS, JOBS, PETS

NAME_SLOTS = {"p": "person", "q": "place", "w": "named_thing"}
"""The slots that hold generated names, with the kind of question that asks for each."""

# Things that take the measure word of the Chinese clauses.
_THINGS = tuple(item for item in ITEMS if item.measure == "个")
_PRONOUNS: dict[Language, tuple[str, str]] = {"en": ("She", "He"), "zh": ("她", "他")}


@dataclass(frozen=True)
class Passage:
    """A text, a question on it, the answer sentence, the bare answer and its slot, the text's other names that the question leaves
    out, and how many sentences and generated names the text has."""

    text: str
    question: str
    sentence: str
    answer: str
    slot: str
    others: tuple[str, ...]
    sentences: int
    names: int


def _slots(rng: random.Random, language: Language, names: list[str]) -> dict[str, str]:
    side = 0 if language == "en" else 1
    thing = pick(rng, _THINGS)
    return {
        "p": names[0], "q": names[1], "w": names[2], "thing": thing.one if language == "en" else thing.chinese,
        "animal": pick(rng, PETS)[side], "colour": pick(rng, COLOURS)[side], "job": pick(rng, JOBS)[side],
        "food": pick(rng, FOODS)[side], "instrument": pick(rng, INSTRUMENTS)[side],
    }  # fmt: skip


def answer_sentence(answer: str, slot: str, language: Language) -> str:
    """The answer as a sentence of its own: "Velin.", "A lamp.", "Red."."""
    if language == "zh":
        return f"{answer}。"
    return f"A {answer}." if slot in ("thing", "job") else f"{answer[0].upper()}{answer[1:]}."


def _question(rng: random.Random, clause: Clause, slots: dict[str, str], only_names: bool) -> tuple[str, str]:
    questions = [question for question in clause.questions if question[1] in NAME_SLOTS] if only_names else clause.questions
    text, slot = pick(rng, questions)
    return text.format(**slots), slot


def passage(rng: random.Random, language: Language, names: Names, only_names: bool = False) -> Passage:
    """Two to four sentences about one person, with at most one name in each role.

    `only_names` asks for generated names alone (the held-out task); otherwise the answer may be a common word.
    """
    bank = CLAUSES[language]
    slots = _slots(rng, language, names.some(rng, language, 3))
    kinds = rng.sample(("place", "named", "plain"), 2 if rng.random() < 0.6 else 3)
    clauses = [pick(rng, bank[kind]) for kind in kinds]
    pronoun = pick(rng, _PRONOUNS[language])
    sentences = [
        clause.text.format(s=slots["p"] if place == 0 or rng.random() < 0.5 else pronoun, **slots)
        for place, clause in enumerate(clauses)
    ]
    asked = pick(rng, clauses)
    question, slot = _question(rng, asked, slots, only_names)
    if rng.random() < 0.3:
        sentences.insert(int(rng.random() * (len(sentences) + 1)), pick(rng, SCENERY[language]))
    text = (" " if language == "en" else "").join(sentences)
    others = tuple(slots[key] for key in NAME_SLOTS if key != slot and slots[key] in text and slots[key] not in question)
    named = sum(slots[key] in text for key in NAME_SLOTS)
    return Passage(text, question, answer_sentence(slots[slot], slot, language), slots[slot], slot, others, len(sentences), named)


def two_people(rng: random.Random, language: Language, names: Names) -> Passage:
    """A sentence about one person and one about another: the harder kind, where the name must be bound to what was done."""
    bank = CLAUSES[language]
    generated = names.some(rng, language, 6)
    clauses = rng.sample([clause for kind in ("place", "named", "plain") for clause in bank[kind]], 2)
    slots = [_slots(rng, language, generated[:3]), _slots(rng, language, generated[3:])]
    sentences = [clause.text.format(s=slot["p"], **slot) for clause, slot in zip(clauses, slots, strict=True)]
    which = int(rng.random() * 2)
    question, slot = _question(rng, clauses[which], slots[which], only_names=True)
    text = (" " if language == "en" else "").join(sentences)
    answer = slots[which][slot]
    others = tuple(name for name in generated if name != answer and name in text and name not in question)
    named = sum(name in text for name in generated)
    return Passage(text, question, answer_sentence(answer, slot, language), answer, slot, others, len(sentences), named)


def request(rng: random.Random, made: Passage, language: Language) -> str:
    """The text and its question as one request."""
    return pick(rng, REQUESTS[language]).format(t=made.text, q=made.question)


def as_document(rng: random.Random, made: Passage, language: Language) -> str:
    """The text, its question and its answer as text to read."""
    return f"{request(rng, made, language)}\n{'Answer: ' if language == 'en' else '回答：'}{made.sentence}"
