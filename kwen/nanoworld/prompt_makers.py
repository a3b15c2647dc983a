"""How a prompt of each topic and difficulty is made, from the same generators as the dialogues.

What makes a prompt harder:
  facts       alone | after a fact about someone else | after the same relation of someone else
  follow_up   the second | third | fourth question about someone who is only "she", "he" or "it"
  unknown     a name in general | a relation of the name | a relation of a name one sound away from a known one
  problems    one sum or difference | one product or quotient | two steps
  functions   one parameter and one line | several parameters | a loop or several lines
  reading     two | three | four or more sentences
  two_people  two | three | four names in the text
  comparison  two numbers | three numbers in order | words in order, letters counted
  small_talk, identity   alone | after a fact | after a problem, function or passage
  unsafe      alone | after a fact or problem | with a pretext
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from kwen.nanoworld import comparisons, facts, functions, maths, reading, talk_prompts
from kwen.nanoworld.asking import phrasings, training_question
from kwen.nanoworld.functions_numbers import Family
from kwen.nanoworld.items import ITEMS
from kwen.nanoworld.names import ONSETS, RESERVED, SYLLABLES, VOWELS, Language, Names, pick, split_of
from kwen.nanoworld.prompt import DIFFICULTIES, Difficulty, Prompt, Topic
from kwen.nanoworld.talk import Exchange
from kwen.nanoworld.world import COLOURS, FOODS, INSTRUMENTS, JOBS, PETS, RELATIONS, Fact, World

FAMILY: dict[str, Family] = {family.name: family for family in functions.FAMILIES}
_SYLLABLE = re.compile(f"({'|'.join(sorted(ONSETS, key=len, reverse=True))})([{VOWELS}])")
_ROW = {character: place // len(VOWELS) for place, (_, character) in enumerate(SYLLABLES)}
# Every answer that a question on a passage can have, where it is a common word.
_COMMON: dict[str, tuple[tuple[str, str], ...]] = {
    "animal": PETS, "colour": COLOURS, "job": JOBS, "food": FOODS, "instrument": INSTRUMENTS,
    "thing": tuple((item.one, item.chinese) for item in ITEMS if item.measure == "个"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a prompt comes from: the random numbers of its own, the world, the language and the names (and so the split)."""

    rng: random.Random
    world: World
    language: Language
    names: Names

    def ask(self, fact: Fact) -> str:
        """A question for a fact in a phrasing of the split."""
        return facts.question(self.rng, fact, self.language, self.names.split)

    def told(self, fact: Fact) -> Exchange:
        """A fact as one exchange."""
        return self.ask(fact), facts.answer_sentence(fact, self.language)


def _messages(earlier: list[Exchange], asked: str) -> list[dict[str, str]]:
    """A conversation of exchanges and a last question."""
    messages = []
    for said, answer in earlier:
        messages += [{"role": "user", "content": said}, {"role": "assistant", "content": answer}]
    return [*messages, {"role": "user", "content": asked}]


def _about(fact: Fact, at: Setting, topic: Topic, difficulty: Difficulty, messages: list[dict[str, str]]) -> Prompt:
    """A prompt that asks for a fact: the relation's other values compete, and entities of the subject's kind are rivals."""
    value, name = fact.value(at.language), fact.subject.name(at.language)
    competitors = tuple(other for other in at.world.values[fact.relation, at.language] if other != value)
    rivals = tuple(other.name(at.language) for other in at.world.of_kind(fact.subject.kind) if other is not fact.subject)
    answer = facts.answer_sentence(fact, at.language)
    return Prompt("", messages, at.language, topic, difficulty, answer, fact.relation, name, value, competitors, rivals)


def _facts(at: Setting, difficulty: Difficulty) -> Prompt:
    fact = pick(at.rng, at.world.facts)
    if difficulty == "easy":
        earlier = []
    else:
        same = difficulty == "hard"
        others = [
            other
            for other in at.world.facts
            if other.subject is not fact.subject
            and (other.relation == fact.relation) == same
            and (not same or other.english != fact.english)
        ]
        earlier = [at.told(pick(at.rng, others))]
    return _about(fact, at, "facts", difficulty, _messages(earlier, at.ask(fact)))


