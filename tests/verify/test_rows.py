"""Rows of files: every form in which they come, and everything that can be wrong with them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from kwen.align.left_out import LeftOut
from kwen.errors import UserError
from kwen.verify.rows import kind_of, read_rows

ROWS = [{"a": 1}, {"a": "诗\n"}, {"a": [None, {"b": 2.5}]}]


def as_lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (as_lines(ROWS), [1, 2, 3]),
        ("\ufeff\n" + as_lines(ROWS[:2]) + "\n  \n" + as_lines(ROWS[2:]), [2, 3, 6]),
        (json.dumps(ROWS), [1, 1, 1]),
        ("\n" + json.dumps(ROWS, indent=2), [3, 6, 9]),
        ("[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n", [2, 3, 4]),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_lines_and_arrays_give_the_same_rows_with_their_lines(tmp_path: Path, text: str, lines: list[int], packed: bool) -> None:
    path = tmp_path / "rows.data"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert list(read_rows(path)) == [(f"{path}:{line}", row) for line, row in zip(lines, ROWS, strict=True)]


@pytest.mark.parametrize("text", ["", "\n\n", "[]", " [ ] \n"])
def test_a_file_may_be_empty(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    assert list(read_rows(path)) == []


@pytest.mark.parametrize(
    ("data", "line", "problem"),
    [
        (b'{"a": 1}\n{"a": \n', 2, "not JSON"),
        (b'{"a": 1}\n[1]\n', 2, "something follows|not a|must be"),
        (b'{"a": 1}\n"text"\n', 2, "must be a JSON object, not str"),
        (b'{"a": 1}\n{"a": "\xff"}\n', 2, "not UTF-8"),
        (b'[{"a": 1},\n{"a": "\xff"}]\n', 2, "not UTF-8"),
        (b'[{"a": 1},\n{"a": 2}\n{"a": 3}]', 2, "comma"),
        (b'[{"a": 1},\n{"a": 2},\n', 3, "not JSON"),
        (b'[{"a": 1},\n3]', 2, "must be a JSON object, not int"),
        (b'[{"a": 1}]\n{"a": 2}', None, "something follows"),
        (b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", 1, "not JSON"),
        (b'[{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}]", 1, "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", 1, "not JSON"),
    ],
)
def test_whatever_is_no_row_is_an_error_with_its_line(tmp_path: Path, data: bytes, line: int | None, problem: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    with pytest.raises(UserError, match=problem) as raised:
        list(read_rows(path))
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"{path}:{line}:" if line else f"{path}:")


def test_missing_and_damaged_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        list(read_rows(tmp_path / "absent.jsonl"))
    with pytest.raises(UserError, match="no such file"):
        list(read_rows(tmp_path))
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(as_lines(ROWS * 500).encode())[:-20])
    with pytest.raises(UserError, match="cannot be read"):
        list(read_rows(cut))


def test_a_line_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kwen.verify.rows.MAX_LINE_BYTES", 1000)
    monkeypatch.setattr("kwen.verify.rows.MAX_ARRAY_BYTES", 1000)
    for start in (b'{"a": "', b"[\n{"):
        path = tmp_path / "bomb.gz"
        path.write_bytes(gzip.compress(start + b" " * 100_000))
        with pytest.raises(UserError, match="more than"):
            list(read_rows(path))


def kind(row: dict[str, Any]) -> str | None:
    return next((name for name in ("left", "right") if name in row), None)


def test_the_kind_of_a_file_is_the_kind_of_all_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(as_lines([{"left": 1}, {"left": 2}]))
    assert kind_of(path, kind, {"left": "{left}"}) == "left"


def test_mixed_kinds_are_an_error_with_counts_and_first_places(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(as_lines([{"left": 1}, {"left": 2}, {"right": 3}, {"neither": 4}]))
    with pytest.raises(UserError) as raised:
        kind_of(path, kind, {})
    for part in (f"2 left (first {path}:1)", f"1 right (first {path}:3)", f"1 unknown (first {path}:4)"):
        assert part in str(raised.value)


def test_rows_of_no_kind_are_an_error_with_their_keys_and_the_known_kinds(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(as_lines([{"b": 1, "a": 2}]))
    with pytest.raises(UserError, match="keys a, b are of no known kind; use {left}"):
        kind_of(path, kind, {"left": "{left}"})
    path.write_text("")
    with pytest.raises(UserError, match="no rows"):
        kind_of(path, kind, {})


def test_left_out_tells_counts_and_first_places_without_folders() -> None:
    left_out = LeftOut("too_long", "empty_reply")
    assert str(left_out) == "" and left_out.counts == {"too_long": 0, "empty_reply": 0}
    left_out.add("empty_reply", "/some/folder/pairs.jsonl:7")
    left_out.add("empty_reply", "/some/folder/pairs.jsonl:9")
    assert left_out.counts == {"too_long": 0, "empty_reply": 2}
    assert str(left_out) == "2 empty reply (first pairs.jsonl:7)"
