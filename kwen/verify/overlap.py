"""Contamination: test items that share 13 words in a row with training text (the report's decontamination, section 2).

A word is a run of letters, marks and digits after case folding and Unicode's NFKC; every other character ends a word, but for
invisible format characters, which are nothing. A Chinese character, and a Japanese syllable, is a word of its own.

A gram is 13 words in a row of an item. An item of 8 to 12 words is one gram as a whole; a shorter one is common speech and not
looked for, and counts as unchecked. A gram of more than 10 items of a task is the task's own wording (its instruction, its worked
examples), and no item is found by it.

The index holds the items' grams as 64-bit hashes, in memory; training text streams past it, in pieces of bounded size. A hash
that is met counts only when the words themselves are equal, so that what is found is exact.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import regex

N = 13
SHORTEST = 8
MOST_SHARED = 10
"""Items of one task that may share a gram; with more of them it is the task's wording."""

_PIECE_CHARACTERS = 1 << 20
_BORDER = "\0"  # between two texts, and a word of its own there; in a text it is a space
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, from the golden ratio (Knuth's multiplicative hashing)
_ALONE = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")
_INVISIBLE = regex.compile(r"[\p{Cf}\p{Variation_Selector}]")
_SPACE = re.compile(r"\s")

ItemKey = tuple[str, str]
"""The task and the item's id."""


_UNMET, _NOTHING, _SPACE_CODE, _ALONE_BIT = 0, 1, ord(" "), 1 << 31
_characters = np.zeros(0x110000, np.uint32)
"""What each character becomes before text is split at white space: a letter itself, a sign a space; filled as they are met."""


def words(text: str) -> list[str]:
    """The words of `text`, as overlap sees them."""
    return _split(text.replace(_BORDER, " "))


def _split(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text.casefold())
    codes = np.frombuffer(folded.encode("utf-32-le", "surrogatepass"), np.uint32)
    made = _characters[codes]
    if not made.all():
        new = np.unique(codes[made == _UNMET])
        _characters[new] = [_becomes(chr(code)) for code in new.tolist()]
        made = _characters[codes]
    if (made == _NOTHING).any():
        made = made[made != _NOTHING]
    alone = made >= _ALONE_BIT
    if alone.any():
        # A space goes before a character that stands alone, and before the one after it.
        spaced = alone | np.r_[False, alone[:-1]]
        wider = np.full(len(made) + np.count_nonzero(spaced), _SPACE_CODE, np.uint32)
        wider[np.arange(len(made)) + np.cumsum(spaced)] = made & np.uint32(_ALONE_BIT - 1)
        made = wider
    return made.tobytes().decode("utf-32-le").split()


def _becomes(character: str) -> int:
    if _INVISIBLE.match(character):
        return _NOTHING
    if character == _BORDER or _ALONE.match(character):
        return ord(character) | _ALONE_BIT
    return ord(character) if unicodedata.category(character)[0] in "LMN" else _SPACE_CODE


class _Item(NamedTuple):
    key: ItemKey
    words: list[str]


class _Grams(NamedTuple):
    """The grams of one length: sorted hashes, the item and the place within it of each, and a table of their first bits."""

    hashes: np.ndarray
    items: np.ndarray
    places: np.ndarray
    seen: np.ndarray
    shift: np.uint64


class Index:
    """The grams of the test items of some tasks."""

    def __init__(self, tasks: Mapping[str, Iterable[tuple[str, str]]]) -> None:
        """`tasks` gives the items of each task as (id, text); several texts of one id are parts of one item."""
        self.items: dict[str, list[str]] = {}
        self._items: list[_Item] = []
        found: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
        for task, items in tasks.items():
            first = len(self._items)
            self._items += [_Item((task, name), words(text)) for name, text in items]
            self.items[task] = list(dict.fromkeys(item.key[1] for item in self._items[first:]))
            for length, grams in self._grams_of(first).items():
                found.setdefault(length, []).append(grams)
        self._grams = {length: _sorted_grams(found[length]) for length in sorted(found)}

    def overlapping(self, text: str) -> set[ItemKey]:
        """The items that share a gram with `text`."""
        return self.overlapping_any([text])

    def overlapping_any(self, texts: Iterable[str]) -> set[ItemKey]:
        """The items that share a gram with any of `texts`; a gram never crosses from one text to the next."""
        met: dict[int, defaultdict[int, bool]] = {length: defaultdict(bool) for length in self._grams}
        self._meet_all(texts, met)
        return {
            self._items[self._grams[length].items[entry]].key
            for length, entries in met.items()
            for entry, here in entries.items()
            if here
        }

    def shares(self, texts: Iterable[str]) -> dict[ItemKey, float]:
        """Of each item that has grams, the share of them that stand in `texts`."""
        met = {length: np.zeros(len(kept.hashes), np.bool_) for length, kept in self._grams.items()}
        self._meet_all(texts, met)
        found, of = (np.zeros(len(self._items), np.int64) for _ in range(2))
        for length, kept in self._grams.items():
            np.add.at(found, kept.items[met[length]], 1)
            np.add.at(of, kept.items, 1)
        counts: dict[ItemKey, tuple[int, int]] = {}
        for item, here, all_ in zip(self._items, found.tolist(), of.tolist(), strict=True):
            before = counts.get(item.key, (0, 0))
            counts[item.key] = before[0] + here, before[1] + all_
        return {key: here / all_ for key, (here, all_) in counts.items() if all_}

    def report(self, texts: Iterable[str], most_ids: int | None = None) -> dict[str, dict[str, Any]]:
        """Of each task: `items`, how many of them share a gram with `texts` (overlapping), all their grams (whole), have none to
        look for (unchecked), and the ids of the overlapping ones."""
        shares = self.shares(texts)
        return {
            task: {
                "items": len(names),
                "overlapping": len(ids := [name for name in names if shares.get((task, name))]),
                "whole": sum(shares[task, name] == 1 for name in ids),
                "unchecked": sum((task, name) not in shares for name in names),
                "ids": ids[:most_ids],
            }
            for task, names in self.items.items()
        }

    def _grams_of(self, first: int) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Length -> hashes, items and places of one task's grams, without those of its own wording."""
        parts: dict[int, list[tuple[np.ndarray, int]]] = {}
        for number, item in enumerate(self._items[first:], first):
            length = min(N, len(item.words))
            if length >= SHORTEST:
                *_, (_, grams) = _rolled(_hashes(item.words), length)
                parts.setdefault(length, []).append((grams, number))
        return {length: self._without_wording(of_length) for length, of_length in parts.items()}

    def _without_wording(self, parts: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        hashes = np.concatenate([grams for grams, _ in parts])
        items = np.concatenate([np.full(len(grams), number, np.int64) for grams, number in parts])
        places = np.concatenate([np.arange(len(grams)) for grams, _ in parts])
        # The first place of each gram in each item stands for it.
        order = np.lexsort((places, items, hashes))
        hashes, items, places = hashes[order], items[order], places[order]
        new = np.r_[True, (hashes[1:] != hashes[:-1]) | (items[1:] != items[:-1])]
        hashes, items, places = hashes[new], items[new], places[new]
        _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        own = counts[inverse] <= MOST_SHARED
        return hashes[own], items[own], places[own]

    def _meet_all(self, texts: Iterable[str], met: Mapping[int, Any]) -> None:
        """Note in `met`, which has a table of entry -> bool for each length, the index's grams that stand in `texts`."""
        longest = max(self._grams, default=0)
        for batch in _batches(texts):
            for length, grams in _rolled(_hashes(batch), longest):
                if length in self._grams:
                    kept = self._grams[length]
                    (near,) = np.nonzero(kept.seen[grams >> kept.shift])
                    self._meet(batch, near, grams[near], length, met[length])

    def _meet(self, batch: list[str], places: np.ndarray, grams: np.ndarray, length: int, met: Any) -> None:
        """The same for the grams of one length at some places of a batch, compared word by word; `grams` are their hashes."""
        kept = self._grams[length]
        begins, ends = (np.searchsorted(kept.hashes, grams, side) for side in ("left", "right"))
        near = np.nonzero(ends > begins)[0]
        for place, begin, end in zip(places[near].tolist(), begins[near].tolist(), ends[near].tolist(), strict=True):
            for entry in range(begin, end):
                if not met[entry]:
                    at = kept.places[entry]
                    met[entry] = self._items[kept.items[entry]].words[at : at + length] == batch[place : place + length]


def contamination(texts: Iterable[str], tasks: Mapping[str, Iterable[tuple[str, str]]]) -> dict[str, Any]:
    """{"n": 13, "tasks": {task: {"items", "overlapping", "unchecked", "ids"}}} of training texts and the items of each task."""
    return {"n": N, "tasks": Index(tasks).report(texts)}


def _hashes(found: list[str]) -> np.ndarray:
    """A 64-bit hash of each word, Python's own: seeded anew in each process, so that no text can be made to collide."""
    return np.fromiter(map(hash, found), np.int64, len(found)).view(np.uint64)


def _rolled(hashes: np.ndarray, longest: int) -> Iterator[tuple[int, np.ndarray]]:
    """(length, hash of every gram of that many words), from 1 up to `longest`, as far as there are as many words."""
    grams = hashes
    for length in range(1, min(longest, len(hashes)) + 1):
        if length > 1:
            grams = grams[:-1] * _MULTIPLIER + hashes[length - 1 :]
        yield length, grams


def _sorted_grams(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> _Grams:
    hashes, items, places = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(hashes)
    bits = min(max(16, (16 * len(hashes)).bit_length()), 26)
    shift = np.uint64(64 - bits)
    seen = np.zeros(1 << bits, np.bool_)
    seen[hashes >> shift] = True
    return _Grams(hashes[order], items[order], places[order], seen, shift)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """The words of all texts, a border after each, in lists of bounded length; each begins with the last words of the one before,
    for the grams that cross from one to the other."""
    gathered: list[str] = []
    characters = 0
    before: list[str] = []
    for piece in _pieces(texts):
        gathered.append(piece)
        characters += len(piece)
        if characters >= _PIECE_CHARACTERS:
            yield (batch := before + _split("".join(gathered)))
            gathered, characters, before = [], 0, batch[1 - N :]
    yield before + _split("".join(gathered))


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    """The texts in pieces that end at white space, and borders after them."""
    for text in texts:
        at = 0
        while at < len(text):
            space = _SPACE.search(text, at + _PIECE_CHARACTERS)
            end = space.start() if space else len(text)
            yield text[at:end].replace(_BORDER, " ")
            at = end
        yield _BORDER
