"""Faults that a reply to any prompt can have: it is cut off, repeats itself, runs on, answers something else, refuses, knows nothing."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kwen.nanoworld import replies, talk_prompts
from kwen.nanoworld.names import Language, Split, pick
from kwen.nanoworld.prompt import DIFFICULTIES, Prompt, Topic
from kwen.nanoworld.prompts import draw
from kwen.nanoworld.world import World

_IGNORANCE: dict[Language, tuple[str, ...]] = {
    "en": ("I do not know.", "I do not know that.", "I am not sure."),
    "zh": ("我不知道。", "这个我不知道。", "我不清楚。"),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """What a fault is made from: random numbers, the prompt and its world, and the topics of which other prompts may come."""

    rng: random.Random
    prompt: Prompt
    world: World
    split: Split
    topics: Sequence[Topic]

    @property
    def between(self) -> str:
        """What stands between two sentences."""
        return " " if self.prompt.language == "en" else ""

    def other(self) -> Prompt:
        """Another prompt of the topics, in the same language."""
        topic, difficulty = pick(self.rng, self.topics), pick(self.rng, DIFFICULTIES)
        return draw(self.rng, topic, difficulty, self.prompt.language, self.split, self.world.seed)


Fault = Callable[[Scene], str | None]
"""Makes a faulty reply; None where the prompt allows none of that kind."""


def cut_off(scene: Scene) -> str | None:
    """The ideal reply up to somewhere before its end."""
    answer = scene.prompt.answer
    if len(answer) < 4:
        return None
    end = 2 + int(scene.rng.random() * (len(answer) - 3))
    cut = answer[:end].rstrip(" \n.。!！?？")
    return cut if not replies.is_empty(cut) and not replies.is_whole(cut) else None


def repeated(scene: Scene) -> str:
    """The ideal reply two to four times."""
    joint = "\n" if scene.prompt.topic == "functions" else scene.between
    return joint.join([scene.prompt.answer] * (2 + int(scene.rng.random() * 3)))


def running_on(scene: Scene) -> str:
    """The ideal reply, and then one to another question or two."""
    joint = "\n" if scene.prompt.topic == "functions" else scene.between
    return joint.join([scene.prompt.answer, *(scene.other().answer for _ in range(1 + int(scene.rng.random() * 2)))])


def off_topic(scene: Scene) -> str:
    """The ideal reply to another question."""
    return scene.other().answer


def earlier(scene: Scene) -> str | None:
    """The reply to the question before, again."""
    messages = scene.prompt.messages
    return messages[-2]["content"] if len(messages) > 1 else None


def refusal(scene: Scene) -> str:
    """A refusal where there is nothing to refuse; the wrong one where there is."""
    others = [answer for answer in talk_prompts.answers("unsafe", scene.prompt.language)[:-1] if answer != scene.prompt.answer]
    return pick(scene.rng, others)


def ignorance(scene: Scene) -> str:
    """That the answer is not known, though it is there to be remembered, read or worked out."""
    return pick(scene.rng, _IGNORANCE[scene.prompt.language])


GENERAL: dict[str, Fault] = {
    "cut_off": cut_off, "repeated": repeated, "running_on": running_on, "off_topic": off_topic, "earlier": earlier, "refusal": refusal,
    "ignorance": ignorance,
}  # fmt: skip
"""The faults that any topic can have, by name."""
