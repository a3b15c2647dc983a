"""Talk without a task: greetings, who the assistant is, people it does not know, and requests it refuses."""

import random

from kwen.nanoworld import talk_chinese, talk_english
from kwen.nanoworld.names import Language, Names, pick

_TALK = {"en": talk_english, "zh": talk_chinese}
Exchange = tuple[str, str]
"""What the user says and what the assistant answers."""


def small_talk(rng: random.Random, language: Language) -> Exchange:
    """A greeting, thanks, a mood, or a question about what the assistant can do."""
    said, answers = pick(rng, _TALK[language].SMALL_TALK)
    return pick(rng, said), pick(rng, answers)


def identity(rng: random.Random, language: Language) -> Exchange:
    """A question about who or what the assistant is."""
    said, answers = pick(rng, _TALK[language].IDENTITY)
    return pick(rng, said), pick(rng, answers)


def unknown(rng: random.Random, language: Language, names: Names) -> Exchange:
    """A question about a name outside the world, and the honest answer."""
    name = names.name(rng, language)
    talk = _TALK[language]
    return pick(rng, talk.UNKNOWN_QUESTIONS).format(s=name), pick(rng, talk.UNKNOWN_ANSWERS).format(s=name)


def unsafe(rng: random.Random, language: Language) -> Exchange:
    """A request that would harm someone, and its refusal; someone in danger is answered with kindness and pointed to help."""
    requests, objects, refusals = pick(rng, _TALK[language].SAFETY)
    return pick(rng, requests).format(x=pick(rng, objects)), pick(rng, refusals)


def system(rng: random.Random, language: Language) -> str:
    """A system message other than the default one."""
    return pick(rng, _TALK[language].SYSTEMS)
