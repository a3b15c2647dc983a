"""Held-out questions with their answers, and the oracle that scores a reply."""

import random
import re
import unicodedata
from dataclasses import dataclass
from typing import Literal, get_args

from kwen.errors import UserError
from kwen.nanoworld import facts, functions, maths, reading
from kwen.nanoworld.asking import phrasings
from kwen.nanoworld.names import Language, Names
from kwen.nanoworld.world import World, build_world

Task = Literal["facts", "problems", "functions", "reading"]
TASKS: tuple[Task, ...] = get_args(Task)
CHINESE_QUESTIONS = 0.4
"""The share of held-out questions that are in Chinese."""


@dataclass(frozen=True)
class Question:
    """A question nobody was trained on.

    `answer` is the bare answer (facts: the object; problems: the number; functions: code that passes; reading: the name).
    `entry_point` and `tests` (assert statements) are for functions, empty otherwise. `kind` is the relation, schema, family or
    role; `competitors` are answers that would be wrong, of which a right reply names none.
    """

    id: str
    task: Task
    language: Language
    messages: list[dict[str, str]]
    answer: str
    entry_point: str
    tests: tuple[str, ...]
    kind: str
    competitors: tuple[str, ...] = ()


def _fact_questions(rng: random.Random, world: World, count: int) -> list[Question]:
    """All pairs of fact and held-out phrasing of a language, shuffled; the first ones."""
    made: list[Question] = []
    chinese = round(count * CHINESE_QUESTIONS)
    languages: tuple[tuple[Language, int], ...] = (("en", count - chinese), ("zh", chinese))
    for language, wanted in languages:
        pairs = [(fact, template) for fact in world.facts for template in phrasings(fact.relation, language).held_out]
        rng.shuffle(pairs)
        if wanted > len(pairs):
            raise UserError(
                f"nanoworld facts: {wanted} held-out questions in '{language}' asked for, {len(pairs)} exist; lower the count"
            )
        for fact, template in pairs[:wanted]:
            answer = fact.value(language)
            competitors = tuple(value for value in world.values[fact.relation, language] if value != answer)
            asked = [{"role": "user", "content": facts.fill(template, fact, language)}]
            made.append(Question("", "facts", language, asked, answer, "", (), fact.relation, competitors))
    return made


def _generated(task: Task, rng: random.Random, language: Language, names: Names) -> Question:
    if task == "problems":
        problem = maths.problem(rng, language, names)
        return Question(
            "", task, language, [{"role": "user", "content": problem.text}], str(problem.result), "", (), problem.schema
        )
    if task == "functions":
        function = functions.function(rng, language, names)
        asked = [{"role": "user", "content": function.request}]
        return Question("", task, language, asked, function.code, function.name, function.tests, function.family)
    passage = reading.passage(rng, language, names, only_names=True)
    asked = [{"role": "user", "content": reading.request(rng, passage, language)}]
    return Question("", task, language, asked, passage.answer, "", (), reading.NAME_SLOTS[passage.slot], passage.others)


def held_out(task: Task, seed: int = 0, count: int = 300, world_seed: int = 0) -> list[Question]:
    """`count` different held-out questions of a task, three in five in English, in random order.

    Facts come in phrasings that training never uses; problems with number tuples, functions and passages with names that it
    never uses.
    Raises UserError for an unknown task, and for more fact questions than there are.
    """
    if task not in TASKS:
        raise UserError(f"nanoworld has no task '{task}'; its tasks are {', '.join(TASKS)}")
    world = build_world(world_seed)
    rng = random.Random(f"{seed}/questions/{task}")
    if task == "facts":
        made = _fact_questions(rng, world, count)
    else:
        names = Names("held_out", world.taken_names)
        chinese = round(count * CHINESE_QUESTIONS)
        made, seen = [], set()
        while len(made) < count:
            question = _generated(task, rng, "zh" if len(made) < chinese else "en", names)
            if question.messages[0]["content"] not in seen:
                seen.add(question.messages[0]["content"])
                made.append(question)
    rng.shuffle(made)
    return [
        Question(f"{task}-{seed}-{i}", q.task, q.language, q.messages, q.answer, q.entry_point, q.tests, q.kind, q.competitors)
        for i, q in enumerate(made)
    ]


_CJK = re.compile(r"[一-鿿]")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_STATED = re.compile(r"(?:the answer is|答案是)\s*(-?\d+(?:\.\d+)?)", re.IGNORECASE)


def normalise(text: str) -> str:
    """Text as answers are compared: NFKC, lower case, punctuation out, single spaces."""
    text = unicodedata.normalize("NFKC", text).lower()
    return " ".join("".join(c if c.isalnum() or c.isspace() else " " for c in text).split())


def states(text: str, value: str) -> bool:
    """Whether normalised `text` names `value`: as whole words, or anywhere where the value is written in Chinese characters."""
    value = normalise(value)
    if _CJK.search(value):
        return value in text
    return re.search(rf"(?<![a-z0-9]){re.escape(value)}(?![a-z0-9])", text) is not None


def score_answer(question: Question, text: str) -> bool:
    """Whether a reply is right: the answer is stated and no competing answer is; for problems, the final number is right.

    The final number is what follows "the answer is" or 答案是 (the last one), else the last number of the reply.
    Raises ValueError for functions, which are judged by running their tests.
    """
    if question.task == "functions":
        raise ValueError("functions are judged by running their tests, not by score_answer")
    if question.task == "problems":
        numbers = _STATED.findall(text) or _NUMBER.findall(text)
        return bool(numbers) and float(numbers[-1]) == float(question.answer)
    reply = normalise(text)
    return states(reply, question.answer) and not any(states(reply, other) for other in question.competitors)
