"""Comparisons without end: the ideal reply to a prompt against one with a realistic fault, some labels wrong.

This is the large noisy corpus on which a preference model is pretrained. Every fault is known to be one without running anything:
the oracle grades it below the ideal reply, and a faulty function fails its tests by construction.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kwen.errors import UserError
from kwen.nanoworld.faults import GENERAL, Fault, Scene
from kwen.nanoworld.faults_answers import ANSWERS
from kwen.nanoworld.faults_functions import FUNCTIONS
from kwen.nanoworld.faults_maths import MATHS
from kwen.nanoworld.names import Language, Split, pick
from kwen.nanoworld.oracle import grade
from kwen.nanoworld.prompt import DIFFICULTIES, Difficulty, Prompt, Topic
from kwen.nanoworld.prompts import checked_topics, draw
from kwen.nanoworld.questions import CHINESE_QUESTIONS
from kwen.nanoworld.world import build_world

PMP_TOPICS: tuple[Topic, ...] = (
    "facts", "unknown", "problems", "functions", "reading", "small_talk", "identity", "unsafe",
)  # fmt: skip
"""What a preference model is pretrained on."""

OUT_OF_DOMAIN: dict[str, tuple[Topic, ...]] = {
    "sorting": ("comparison",), "follow-ups": ("follow_up",), "people": ("two_people",),
}  # fmt: skip
"""Sets of topics, by name, that pretraining on preferences never sees."""

NEAR_SHARE = 0.65
"""The share of faults that are near misses of the topic; the others can happen to any reply."""
KEEPS_CODE = ("cut_off", "repeated", "running_on")
"""The faults after which a function may still pass its tests."""
NEAR: dict[str, dict[str, Fault]] = {**ANSWERS, "problems": MATHS, "functions": FUNCTIONS}
"""The near misses of each topic, by name."""


@dataclass(frozen=True, slots=True)
class Preference:
    """Two replies to one conversation, the first preferred, with the prompt's tags.

    fault: what is wrong with the worse of the two (a name of `faults`); flipped: whether the label is wrong, and so `chosen` the
    worse.
    """

    messages: list[dict[str, str]]
    chosen: str
    rejected: str
    topic: Topic
    difficulty: Difficulty
    language: Language
    fault: str
    flipped: bool


def corrupt(
    rng: random.Random, prompt: Prompt, *, split: Split = "train", topics: Sequence[Topic] = PMP_TOPICS, world_seed: int = 0
) -> tuple[str, str]:
    """A worse reply to a prompt, and the name of its fault; what it borrows from other prompts is of `topics`.

    The oracle grades the reply below the ideal one; a function's fault is a failed test, or code that is not alone.
    """
    scene = Scene(rng, prompt, build_world(world_seed), split, topics)
    while True:
        faults = NEAR[prompt.topic] if rng.random() < NEAR_SHARE else GENERAL
        name = pick(rng, tuple(faults))
        reply = faults[name](scene)
        if reply is None or reply == prompt.answer:
            continue
        # At best the code of these passes; it is then not whole, or not concise. All other faults of functions fail.
        passed = name in KEEPS_CODE if prompt.topic == "functions" else None
        if grade(prompt, reply, passed=passed).score < 1.0:
            return reply, name


def comparisons(
    seed: int,
    count: int,
    *,
    split: Split = "train",
    topics: Sequence[Topic] = PMP_TOPICS,
    noise: float = 0.15,
    world_seed: int = 0,
) -> Iterator[Preference]:
    """`count` comparisons, each a pure function of (seed, its number, split, topics, world): topics and difficulties equally
    often, two in five in Chinese. A share `noise` of them has the two replies exchanged; it changes nothing else.

    Raises UserError for an unknown topic, and for noise outside [0, 1).
    """
    wanted = checked_topics(topics)
    if not 0 <= noise < 1:
        raise UserError(f"nanoworld comparisons: noise is {noise}; give a share from 0 up to, but not including, 1")
    for number in range(count):
        rng = random.Random(f"{seed}/preferences/{split}/{number}")
        flipped = rng.random() < noise
        language: Language = "zh" if rng.random() < CHINESE_QUESTIONS else "en"
        prompt = draw(rng, pick(rng, wanted), pick(rng, DIFFICULTIES), language, split, world_seed)
        worse, fault = corrupt(rng, prompt, split=split, topics=wanted, world_seed=world_seed)
        chosen, rejected = (worse, prompt.answer) if flipped else (prompt.answer, worse)
        yield Preference(prompt.messages, chosen, rejected, prompt.topic, prompt.difficulty, language, fault, flipped)
