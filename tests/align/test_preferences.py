"""Preference pairs: the forms in which they are published, and how they become documents."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from kwen.align.preferences import (
    NanoworldComparisons,
    NanoworldToolPreferences,
    Pair,
    PairsFile,
    PairSource,
    form_of,
    hold_out,
    pairs,
    tokenize_pairs,
    write_pairs,
)
from kwen.align.queries import QuerySource, queries
from kwen.errors import UserError
from kwen.text.chatml import render
from kwen.text.control import IM_END
from kwen.text.templates import render_template
from kwen.text.tokenizer import Tokenizer
from kwen.train.batches import Batches
from kwen.verify.pairs import read_pairs

USER = {"role": "user", "content": "What is 2 + 3?"}
GOOD, BAD = {"role": "assistant", "content": "5"}, {"role": "assistant", "content": "6"}
ROWS: dict[str, dict[str, Any]] = {
    "kwen": {"messages": [USER], "chosen": "5", "rejected": "6"},
    "plain": {"prompt": "What is 2 + 3?", "chosen": "5", "rejected": "6"},
    "instructions": {"instruction": "What is 2 + 3?", "input": "", "output": "5", "chosen": "5", "rejected": "6"},
    "conversations": {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "transcripts": {
        "chosen": "\n\nHuman: What is 2 + 3?\n\nAssistant: 5",
        "rejected": "\n\nHuman: What is 2 + 3?\n\nAssistant: 6",
    },
}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pair(chosen: str = "5", rejected: str = "6", content: str = "What is 2 + 3?", tag: str = "sums") -> Pair:
    return Pair([{"role": "user", "content": content}], chosen, rejected, tag, "here:1")


def message(number: str, parent: str | None, role: str, text: str, rank: int | None = None, **more: Any) -> dict[str, Any]:
    return {"message_id": number, "parent_id": parent, "role": role, "text": text, "rank": rank, **more}


@pytest.mark.parametrize("form", ROWS)
def test_every_form_is_detected_and_gives_the_same_pair(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / "sums.jsonl", [ROWS[form]])
    assert form_of(path) == form
    assert list(read_pairs(path)) == [Pair([USER], "5", "6", "sums", f"{path}:1")]  # type: ignore[list-item]
    packed = tmp_path / "sums.jsonl.gz"
    packed.write_bytes(gzip.compress(json.dumps([ROWS[form]]).encode()))
    assert list(read_pairs(packed)) == [Pair([USER], "5", "6", "sums", f"{packed}:1")]  # type: ignore[list-item]


def test_conversations_may_go_on_from_a_prompt(tmp_path: Path) -> None:
    rows = [
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": "What is 2 + 3?", "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": "What is 2 + 3?", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
    ]
    found = list(read_pairs(write(tmp_path / "sums.jsonl", rows)))
    assert [(one.messages, one.chosen, one.rejected) for one in found] == [([USER], "5", "6")] * 3


def test_transcripts_have_turns_and_may_go_on_from_a_prompt(tmp_path: Path) -> None:
    prompt = "\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: Human: is it?\nYes\n\nAssistant:"
    rows = [
        {"chosen": prompt + " a\n\nb ", "rejected": prompt + " c"},
        {"prompt": prompt, "chosen": " a\n\nb ", "rejected": " c"},
    ]
    for found in read_pairs(write(tmp_path / "talk.jsonl", rows)):
        assert [(turn["role"], turn["content"]) for turn in found.messages] == [
            ("user", "Hi."),
            ("assistant", "Hello."),
            ("user", "Human: is it?\nYes"),
        ]
        assert (found.chosen, found.rejected) == ("a\n\nb", "c")


def test_a_row_brings_its_tag_and_its_system_prompt(tmp_path: Path) -> None:
    (found,) = read_pairs(write(tmp_path / "sums.jsonl", [ROWS["plain"] | {"tag": "easy", "system": "Count."}]))
    assert found.tag == "easy" and found.messages[0] == {"role": "system", "content": "Count."}


TREE = [
    message("root", None, "prompter", "Hi?"),
    message("b", "root", "assistant", "middling", 1),
    message("a", "root", "assistant", "best", 0),
    message("c", "root", "assistant", "worst", 2),
    message("d", "root", "assistant", "deleted", 3, deleted=True),
    message("e", "root", "assistant", "unranked"),
    message("more", "a", "prompter", "And?", 0),
    message("f", "more", "assistant", "good", 0),
    message("g", "more", "assistant", "as good", 0),
    message("h", "more", "assistant", "worse", 1),
]


def nested(number: str) -> dict[str, Any]:
    row = next(row for row in TREE if row["message_id"] == number)
    return {**row, "replies": [nested(reply["message_id"]) for reply in TREE if reply["parent_id"] == number]}


@pytest.mark.parametrize("form", ["ranked", "trees"])
def test_ranked_trees_give_a_pair_for_every_two_ranks(tmp_path: Path, form: str) -> None:
    rows = TREE if form == "ranked" else [{"message_tree_id": "root", "prompt": nested("root")}]
    path = write(tmp_path / "trees.jsonl", rows)
    assert form_of(path) == form
    found = list(read_pairs(path))
    assert [(one.chosen, one.rejected) for one in found] == [
        ("best", "middling"),
        ("best", "worst"),
        ("middling", "worst"),
        ("good", "worse"),
        ("as good", "worse"),
    ]
    assert [turn["content"] for turn in found[0].messages] == ["Hi?"]
    assert [turn["content"] for turn in found[-1].messages] == ["Hi?", "best", "And?"]


def test_a_tree_with_a_missing_or_circular_beginning_shares_no_prompt(tmp_path: Path) -> None:
    missing = [message("a", "gone", "assistant", "x", 0), message("b", "gone", "assistant", "y", 1)]
    circle = [message("p", "q", "prompter", "?"), message("q", "p", "assistant", "!")]
    replies = [message("r", "p", "assistant", "x", 0), message("s", "p", "assistant", "y", 1)]
    for rows in (missing, circle + replies):
        (found,) = read_pairs(write(tmp_path / "trees.jsonl", rows))
        assert found.flaw == "no_shared_prompt"


def test_flaws_have_names() -> None:
    assert pair().flaw == ""
    assert pair("5", " 5\n").flaw == "equal_texts"
    assert pair(" ", "6").flaw == pair("5", "").flaw == "empty_reply"
    assert Pair([], "5", "6", "", "").flaw == "no_shared_prompt"
    assert Pair([USER, GOOD], "5", "6", "", "").flaw == "no_shared_prompt"  # type: ignore[list-item]


def test_conversations_that_part_early_share_no_prompt(tmp_path: Path) -> None:
    other = {"role": "user", "content": "Something else?"}
    rows = [
        {"chosen": [USER, GOOD], "rejected": [other, BAD]},
        {"chosen": [USER, GOOD, USER, GOOD], "rejected": [USER, BAD]},
    ]
    assert [one.flaw for one in read_pairs(write(tmp_path / "sums.jsonl", rows))] == ["no_shared_prompt"] * 2


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "x", "chosen": "5"}, '"rejected" is missing'),
        ({"prompt": "x", "chosen": None, "rejected": "6"}, '"chosen" is missing'),
        ({"prompt": 7, "chosen": "5", "rejected": "6"}, '"prompt" must be a string, not int'),
        ({"messages": [], "chosen": "5", "rejected": "6"}, "the list is empty"),
        ({"messages": [USER, GOOD], "chosen": "5", "rejected": "6"}, "must end with a user's message"),
        ({"chosen": [USER, GOOD]}, '"rejected" is missing'),
        ({"chosen": [USER, GOOD], "rejected": [USER]}, "rejected must end with a text by the assistant"),
        ({"chosen": [GOOD], "rejected": [BAD]}, '"prompt" is missing'),
        ({"chosen": "\n\nHuman: x\n\nAssistant: y", "rejected": "z"}, "rejected must begin with"),
        ({"chosen": "\n\nHuman: x\n\nAssistant: y", "rejected": "\n\nHuman: x"}, "rejected must begin with"),
        (message("a", None, "bird", "x"), "role 'bird' is unknown"),
        (message("a", None, "assistant", "x", "first"), '"rank" must be a whole number'),  # type: ignore[arg-type]
        ({"message_tree_id": "a", "prompt": {**TREE[0], "replies": [3]}}, "must be an object, not int"),
    ],
)
def test_a_row_that_cannot_be_read_is_an_error_with_its_line(tmp_path: Path, row: Any, problem: str) -> None:
    path = write(tmp_path / "pairs.jsonl", [row])
    with pytest.raises(UserError, match=problem) as raised:
        list(read_pairs(path))
    assert str(raised.value).startswith(f"{path}:1: ")


def test_mixed_forms_are_refused_with_counts_and_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", [ROWS["plain"], ROWS["transcripts"], ROWS["plain"]])
    with pytest.raises(UserError, match=r"2 plain \(first .*:1\), 1 transcripts \(first .*:2\)"):
        list(read_pairs(path))


def test_pairs_are_kept_and_read_back(tmp_path: Path) -> None:
    kept = [pair(), pair("诗", "\ud83d", tag="odd"), pair(content="Again?")]
    path = tmp_path / "kept.jsonl"
    assert write_pairs(path, kept) == 3
    found = list(pairs(PairsFile(kind="pairs", path=path), 0))
    assert [(one.messages, one.chosen, one.tag) for one in found] == [(one.messages, one.chosen, one.tag) for one in kept]
    assert [one.rejected for one in found] == ["6", "\ufffd", "6"]
    with pytest.raises(UserError, match="here:1: equal texts"):
        write_pairs(path, [pair("5", "5")])
    assert len(list(pairs(PairsFile(kind="pairs", path=path, limit=2), 0))) == 2


def test_held_out_pairs_never_share_a_conversation_with_the_rest() -> None:
    items = [pair(str(number), "x", content=str(number // 4)) for number in range(1000)]
    rest, held = hold_out(items, 0.2, 0)
    assert len(rest) + len(held) == 1000 and 120 < len(held) < 280
    assert not {one.messages[0]["content"] for one in rest} & {one.messages[0]["content"] for one in held}
    assert hold_out(items[:100], 0.2, 0)[1] == [one for one in items[:100] if one in held]
    assert hold_out(items, 0.2, 1)[1] != held


def sides(tokenizer: Tokenizer, item: Pair) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, reply ids with their end) of both sides, from the renderings that prompts and answers have at use."""
    template = tokenizer.chat_template
    assert template is not None
    prompt = render_template(template, item.messages, tokenizer, add_generation_prompt=True).token_ids
    return [(prompt, [*tokenizer.encode(reply), tokenizer.control_id(IM_END)]) for reply in (item.chosen, item.rejected)]


