"""Answers in LaTeX: finding the one that a text gives, and saying whether two are the same.

`compare` is our own: it brings both answers to one spelling and reads numbers, lists, tuples, intervals and sets; it is linear
in the length of the text. Where it can't tell, `same_answers` asks math-verify (an optional library) in processes that are ended
when they take too long. None of it evaluates a text as code.
"""

import re
from collections.abc import Sequence
from fractions import Fraction

from kwen.verify.answers import extract_number

LONGEST = 2000
"""Characters; a longer answer equals only its own spelling."""
_STATED = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])|\banswer(?: is|:)", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\.(?:\s|$)|\n")
_MATHS = re.compile(r"\$([^$]{1,2000})\$")
_DROPPED = re.compile(
    r"(\\\\)|\\[!,;: ]|\\(?:left|right|displaystyle|limits|big|Big|bigg|Bigg)(?![a-zA-Z])|\\?[$]|\\?%|~"
    r"|\^ ?\{? ?(?:\\circ|\\degree)(?![a-zA-Z]) ?\}?|\\degree(?![a-zA-Z])|°|\\[()\[\]](?![a-zA-Z])"
)
_TEXT = re.compile(r"\\(?:text|textbf|textrm|textit|mbox|mathrm|mathbf|operatorname)(?![a-zA-Z]) ?\{([^{}]{0,200})\}")
_UNIT = re.compile(r"(?<=[0-9}])\s*(\\(?:text|mbox|mathrm|textrm) ?\{ ?[^{}]{0,80}\})(?:\^ ?\{?\d\}?)?\s*$")
_SHORT_ARGUMENTS = re.compile(r"\\frac ?([0-9a-z])([0-9a-z])|\\frac ?([0-9a-z])(?=\{)|\\sqrt ?([0-9a-z])(?![0-9])")
_FRACTION = re.compile(r"\\frac\{([-+]?\d{1,40})\}\{(\d{1,40})\}")
_SAME = {
    "\\tfrac": "\\frac", "\\dfrac": "\\frac", "\\cfrac": "\\frac", "\\ne ": "\\neq ", "\\le ": "\\leq ", "\\ge ": "\\geq ",
    "\\lbrace": "\\{", "\\rbrace": "\\}", "\\cdot": "\\times", "{,}": ",", "−": "-", "π": "\\pi", "∞": "\\infty", "√": "\\sqrt",
    "∪": "\\cup",
}  # fmt: skip
_NUMBER = re.compile(r"([-+]?)(\d{1,400}|\d{1,3}(?:,\d{3}){1,100})?(\.\d{1,400})?(?:/(\d{1,400}))?")
_LEFT_SIDE = re.compile(r"[a-zA-Z](?:_\{?\w\}?|\([a-z]\))?(?:=|\\in)")
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def boxed(text: str) -> str | None:
    """What stands in the last \\boxed{...} or \\fbox{...}; None without one, or where it isn't closed."""
    start = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    return None if start < 0 else _argument(text, text.index("box", start) + (5 if text[start + 1] == "b" else 3))


def _argument(text: str, place: int) -> str | None:
    """The braced text at `place`, or the word there, without braces."""
    place = len(text) - len(text[place:].lstrip(" "))
    if text[place : place + 1] != "{":
        word = re.match(r"[^\s$.]{1,80}", text[place:])
        return word[0] if word else None
    depth = 0
    for mark in re.finditer(r"\\[{}\\]|[{}]", text[place:]):
        depth += {"{": 1, "}": -1}.get(mark[0], 0)
        if depth == 0:
            return text[place + 1 : place + mark.start()].strip()
    return None


def stated_answer(text: str) -> str | None:
    """The answer that the text states last: in a box, or after "the answer is", between dollars or up to the sentence's end."""
    marks = list(_STATED.finditer(text))
    if not marks:
        return None
    end = marks[-1].end()
    if marks[-1][0].startswith("\\"):
        return _argument(text, end)
    rest = text[end : end + LONGEST].lstrip(" :*\n")
    if rest.startswith("$"):
        found = rest.lstrip("$").partition("$")[0]
    else:
        stop = _SENTENCE_END.search(rest)
        found = rest[: stop.start()] if stop else rest
    return found.strip(" *") or None


def last_answer(text: str) -> str | None:
    """The stated answer; else the last of the text's formulas between dollars; else its last number."""
    if (stated := stated_answer(text)) is not None:
        return stated
    formulas = _MATHS.findall(text[-20 * LONGEST :])
    return formulas[-1].rpartition("=")[2].strip() or None if formulas else extract_number(text, "flexible")