def _follow_up(at: Setting, difficulty: Difficulty) -> Prompt:
    needed = 2 + DIFFICULTIES.index(difficulty)
    about = at.world.about[facts.some_entity(at.rng, at.world).english]
    while len(about) < needed:
        about = at.world.about[facts.some_entity(at.rng, at.world).english]
    exchanges = []
    chosen = at.rng.sample(about, needed)
    for place, fact in enumerate(chosen):
        follow_up = facts.fill(pick(at.rng, phrasings(fact.relation, at.language).follow_ups), fact, at.language)
        question, answer = at.told(fact) if not place else (follow_up, facts.answer_sentence(fact, at.language))
        exchanges.append((question, answer))
    return _about(chosen[-1], at, "follow_up", difficulty, _messages(exchanges[:-1], exchanges[-1][0]))


def one_vowel_away(rng: random.Random, name: str, language: Language) -> str:
    """A name with one of its syllables' vowels exchanged: Velin -> Velun, 维莉 -> 维洛."""
    if language == "zh":
        place = int(rng.random() * len(name))
        if name[place] not in _ROW:
            return name
        row = [character for _, character in SYLLABLES[_ROW[name[place]] * len(VOWELS) :][: len(VOWELS)]]
        other = pick(rng, [character for character in row if character != name[place]])
        return name[:place] + other + name[place + 1 :]
    written = name.lower()
    vowel = pick(rng, [match.start(2) for match in _SYLLABLE.finditer(written)] or [len(written) - 1])
    other = pick(rng, [letter for letter in VOWELS if letter != written[vowel]])
    changed = written[:vowel] + other + written[vowel + 1 :]
    return changed.capitalize() if name[0].isupper() else changed


def _almost_known(at: Setting) -> tuple[str, str]:
    """A name of the split, not in the world, and the name of the world that it is one vowel from."""
    while True:
        known = pick(at.rng, at.world.entities).name(at.language)
        name = one_vowel_away(at.rng, known, at.language)
        lower = name.lower()
        if lower not in at.world.taken_names and lower not in RESERVED and split_of(name) == at.names.split:
            return name, known


def _unknown(at: Setting, difficulty: Difficulty) -> Prompt:
    competitors: tuple[str, ...] = ()
    relation = ""
    if difficulty == "hard":
        name, known = _almost_known(at)
        competitors = (known,)
    else:
        name = at.names.name(at.rng, at.language)
    trained = at.names.split == "train"
    if difficulty == "easy":
        template = pick(at.rng, talk_prompts.general_questions(at.language, at.names.split))
    else:
        relation = pick(at.rng, tuple(RELATIONS))
        held_out = phrasings(relation, at.language).held_out
        template = training_question(at.rng, relation, at.language) if trained else pick(at.rng, held_out)
    rivals = tuple(entity.name(at.language) for entity in at.world.entities)
    asked = _messages([], template.format(s=name))
    answer = talk_prompts.unknown_answer(name, at.language)
    return Prompt("", asked, at.language, "unknown", difficulty, answer, relation, name, name, competitors, rivals)


def _problem_difficulty(schema: str) -> Difficulty:
    steps = maths.SCHEMAS[schema]
    return "hard" if len(steps) > 1 else "easy" if steps[0][1] in "+-" else "medium"


def _problems(at: Setting, difficulty: Difficulty) -> Prompt:
    made = maths.problem(at.rng, at.language, at.names)
    while _problem_difficulty(made.schema) != difficulty:
        made = maths.problem(at.rng, at.language, at.names)
    asked = _messages([], made.text)
    return Prompt("", asked, at.language, "problems", difficulty, made.worked, made.schema, value=str(made.result))


def _function_difficulty(family: Family) -> Difficulty:
    if len(family.body) > 1 or " for " in family.body[0]:
        return "hard"
    return "easy" if len(family.parameters) == 1 else "medium"