@pytest.mark.parametrize("name", ["chat_tokenizer", "smollm2_tokenizer"])
def test_a_pair_is_one_document_of_two_conversations(name: str, request: pytest.FixtureRequest) -> None:
    tokenizer: Tokenizer = request.getfixturevalue(name)
    history = [USER, GOOD, {"role": "user", "content": "Sure? <|im_end|>"}]
    items = [pair(), Pair(history, "Yes, five.", "No", "doubt", "here:2")]  # type: ignore[arg-type]
    documents, tags, counts = tokenize_pairs(items, tokenizer, longest=500)
    assert tags == ["sums", "doubt"] and counts["pairs"] == 2 and "left_out" not in counts
    assert documents.splits is not None and documents.trained is not None
    for index, item in enumerate(items):
        (prompt, chosen), (_, rejected) = sides(tokenizer, item)
        begin, end = documents.offsets[index : index + 2]
        end_token = tokenizer.control_id(IM_END)
        assert documents.tokens[begin:end].tolist() == prompt + chosen + prompt + rejected + [end_token]
        assert documents.splits[index] == len(prompt + chosen)
        flags = [[False] * len(prompt) + [True] * len(reply) for reply in (chosen, rejected)]
        assert documents.trained[begin:end].tolist() == flags[0] + flags[1] + [False]


