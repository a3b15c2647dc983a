"""The letter that an answer to a question of several choices names. Patterns repeat single character classes only."""

import re
import unicodedata

from kwen.evals.task import Item
from kwen.evals.tasks.choosing import LETTERS

_MARKS = r"{0,3}(?:\*\*|\(|\$|\\boxed\{|option ){0,3}"
_STATED = re.compile(rf"(?:answer|option|choice) ?(?:is|:|=) {_MARKS}([A-Z])(?![A-Za-z])", re.IGNORECASE)
_STATED_ZH = re.compile(r"(?:答案|选|选择|选项) ?(?:是|为|应为|应是|应选|选)?[:：]? ?(?:\*\*|\()*([A-Z])(?![A-Za-z])")
_ALONE = re.compile(r"(?<![A-Za-z])([A-Z])(?![A-Za-z'])")


def stated_letter(item: Item, text: str) -> str | None:
    """The letter that the answer begins with, or the last that it states as its answer ("the answer is B", 答案是B)."""
    text = unicodedata.normalize("NFKC", text)
    first = re.match(r"[\s*(]{0,4}([A-Z])(?:[.):,*\s]|$)", text)
    stated = [*_STATED.finditer(text), *_STATED_ZH.finditer(text)]
    if stated:
        return _offered(item, max(stated, key=re.Match.start)[1].upper())
    # "A" before a space is an article as often as a letter
    return _offered(item, first[1]) if first and (first[1] != "A" or first[0][-1:] != " ") else None


def named_letter(item: Item, text: str) -> str | None:
    """The stated letter; else the choice that the answer quotes alone of all; else the last letter that stands alone."""
    if (stated := stated_letter(item, text)) is not None:
        return stated
    folded = " ".join(text.casefold().split())
    choices = [" ".join(choice.casefold().split()) for choice in item.extra["choices"]]
    quoted = [number for number, choice in enumerate(choices) if choice and choice in folded]
    if len(quoted) == 1:
        return LETTERS[quoted[0]]
    alone = [letter for letter in _ALONE.findall(unicodedata.normalize("NFKC", text)) if _offered(item, letter)]
    return alone[-1] if alone else None


def _offered(item: Item, letter: str) -> str | None:
    return letter if LETTERS.index(letter) < len(item.extra["choices"]) else None
