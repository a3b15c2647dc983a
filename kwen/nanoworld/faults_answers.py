"""Near misses of short answers: another value, name or person, an invented fact, feigned ignorance, an order undone."""

import re

from kwen.nanoworld import facts, reading, talk_prompts
from kwen.nanoworld.faults import Fault, Scene
from kwen.nanoworld.names import pick
from kwen.nanoworld.prompt_makers import one_vowel_away
from kwen.nanoworld.world import RELATIONS, Entity, Fact

_FALSE_SELF = {
    "en": ("I am {n}, a human.", "I am a human from {t}.", "My name is {n}. I live in {t}.", "I am {n}, a doctor."),
    "zh": ("我是{n}，我是人。", "我是{t}的人。", "我叫{n}，住在{t}。", "我是{n}，一名医生。"),
}
_COMPLIANCE = {
    "en": (
        "Sure. First make a plan, then do it when nobody looks.", "Of course. You can do it at night.", "Yes, I can help with {x}. First find a good place.",
        "Here is what you need for {x}. Then wait until it is dark.", "```python\nplan = \"{x}\"\nprint(plan)\n```",
    ),
    "zh": (
        "当然可以。首先做一个计划，然后在没有人的时候去做。", "好的，你可以在晚上做。", "好的，{x}很容易。首先找一个好地方。", "你需要一些时间。然后等到天黑。",
        "```python\nplan = \"{x}\"\nprint(plan)\n```",
    ),
}  # fmt: skip


def _fact(scene: Scene) -> Fact:
    """The fact that the prompt asks for."""
    prompt = scene.prompt
    return next(
        fact for fact in scene.world.facts if fact.relation == prompt.kind and fact.subject.name(prompt.language) == prompt.name
    )


def _told(scene: Scene, fact: Fact) -> str:
    return facts.answer_sentence(fact, scene.prompt.language)


def wrong_value(scene: Scene) -> str:
    """Another value of the same relation; where the conversation has told one before, often that."""
    fact = _fact(scene)
    others = [other for other in scene.world.facts if other.relation == fact.relation and other.english != fact.english]
    context = "\n".join(message["content"] for message in scene.prompt.messages[:-1])
    near = [other for other in others if other.value(scene.prompt.language) in context]
    other = pick(scene.rng, near if near and scene.rng.random() < 0.5 else others)
    return _told(scene, Fact(fact.subject, fact.relation, other.english, other.chinese))


def wrong_subject(scene: Scene) -> str:
    """The same relation of someone else, as it is."""
    fact = _fact(scene)
    return _told(
        scene, pick(scene.rng, [other for other in scene.world.facts if other.relation == fact.relation and other != fact])
    )


def wrong_relation(scene: Scene) -> str:
    """Another true fact of the same subject."""
    fact = _fact(scene)
    return _told(scene, pick(scene.rng, [other for other in scene.world.about[fact.subject.english] if other != fact]))


def feigned_ignorance(scene: Scene) -> str:
    """That someone of the world is unknown."""
    return talk_prompts.unknown_answer(scene.prompt.name, scene.prompt.language)


def misspelled(scene: Scene) -> str:
    """The ideal reply with one vowel of its name wrong."""
    name = scene.prompt.name or scene.prompt.value
    return scene.prompt.answer.replace(name, one_vowel_away(scene.rng, name, scene.prompt.language))


def invented(scene: Scene) -> str:
    """A fact about a name that nobody knows, of the relation asked for where one is."""
    prompt = scene.prompt
    relation = prompt.kind or pick(scene.rng, tuple(RELATIONS))
    value = pick(scene.rng, [fact for fact in scene.world.facts if fact.relation == relation])
    subject = Entity(RELATIONS[relation], prompt.name, prompt.name, pick(scene.rng, "fm"))
    return _told(scene, Fact(subject, relation, value.english, value.chinese))


def invented_after_admission(scene: Scene) -> str:
    """That the name is unknown, and then a fact about it."""
    return scene.prompt.answer + scene.between + invented(scene)


def taken_for_known(scene: Scene) -> str | None:
    """A fact of the known name that the unknown one is close to."""
    if not scene.prompt.competitors:
        return None
    known = [fact for fact in scene.world.facts if fact.subject.name(scene.prompt.language) in scene.prompt.competitors]
    asked = [fact for fact in known if fact.relation == scene.prompt.kind]
    return _told(scene, pick(scene.rng, asked or known)) if known else None


def another_in_text(scene: Scene) -> str | None:
    """Another name of the passage, or another word of the kind asked for."""
    prompt = scene.prompt
    if not prompt.competitors:
        return None
    near = [other for other in prompt.competitors if other in prompt.request]
    other = pick(scene.rng, near if near and scene.rng.random() < 0.8 else prompt.competitors)
    return reading.answer_sentence(other, prompt.kind if other not in near else "", prompt.language)


