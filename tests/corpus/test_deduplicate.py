"""Laws of duplicate keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwen.corpus.deduplicate import Deduplicator, share_of, text_key


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Hello, World!", "hello world"),
        ("a\n\n  b\t", "a b"),
        ("\u201cYes,\u201d he said\u2014", "yes he said"),
        ("\uff21\uff22\uff23", "abc"),
        ("\ufb01ne stra\u00dfe", "fine STRASSE"),
        ("\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u4f60\u597d \u4e16\u754c"),
    ],
)
def test_case_width_whitespace_and_punctuation_do_not_tell_texts_apart(a: str, b: str) -> None:
    assert text_key(a) == text_key(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("7 - 3", "7 / 3"),
        ("7 * 3", "7 % 3"),
        ("1 < 2", "1 > 2"),
        ("ab", "a b"),
        ("\u0915\u093f", "\u0915\u093e"),  # two Hindi syllables that differ in their vowel sign, a mark
        ("...", "!!!"),
        ("caf\u00e9", "cafe"),
    ],
)
def test_what_carries_meaning_tells_texts_apart(a: str, b: str) -> None:
    assert text_key(a) != text_key(b)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(" \t\n,.;!", max_size=4), st.text(" \t\n,.;!", max_size=4))
def test_punctuation_around_a_text_changes_no_key(text: str, before: str, after: str) -> None:
    if any(c.isalnum() for c in text):
        assert text_key(before + text + after) == text_key(text)


@given(st.lists(st.sampled_from(["a", "b", "c", "A"])))
def test_a_key_is_new_exactly_once(texts: list[str]) -> None:
    seen = Deduplicator()
    new = [text for text in texts if seen.is_new(text_key(text))]
    assert len(new) == len({text.lower() for text in texts})
    assert all(text_key(text) in seen for text in texts)


def test_shares_are_even_and_belong_to_the_text() -> None:
    shares = [share_of(text_key(f"text {i}")) for i in range(2000)]
    assert all(0 <= share < 1 for share in shares)
    assert 0.07 < sum(share < 0.1 for share in shares) / len(shares) < 0.13
    assert share_of(text_key("Text 1!")) == shares[1]
