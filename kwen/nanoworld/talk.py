"""Talk without a task: greetings, who the assistant is, people it does not know, and requests it refuses."""

import random

from kwen.nanoworld import talk_chinese, talk_english
from kwen.nanoworld.asking import training_question
from kwen.nanoworld.names import Language, Names, pick
from kwen.nanoworld.world import RELATIONS

_TALK = {"en": talk_english, "zh": talk_chinese}
_RELATIONS = tuple(RELATIONS)
_GENERAL_SHARE = 0.25
"""The share of questions about unknown names that ask who or what they are; the others ask for a relation."""
Exchange = tuple[str, str]
"""What the user says and what the assistant answers."""


def small_talk(rng: random.Random, language: Language) -> Exchange:
    """A greeting, thanks, a mood, or a question about what the assistant can do."""
    said, answer = pick(rng, _TALK[language].SMALL_TALK)
    return pick(rng, said), answer


def identity(rng: random.Random, language: Language) -> Exchange:
    """A question about who or what the assistant is."""
    said, answer = pick(rng, _TALK[language].IDENTITY)
    return pick(rng, said), answer


def unknown(rng: random.Random, language: Language, names: Names) -> Exchange:
    """A question about a name outside the world, asked as facts are, and the honest answer."""
    name = names.name(rng, language)
    talk = _TALK[language]
    if rng.random() < _GENERAL_SHARE:
        asked = pick(rng, talk.UNKNOWN_QUESTIONS)
    else:
        asked = training_question(rng, pick(rng, _RELATIONS), language)
    return asked.format(s=name), talk.UNKNOWN_ANSWER.format(s=name)


def unsafe(rng: random.Random, language: Language) -> Exchange:
    """A request that would harm someone, and its refusal; someone in danger is answered with kindness and pointed to help."""
    requests, objects, refusal = pick(rng, _TALK[language].SAFETY)
    return pick(rng, requests).format(x=pick(rng, objects)), refusal


def system(rng: random.Random, language: Language) -> str:
    """A system message other than the default one."""
    return pick(rng, _TALK[language].SYSTEMS)
