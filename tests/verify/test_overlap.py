"""13-gram overlap: what is planted is found wherever and however it stands, and nothing else is."""

import gzip
import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwen.verify import overlap
from kwen.verify.overlap import MOST_SHARED, SHORTEST, Index, N, contamination, words

ENGLISH = "A baker sells forty loaves before noon and half as many after; how many does he sell in all?"
CHINESE = "小明有三个苹果，妈妈又给了他五个，请问他现在一共有多少个苹果？"
FILLER = [f"filler{number}" for number in range(400)]


def found(item: str, *texts: str) -> bool:
    return Index({"task": [("item", item)]}).overlapping_any(texts) == {("task", "item")}


def test_words_are_folded_and_split_as_documented() -> None:
    assert words("Don't STOP—ＦＵＬＬ width, 3.14 straße!") == ["don", "t", "stop", "full", "width", "3", "14", "strasse"]
    assert words("他有3只猫。とても good") == ["他", "有", "3", "只", "猫", "と", "て", "も", "good"]
    assert words("soft\u00adhyphen a\u200db नमस्ते") == ["softhyphen", "ab", "नमस्ते"]
    assert words("a\ud800b \0 c") == ["a", "b", "c"] and words("") == words(" .,\n") == []


@pytest.mark.parametrize("item", [ENGLISH, CHINESE])
@pytest.mark.parametrize("place", [0, 1, 12, 200, 399])
def test_a_planted_item_is_found_at_any_place(item: str, place: int) -> None:
    assert found(item, " ".join([*FILLER[:place], item, *FILLER[place:]]))
    assert not found(item, " ".join(FILLER))


def test_thirteen_words_are_enough_and_twelve_are_not() -> None:
    spoken = ENGLISH.split()
    assert found(ENGLISH, " ".join(["before", *spoken[3:16], "after"]))
    assert not found(ENGLISH, " ".join(["before", *spoken[3:15], "after"]))
    assert not found(ENGLISH, " ".join(spoken[:9]), " ".join(spoken[9:]))  # two texts are not one


def test_line_breaks_case_and_punctuation_hide_nothing() -> None:
    assert found(ENGLISH, "x\n".join(["", *ENGLISH.upper().replace(" ", ",\r\n\t").split("x")]))
    assert found(CHINESE, "\n".join(CHINESE)) and found(CHINESE, CHINESE.replace("，", " —— "))


def test_a_short_item_is_one_gram_and_a_shorter_one_is_not_looked_for() -> None:
    eight, seven = " ".join(FILLER[:SHORTEST]), " ".join(FILLER[: SHORTEST - 1])
    assert found(eight, f"before {eight} after") and not found(eight, f"before {seven} after")
    assert contamination([seven], {"t": [("1", seven)]})["tasks"]["t"] == {
        "items": 1, "overlapping": 0, "whole": 0, "unchecked": 1, "ids": [],
    }  # fmt: skip


def test_a_tasks_own_wording_finds_nothing() -> None:
    wording = " ".join(FILLER[:20])
    few, many = ({"t": [(str(n), f"{wording} number {n}") for n in range(count)]} for count in (MOST_SHARED, MOST_SHARED + 1))
    assert contamination([wording], few)["tasks"]["t"]["overlapping"] == MOST_SHARED
    assert contamination([wording], many)["tasks"]["t"]["overlapping"] == 0
    assert contamination([f"{wording} number 3 "], many)["tasks"]["t"]["ids"] == ["3"]


def test_counts_by_task_and_whole_items() -> None:
    tasks = {"a": [("1", ENGLISH), ("2", CHINESE)], "b": [("1", ENGLISH), ("1", "42"), ("3", " ".join(FILLER[:30]))]}
    assert contamination([ENGLISH, " ".join(FILLER[:13])], tasks) == {
        "n": 13,
        "tasks": {
            "a": {"items": 2, "overlapping": 1, "whole": 1, "unchecked": 0, "ids": ["1"]},
            "b": {"items": 2, "overlapping": 2, "whole": 1, "unchecked": 0, "ids": ["1", "3"]},
        },
    }
    assert Index({}).report(["text"]) == {}


def test_equal_hashes_of_unequal_words_are_no_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "_hashes", lambda found: overlap.np.zeros(len(found), overlap.np.uint64))
    assert not found(ENGLISH, " ".join(FILLER)) and found(ENGLISH, f"x {ENGLISH} y")


def test_a_long_text_is_cut_where_it_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "_PIECE_CHARACTERS", 40)
    for place in range(0, 60):
        assert found(ENGLISH, " ".join([*FILLER[:place], ENGLISH, *FILLER[place:80]]))
    assert not found(ENGLISH, ENGLISH[:50], ENGLISH[50:])


def brute_force(item: str, texts: list[str]) -> bool:
    """The definition, as sets of tuples."""
    spoken = words(item)
    length = min(N, len(spoken))
    if length < SHORTEST:
        return False

    def grams(found: list[str]) -> set[tuple[str, ...]]:
        return {tuple(found[at : at + length]) for at in range(len(found) - length + 1)}

    return any(grams(spoken) & grams(words(text)) for text in texts)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_as_brute_force_finds_it(seed: int, piece: int) -> None:
    # Few words, so that grams do meet; characters of several scripts, NUL and signs among them.
    draw = random.Random(seed)
    letters = ["a", "B", "é", "字", "か", "7", " ", " ", "\n", "-", "\0", "a a a a a "]
    texts = ["".join(draw.choices(letters, k=draw.randrange(200))) for _ in range(draw.randrange(5))]
    items = ["".join(draw.choices(letters, k=draw.randrange(60))) for _ in range(3)]
    items += [text[3:40] for text in texts[:2]]
    index = Index({"t": [(str(number), item) for number, item in enumerate(items)]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "_PIECE_CHARACTERS", piece)
        met = index.overlapping_any(iter(texts))
    assert met == {("t", str(number)) for number, item in enumerate(items) if brute_force(item, texts)}


def test_humaneval_finds_itself_and_not_gsm8k(shared_data: Path) -> None:
    lines = gzip.decompress((shared_data / "humaneval" / "HumanEval.jsonl.gz").read_bytes()).decode().splitlines()
    rows = [json.loads(line) for line in lines]
    index = Index({"humaneval": [(row["task_id"], row["prompt"]) for row in rows]})
    solved = [json.loads(line)["answer"] for line in (shared_data / "gsm8k" / "train.jsonl").read_text().splitlines()[:2000]]
    assert index.overlapping_any(solved) == set()
    assert len(index.overlapping_any(row["prompt"] for row in rows)) == 164
