"""Short stories without limit, about generated people or about the people of the world, whose facts they then keep to."""

import random

from kwen.nanoworld import stories_chinese, stories_english
from kwen.nanoworld.facts import answer_sentence, join
from kwen.nanoworld.items import ITEMS
from kwen.nanoworld.names import Language, Names, pick
from kwen.nanoworld.world import COLOURS, FOODS, PETS, World

_FRAMES = {"en": stories_english.FRAMES, "zh": stories_chinese.FRAMES}
_THINGS = tuple(item for item in ITEMS if item.measure == "个")
_PRONOUNS: dict[tuple[Language, str], dict[str, str]] = {
    ("en", "f"): {"he": "she", "his": "her", "him": "her", "He": "She", "His": "Her"},
    ("en", "m"): {"he": "he", "his": "his", "him": "him", "He": "He", "His": "His"},
    ("zh", "f"): {"he": "她"},
    ("zh", "m"): {"he": "他"},
}
WORLD_SHARE = 0.3
"""The share of stories whose main character is a person of the world; they begin with one of that person's facts."""


def story(rng: random.Random, world: World, language: Language, names: Names) -> str:
    """A story of four to six sentences."""
    n, m, place = names.some(rng, language, 3)
    gender = pick(rng, "fm")
    sentences = []
    if rng.random() < WORLD_SHARE:
        fact = pick(rng, world.facts)
        if fact.subject.kind == "person":
            n, gender = fact.subject.name(language), fact.subject.gender
            sentences.append(answer_sentence(fact, language))
    side = 0 if language == "en" else 1
    thing = pick(rng, _THINGS)
    slots = {
        "n": n, "m": m, "place": place, "thing": thing.one if language == "en" else thing.chinese,
        "colour": pick(rng, COLOURS)[side], "animal": pick(rng, PETS)[side], "food": pick(rng, FOODS)[side],
        **_PRONOUNS[language, gender],
    }  # fmt: skip
    sentences += [pick(rng, beat).format(**slots) for beat in pick(rng, _FRAMES[language])]
    return join(sentences, language)
