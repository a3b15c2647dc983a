"""Comparing and sorting: numbers, words by the alphabet, and counting letters."""

import random
from dataclasses import dataclass

from kwen.nanoworld.items import ITEMS
from kwen.nanoworld.names import Language, pick


@dataclass(frozen=True)
class Comparison:
    """A request, its only right answer as a sentence, and its kind (one of `KINDS`)."""

    request: str
    answer: str
    kind: str


_WORDS = tuple(item.one for item in ITEMS)
_LARGER: dict[Language, tuple[str, ...]] = {
    "en": ("Which is larger, {a} or {b}?", "Which number is larger: {a} or {b}?", "Tell me the larger number: {a} or {b}."),
    "zh": ("{a}和{b}哪个大？", "哪个数更大，{a}还是{b}？", "请告诉我{a}和{b}哪个更大。"),
}
_SMALLER: dict[Language, tuple[str, ...]] = {
    "en": ("Which is smaller, {a} or {b}?", "Which number is smaller: {a} or {b}?", "Tell me the smaller number: {a} or {b}."),
    "zh": ("{a}和{b}哪个小？", "哪个数更小，{a}还是{b}？", "请告诉我{a}和{b}哪个更小。"),
}
_SORT_UP: dict[Language, tuple[str, ...]] = {
    "en": (
        "Sort these numbers from small to large: {list}.",
        "Put {list} in order from small to large.",
        "Write {list} from the smallest to the largest.",
    ),
    "zh": ("把这些数从小到大排列：{list}。", "从小到大写出{list}。", "请把{list}从小到大排好。"),
}
_SORT_DOWN: dict[Language, tuple[str, ...]] = {
    "en": (
        "Sort these numbers from large to small: {list}.",
        "Put {list} in order from large to small.",
        "Write {list} from the largest to the smallest.",
    ),
    "zh": ("把这些数从大到小排列：{list}。", "从大到小写出{list}。", "请把{list}从大到小排好。"),
}
_SORT_WORDS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Sort these words by the alphabet: {list}.",
        "Put the words {list} in alphabetical order.",
        "Which order do {list} have in the alphabet?",
    ),
    "zh": ("把这些单词按字母顺序排列：{list}。", "按字母顺序写出{list}。", "请把{list}按字母顺序排好。"),
}
_LETTERS: dict[Language, tuple[str, ...]] = {
    "en": ("How many letters are in the word {w}?", "Count the letters of {w}.", "How many letters does the word {w} have?"),
    "zh": ("单词{w}有几个字母？", "数一数{w}的字母。", "单词{w}有多少个字母？"),
}
KINDS = ("larger", "smaller", "sort_up", "sort_up", "sort_down", "sort_words", "letters")


def comparison(rng: random.Random, language: Language) -> Comparison:
    """One task of comparing two numbers, sorting three numbers or words, or counting a word's letters."""
    kind = pick(rng, KINDS)
    english = language == "en"
    separator, stop = (", ", ".") if english else ("、", "。")
    if kind in ("larger", "smaller"):
        a, b = rng.sample(range(1, 100), 2)
        high, low = max(a, b), min(a, b)
        if kind == "larger":
            answer = f"{high} is larger than {low}." if english else f"{high}比{low}大。"
            return Comparison(pick(rng, _LARGER[language]).format(a=a, b=b), answer, kind)
        answer = f"{low} is smaller than {high}." if english else f"{low}比{high}小。"
        return Comparison(pick(rng, _SMALLER[language]).format(a=a, b=b), answer, kind)
    if kind == "letters":
        word = pick(rng, _WORDS)
        answer = f"The word {word} has {len(word)} letters." if english else f"单词{word}有{len(word)}个字母。"
        return Comparison(pick(rng, _LETTERS[language]).format(w=word), answer, kind)
    if kind == "sort_words":
        words = rng.sample(_WORDS, 3)
        return Comparison(
            pick(rng, _SORT_WORDS[language]).format(list=separator.join(words)), separator.join(sorted(words)) + stop, kind
        )
    numbers = rng.sample(range(1, 100), 3)
    requests = (_SORT_UP if kind == "sort_up" else _SORT_DOWN)[language]
    ordered = sorted(numbers, reverse=kind == "sort_down")
    return Comparison(
        pick(rng, requests).format(list=separator.join(map(str, numbers))), separator.join(map(str, ordered)) + stop, kind
    )
