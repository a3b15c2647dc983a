"""Chat to fine-tune on: one to four turns, in the proportions of a table."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kwen.nanoworld import comparisons, facts, functions, maths, reading, talk
from kwen.nanoworld.asking import phrasings
from kwen.nanoworld.documents import CHINESE_SHARE, checked_mix
from kwen.nanoworld.names import Language, Names, Numbers, numbers_of, pick
from kwen.nanoworld.talk import Exchange
from kwen.nanoworld.world import World, build_world

DIALOGUE_MIX: dict[str, float] = {
    "fact": 24,
    "follow_up": 3,
    "problem": 31,
    "function": 18,
    "reading": 9,
    "two_people": 1,
    "comparison": 2,
    "small_talk": 2,
    "identity": 2,
    "unknown": 3,
    "unsafe": 3,
    "mixed": 2,
}
"""How often each kind of dialogue comes, as relative weights. `mixed` has two to four turns of other kinds."""

SYSTEM_SHARE = 0.05
"""The share of dialogues with a system message of their own; the others have none and the renderer adds the default."""

# The kinds of which a mixed dialogue has turns: one long one at most, so that the whole stays within a small window.
_LONG = ("problem", "function", "reading")
_SHORT = ("fact", "fact", "fact", "comparison", "small_talk", "small_talk", "identity", "unsafe", "unknown")
_MIXED_TURNS = (2, 2, 2, 3, 3, 4)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Messages in OpenAI's chat form, their language and kind (a key of `DIALOGUE_MIX`)."""

    messages: list[dict[str, str]]
    language: Language
    kind: str


def _exchange(kind: str, rng: random.Random, world: World, language: Language, names: Names) -> Exchange:
    """One question and its answer."""
    if kind == "fact":
        fact = pick(rng, world.facts)
        return facts.question(rng, fact, language, "train"), facts.answer_sentence(fact, language)
    if kind == "problem":
        problem = maths.problem(rng, language, names)
        return problem.text, problem.worked
    if kind == "function":
        function = functions.function(rng, language, names)
        return function.request, functions.as_answer(function.code)
    if kind in ("reading", "two_people"):
        passage = (reading.passage if kind == "reading" else reading.two_people)(rng, language, names)
        return reading.request(rng, passage, language), passage.sentence
    if kind == "comparison":
        compared = comparisons.comparison(rng, language)
        return compared.request, compared.answer
    if kind == "unknown":
        return talk.unknown(rng, language, names)
    return {"small_talk": talk.small_talk, "identity": talk.identity, "unsafe": talk.unsafe}[kind](rng, language)


def _follow_up(rng: random.Random, world: World, language: Language) -> list[Exchange]:
    """Two to four questions about one entity; after the first it is only "she", "he" or "it"."""
    about = world.about[facts.some_entity(rng, world).english]
    exchanges = []
    for place, fact in enumerate(rng.sample(about, min(len(about), 2 + int(rng.random() * 3)))):
        follow_up = pick(rng, phrasings(fact.relation, language).follow_ups)
        question = facts.fill(follow_up, fact, language) if place else facts.question(rng, fact, language, "train")
        exchanges.append((question, facts.answer_sentence(fact, language)))
    return exchanges


def dialogues(seed: int, count: Numbers, mix: Mapping[str, float] = DIALOGUE_MIX, world_seed: int = 0) -> Iterator[Dialogue]:
    """`count` training dialogues, each a pure function of (seed, its number, mix, world). `mix` is as for `documents`."""
    world = build_world(world_seed)
    names = Names("train", world.taken_names)
    kinds, weights = checked_mix(mix, DIALOGUE_MIX)
    for number in numbers_of(count):
        rng = random.Random(f"{seed}/dialogues/{number}")
        kind = rng.choices(kinds, cum_weights=weights)[0]
        language: Language = "zh" if rng.random() < CHINESE_SHARE else "en"
        if kind == "follow_up":
            exchanges = _follow_up(rng, world, language)
        elif kind == "mixed":
            turns = [pick(rng, _LONG)] + [pick(rng, _SHORT) for _ in range(pick(rng, _MIXED_TURNS) - 1)]
            rng.shuffle(turns)
            exchanges = [_exchange(turn, rng, world, language, names) for turn in turns]
        else:
            exchanges = [_exchange(kind, rng, world, language, names)]
        messages = [{"role": "system", "content": talk.system(rng, language)}] if rng.random() < SYSTEM_SHARE else []
        for said, answer in exchanges:
            messages += [{"role": "user", "content": said}, {"role": "assistant", "content": answer}]
        yield Dialogue(messages, language, kind)
