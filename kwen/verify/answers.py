"""Numbers and short answers in English and Chinese text: finding them, and saying whether two are the same.

Everything here is linear in the length of the text, whatever the text (a model wrote it): patterns repeat single character
classes only, and every number is read once.
"""

import re
import unicodedata
from fractions import Fraction
from typing import Literal, NamedTuple

_MAX_DIGITS = 400  # a longer run of digits is no answer
_MIXED_VULGAR = re.compile("(?<=[0-9])(?=[¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞])")  # 3½, which NFKC would make 31/2
_SUPERSCRIPT = {ord(char): "^" + unicodedata.normalize("NFKC", char) for char in "⁰¹²³⁴⁵⁶⁷⁸⁹"}
_SIGNS = {0x2212: "-", 0x2044: "/", 0xF7: "/", 0x3002: ". ", 0x3001: ", "}  # minus, fraction slash, division, 。 and 、

_LATEX_FRACTION = re.compile(r"(\d?)\\[dt]?frac ?(?:\{ ?(-?\d{1,30}) ?\} ?\{ ?(\d{1,30}) ?\}|(\d)(\d))")
_LATEX_NOISE = re.compile(r"\\[,!;: ]|\\(?=[$%#&])|\\(?:text|mathrm|mathbf|left|right)(?![a-zA-Z])")
# A run of digits and separators; what it means is decided outside the pattern, so that no input makes it go back and forth.
_RUN = re.compile(r"\d[\d,]*(?:\.\d+)?|\.\d+")
_SIGN = re.compile(r"(?<![0-9A-Za-z)\]%])([-+])(?:[$¥€£] ?)?$")
_EXPONENT = re.compile(r"[eE]([-+]?\d{1,3})(?![\dA-Za-z])| ?(?:×|\*|\\times|\\cdot) ?10 ?\^ ?\{?([-+]?\d{1,3})\}?")
_DENOMINATOR = re.compile(r" ?/ ?(\d{1,30})(?![\d.])")
_MIXED = re.compile(r"(?: |又| ?\() ?(\d{1,9}) ?/ ?(\d{1,9})(?![\d/])\)?")
_SCALE = re.compile(r" ?(%|万|亿)")
_SCALES = {"%": Fraction(1, 100), "万": Fraction(10**4), "亿": Fraction(10**8)}