def test_a_batch_holds_both_sides_with_their_ends(chat_tokenizer: Tokenizer) -> None:
    items = [pair(str(number), "none at all") for number in range(12)]
    documents, _, _ = tokenize_pairs(items, chat_tokenizer, longest=128)
    batch = Batches(documents, row_length=128, rows=2, seed=0)(0)
    end = chat_tokenizer.control_id(IM_END)
    for tokens, owners in zip(batch.token_ids.tolist(), batch.documents.tolist(), strict=True):
        parts: dict[int, list[int]] = {}
        for token, owner in zip(tokens, owners, strict=True):
            parts.setdefault(owner, []).append(token)
        parts.pop(-1, None)
        # The prompt has two turns (system, user), the reply ends the third.
        assert parts and len(parts) % 2 == 0
        assert all(part[-1] == end and part.count(end) == 3 for part in parts.values())


def test_flawed_and_long_pairs_are_counted_and_named_never_cut(chat_tokenizer: Tokenizer) -> None:
    items = [pair(), pair("5", "5"), pair("", "5"), Pair([], "a", "b", "", "here:9"), pair("5 " * 200, "6"), pair("5", "5")]
    whole = sum(len(prompt + reply) for prompt, reply in sides(chat_tokenizer, pair()))
    documents, _, counts = tokenize_pairs(items, chat_tokenizer, longest=whole)
    assert documents.offsets.tolist() == [0, whole + 1]
    assert {key: counts[key] for key in ("pairs", "too_long", "equal_texts", "empty_reply", "no_shared_prompt")} == {
        "pairs": 1,
        "too_long": 1,
        "equal_texts": 2,
        "empty_reply": 1,
        "no_shared_prompt": 1,
    }
    assert counts["left_out"].startswith("1 too long (first here:1), 2 equal texts (first here:1), 1 empty reply")
    with pytest.raises(UserError, match="2 too long|1 too long"):
        tokenize_pairs([pair()], chat_tokenizer, longest=whole - 1)


