"""Text to pretrain on: documents of every kind, in the proportions of a table."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from kwen.errors import UserError
from kwen.nanoworld import comparisons, facts, functions, maths, reading, stories
from kwen.nanoworld.names import Language, Names, Split, split_of
from kwen.nanoworld.world import World, build_world

CHINESE_SHARE = 0.35
"""The share of documents and dialogues that are in Chinese."""

DOCUMENT_MIX: dict[str, float] = {
    "article": 14,
    "overview": 4,
    "quiz": 13,
    "story": 4,
    "reading": 12,
    "two_people": 2,
    "problem": 22,
    "sums": 10,
    "comparison": 4,
    "function": 17,
}
"""How often each kind of document comes, as relative weights."""


# Kinds whose content is the same in both splits; there the hash of the text decides which split may have it.
_SPLIT_BY_TEXT = frozenset({"article", "overview", "sums", "comparison"})


@dataclass(frozen=True, slots=True)
class Document:
    """One text, its language and its kind (a key of `DOCUMENT_MIX`)."""

    text: str
    language: Language
    kind: str


def _write(kind: str, rng: random.Random, world: World, language: Language, names: Names) -> str:
    if kind == "article":
        return facts.article(rng, world, language)
    if kind == "overview":
        return facts.overview(rng, world, language)
    if kind == "quiz":
        return facts.quiz(rng, world, language, names.split)
    if kind == "story":
        return stories.story(rng, world, language, names)
    if kind == "reading":
        return reading.as_document(rng, reading.passage(rng, language, names), language)
    if kind == "two_people":
        return reading.as_document(rng, reading.two_people(rng, language, names), language)
    if kind == "problem":
        made = maths.problem(rng, language, names)
        return f"{made.text}\n{made.worked}"
    if kind == "sums":
        return "\n".join(maths.sums(rng))
    if kind == "comparison":
        compared = comparisons.comparison(rng, language)
        return f"{compared.request}\n{compared.answer}"
    return functions.as_document(rng, functions.function(rng, language, names), language)


def checked_mix(mix: Mapping[str, float], known: Mapping[str, float]) -> tuple[list[str], list[float]]:
    """The kinds of a mix and their cumulative weights.

    Raises UserError for an unknown kind, a weight that is negative or not finite, and a mix without any weight.
    """
    for kind, weight in mix.items():
        if kind not in known:
            raise UserError(f"nanoworld mix: unknown kind '{kind}'; the kinds are {', '.join(known)}")
        if not 0 <= weight < float("inf"):
            raise UserError(f"nanoworld mix: the weight of '{kind}' is {weight}; give a finite number that is not negative")
    if sum(mix.values()) <= 0:
        raise UserError("nanoworld mix: no kind has a weight above 0; give at least one")
    return list(mix), list(accumulate(mix.values()))


def documents(
    seed: int, split: Split, count: int, mix: Mapping[str, float] = DOCUMENT_MIX, world_seed: int = 0
) -> Iterator[Document]:
    """`count` documents of a split, each a pure function of (seed, split, its number, mix, world).

    No held-out document is a training document: it has names, number tuples, question phrasings or whole texts that training
    never has. `mix` gives the kinds' relative weights; a kind may be left out. Raises UserError for a mix that cannot be drawn
    from.
    """
    world = build_world(world_seed)
    names = Names(split, world.taken_names)
    kinds, weights = checked_mix(mix, DOCUMENT_MIX)
    for number in range(count):
        rng = random.Random(f"{seed}/documents/{split}/{number}")
        kind = rng.choices(kinds, cum_weights=weights)[0]
        language: Language = "zh" if rng.random() < CHINESE_SHARE else "en"
        text = _write(kind, rng, world, language, names)
        while kind in _SPLIT_BY_TEXT and split_of(text) != split:
            text = _write(kind, rng, world, language, names)
        yield Document(text, language, kind)
