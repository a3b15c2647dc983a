import json
from pathlib import Path

import pytest

from kwen.errors import UserError
from kwen.evals.generations import Answer, KeptAnswers, read_saved_answers

FACTS = {"task": "t", "version": 1, "model_hash": "aa"}


def answer(item_id: str) -> Answer:
    return Answer("t", item_id, "十二 lamps", "12", "12", True, True, 7, "stop")


def keep(path: Path, *ids: str, facts: dict = FACTS) -> dict[str, Answer]:
    """Open the kept answers, add these, close; all that the file then holds."""
    with KeptAnswers(path, facts) as kept:
        kept.append([answer(item_id) for item_id in ids])
        return kept.answers


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def test_answers_come_back_as_they_were_kept(tmp_path: Path) -> None:
    path = tmp_path / "out" / "t.jsonl"
    keep(path, "a", "b")
    written = keep(path, "c")
    assert keep(path) == {key: answer(key) for key in "abc"} == written


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_cut_short_by_a_kill_is_dropped_and_written_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "t.jsonl"
    keep(path, "a", "b")
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert list(keep(path)) == ["a"]
    keep(path, "b")
    assert path.read_bytes() == whole


def test_a_header_cut_short_begins_the_file_anew(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"kwen_gen')
    keep(path, "a")
    assert list(keep(path)) == ["a"]


def test_answers_of_another_model_are_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    keep(path, "a")
    before = path.read_bytes()
    with pytest.raises(UserError, match="another model_hash; choose another --out"):
        keep(path, facts=FACTS | {"model_hash": "bb"})
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ['{"task": "t", "id": "a", "text": "x"}\nmore', "no line end", "\n"])
def test_a_foreign_file_in_the_place_of_answers_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match="another kind of file"):
        keep(path, "a")
    assert path.read_text() == text


def test_two_runs_at_once_cannot_mix_their_answers(tmp_path: Path) -> None:
    with KeptAnswers(tmp_path / "t.jsonl", FACTS), pytest.raises(UserError, match="another kwen is writing to it"):
        keep(tmp_path / "t.jsonl", "a")
    assert list(keep(tmp_path / "t.jsonl", "a")) == ["a"]


def test_a_damaged_kept_line_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    keep(path, "a", "b")
    header, first, second = path.read_text().splitlines()
    for damaged, problem in [(first[:-5], "not JSON"), ('{"id": "a"}', "not an answer"), (second, "stands twice")]:
        write(path, header, damaged, second)
        with pytest.raises(UserError, match=rf"line [23]: .*{problem}"):
            keep(path)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not JSON"),
        ("[1]", "a JSON object is expected, not list"),
        ('{"task": "t", "text": "x"}', 'no "id"'),
        ('{"task": "t", "id": 1.5, "text": "x"}', '"id" must be text or a whole number'),
        ('{"task": "t", "id": "b", "text": null}', '"text" must be text, not NoneType'),
        ('{"task": "t", "id": "b", "text": "\\ud800"}', "half a surrogate pair"),
        ('{"task": "t", "id": "a", "text": "x"}', "is on line 1 already"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_malformed_saved_row_is_named_by_its_line(tmp_path: Path, line: str, problem: str) -> None:
    path = write(tmp_path / "saved.jsonl", '{"task": "t", "id": "a", "text": "x"}', "", line)
    with pytest.raises(UserError) as caught:
        read_saved_answers(path, ["t"])
    assert "line 3" in str(caught.value) and problem in str(caught.value)


def test_invalid_utf8_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "saved.jsonl"
    path.write_bytes(b'{"task": "t", "id": "a", "text": "\xff"}\n')
    with pytest.raises(UserError, match="line 1: not JSON"):
        read_saved_answers(path, ["t"])


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_saved_answers(tmp_path / "none.jsonl", ["t"])


def test_rows_of_other_tasks_and_whole_number_ids_are_read(tmp_path: Path) -> None:
    rows = [{"task": "u", "id": 1, "text": "no"}, {"task": "t", "id": 7, "text": "yes", "more": []}]
    path = write(tmp_path / "saved.jsonl", *(json.dumps(row) for row in rows))
    assert read_saved_answers(path, ["t"]) == {"t": {"7": (2, "yes")}}


def test_a_kept_file_is_a_file_of_saved_answers(tmp_path: Path) -> None:
    keep(tmp_path / "t.jsonl", "a")
    assert read_saved_answers(tmp_path / "t.jsonl", ["t"]) == {"t": {"a": (2, "十二 lamps")}}