def test_the_rendering_of_a_pair_ends_where_chatml_ends_it(chat_tokenizer: Tokenizer) -> None:
    documents, _, _ = tokenize_pairs([pair()], chat_tokenizer, longest=500)
    whole = render([USER, GOOD], chat_tokenizer).token_ids
    newline = chat_tokenizer.encode("\n")
    assert documents.splits is not None
    assert documents.tokens[: documents.splits[0]].tolist() + newline == whole


def test_nanoworlds_comparisons_are_a_source(chat_tokenizer: Tokenizer) -> None:
    source = NanoworldComparisons(kind="nanoworld", count=60)
    found = list(pairs(source, 4))
    assert len(found) == 60 and found == list(pairs(source, 4)) and found != list(pairs(source, 5))
    assert not [one for one in found if one.flaw] and len({one.tag for one in found}) > 3
    only = NanoworldComparisons(kind="nanoworld", count=10, topics=("comparison",), split="held_out")
    assert {one.tag for one in pairs(only, 0)} == {"comparison"}
    _, tags, counts = tokenize_pairs(found, chat_tokenizer, longest=4000)
    assert counts["pairs"] == len(tags) == 60


def test_sources_are_checked_where_they_are_written() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(PairSource)
    assert adapter.validate_python({"kind": "nanoworld", "count": 3}).noise == 0.15
    for wrong in ({"count": 0}, {"count": 1, "topics": ["birds"]}, {"count": 1, "topics": []}, {"count": 1, "noise": 0.7}):
        with pytest.raises(ValidationError):
            adapter.validate_python({"kind": "nanoworld", **wrong})


@pytest.mark.parametrize(
    ("name", "form", "counts"),
    [
        ("hh_rlhf_harmless_test/test.jsonl.gz", "transcripts", {"": 2303, "empty_reply": 4, "no_shared_prompt": 5}),
        ("oasst1_en_validation/en-validation.jsonl", "ranked", {"": 1021, "equal_texts": 1}),
        ("rasbt_instruct/instruction-data-with-preference.json", "instructions", {"": 1094, "equal_texts": 6}),
    ],
)
def test_real_sets_are_read_whole(shared_data: Path, name: str, form: str, counts: dict[str, int]) -> None:
    path = shared_data / name
    assert form_of(path) == form
    flaws = [one.flaw for one in read_pairs(path)]
    assert {flaw: flaws.count(flaw) for flaw in sorted(set(flaws))} == counts


def test_real_pairs_in_a_real_models_template(shared_data: Path, smollm2_tokenizer: Tokenizer) -> None:
    for name in ("hh_rlhf_harmless_test/test.jsonl.gz", "oasst1_en_validation/en-validation.jsonl"):
        items = list(pairs(PairsFile(kind="pairs", path=shared_data / name, limit=40), 0))
        documents, _, counts = tokenize_pairs(items, smollm2_tokenizer, longest=100_000)
        assert documents.splits is not None and counts["pairs"] == 40
        for index, item in enumerate(items):
            begin = documents.offsets[index]
            chosen = documents.tokens[begin : begin + documents.splits[index]].tolist()
            assert chosen == [number for part in sides(smollm2_tokenizer, item)[0] for number in part]


def test_tool_use_is_preferred_in_plain_messages_and_asked_for_alike(chat_tokenizer: Tokenizer) -> None:
    found = list(pairs(NanoworldToolPreferences(kind="nanoworld-tools", count=80, noise=0.0), 0))
    assert {one.tag for one in found} == {"tools"} and not any(one.flaw for one in found)
    assert all(one.messages[0]["content"].startswith("<tools>\n") for one in found)
    assert any(one.chosen.startswith("<tool_call>") for one in found)
    documents, tags, counts = tokenize_pairs(found, chat_tokenizer, longest=4096)
    assert len(tags) == counts["pairs"] == 80 and documents.tokens.size > 0
    source = TypeAdapter(QuerySource).validate_python({"kind": "nanoworld-tools", "count": 20})
    asked = list(queries(source, 0))
    assert len(asked) == 20 and all(one[0]["role"] == "system" and one[-1]["role"] == "user" for one in asked)
    assert not {json.dumps(one) for one in asked} & {json.dumps(one.messages) for one in found}
