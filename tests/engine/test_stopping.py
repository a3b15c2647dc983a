"""Stop strings in text that comes in pieces."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwen.engine.stopping import StopScanner


def scan(pieces: list[str], stops: tuple[str, ...]) -> tuple[str, str | None]:
    scanner, text = StopScanner(stops), ""
    for piece in pieces:
        certain, stop = scanner.feed(piece)
        text += certain
        if stop is not None:
            return text, stop
    return text + scanner.finish(), None


def reference(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """The stop string that ends first, the longest of those that end together."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            longest = max(found, key=len)
            return text[: end - len(longest)], longest
    return text, None


@given(
    st.lists(st.text("abc", max_size=4), max_size=12),
    st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=4),
)
def test_any_cut_into_pieces_finds_what_the_whole_text_holds(pieces: list[str], stops: list[str]) -> None:
    assert scan(pieces, tuple(stops)) == reference("".join(pieces), tuple(stops))


def test_only_the_beginning_of_a_stop_string_is_held_back() -> None:
    scanner = StopScanner(("\n\nUser:",))
    assert scanner.feed("fine.\n") == ("fine.", None)
    assert scanner.feed("\n") == ("", None)
    assert scanner.feed("more") == ("\n\nmore", None)
    assert scanner.feed("\n\nUs") == ("", None)
    assert scanner.finish() == "\n\nUs"


def test_a_beginning_that_goes_on_otherwise_may_still_hold_the_stop() -> None:
    assert scan(["aaa", "aab"], ("aab",)) == ("aaa", "aab")


@pytest.mark.parametrize("stop", ["a" * 1000 + "b", "ab" * 500 + "c"])
def test_time_is_linear_in_the_text(stop: str) -> None:
    pieces = ["ab"] * 50000 if stop.endswith("c") else ["a"] * 100000
    begin = time.perf_counter()
    assert scan(pieces, (stop,))[1] is None
    assert time.perf_counter() - begin < 5