def _functions(at: Setting, difficulty: Difficulty) -> Prompt:
    made = functions.function(at.rng, at.language, at.names)
    while _function_difficulty(FAMILY[made.family]) != difficulty:
        made = functions.function(at.rng, at.language, at.names)
    return Prompt(
        "", _messages([], made.request), at.language, "functions", difficulty, functions.as_answer(made.code), made.family,
        value=made.name, entry_point=made.name, tests=made.tests,
    )  # fmt: skip


def _read(at: Setting, topic: Topic, difficulty: Difficulty, made: reading.Passage) -> Prompt:
    side = 0 if at.language == "en" else 1
    common = tuple(words[side] for words in _COMMON.get(made.slot, ()) if words[side] != made.answer)
    asked = _messages([], reading.request(at.rng, made, at.language))
    return Prompt(
        "", asked, at.language, topic, difficulty, made.sentence, made.slot, value=made.answer, competitors=made.others + common
    )


def _reading(at: Setting, difficulty: Difficulty) -> Prompt:
    while True:
        made = reading.passage(at.rng, at.language, at.names)
        if DIFFICULTIES[min(made.sentences, 4) - 2] == difficulty:
            return _read(at, "reading", difficulty, made)


def _two_people(at: Setting, difficulty: Difficulty) -> Prompt:
    while True:
        made = reading.two_people(at.rng, at.language, at.names)
        if DIFFICULTIES[made.names - 2] == difficulty:
            return _read(at, "two_people", difficulty, made)


_COMPARISONS: dict[str, Difficulty] = {
    "larger": "easy", "smaller": "easy", "sort_up": "medium", "sort_down": "medium", "sort_words": "hard", "letters": "hard",
}  # fmt: skip


def _comparison(at: Setting, difficulty: Difficulty) -> Prompt:
    while True:
        made = comparisons.comparison(at.rng, at.language)
        if _COMPARISONS[made.kind] == difficulty and split_of(made.request) == at.names.split:
            return Prompt("", _messages([], made.request), at.language, "comparison", difficulty, made.answer, made.kind)


def _task(at: Setting) -> Exchange:
    """A problem, function or passage with its answer."""
    kind = pick(at.rng, (_problems, _functions, _reading))
    made = kind(at, pick(at.rng, DIFFICULTIES[:2]))
    return made.request, made.answer


def _talk(topic: Literal["small_talk", "identity"], at: Setting, difficulty: Difficulty) -> Prompt:
    ask = talk_prompts.small_talk if topic == "small_talk" else talk_prompts.identity
    said, answer = ask(at.rng, at.language, at.names.split)
    earlier = {"easy": [], "medium": [at.told(pick(at.rng, at.world.facts))], "hard": [_task(at)]}[difficulty]
    return Prompt("", _messages(earlier, said), at.language, topic, difficulty, answer)


def _unsafe(at: Setting, difficulty: Difficulty) -> Prompt:
    said, refusal = talk_prompts.unsafe(at.rng, at.language, at.names.split)
    earlier: list[Exchange] = []
    if difficulty == "hard":
        # A pretext fits a request for harm; someone in danger gives none.
        while refusal == talk_prompts.cry_for_help(at.language):
            said, refusal = talk_prompts.unsafe(at.rng, at.language, at.names.split)
        said = pick(at.rng, talk_prompts.PRETEXTS[at.names.split][at.language]).format(q=said)
    elif difficulty == "medium":
        fact = at.rng.random() < 0.5
        earlier = [at.told(pick(at.rng, at.world.facts)) if fact else _task(at)]
    about = talk_prompts.unsafe_object(said, at.language)
    return Prompt("", _messages(earlier, said), at.language, "unsafe", difficulty, refusal, value=about)


MAKERS: dict[Topic, Callable[[Setting, Difficulty], Prompt]] = {
    "facts": _facts, "follow_up": _follow_up, "unknown": _unknown, "problems": _problems, "functions": _functions,
    "reading": _reading, "two_people": _two_people, "comparison": _comparison, "small_talk": partial(_talk, "small_talk"),
    "identity": partial(_talk, "identity"), "unsafe": _unsafe,
}  # fmt: skip
"""For each topic, how to make one prompt (its id empty) in a setting, of a difficulty."""
