"""SFT conversations: the kinds of rows, their rendering, what is left out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from kwen.align.datasets import (
    ChatFile,
    ChatSource,
    NanoworldChat,
    NanoworldTools,
    Tokenized,
    as_documents,
    chat_file_kind,
    conversations,
    render_conversation,
    tokenize_conversations,
)
from kwen.errors import UserError
from kwen.nanoworld.dialogues import dialogues
from kwen.text.chatml import render
from kwen.text.templates import render_template
from kwen.text.tokenizer import Tokenizer

SAME = [
    {"role": "user", "content": "Add.\n\n2 and 3"},
    {"role": "assistant", "content": "5"},
]
ROWS: dict[str, dict[str, Any]] = {
    "messages": {"messages": SAME},
    "alpaca": {"instruction": "Add.", "input": "2 and 3", "output": "5"},
    "sharegpt": {"conversations": [{"from": "human", "value": "Add.\n\n2 and 3"}, {"from": "gpt", "value": "5"}]},
    "questions": {"question": "Add.\n\n2 and 3", "answer": "5"},
}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path, kind: str = "file", **settings: Any) -> list[Any]:
    source = ChatFile(kind=kind, path=path, **settings)  # type: ignore[arg-type]
    return [messages for _, messages, _ in conversations(source, 0)]


@pytest.mark.parametrize("kind", ROWS)
def test_every_kind_is_detected_and_gives_the_same_messages(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "rows.jsonl", [ROWS[kind], ROWS[kind]])
    assert chat_file_kind(ChatFile(kind="file", path=path)) == kind
    assert read(path) == read(path, kind) == [SAME, SAME]
    array = tmp_path / "rows.json"
    array.write_text(json.dumps([ROWS[kind]]))
    assert read(array) == [SAME]


def test_a_limit_takes_the_first_rows(tmp_path: Path) -> None:
    rows = [{"question": str(number), "answer": "yes"} for number in range(5)]
    messages = read(write(tmp_path / "rows.jsonl", rows), limit=2)
    assert [conversation[0]["content"] for conversation in messages] == ["0", "1"]


def test_system_prompts_come_first(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be brief."}
    for kind in ("alpaca", "sharegpt"):
        path = write(tmp_path / "rows.jsonl", [ROWS[kind] | {"system": "Be brief."}])
        assert read(path) == [[system, *SAME]]
    turns = [{"from": "system", "value": "Be brief."}, *ROWS["sharegpt"]["conversations"]]
    assert read(write(tmp_path / "rows.jsonl", [{"conversations": turns}])) == [[system, *SAME]]


def test_an_instruction_without_input_stands_alone(tmp_path: Path) -> None:
    rows = [{"instruction": "Say hi.", "output": "Hi."}, {"instruction": "Say hi.", "input": "", "output": "Hi."}]
    assert [messages[0]["content"] for messages in read(write(tmp_path / "rows.jsonl", rows))] == ["Say hi.", "Say hi."]


def test_mixed_kinds_are_refused_with_counts_and_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [ROWS["alpaca"], ROWS["messages"], ROWS["alpaca"]])
    with pytest.raises(UserError, match=r"2 alpaca \(first .*rows.jsonl:1\), 1 messages \(first .*rows.jsonl:2\)"):
        read(path)


@pytest.mark.parametrize(
    ("kind", "row", "problem"),
    [
        ("messages", {}, '"messages" is missing'),
        ("messages", {"messages": "hello"}, '"messages" must be a list, not str'),
        ("messages", {"messages": []}, "the list is empty"),
        ("messages", {"messages": [{"role": "narrator", "content": "x"}]}, "narrator"),
        ("alpaca", {"instruction": "x", "output": 3}, '"output" must be a string, not int'),
        ("alpaca", {"instruction": None, "output": "x"}, '"instruction" is missing'),
        ("sharegpt", {"conversations": [{"from": "bird", "value": "x"}]}, "'bird' is unknown"),
        ("sharegpt", {"conversations": ["x"]}, "must be an object"),
        ("sharegpt", {"conversations": [{"from": "human"}]}, '"value" is missing'),
        ("questions", {"question": "x"}, '"answer" is missing'),
    ],
)
def test_a_row_that_cannot_be_read_is_an_error_with_its_line(tmp_path: Path, kind: str, row: Any, problem: str) -> None:
    path = write(tmp_path / "rows.jsonl", [ROWS[kind], row])
    with pytest.raises(UserError, match=problem) as raised:
        read(path, kind)
    assert str(raised.value).startswith(f"{path}:2: ") or str(raised.value).startswith(f"{path}:2[0]")


def test_recipes_name_their_sources_as_before() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(ChatSource)
    assert adapter.validate_python({"kind": "nanoworld", "count": 3}) == NanoworldChat(kind="nanoworld", count=3)
    assert adapter.validate_python({"kind": "messages", "path": "a.jsonl"}).path == Path("a.jsonl")
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": "messages", "path": "a.jsonl", "count": 3})


def test_parts_of_several_ranks_are_the_same_documents(chat_tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = [{"question": f"q{n}" * (40 if n % 5 == 4 else 1), "answer": "" if n == 7 else f"a{n}"} for n in range(23)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    sources: list[Any] = [
        ChatFile(kind="file", path=path, limit=20),
        NanoworldChat(kind="nanoworld", count=40),
        NanoworldTools(kind="nanoworld-tools", count=9),
    ]

    def part(first: int, step: int) -> Tokenized:
        return tokenize_conversations(sources, chat_tokenizer, seed=3, masking="content", longest=400, part=(first, step))

    whole, counts = as_documents([part(0, 1)], 400)
    for rank in range(3):
        part(rank, 3).save(tmp_path / str(rank))
    joined, same = as_documents([Tokenized.load(tmp_path / str(rank)) for rank in (2, 0, 1)], 400)
    assert counts == same and counts["empty_answer"] == 1 and counts["too_long"] > 0
    for name in ("tokens", "offsets", "trained"):
        assert np.array_equal(getattr(whole, name), getattr(joined, name))


def test_nanoworld_is_rendered_in_chatml(chat_tokenizer: Tokenizer) -> None:
    source = NanoworldChat(kind="nanoworld", count=20)
    tokenized = tokenize_conversations([source], chat_tokenizer, seed=3, masking="team", longest=1000)
    documents, counts = as_documents([tokenized], 1000)
    expected = [render(dialogue.messages, chat_tokenizer, masking="team") for dialogue in dialogues(3, 20)]
    assert documents.tokens.tolist() == [number for one in expected for number in one.token_ids]
    assert documents.trained is not None and documents.splits is None
    assert documents.trained.tolist() == [flag for one in expected for flag in one.loss_mask]
    assert documents.tokens.dtype == np.int64
    assert counts == {
        "conversations": 20,
        "too_long": 0,
        "no_answer": 0,
        "empty_answer": 0,
        "data_tokens": len(documents.tokens),
        "data_trained_tokens": int(documents.trained.sum()),
    }


def test_a_models_own_template_renders_its_conversations(smollm2_tokenizer: Tokenizer) -> None:
    template = smollm2_tokenizer.chat_template
    assert template is not None
    rendered = render_conversation(SAME, smollm2_tokenizer, "content")
    assert rendered == render_template(template, SAME, smollm2_tokenizer, add_generation_prompt=False, masking="content")
    trained = [number for number, flag in zip(rendered.token_ids, rendered.loss_mask, strict=True) if flag]
    assert smollm2_tokenizer.decode(trained, skip_special_tokens=False) == "5<|im_end|>"
    assert "SmolLM" in smollm2_tokenizer.decode(rendered.token_ids)


def test_what_teaches_nothing_is_counted_and_named(tmp_path: Path, chat_tokenizer: Tokenizer) -> None:
    rows = [
        {"messages": SAME},
        {"messages": SAME[:1]},
        {"messages": [SAME[0], {"role": "assistant", "content": "  "}]},
        {"messages": [SAME[0], {"role": "assistant", "content": "five " * 500}]},
        {"messages": SAME[:1]},
    ]
    path = write(tmp_path / "rows.jsonl", rows)
    source = ChatFile(kind="file", path=path)
    documents, counts = as_documents([tokenize_conversations([source], chat_tokenizer, seed=0, masking="team", longest=200)], 200)
    assert len(documents.offsets) == 2
    assert {key: counts[key] for key in ("conversations", "too_long", "no_answer", "empty_answer")} == {
        "conversations": 1,
        "too_long": 1,
        "no_answer": 2,
        "empty_answer": 1,
    }
    for part in ("1 too long (first rows.jsonl:4)", "2 no answer (first rows.jsonl:2)", "1 empty answer (first rows.jsonl:3)"):
        assert part in counts["left_out"]


def test_tool_calls_are_an_answer(tmp_path: Path, chat_tokenizer: Tokenizer) -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 2}}}
    rows = [{"messages": [SAME[0], {"role": "assistant", "content": None, "tool_calls": [call]}]}]
    source = ChatFile(kind="file", path=write(tmp_path / "rows.jsonl", rows))
    _, counts = as_documents([tokenize_conversations([source], chat_tokenizer, seed=0, masking="content", longest=200)], 200)
    assert counts["conversations"] == 1


def test_when_nothing_remains_the_error_says_why(tmp_path: Path, chat_tokenizer: Tokenizer) -> None:
    source = ChatFile(kind="messages", path=write(tmp_path / "rows.jsonl", [{"messages": SAME}]))
    with pytest.raises(UserError, match=r"at most 4 tokens .*1 too long \(first rows.jsonl:1\)"):
        as_documents([tokenize_conversations([source], chat_tokenizer, seed=0, masking="team", longest=4)], 4)


@pytest.mark.parametrize(
    ("name", "kind", "count"),
    [
        ("gsm8k/train.jsonl", "questions", 7473),
        ("rasbt_instruct/instruction-data.json", "alpaca", 1100),
        ("rasbt_instruct/instruction-examples.json", "alpaca", 200),
    ],
)
def test_real_sets_are_read_whole(shared_data: Path, name: str, kind: str, count: int) -> None:
    source = ChatFile(kind="file", path=shared_data / name)
    assert chat_file_kind(source) == kind
    found = list(conversations(source, 0))
    assert len(found) == count
    assert all([message["role"] for message in messages] == ["user", "assistant"] for _, messages, _ in found)


def test_a_set_of_another_kind_is_refused(shared_data: Path) -> None:
    with pytest.raises(UserError, match="no known kind"):
        chat_file_kind(ChatFile(kind="file", path=shared_data / "self_instruct_seed" / "seed_tasks.jsonl"))
