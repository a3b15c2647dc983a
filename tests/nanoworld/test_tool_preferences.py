"""Preferences about tool use: pure, the chosen turn is the ideal one, and the worse one is another."""

import json
from collections import Counter

import pytest

from kwen.errors import UserError
from kwen.nanoworld.tool_preferences import TOOL_FAULTS, tool_preferences, tool_turns
from kwen.text.chatml import render
from kwen.text.tokenizer import Tokenizer
from kwen.text.tokenizer_training import TokenizerConfig, train


def test_turns_are_pure_and_wait_for_calls_and_answers() -> None:
    turns = list(tool_turns(0, 400))
    said = [(turn.messages, turn.ideal) for turn in turns]
    again, other = ([(turn.messages, turn.ideal) for turn in tool_turns(seed, 50)] for seed in (0, 1))
    assert said[:50] == again != other
    assert 0.3 < sum(turn.due is not None for turn in turns) / len(turns) < 0.7
    for turn in turns:
        assert turn.messages[0]["role"] == "system" and turn.messages[-1]["role"] == "user"
        assert len(turn.messages) == 2 + 2 * len(turn.told)
        if turn.due is not None:
            assert turn.due.name in {tool.name for tool in turn.tools}
            assert json.loads(turn.ideal.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>")) == {
                "name": turn.due.name,
                "arguments": turn.due.arguments,
            }


def test_the_worse_turn_is_another_and_labels_are_flipped_as_often_as_asked() -> None:
    clean = list(tool_preferences(0, 600, noise=0.0))
    noisy = list(tool_preferences(0, 600, noise=0.2))
    assert all(one.chosen != one.rejected and not one.flipped for one in clean)
    assert sum(one.flipped for one in noisy) == pytest.approx(120, abs=40)
    assert [(one.rejected, one.chosen) if one.flipped else (one.chosen, one.rejected) for one in noisy] == [
        (one.chosen, one.rejected) for one in clean
    ]
    faults = Counter(one.fault for one in clean)
    assert set(faults) == set(TOOL_FAULTS) and min(faults.values()) > 10
    with pytest.raises(UserError, match="noise is 1.0"):
        next(tool_preferences(0, 1, noise=1.0))


def test_plain_messages_are_written_as_chatml_writes_tools(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tool_preferences")
    turns = [turn for turn in tool_turns(0, 60) if turn.told and turn.due]
    train((turn.ideal for turn in turns), TokenizerConfig(vocab_size=300, extra_tokens=5), folder)
    tokenizer = Tokenizer.load(folder).for_chat(None)
    for turn in turns:
        calls = [
            {"id": f"call_{number}", "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}
            for number, call in enumerate(turn.told)
        ]
        told = [{"role": "user", "content": turn.messages[1]["content"]}]
        for call, made in zip(turn.told, calls, strict=True):
            told += [
                {"role": "assistant", "content": "", "tool_calls": [made]},
                {"role": "tool", "tool_call_id": made["id"], "content": call.result},
            ]  # type: ignore[list-item]
        tools = [tool.definition(turn.language) for tool in turn.tools]
        shown = render(told, tokenizer, tools=tools, add_generation_prompt=True)
        assert shown.token_ids == render(turn.messages, tokenizer, add_generation_prompt=True).token_ids
