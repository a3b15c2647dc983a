import time

import pytest

from kwen.evals.task import Item
from kwen.evals.tasks.letters import named_letter, stated_letter

ITEM = Item("0", "Which?", "B", "en", "all", {"choices": ("red lamp", "blue lamp", "13", "3")})

STATED = [  # (text, the letter that it states, the letter that it names)
    ("B", "B", "B"),
    ("B. blue lamp", "B", "B"),
    (" (C) because", "C", "C"),
    ("**D**", "D", "D"),
    ("The answer is B.", "B", "B"),
    ("The answer is: B", "B", "B"),
    ("**Answer:** B", "B", "B"),
    ("Answer: **(B)**", "B", "B"),
    ("The correct choice is option D", "D", "D"),
    ("So the answer is $\\boxed{B}$", "B", "B"),
    ("the answer is \\boxed{\\text{C}}", "C", "C"),
    ("the answer is c.", "C", "C"),
    ("the answer is b", "B", "B"),
    ("Answer: A. No: the answer is C", "C", "C"),
    ("A lamp is red, so the answer is C", "C", "C"),
    ("答案是B", "B", "B"),
    ("正确答案：Ｃ。", "C", "C"),
    ("【答案】 D", "D", "D"),
    ("故选：（Ｂ）", "B", "B"),
    ("不选A，选B", "B", "B"),
    ("答案应该是选项C", "C", "C"),
    ("The answer is a lamp", None, None),
    ("A blue lamp is brighter", None, "B"),
    ("It is 13 and nothing else", None, "C"),
    ("Blue   LAMP", None, "B"),
    ("选项A错误，D不对，B可以", None, "B"),
    ("either the red lamp or the blue lamp", None, None),
    ("the answer is E", None, None),
    ("答案是Z", None, None),
    ("Answer: Brighter", None, None),
    ("I think so", None, None),
    ("", None, None),
]


@pytest.mark.parametrize(("text", "stated", "named"), STATED)
def test_the_letter_of_a_reply(text: str, stated: str | None, named: str | None) -> None:
    assert (stated_letter(ITEM, text), named_letter(ITEM, text)) == (stated, named)


@pytest.mark.parametrize(
    "piece", ["答案", "选", "answer is ", "answer:(", "answer is" + " " * 9, "[", "A ", "13 ", "**", "\\boxed{"]
)
def test_long_hostile_replies_take_linear_time(piece: str) -> None:
    def seconds(length: int) -> float:
        text = piece * (length // len(piece))
        return min(_timed(text) for _ in range(2))

    assert seconds(400_000) < 20 * seconds(40_000) + 0.2


def _timed(text: str) -> float:
    begin = time.thread_time()
    named_letter(ITEM, text)
    return time.thread_time() - begin
