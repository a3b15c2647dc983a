"""Tasks with a checkable answer: what is read, how it is scored, and how bad rows are told."""

from pathlib import Path
from typing import Any

import pytest
from tiny_chat import sums, write_rows

from kwen.align.verifiable import CodeTasks, NanoworldTasks, NumberReference, NumberTasks, Task, score_answers, task_tokens, tasks
from kwen.errors import UserError
from kwen.nanoworld.prompts import Prompt
from kwen.text.tokenizer import Tokenizer

USER = [{"role": "user", "content": "How many?"}]


def test_numbers_are_compared_as_numbers(tmp_path: Path) -> None:
    answers = ["1,000", 0.5, "First 3 and 4.\n#### 72"]
    path = write_rows(tmp_path / "n.jsonl", [{"messages": USER, "answer": answer} for answer in answers])
    asked = list(tasks(NumberTasks(kind="numbers", path=path), 0))
    assert score_answers(asked, ["It makes 1000.0.", "1/2", "So it is 72 apples."], [True] * 3) == [1.0, 1.0, 1.0]
    assert score_answers(asked, ["It makes 1001.", "no idea", "72 or 73"], [True] * 3) == [0.0, 0.0, 0.0]
    assert score_answers(asked, ["It makes 1000.0.", "1/2", "So it is 72 apples."], [False] * 3) == [0.0, 0.0, 0.0]
    strict = list(tasks(NumberTasks(kind="numbers", path=path, extraction="strict", limit=1), 0))
    assert len(strict) == 1
    assert score_answers(strict * 2, ["It makes 1000.", "The answer is 1000, not 7."], [True] * 2) == [0.0, 1.0]


def test_functions_are_run_and_kinds_may_be_mixed(tmp_path: Path) -> None:
    row = {"messages": USER, "tests": ["assert twice(2) == 4", "assert twice(-1) == -2"], "entry_point": "twice"}
    [code] = tasks(CodeTasks(kind="code", path=write_rows(tmp_path / "c.jsonl", [row])), 0)
    number = Task(USER, NumberReference("7", "flexible"), "here")
    world = next(iter(tasks(NanoworldTasks(kind="nanoworld", count=3, topics=("facts",)), 0)))
    assert isinstance(world.reference, Prompt)
    right, wrong = "```python\ndef twice(n):\n    return 2 * n\n```", "```python\ndef twice(n):\n    return n\n```"
    replies = [right, "7", wrong, world.reference.answer, right, "I ate a lamp."]
    scores = score_answers([code, number, code, world, code, world], replies, [True, True, True, True, False, True])
    assert scores[:5] == [1.0, 1.0, 0.0, 1.0, 0.0] and scores[5] < 0.9


def test_tasks_too_long_are_counted_and_the_rest_keep_their_references(chat_tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = sums(4)
    rows[1]["messages"] = [{"role": "user", "content": "What is one plus one? " * 60}]
    rows[2]["messages"] = [*rows[2]["messages"], {"role": "assistant", "content": "It is 5."}]
    source = NumberTasks(kind="numbers", path=write_rows(tmp_path / "n.jsonl", rows))
    token_ids, kept, counts = task_tokens([source], chat_tokenizer, chat_tokenizer.chat_template, 0, 80)
    assert counts == {"queries": 3, "queries_too_long": 1} and len(token_ids) == 3
    assert [task.reference.answer for task in kept if isinstance(task.reference, NumberReference)] == ["1", "5", "7"]
    assert "It is 5." not in chat_tokenizer.decode(token_ids[1])  # an answer that the row holds is not given away


@pytest.mark.parametrize(
    ("kind", "row", "said"),
    [
        ("numbers", {"messages": USER, "answer": "many"}, '"answer" states no single number'),
        ("numbers", {"messages": USER}, '"answer" is missing'),
        ("numbers", {"messages": [], "answer": 1}, "the list is empty"),
        ("numbers", {"messages": [{"role": "assistant", "content": "x"}], "answer": 1}, "no user message"),
        ("code", {"messages": USER, "tests": "assert ("}, '"tests" is not Python'),
        ("code", {"messages": USER, "tests": []}, '"tests" holds no test'),
    ],
)
def test_bad_rows_are_told_with_their_line(tmp_path: Path, kind: str, row: dict[str, Any], said: str) -> None:
    good = {"numbers": sums(1)[0], "code": {"messages": USER, "tests": "assert True"}}[kind]
    path = write_rows(tmp_path / "rows.jsonl", [good, row])
    source = NumberTasks(kind="numbers", path=path) if kind == "numbers" else CodeTasks(kind="code", path=path)
    with pytest.raises(UserError, match=rf"rows\.jsonl:2.*{said}"):
        list(tasks(source, 0))
