"""The letter that an answer to a question of several choices names. What a pattern repeats is bounded, so that it takes linear
time on any text."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from kwen.evals.task import Item
from kwen.evals.tasks.choosing import LETTERS, chosen_right

_BETWEEN = r"[\s:*()\[\]{}$\"'“”【】]{0,8}(?:\\boxed\{|\\text\{|option |选项){0,2}[*(\[]{0,3}"
_LETTER = r"([A-Z](?![A-Za-z])|[b-z](?=[).]|\s{0,3}\Z))"
_STATED = re.compile(rf"(?i:answer|option|choice)\*{{0,2}} ?(?i:is|:|=){_BETWEEN}{_LETTER}")
_STATED_ZH = re.compile(
    rf"(?:答案(?:应该|应)?(?:是|为|选择|选)?|选项(?:应该|应)?(?:是|为)|(?<!不)选择?){_BETWEEN}([A-Z])(?![A-Za-z])"
)
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
    folded = _folded(text)
    choices = [re.escape(_folded(choice)) for choice in item.extra["choices"]]
    quoted = [n for n, choice in enumerate(choices) if choice and re.search(rf"(?<![a-z0-9]){choice}(?![a-z0-9])", folded)]
    if len(quoted) == 1:
        return LETTERS[quoted[0]]
    alone = [letter for letter in _ALONE.findall(unicodedata.normalize("NFKC", text)) if _offered(item, letter)]
    return alone[-1] if alone else None


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _offered(item: Item, letter: str) -> str | None:
    return letter if LETTERS.index(letter) < len(item.extra["choices"]) else None


NAMES_A_LETTER: Mapping[str, Any] = {
    "strict": stated_letter,
    "flexible": named_letter,
    "judge": chosen_right,
    "settings": {"max_new_tokens": 256, "temperature": 0.0},
}
"""The arguments of `Task` that all tasks of this kind have in common."""