def spelling(answer: str) -> str:
    """An answer in one spelling: one name for each command, no spaces, degrees, percent and dollar signs, units or `x =`."""
    text = answer[:LONGEST].strip().rstrip(".").strip()
    for old, new in _SAME.items():
        text = text.replace(old, new)
    text = _DROPPED.sub(lambda match: match[1] or "", text).strip()  # \\\\ ends a row of a matrix
    text = _UNIT.sub("", text)
    text = _TEXT.sub(lambda match: match[1], text)
    text = _SHORT_ARGUMENTS.sub(_with_braces, text)
    text = re.sub(r"\s", "", text).rstrip(".")
    text = _FRACTION.sub(lambda match: f"{match[1]}/{match[2]}", text)
    text = _LEFT_SIDE.sub("", text, count=1) if _LEFT_SIDE.match(text) else text
    return text.casefold() if text.isalpha() else text


def _with_braces(match: re.Match[str]) -> str:
    if match[1]:
        return f"\\frac{{{match[1]}}}{{{match[2]}}}"
    return f"\\frac{{{match[3]}}}" if match[3] else f"\\sqrt{{{match[4]}}}"


def compare(answer: str, right: str) -> bool | None:
    """Whether an answer is the right one; None where spelling and numbers don't decide it."""
    if max(len(answer), len(right)) > LONGEST:
        return answer == right
    return _compare(spelling(answer), spelling(right))


def _compare(left: str, right: str) -> bool | None:
    if left == right:
        return bool(left)
    if not left or not right:
        return False
    one, other = _number(left), _number(right)
    if one is not None and other is not None:
        return one == other
    (kind, parts), (right_kind, right_parts) = _parts(left), _parts(right)
    if kind != right_kind or len(parts) != len(right_parts):
        return False if kind and right_kind and len(parts) == len(right_parts) else None
    if kind == "" and len(parts) == 1:
        return None
    if kind in ("", "{}"):
        values = [_number(part) or part for part in parts], [_number(part) or part for part in right_parts]
        return True if sorted(map(str, values[0])) == sorted(map(str, values[1])) else None
    verdicts = [_compare_part(one, other) for one, other in zip(parts, right_parts, strict=True)]
    return False if False in verdicts else None if None in verdicts else True


def _compare_part(left: str, right: str) -> bool | None:
    one, other = _number(left), _number(right)
    return True if left == right else one == other if one is not None and other is not None else None


def _number(text: str) -> Fraction | None:
    """The value of a text that is one number: 12, 1,200, -.5, 3/4."""
    match = _NUMBER.fullmatch(text)
    if match is None or not (match[2] or match[3]) or (match[4] and not int(match[4])):
        return None
    value = Fraction((match[2] or "0").replace(",", "") + (match[3] or "")) / int(match[4] or 1)
    return -value if match[1] == "-" else value


def _parts(text: str) -> tuple[str, list[str]]:
    """The brackets around a text ("" for none) and what its top commas separate."""
    inner, kind = text.replace("\\{", "{").replace("\\}", "}") if text.startswith("\\{") else text, ""
    if len(inner) > 1 and inner[0] in _CLOSING and inner[-1] in ")]}" and _closes_at_end(inner):
        kind, inner = inner[0] + inner[-1], inner[1:-1]
    parts, depth, start = [], 0, 0
    for place, char in enumerate(inner):
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            parts.append(inner[start:place])
            start = place + 1
    return kind, [*parts, inner[start:]]


def _closes_at_end(text: str) -> bool:
    """Whether the first bracket is closed by the last character, whatever its kind: [0,1) is one interval."""
    depth = 0
    for place, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0:
            return place == len(text) - 1
    return False


def same_answers(pairs: Sequence[tuple[str, str]], timeout_s: float = 5.0, workers: int = 2) -> list[bool]:
    """Whether each answer is the right one of its (answer, right) pair; what math-verify does not decide in `timeout_s` is wrong.

    Without math-verify (see `kwen.verify.math_verify_pool.available`) what our own rules don't decide is wrong.
    """
    from kwen.verify.math_verify_pool import available, verify

    verdicts = {pair: compare(*pair) for pair in pairs}
    open_pairs = [pair for pair, verdict in verdicts.items() if verdict is None]
    if open_pairs and available():
        verdicts |= dict(zip(open_pairs, verify(open_pairs, timeout_s, workers), strict=True))
    return [bool(verdicts[pair]) for pair in pairs]
