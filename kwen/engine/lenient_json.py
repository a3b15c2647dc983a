"""JSON as models write it, made strict character by character.

A stream of tool-call arguments cannot wait for the end, and half a JSON text cannot be parsed: so this machine goes along with
the text and gives out strict JSON for what it has seen. Strict input comes out as it went in. Beyond that it takes what JSON5
takes and models do: single quotes, names without quotes, comments, trailing commas, raw line ends inside strings, Python's
True, False and None, and backslashes that escape nothing.
"""

import json
import re

MAX_DEPTH = 64
_MAX_WORD = 400
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_LOOSE_NUMBER = re.compile(r"([+-]?)0*(\d*)(?:\.(\d*))?([eE][+-]?\d+)?")
_HEX = re.compile(r"([+-]?)0[xX]([0-9a-fA-F]{1,32})")
_WORDS = {"true": "true", "false": "false", "null": "null", "True": "true", "False": "false", "None": "null"}


class StrictJson:
    """One JSON value, fed character by character.

    ended: the value is complete; nothing more may be fed. problem: what is wrong, "" while nothing is; after a problem, too,
    nothing more may be fed. key: the name, at the top level of an object, whose value is being read, else None. member: what
    the last `feed` gave out of that value.
    """

    def __init__(self) -> None:
        self.ended, self.problem, self.member = False, "", ""
        self.key: str | None = None
        self._out: list[str] = []
        self._closers: list[str] = []
        self._state = "value"
        self._fresh = False  # just after [ or a comma in an array, where ] may stand
        self._held = ""  # a comma, and the space after it, that vanish before a closing bracket
        self._comment = ""
        self._quote = ""
        self._escape = ""
        self._word: list[str] = []
        self._name: list[str] = []  # of a key at the top level
        self._reading_key = False

    @property
    def in_string(self) -> bool:
        """Whether the text stands inside a string."""
        return self._state == "string" and not self.problem

    def feed(self, character: str) -> str:
        """Take one character; the strict JSON that has become certain with it."""
        self._out.clear()
        self.member = ""
        if self._comment:
            self._in_comment(character)
        elif self._state == "string":
            self._in_string(character)
        elif self._state == "word" and (character.isalnum() or character in "_$+-."):
            self._word.append(character)
            if len(self._word) > _MAX_WORD:
                self._fail("a word without quotes that does not end")
        else:
            if self._state == "word":
                self._end_word()
            if self.ended and not character.isspace():  # a word by itself, which this character ended
                self.ended = False
                self._fail(f"nothing may follow the value, not {character!r}")
            if not self.problem:
                self._between(character)
        return "".join(self._out)

    def _emit(self, text: str, of_value: bool = True) -> None:
        self._out.append(text)
        if of_value and self.key is not None:
            self.member += text

    def _fail(self, problem: str) -> None:
        self.problem = self.problem or problem

    def _between(self, character: str) -> None:
        if character.isspace() or character == "\ufeff":
            space = character if character in " \t\r\n" else " "
            if self._held:
                self._held += space
            else:
                self._emit(space, of_value=len(self._closers) > 1)
        elif character == "/":
            self._comment = "/"
        elif self._state == "value":
            self._begin_value(character)
        elif self._state == "key":
            if character == "}":
                self._close(character)
            else:
                self._begin_key(character)
        elif self._state == "colon":
            if character != ":":
                return self._fail(f"a colon was expected after a name, not {character!r}")
            if len(self._closers) == 1:
                self._emit(":")
                self.key = json.loads("".join(self._name))
            else:
                self._emit(":")
            self._state = "value"
        elif character == ",":
            if len(self._closers) == 1:
                self.key = None
            self._held = ","
            self._state, self._fresh = ("key", False) if self._closers[-1] == "}" else ("value", True)
        else:
            self._close(character)

    def _begin_value(self, character: str) -> None:
        if character == "]" and self._fresh:
            return self._close(character)
        self._release()
        if character in "{[":
            if len(self._closers) >= MAX_DEPTH:
                return self._fail("nested too deep")
            self._closers.append("}" if character == "{" else "]")
            self._emit(character)
            self._state, self._fresh = ("key", False) if character == "{" else ("value", True)
        elif character in "\"'":
            self._begin_string(character, key=False)
        elif character.isalnum() or character in "_$+-.":
            self._state, self._word, self._reading_key = "word", [character], False
        else:
            self._fail(f"a value was expected, not {character!r}")

    def _begin_key(self, character: str) -> None:
        self._release()
        if character in "\"'":
            self._begin_string(character, key=True)
        elif character.isalpha() or character in "_$":
            self._state, self._word, self._reading_key = "word", [character], True
        else:
            self._fail(f"a name was expected, not {character!r}")

    def _release(self) -> None:
        if self._held:
            self._emit(self._held, of_value=len(self._closers) > 1)
            self._held = ""
        self._fresh = False

    def _close(self, character: str) -> None:
        if not self._closers or character != self._closers[-1]:
            return self._fail(f"a comma or the closing {self._closers[-1]} was expected, not {character!r}")
        self._held = ""
        self._closers.pop()
        if not self._closers:
            self.key = None
        self._emit(character)
        self._end_value()

    def _end_value(self) -> None:
        self._state, self._fresh = "after", False
        self.ended = not self._closers

    def _begin_string(self, quote: str, key: bool) -> None:
        self._state, self._quote, self._reading_key = "string", quote, key
        self._name = []
        self._string('"')

    def _string(self, text: str) -> None:
        self._emit(text)
        if self._reading_key and len(self._closers) == 1:
            self._name.append(text)

    def _in_string(self, character: str) -> None:
        if self._escape:
            self._in_escape(character)
        elif character == "\\":
            self._escape = "\\"
        elif character == self._quote:
            self._string('"')
            if self._reading_key:
                self._state = "colon"
            else:
                self._end_value()
        else:
            self._plain(character)

    def _plain(self, character: str) -> None:
        self._string(json.dumps(character)[1:-1] if character < " " or character in '"\\' else character)

    def _in_escape(self, character: str) -> None:
        if self._escape == "\\":
            if character in '"\\/bfnrt':
                self._string("\\" + character)
            elif character == "'":
                self._string("'")
            elif character in "ux":
                self._escape += character
                return
            elif character != "\n":  # an escaped line end goes on in the next line; other backslashes were meant as such
                self._string("\\\\")
                self._plain(character)
            self._escape = ""
            return
        if character in "0123456789abcdefABCDEF":
            self._escape += character
            digits = self._escape[2:]
            if len(digits) == (4 if self._escape[1] == "u" else 2):
                self._string(f"\\u{digits:0>4}")
                self._escape = ""
            return
        seen, self._escape = self._escape, ""
        self._string("\\" + seen)
        self._in_string(character)

    def _end_word(self) -> None:
        word = "".join(self._word)
        if self._reading_key:
            self._name = []
            self._string(json.dumps(word, ensure_ascii=False))
            self._state = "colon"
            return
        strict = _WORDS.get(word) or _number(word)
        if strict is None:
            return self._fail(f"{word[:40]!r} is no value; text needs quotes")
        self._emit(strict)
        self._end_value()

    def _in_comment(self, character: str) -> None:
        if self._comment == "/":
            if character not in "/*":
                return self._fail("a value was expected, not '/'")
            self._comment += character
        elif (self._comment == "//" and character == "\n") or (self._comment == "/**" and character == "/"):
            self._comment = ""
        elif self._comment != "//":
            self._comment = "/**" if character == "*" else "/*"


def _number(word: str) -> str | None:
    """A number as JSON writes it, from what JSON5 and people write; None for what is none."""
    if _NUMBER.fullmatch(word):
        return word
    if match := _HEX.fullmatch(word):
        return str(int(match[1] + match[2], 16))
    match = _LOOSE_NUMBER.fullmatch(word)
    if match is None or not (word.lstrip("+-0.") or "0" in word) or not any(character.isdigit() for character in word):
        return None
    sign = "-" if match[1] == "-" else ""
    return f"{sign}{match[2] or '0'}{'.' + match[3] if match[3] else ''}{match[4] or ''}"


def load_arguments(text: str) -> tuple[str, str]:
    """(the arguments as strict JSON text of an object, "") or ("", what is wrong with them)."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        return "", f"the arguments are not JSON ({error})"
    if not isinstance(value, dict):
        return "", f"the arguments must be a JSON object, not {type(value).__name__}"
    return text, ""
