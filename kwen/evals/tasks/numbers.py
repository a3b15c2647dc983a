"""What tasks with a number as answer share: two extractors and the judge."""

from collections.abc import Sequence

from kwen.evals.task import Item
from kwen.verify.answers import extract_number, same_number


def stated_number(item: Item, text: str) -> str | None:
    """The number that the reply states as its answer."""
    return extract_number(text, "strict")


def last_number(item: Item, text: str) -> str | None:
    """The last number of the reply."""
    return extract_number(text, "flexible")


def equal_numbers(pairs: Sequence[tuple[Item, str]]) -> list[bool]:
    """Whether each number equals its item's."""
    return [same_number(number, item.reference) for item, number in pairs]
