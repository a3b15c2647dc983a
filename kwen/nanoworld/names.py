"""Invented names, without limit, in two languages: what a model must copy because it cannot have learned it.

A name is two or three syllables. One syllable is one Chinese character, so that a name can be told in both languages
("Velin", 维莉). The hash of a written name decides once and for all whether training or the held-out questions may use it.
"""

import builtins
import keyword
import random
import zlib
from collections.abc import Sequence
from typing import Literal, TypeVar

Language = Literal["en", "zh"]
Split = Literal["train", "held_out"]

ONSETS = ("b", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "y", "z", "sh", "ch")
VOWELS = "aeiou"
CODAS = ("", "", "n", "r", "l", "s", "k", "m")
# One line per onset, one character per vowel. Characters that the rest of nanoworld's Chinese uses are avoided, so that a name's
# characters do not merge with their neighbours in a tokenizer and a name is written with the same tokens wherever it stands.
_CHARACTERS = (
    "巴贝碧波布", "达德迪铎杜", "珐费菲佛芙", "伽格吉戈古", "哈赫熙霍胡", "贾杰济乔朱", "卡柯琪寇库", "菈勒莉洛鲁", "玛梅弥莫穆", "娜涅妮诺努", "帕佩琵珀普", "兰雷瑞罗茹", "萨瑟斯索苏",
    "泰特蒂托涂", "瓦维薇沃伏", "佤韦威渥乌", "雅耶伊尤宇", "扎泽兹佐祖", "莎佘施绍舒", "恰彻驰卓楚",
)  # fmt: skip
SYLLABLES: tuple[tuple[str, str], ...] = tuple(
    (onset + vowel, character)
    for onset, characters in zip(ONSETS, _CHARACTERS, strict=True)
    for vowel, character in zip(VOWELS, characters, strict=True)
)
"""The hundred syllables, in Latin letters and as a Chinese character."""
Numbers = int | range
"""Which of things that are each a function of their number: so many from the first on, or those with these numbers."""
HELD_OUT_SHARE = 8  # one name, or one number tuple, in eight is held out


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Real words that the syllables can spell; a name that is also a word would make its question ambiguous.
_SPELLABLE = _words(
    """
    baker banana bare baron basil before begin beside bonus china chinese choker chose chosen data date dates define
    deletes divan diver divides divisor done donor dozen fake fewer figure final fine finer finite fire fisher five fiver
    gave give given gives gone have hole home human jokes juror kilo kite kites label lame lamel late later lava lemon
    level lever life like likes line linen lines literal live liver lives logo lose loser loses love lover loves lower
    machine made major make maker makes male mayor melon menu meter minimum minor minus minutes model mole moral more
    motor move moves mural name names nano nasal natural negate negates never none note novel page pages pale papa paper
    parade pike pine piper poker polar pole poles potato power pure rare rates raven razor refusal refuse refuses removes
    ride rider rides rise river robin role rope ropes rose roses ruler rumor rural safe safer sale salon same sane save
    seven several shaker share shares shore shower side sides silos similar size sober soda sofa solar sole some sure take
    taken taker takes tale tame tape tapes tiger tiles time times tofu token tomato tone toner tore total tower tube tuna
    tune tuner tutor vase velin virus volume vote wages wagon water waves were wide wiser woman women zero zeros zone
    """
)
RESERVED = frozenset(keyword.kwlist) | frozenset(dir(builtins)) | frozenset(_SPELLABLE)

QUALITIES = _words(
    """
    big small red blue green new old fast slow warm cold dark light long short good first last next best even odd high low
    deep wide soft hard dry wet safe full empty lucky quiet happy clean fresh simple early late main half double total
    extra inner outer single
    """
)
THINGS = _words(
    """
    apple stone river number value score price list word letter garden house lamp box door table chair cloud star moon
    road bird fish horse tree leaf flower bread cake cup plate bottle paper pencil basket button ladder bridge tower
    market village wheel clock coat shoe hat
    """
)

_T = TypeVar("_T")


def pick(rng: random.Random, options: Sequence[_T]) -> _T:
    """One of `options`, all equally likely (faster than `random.choice`, and the same on every Python)."""
    return options[int(rng.random() * len(options))]


def numbers_of(count: Numbers) -> range:
    """The numbers that `count` means."""
    return range(count) if isinstance(count, int) else count


def split_of(text: str) -> Split:
    """The split that a name, or any other written thing, belongs to for ever: one in `HELD_OUT_SHARE` is held out."""
    return "held_out" if zlib.crc32(text.lower().encode()) % HELD_OUT_SHARE == 0 else "train"


def invent(rng: random.Random) -> tuple[str, str]:
    """A lower-case word of two or three syllables (7 million of them) and its Chinese characters (about 1 million)."""
    english = chinese = ""
    for _ in range(2 if rng.random() < 0.6 else 3):
        syllable = pick(rng, SYLLABLES)
        english += syllable[0]
        chinese += syllable[1]
    return english + pick(rng, CODAS), chinese


class Names:
    """The supply of generated names for one split, apart from the world's own names.

    `taken` holds the world's names (lower-case English and Chinese), which are never generated.
    """

    def __init__(self, split: Split, taken: frozenset[str] = frozenset()) -> None:
        self.split: Split = split
        self.taken = taken

    def _allowed(self, whole: str, parts: tuple[str, ...] = ()) -> bool:
        """Whether the name is of this split; training also keeps held-out names from standing inside its longer ones."""
        if any(text in self.taken for text in (whole, *parts)):
            return False
        return split_of(whole) == self.split and (self.split == "held_out" or all(split_of(part) == "train" for part in parts))

    def name(self, rng: random.Random, language: Language) -> str:
        """A name of a person, place, animal or thing: capitalised in English, characters in Chinese."""
        while True:
            english, chinese = invent(rng)
            if language == "zh":
                if self._allowed(chinese, (chinese[:2], chinese[1:]) if len(chinese) > 2 else ()):
                    return chinese
            elif english not in RESERVED and self._allowed(english):
                return english.capitalize()

    def some(self, rng: random.Random, language: Language, count: int) -> list[str]:
        """`count` names, none of which is part of another."""
        names: list[str] = []
        while len(names) < count:
            name = self.name(rng, language)
            if not any(name in other or other in name for other in names):
                names.append(name)
        return names

    def function_name(self, rng: random.Random) -> str:
        """A Python name: one invented word, two of them in snake_case, or two real words in snake_case."""
        while True:
            style = rng.random()
            parts: tuple[str, ...] = ()
            if style < 0.5:
                name = invent(rng)[0]
            elif style < 0.75:
                parts = (invent(rng)[0], invent(rng)[0])
                name = "_".join(parts)
            else:
                name = f"{pick(rng, QUALITIES)}_{pick(rng, THINGS)}"
            if name not in RESERVED and self._allowed(name, parts):
                return name
