"""Prompts to align a model with: balanced over topics and difficulties, in both languages, with their ideal answers.

Training prompts are for comparisons and for policies to answer; held-out ones for judging, with names, number tuples and phrasings
that no training text has. Where a topic has none of these (comparisons), the hash of the request decides the split.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from kwen.errors import UserError
from kwen.nanoworld.names import Language, Names, Split
from kwen.nanoworld.prompt import DIFFICULTIES, TOPICS, Difficulty, Prompt, Topic
from kwen.nanoworld.prompt_makers import MAKERS, Setting
from kwen.nanoworld.world import build_world

__all__ = ["DIFFICULTIES", "TOPICS", "Difficulty", "Prompt", "Topic", "draw", "prompts"]

_TRIES = 60  # draws without a new prompt after which a cell counts as empty


def checked_topics(topics: Sequence[Topic]) -> list[Topic]:
    """The topics, each once. Raises UserError for an unknown topic and for none."""
    for topic in topics:
        if topic not in TOPICS:
            raise UserError(f"nanoworld prompts: no topic '{topic}'; the topics are {', '.join(TOPICS)}")
    if not topics:
        raise UserError(f"nanoworld prompts: no topic given; the topics are {', '.join(TOPICS)}")
    return list(dict.fromkeys(topics))


def draw(
    rng: random.Random, topic: Topic, difficulty: Difficulty, language: Language, split: Split, world_seed: int = 0
) -> Prompt:
    """One prompt (its id empty) of a topic, difficulty and language."""
    world = build_world(world_seed)
    return MAKERS[topic](Setting(rng, world, language, Names(split, world.taken_names)), difficulty)


def prompts(seed: int, count: int, split: Split = "train", topics: Sequence[Topic] = TOPICS, world_seed: int = 0) -> list[Prompt]:
    """`count` different prompts of a split: a pure function of the arguments, balanced in any long enough part of it.

    The cells (topic, difficulty) take turns, and two in five prompts of each are in Chinese. A cell that has no further prompt
    (there are some 60 ways to ask who the assistant is) leaves its turns to the others, which do not run out. A longer list begins
    with the shorter one, and a topic's prompts are the same whichever others are asked for.
    Raises UserError for an unknown topic, and for none.
    """
    wanted = checked_topics(topics)
    cells = [cell for cell in enumerate(product(TOPICS, DIFFICULTIES)) if cell[1][0] in wanted]
    seen: set[str] = set()
    made: list[Prompt] = []
    empty: set[tuple[Topic, Difficulty, Language]] = set()
    turn = 0
    while len(made) < count:
        for place, (topic, difficulty) in cells:
            language: Language = "zh" if 2 * (turn + place) % 5 < 2 else "en"
            if (topic, difficulty, language) in empty:
                continue
            rng = random.Random(f"{seed}/prompts/{split}/{topic}/{difficulty}/{turn}")
            new = _new(rng, topic, difficulty, language, split, world_seed, seen)
            if new is None:
                empty.add((topic, difficulty, language))
            else:
                made.append(replace(new, id=f"{split}-{seed}-{topic}-{difficulty}-{turn}"))
        turn += 1
    return made[:count]


def _new(
    rng: random.Random, topic: Topic, difficulty: Difficulty, language: Language, split: Split, world_seed: int, seen: set[str]
) -> Prompt | None:
    """A prompt whose conversation is not in `seen`, to which it is added; None where none is found."""
    for _ in range(_TRIES):
        new = draw(rng, topic, difficulty, language, split, world_seed)
        said = "\n".join(message["content"] for message in new.messages)
        if said not in seen:
            seen.add(said)
            return new
    return None
