"""The checks of self-instruct: every ideal conversation stands them, and each flaw is found by its own."""

import json
from typing import Any

import pytest

from kwen.align.trajectory_checks import CHECKS, check_request, check_trajectory, same_request
from kwen.nanoworld.tool_tasks import tool_tasks

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "price",
            "description": "price of an item",
            "parameters": {"type": "object", "properties": {"item": {"type": "string"}, "count": {"type": "integer"}}},
        },
    }
]
REQUEST = "What do 3 of the lamp Vorin cost?"


def turn(*arguments: Any, name: str = "price", content: str = "") -> dict[str, Any]:
    calls = [
        {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": json.dumps(one)}}
        for number, one in enumerate(arguments, 1)
    ]
    return {"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {})}


def result(text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": "call_1", "content": text}


CALL = {"item": "Vorin", "count": 3}
GOOD = [turn(CALL), result("36 coins"), turn(content="They cost 36 coins.")]


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_ideal_conversations_stand_every_check(split: Any) -> None:
    tasks = [task for task in tool_tasks(0, 400, split) if task.calls]
    met = [check_trajectory(str(task.messages[0]["content"]), task.messages[1:], "stop", task.definitions()) for task in tasks]
    assert met.count("kept") > 0.9 * len(met) and set(met) <= {"kept", "unsaid_argument", "unread_result"}


@pytest.mark.parametrize(
    ("said", "reason", "check"),
    [
        (GOOD, "stop", "kept"),
        (GOOD, "length", "no_answer"),
        ([], "length", "no_answer"),
        (GOOD[:2], "stop", "no_answer"),
        ([turn(content=" ")], "stop", "no_answer"),
        ([turn(content="I do not know.")], "stop", "no_call"),
        ([turn(CALL, name="cost"), *GOOD[1:]], "stop", "bad_call"),
        ([turn({"item": "Vorin"}), *GOOD[1:]], "stop", "bad_call"),
        ([turn({"item": "Vorin", "count": "3"}), *GOOD[1:]], "stop", "bad_call"),
        ([turn(["Vorin"]), *GOOD[1:]], "stop", "bad_call"),
        ([*GOOD[:2], turn(content="<tool_call> 36 coins")], "stop", "bad_call"),
        ([*GOOD[:2], *GOOD], "stop", "call_again"),
        ([GOOD[0], result("error: no such item"), GOOD[2]], "stop", "failed"),
        ([turn({"item": "Melta", "count": 3}), *GOOD[1:]], "stop", "unsaid_argument"),
        ([turn({"item": "Vorin", "count": 4}), *GOOD[1:]], "stop", "unsaid_argument"),
        ([*GOOD[:2], turn(content="They cost 35 coins.")], "stop", "unread_result"),
    ],
)
def test_each_flaw_is_found(said: list[dict[str, Any]], reason: str, check: str) -> None:
    assert check in CHECKS and check_trajectory(REQUEST, said, reason, TOOLS) == check


def test_requests_are_lines_of_words_and_each_is_taken_once() -> None:
    seen = {same_request("Who is Vorin?")}
    assert check_request(REQUEST, seen) is None
    assert check_request(REQUEST.upper().replace("?", " ?"), seen) == "repeated" == check_request("who is vorin", seen)
    for none in ("", "short", "x" * 301, "two\nlines of it", '{"name": "price"}', "<tools> all of them"):
        assert check_request(none, seen) == "no_request"
    assert len(seen) == 2
