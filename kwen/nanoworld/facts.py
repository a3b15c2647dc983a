"""Facts in words: statements, small articles, questions and their answers."""

import random

from kwen.nanoworld.asking import phrasings, training_question
from kwen.nanoworld.names import Language, Split, pick
from kwen.nanoworld.world import Entity, Fact, World

_PRONOUNS: dict[tuple[Language, str], dict[str, str]] = {
    ("en", "f"): {"he": "she", "his": "her", "He": "She", "His": "Her"},
    ("en", "m"): {"he": "he", "his": "his", "He": "He", "His": "His"},
    ("en", ""): {"he": "it", "his": "its", "He": "It", "His": "Its"},
    ("zh", "f"): {"he": "她", "his": "她的"},
    ("zh", "m"): {"he": "他", "his": "他的"},
    ("zh", ""): {"he": "它", "his": "它的"},
}
_QUESTION_FORMS: dict[Language, tuple[str, ...]] = {
    "en": ("Question: {q}\nAnswer: {a}", "Q: {q}\nA: {a}", "{q} {a}", "{q}\n{a}"),
    "zh": ("问题：{q}\n回答：{a}", "问：{q}\n答：{a}", "{q}{a}", "{q}\n{a}"),
}


def fill(template: str, fact: Fact, language: Language) -> str:
    """A template with the fact's subject, object and pronouns put in."""
    return template.format(s=fact.subject.name(language), o=fact.value(language), **_PRONOUNS[language, fact.subject.gender])


def answer_sentence(fact: Fact, language: Language) -> str:
    """The sentence that the assistant answers with: the relation's canonical statement."""
    return fill(phrasings(fact.relation, language).statements[0], fact, language)


def question(rng: random.Random, fact: Fact, language: Language, split: Split) -> str:
    """A question whose answer is `fact`, in a phrasing of the split."""
    if split == "train":
        return fill(training_question(rng, fact.relation, language), fact, language)
    return fill(pick(rng, phrasings(fact.relation, language).held_out), fact, language)


def join(sentences: list[str], language: Language) -> str:
    """Sentences as one paragraph: spaces between English ones, nothing between Chinese ones."""
    return (" " if language == "en" else "").join(sentences)


def some_entity(rng: random.Random, world: World) -> Entity:
    """An entity, as likely as it has facts, so that every fact is told about equally often."""
    return pick(rng, world.facts).subject


def article(rng: random.Random, world: World, language: Language) -> str:
    """Two to five facts about one entity as a paragraph; a sentence after the first may say `she` instead of the name."""
    facts = world.about[some_entity(rng, world).english]
    chosen = rng.sample(facts, min(len(facts), 2 + int(rng.random() * 4)))
    sentences = []
    for place, fact in enumerate(chosen):
        known = phrasings(fact.relation, language)
        sentences.append(fill(pick(rng, known.continued if place and rng.random() < 0.35 else known.statements), fact, language))
    return join(sentences, language)


def overview(rng: random.Random, world: World, language: Language) -> str:
    """One relation told of three to five entities, each in its own phrasing."""
    relation = pick(rng, world.facts).relation
    facts = [fact for fact in world.facts if fact.relation == relation]
    known = phrasings(relation, language)
    return join(
        [fill(pick(rng, known.statements), fact, language) for fact in rng.sample(facts, 3 + int(rng.random() * 3))], language
    )


def quiz(rng: random.Random, world: World, language: Language, split: Split) -> str:
    """One to three questions with their answers as plain text, all about one entity or about any."""
    facts = world.about[some_entity(rng, world).english] if rng.random() < 0.5 else world.facts
    form = pick(rng, _QUESTION_FORMS[language])
    chosen = rng.sample(facts, min(len(facts), 1 + int(rng.random() * 3)))
    return "\n".join(form.format(q=question(rng, fact, language, split), a=answer_sentence(fact, language)) for fact in chosen)
