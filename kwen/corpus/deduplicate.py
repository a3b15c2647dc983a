"""Exact duplicates after normalisation: one 128-bit key a text, a set of the keys seen.

Texts that differ only in case, compatibility forms (full width, ligatures), whitespace or punctuation share a key. The signs
of arithmetic are content, though Unicode calls some of them punctuation: 7 - 3 and 7 / 3 are different problems.
"""

import hashlib
import unicodedata

import regex

# Outside ASCII: all that is no letter, mark (Indic vowel signs are marks), number or symbol.
_SEPARATORS = regex.compile(r"[^\x00-\x7f\p{L}\p{M}\p{N}\p{S}]")
# Within ASCII, byte by byte: control characters and the same punctuation as Unicode's, but for * / % -.
_ASCII_SEPARATORS = bytes(range(33)) + b"!\"#&'(),.:;?@[\\]_{}\x7f"
_ASCII_TO_SPACE = bytes.maketrans(_ASCII_SEPARATORS, b" " * len(_ASCII_SEPARATORS))


def normal_form(text: str) -> bytes:
    """`text` as duplicates see it, in UTF-8: case folded, NFKC, each run of whitespace and punctuation one space."""
    # Folding can undo NFKC, so it comes first and NFKC has the last word.
    text = _SEPARATORS.sub(" ", unicodedata.normalize("NFKC", text.casefold()))
    return b" ".join(text.encode().translate(_ASCII_TO_SPACE).split())


def text_key(text: str) -> bytes:
    """16 bytes that are equal for duplicates; a text of punctuation alone is a duplicate of its very self only."""
    return hashlib.blake2b(normal_form(text) or text.encode(), digest_size=16).digest()


def share_of(key: bytes) -> float:
    """A number in [0, 1) that a key alone decides, evenly spread: whether a document is held out must not hang on its place."""
    return (int.from_bytes(key[:8], "big") >> 11) / (1 << 53)


class Deduplicator:
    """Remembers every key shown to it. Memory: about 100 bytes a document."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def is_new(self, key: bytes) -> bool:
        """Whether `key` is seen for the first time; from now on it has been."""
        before = len(self._seen)
        self._seen.add(key)
        return len(self._seen) > before

    def __contains__(self, key: bytes) -> bool:
        return key in self._seen
