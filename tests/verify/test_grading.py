"""Grading many replies at once: functions run, everything else is graded as the oracle grades it."""

from typing import Any

import pytest

from kwen.nanoworld.oracle import grade
from kwen.nanoworld.prompts import prompts
from kwen.verify import oracle
from kwen.verify.oracle import grade_replies


def test_ideal_replies_to_all_topics_are_best() -> None:
    asked = prompts(0, 330, "held_out")
    assert all(made.score == 1.0 for made in grade_replies(asked, [prompt.answer for prompt in asked]))


def test_functions_are_run() -> None:
    asked = prompts(0, 5, topics=["functions"]) * 4
    ideal = asked[0].answer
    replies = [prompt.answer for prompt in asked[:5]]
    replies += [prompt.answer.replace("return ", "return not ") for prompt in asked[:5]]
    replies += [prompt.answer.replace(prompt.entry_point, "other") for prompt in asked[:5]]
    replies += ["I do not know.", "", f"def {asked[0].entry_point}(:", "```", ideal]
    made = grade_replies(asked, replies)
    assert [one.right for one in made[:5]] == [1.0] * 5
    assert [one.right for one in made[5:19]] == [0.0] * 14
    assert all(one.score < 1.0 for one in made[5:19])


def test_code_that_passes_but_is_not_whole_counts_as_right() -> None:
    [asked] = prompts(0, 1, topics=["functions"])
    cut, prose = asked.answer.removesuffix("\n```"), f"Here it is:\n{asked.answer}"
    whole, not_whole, with_prose = grade_replies([asked] * 3, [asked.answer, cut, prose])
    assert whole.right == not_whole.right == with_prose.right == 1.0
    assert not_whole.complete < 1.0 and not_whole.score < whole.score


def test_no_sandbox_is_entered_without_code_of_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> list[bool]:
        raise AssertionError("the sandbox was entered")

    monkeypatch.setattr(oracle, "passes", refuse)
    asked = prompts(0, 66)
    made = grade_replies(asked, ["I do not know."] * 66, [False] * 66)
    for prompt, one in zip(asked, made, strict=True):
        assert one == grade(prompt, "I do not know.", ended=False, passed=False if prompt.topic == "functions" else None)


def test_equal_code_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    passes = oracle.passes

    def counted(candidates: list[tuple[str, str]], **settings: Any) -> list[bool]:
        counts.append(len(candidates))
        return passes(candidates, **settings)

    monkeypatch.setattr(oracle, "passes", counted)
    asked = prompts(0, 2, topics=["functions"]) * 6
    assert all(one.right == 1.0 for one in grade_replies(asked, [prompt.answer for prompt in asked]))
    assert counts == [2]


def test_a_reply_is_needed_for_each_prompt() -> None:
    with pytest.raises(ValueError, match="shorter|longer"):
        grade_replies(prompts(0, 3), ["a"])
