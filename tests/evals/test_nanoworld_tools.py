"""Tool use in nanoworld: the ideal conversation scores in full, wrong ones where they are wrong; a real model runs through it."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import make_model_folder

import kwen
from kwen.evals.run import evaluate, judge
from kwen.evals.score import summarise
from kwen.evals.task import Item
from kwen.evals.tasks.nanoworld_tools import SEEN, UNSEEN, respond
from kwen.nanoworld.tool_tasks import KINDS, MAX_OFFERED


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return SEEN.items(None, 0)[:60]


def ideal(item: Item) -> list[dict[str, Any]]:
    return item.extra["task"].messages[1:]


def score(items: list[Item], said: list[list[dict[str, Any]]]) -> dict[str, Any]:
    answers = judge(SEEN, items, [json.dumps(messages) for messages in said])
    return summarise(list(zip(items, answers, strict=True)), SEEN.metric, SEEN.measures)


def test_the_ideal_conversation_scores_in_full(items: list[Item]) -> None:
    result = score(items, [ideal(item) for item in items])
    assert result["accuracy"] == result["tool_selection"] == result["arguments_exact"] == result["arguments_rouge_l"] == 1
    assert result["false_positive"] == 0 and result["valid_calls"] == 1
    assert result["tool_selection_n"] == 40 and result["false_positive_n"] == 20
    assert set(result["by_kind"]) == set(KINDS)


def test_silence_and_calls_out_of_place_count_as_such(items: list[Item]) -> None:
    silent = score(items, [[{"role": "assistant", "content": "Well."}] for _ in items])
    assert silent["tool_selection"] == 0 and silent["false_positive"] == 0 and "valid_calls" not in silent
    call = {"id": "call_0", "type": "function", "function": {"name": "no_such_tool", "arguments": "{}"}}
    calling = score(items, [[{"role": "assistant", "content": "", "tool_calls": [call]}] for _ in items])
    assert calling["false_positive"] == 1 and calling["valid_calls"] == calling["accuracy"] == 0
    unread = score(items, [[{"role": "assistant", "content": "<tool_call>\n{"}] for _ in items])
    assert unread["valid_calls"] == 0


def test_the_world_answers_calls_as_in_the_ideal_conversation(items: list[Item]) -> None:
    for item in items:
        said = ideal(item)
        for place, message in enumerate(said):
            if message.get("tool_calls") and message["tool_calls"][0]["function"]["name"] != "python":
                assert [row["content"] for row in respond(item, [message])] == [said[place + 1]["content"]]
    call = {"id": "call_0", "type": "function", "function": {"name": "no_such_tool", "arguments": "{}"}}
    assert respond(items[0], [{"tool_calls": [call]}])[0]["content"] == "error: there is no tool no_such_tool"


def test_at_most_five_tools_are_offered_and_unseen_ones_are_others(items: list[Item]) -> None:
    offered = {tool["function"]["name"] for item in items for tool in item.tools}
    unseen = {tool["function"]["name"] for item in UNSEEN.items(None, 0)[:60] for tool in item.tools if item.tag == "one"}
    assert all(1 <= len(item.tools) <= MAX_OFFERED for item in items) and offered and unseen - offered


def test_a_model_that_knows_nothing_runs_through_it(tmp_path: Path) -> None:
    lm = kwen.load(make_model_folder(tmp_path / "model", max_position_embeddings=4096))
    result = evaluate(lm, ["nanoworld-tools"], limit=6, out=tmp_path / "kept")["nanoworld-tools"]
    assert result["n"] == 6 and result["accuracy"] == 0 and result["tool_selection_n"] == 4
    again = evaluate(lm, ["nanoworld-tools"], limit=6, out=tmp_path / "kept")["nanoworld-tools"]
    assert again == result
    short = kwen.load(make_model_folder(tmp_path / "short", max_position_embeddings=128))
    assert evaluate(short, ["nanoworld-tools"], limit=2)["nanoworld-tools"]["ended"] == 0