_MARK = re.compile(r"####|\\boxed ?\{|answer ?(?:is|was|:|=)|答案 ?(?:是|为|:|=)|答 ?:", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\.(?:\s|$)|[!?;](?:\s|$)|\n")
_ARTICLES = frozenset(("a", "an", "the"))


class _Number(NamedTuple):
    """A number in a text."""

    text: str  # canonical: 1234, -0.5, 3/4, 12.5%
    value: Fraction  # a percentage as a hundredth
    is_percent: bool


def normalise(text: str) -> str:
    """Text in one spelling of digits and punctuation: NFKC (full-width forms), one minus, one slash, ASCII stops for 。 and 、,
    LaTeX fractions as a/b, superscripts as ^n. Words and case stay."""
    text = _MIXED_VULGAR.sub(" ", text).translate(_SUPERSCRIPT)
    text = unicodedata.normalize("NFKC", text).translate(_SIGNS)
    if "\\" in text or "{" in text:
        text = text.replace("{,}", ",")
        text = _LATEX_FRACTION.sub(lambda m: f"{m[1]}{' ' * bool(m[1])}{m[2] or m[4]}/{m[3] or m[5]}", text)
        text = _LATEX_NOISE.sub("", text)
    return text


def _numbers(text: str) -> list[_Number]:
    """All numbers of a normalised text, in order."""
    found: list[_Number] = []
    position = 0
    while match := _RUN.search(text, position):
        start, position = match.span()
        before = text[start - 1] if start else ""
        if before in ("_", "^") or (before.isascii() and before.isalpha() and not _is_command(text, start)):
            continue  # part of a name (x1, SHA256) or an exponent
        sign_match = _SIGN.search(text[max(0, start - 5) : start])
        sign = -1 if sign_match and sign_match[1] == "-" else 1
        parts = _split_run(match[0])
        for digits in parts[:-1]:
            found += _plain(digits, sign)
            sign = 1
        number, position = _with_suffix(text, parts[-1], sign, position)
        if number is not None:
            found.append(number)
    return found


def _is_command(text: str, start: int) -> bool:
    """Whether the letters before `start` end a LaTeX command, as in `\\times10`."""
    word = re.search(r"\\[a-zA-Z]{1,12}$", text[max(0, start - 13) : start])
    return word is not None


def _split_run(run: str) -> list[str]:
    """One number without its thousand separators (1,234,567 and the Indian 12,34,567), or the several of a list (3,4)."""
    whole, point, decimals = run.partition(".")
    whole = whole.rstrip(",") if not point else whole
    groups = [group for group in whole.split(",") if group] or [""]
    sizes = [len(group) for group in groups]
    if "," not in whole or (sizes[0] <= 3 and sizes[-1] == 3 and set(sizes[1:-1]) in (set(), {2}, {3})):
        return ["".join(groups) + point + decimals]
    return [*groups[:-1], groups[-1] + point + decimals]


def _plain(digits: str, sign: int) -> list[_Number]:
    """A decimal numeral as a number; none where it is too long."""
    if len(digits) > _MAX_DIGITS:
        return []
    value = sign * Fraction(digits)
    return [_Number(_decimal_text(value), value, False)]


def _with_suffix(text: str, digits: str, sign: int, end: int) -> tuple[_Number | None, int]:
    """The number that `digits`, ending at `end`, begin, with its fraction, exponent or scale, and where it ends."""
    if len(digits) > _MAX_DIGITS:
        return None, end
    value, written_as_fraction = Fraction(digits), False
    mixed = _MIXED.match(text, end) if "." not in digits else None
    if mixed and 0 < int(mixed[1]) < int(mixed[2]):
        value, written_as_fraction, end = value + Fraction(int(mixed[1]), int(mixed[2])), True, mixed.end()
    elif (below := _DENOMINATOR.match(text, end)) and int(below[1]):
        value, written_as_fraction, end = value / int(below[1]), True, below.end()
    elif power := _EXPONENT.match(text, end):
        value, end = value * Fraction(10) ** int(power[1] or power[2]), power.end()
    scale = _SCALE.match(text, end)
    if scale:
        value, end = value * _SCALES[scale[1]], scale.end()
    value *= sign
    is_percent = scale is not None and scale[1] == "%"
    shown = value * 100 if is_percent else value
    written = str(shown) if written_as_fraction else _decimal_text(shown)
    return _Number(written + "%" * is_percent, value, is_percent), end


def _decimal_text(value: Fraction) -> str:
    """A terminating decimal without trailing zeros."""
    if value.denominator == 1:
        return str(value.numerator)
    places = max(_power_in(value.denominator, 2), _power_in(value.denominator, 5))
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    return ("-" if value < 0 else "") + f"{digits[:-places]}.{digits[-places:]}"


def _power_in(number: int, prime: int) -> int:
    """How often `prime` divides `number`."""
    count = 0
    while number % prime == 0:
        number, count = number // prime, count + 1
    return count


def extract_number(text: str, mode: Literal["strict", "flexible"] = "strict") -> str | None:
    """The number that a text gives as its answer, in canonical form (`1234`, `-0.5`, `3/4`, `12.5%`), or None.

    strict: the first number after the last answer mark (`####`, `\\boxed{`, "the answer is", "Answer:", 答案是, 答案:, 答:), in
    the mark's own sentence; where that sentence is an equation, the first after its last equals sign.
    flexible: the last number of the text.
    """
    text = normalise(text)
    if mode == "flexible":
        numbers = _numbers(text)
        return numbers[-1].text if numbers else None
    marks = list(_MARK.finditer(text))
    if not marks:
        return None
    rest = text[marks[-1].end() :].lstrip(" \t\r\n:*$")
    stop = _SENTENCE_END.search(rest)
    sentence = rest[: stop.start()] if stop else rest
    numbers = _numbers(sentence.rsplit("=", 1)[-1]) or _numbers(sentence)
    return numbers[0].text if numbers else None


def number_value(text: str) -> Fraction | None:
    """The value of a text that holds one number, a unit or currency beside it allowed; None otherwise. 50% is 1/2."""
    numbers = _numbers(normalise(text))
    return numbers[0].value if len(numbers) == 1 else None


def same_number(left: str | float | Fraction, right: str | float | Fraction, tolerance: float = 1e-6) -> bool:
    """Whether two numbers are equal up to a relative `tolerance`; a text must hold exactly one number.

    1,000 = 1000.0, 3/4 = 0.75, 50% = 0.5; and 50% = 50 too, since the answer to "what percentage" is written both ways.
    """
    return any(
        abs(a - b) <= Fraction(tolerance) * max(abs(a), abs(b)) for a in _readings(left) for b in _readings(right)
    )


def _readings(number: str | float | Fraction) -> list[Fraction]:
    """The values that a number can be meant as; none where there is no single number."""
    if not isinstance(number, str):
        return [Fraction(number)] if number == number and abs(number) != float("inf") else []
    numbers = _numbers(normalise(number))
    if len(numbers) != 1:
        return []
    value = numbers[0].value
    return [value, value * 100] if numbers[0].is_percent else [value]


def same_text(left: str, right: str) -> bool:
    """Whether two short answers are the same but for case, full-width forms, spaces, articles, and punctuation around words;
    two numbers are compared as numbers."""
    if not any(char.isalpha() for char in left + right) and _readings(left) and _readings(right):
        return same_number(left, right)
    return _bare_words(left) == _bare_words(right)


def _bare_words(text: str) -> list[str]:
    """The words of a text in one spelling, without articles and the punctuation around each."""
    words = []
    for word in unicodedata.normalize("NFKC", text).casefold().split():
        first, last = 0, len(word)
        while first < last and _is_punctuation(word[first]):
            first += 1
        while last > first and _is_punctuation(word[last - 1]):
            last -= 1
        words.append(word[first:last])
    kept = [word for word in words if word and word not in _ARTICLES]
    return kept or [word for word in words if word]  # "A" alone is an answer, not an article


def _is_punctuation(char: str) -> bool:
    return unicodedata.category(char).startswith("P") or char in "$*`~^|"
