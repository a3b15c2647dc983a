"""What a maths model learns and is measured on: arithmetic, equations and Chinese word problems, with worked answers."""

import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from kwen.errors import UserError
from kwen.nanoworld.dialogues import Dialogue
from kwen.nanoworld.maths import problem
from kwen.nanoworld.maths_arithmetic import Exercise, arithmetic
from kwen.nanoworld.maths_equations import linear_equation
from kwen.nanoworld.maths_problems_chinese import chinese_problem
from kwen.nanoworld.names import Language, Names, Numbers, Split, numbers_of, pick
from kwen.nanoworld.world import build_world

MathsKind = Literal["arithmetic", "equations", "problems-zh", "problems"]
KINDS: tuple[MathsKind, ...] = get_args(MathsKind)
"""The kinds of training exercises; the last are the word problems of `maths`, in both languages."""
QUESTION_KINDS: tuple[MathsKind, ...] = KINDS[:-1]
"""The kinds that have held-out questions here."""
_CHINESE_SHARE = 0.4
_HELD_OUT = 8  # one expression or equation in this many


@dataclass(frozen=True)
class MathsQuestion:
    """A held-out exercise: `form` is its finer kind, `worked` the answer in training's form, `answer` the exact number."""

    id: str
    kind: MathsKind
    form: str
    language: Language
    messages: list[dict[str, str]]
    worked: str
    answer: str


def split_of_exercise(key: str) -> Split:
    """The split that an expression or equation belongs to for ever."""
    return "held_out" if zlib.crc32(f"exercise {key}".encode()) % _HELD_OUT == 0 else "train"


def exercise(rng: random.Random, kind: MathsKind, names: Names) -> tuple[Exercise, Language]:
    """One exercise of a kind, of the split of `names`, and its language."""
    language: Language = "zh" if kind == "problems-zh" or rng.random() < _CHINESE_SHARE else "en"
    if kind == "problems-zh":
        return chinese_problem(rng, names), language
    if kind == "problems":
        made = problem(rng, language, names)
        return Exercise(made.schema, f"{made.schema} {made.numbers}", made.text, made.worked, str(made.result)), language
    while True:
        found = (arithmetic if kind == "arithmetic" else linear_equation)(rng, language)
        if split_of_exercise(found.key) == names.split:
            return found, language


def maths_dialogues(seed: int, count: Numbers, kinds: Sequence[MathsKind] = KINDS, world_seed: int = 0) -> Iterator[Dialogue]:
    """`count` training dialogues of one exercise each; a kind comes as often as it stands in `kinds`.

    Raises UserError for no kind and for an unknown one.
    """
    _check(kinds, KINDS)
    names = Names("train", build_world(world_seed).taken_names)
    for number in numbers_of(count):
        rng = random.Random(f"{seed}/maths dialogues/{number}")
        kind = pick(rng, kinds)
        made, language = exercise(rng, kind, names)
        messages = [{"role": "user", "content": made.text}, {"role": "assistant", "content": made.worked}]
        yield Dialogue(messages, language, kind)


def maths_questions(kind: MathsKind, seed: int = 0, count: int = 400, world_seed: int = 0) -> list[MathsQuestion]:
    """`count` different held-out questions of a kind: their expressions, equations or number tuples are in no training text.

    Raises UserError for an unknown kind.
    """
    _check([kind], QUESTION_KINDS)
    names = Names("held_out", build_world(world_seed).taken_names)
    rng = random.Random(f"{seed}/maths questions/{kind}")
    made: dict[str, MathsQuestion] = {}
    while len(made) < count:
        found, language = exercise(rng, kind, names)
        asked = [{"role": "user", "content": found.text}]
        question = MathsQuestion(f"{kind}-{seed}-{len(made)}", kind, found.form, language, asked, found.worked, found.answer)
        made.setdefault(found.key, question)
    return list(made.values())


def _check(kinds: Sequence[str], known: Sequence[str]) -> None:
    for kind in kinds:
        if kind not in known:
            raise UserError(f"nanoworld maths: no kind '{kind}'; the kinds are {', '.join(known)}")
    if not kinds:
        raise UserError(f"nanoworld maths: no kind given; the kinds are {', '.join(known)}")