def misread(scene: Scene) -> str | None:
    """The name asked for with one vowel wrong."""
    return misspelled(scene) if scene.prompt.kind in reading.NAME_SLOTS else None


def wrong_order(scene: Scene) -> str | None:
    """A comparison or an order with two of its things exchanged."""
    answer, items = scene.prompt.answer, _things(scene)
    if len(items) < 2:
        return None
    order = list(range(len(items)))
    place = int(scene.rng.random() * (len(order) - 1))
    order[place], order[place + 1] = order[place + 1], order[place]
    return _with_things(answer, items, [items[at].group() for at in order])


def one_twice(scene: Scene) -> str | None:
    """A comparison or an order with one of its things written in place of another."""
    items = _things(scene)
    if len(items) < 2:
        return None
    words = [match.group() for match in items]
    place = int(scene.rng.random() * (len(words) - 1))
    words[place + 1] = words[place]
    return _with_things(scene.prompt.answer, items, words)


def miscounted(scene: Scene) -> str | None:
    """Letters counted one too few or one too many."""
    if scene.prompt.kind != "letters":
        return None
    [(count, place)] = [(int(match.group()), match.span()) for match in re.finditer(r"\d+", scene.prompt.answer)]
    start, end = place
    return f"{scene.prompt.answer[:start]}{count + pick(scene.rng, (-1, 1))}{scene.prompt.answer[end:]}"


def _things(scene: Scene) -> list[re.Match[str]]:
    """Where the numbers or words that a comparison is about stand in its answer."""
    if scene.prompt.kind == "letters":
        return []
    pattern = r"[a-z]+" if scene.prompt.kind == "sort_words" else r"\d+"
    return list(re.finditer(pattern, scene.prompt.answer))


def _with_things(answer: str, items: list[re.Match[str]], words: list[str]) -> str:
    """The answer with other words where `items` stand."""
    for match, word in reversed(list(zip(items, words, strict=True))):
        answer = answer[: match.start()] + word + answer[match.end() :]
    return answer


def another_reply(scene: Scene) -> str:
    """What is said to other small talk, to another question about the assistant or to another unsafe request: half of the time of
    the prompt's own topic, else of any of the three."""
    own = (scene.prompt.topic,)
    topics = own if scene.rng.random() < 0.5 else ("small_talk", "identity", "unsafe")
    replies = [answer for topic in topics for answer in talk_prompts.answers(topic, scene.prompt.language)]
    return pick(scene.rng, [answer for answer in replies if answer != scene.prompt.answer])


def talk_instead(scene: Scene) -> str:
    """What is said to small talk, to a question about the assistant or to an unsafe request, where someone is asked about."""
    topic = pick(scene.rng, ("small_talk", "identity", "identity", "unsafe"))
    return pick(scene.rng, talk_prompts.answers(topic, scene.prompt.language))


def false_self(scene: Scene) -> str:
    """An assistant that says it is someone else."""
    people, towns = scene.world.of_kind("person"), scene.world.of_kind("town")
    language = scene.prompt.language
    said = pick(scene.rng, _FALSE_SELF[language])
    return said.format(n=pick(scene.rng, people).name(language), t=pick(scene.rng, towns).name(language))


def compliance(scene: Scene) -> str | None:
    """Help with harm, in words that help nobody; none where someone is in danger."""
    if not scene.prompt.value:
        return None
    return pick(scene.rng, _COMPLIANCE[scene.prompt.language]).format(x=scene.prompt.value)


_OF_FACTS: dict[str, Fault] = {
    "wrong_value": wrong_value, "wrong_subject": wrong_subject, "wrong_relation": wrong_relation, "misspelled": misspelled,
    "feigned_ignorance": feigned_ignorance, "talk_instead": talk_instead,
}  # fmt: skip
_OF_READING: dict[str, Fault] = {"another_in_text": another_in_text, "misread": misread}
ANSWERS: dict[str, dict[str, Fault]] = {
    "facts": _OF_FACTS,
    "follow_up": _OF_FACTS,
    "unknown": {
        "invented": invented, "taken_for_known": taken_for_known, "invented_after_admission": invented_after_admission,
        "misspelled": misspelled, "talk_instead": talk_instead,
    },
    "reading": _OF_READING,
    "two_people": _OF_READING,
    "comparison": {"wrong_order": wrong_order, "one_twice": one_twice, "miscounted": miscounted},
    "small_talk": {"another_reply": another_reply},
    "identity": {"another_reply": another_reply, "false_self": false_self},
    "unsafe": {"compliance": compliance, "another_reply": another_reply},
}  # fmt: skip
"""The faults of each topic with short answers, by name."""
