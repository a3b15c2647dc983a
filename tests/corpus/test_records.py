"""Files of records: JSON, JSON lines and Parquet."""

import io
import json
import sys
from pathlib import Path

import pytest

from kwen.corpus import records
from kwen.corpus.records import Record, Unreadable
from kwen.errors import UserError


def read(label: str, data: bytes, text_key: str = "text") -> list[Record | Unreadable]:
    return list(records.records(label, io.BytesIO(data), text_key))


def test_json_lines_give_a_text_each_and_a_reason_for_each_that_has_none() -> None:
    lines = [
        json.dumps({"text": "one", "meta": {"text": "no"}}),
        "",
        "{broken",
        json.dumps({"content": "x"}),
        json.dumps({"text": 5}),
        json.dumps("bare"),
        json.dumps({"text": ["a", "b"]}),
        '{"text": "\\ud800"}',
        "[" * 100_000,
    ]
    assert read("x.jsonl", "\n".join(lines).encode()) == [
        Record(1, "one"),
        Unreadable(3, "not JSON"),
        Unreadable(4, "no text under 'text'"),
        Unreadable(5, "no text under 'text'"),
        Record(6, "bare"),
        Record(7, "a\nb"),
        Record(8, "\ufffd", 1),
        Unreadable(9, "not JSON"),
    ]


def test_a_line_without_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_LINE_BYTES", 64)
    data = b'{"text": "' + b"x" * 1000 + b'"}\n{"text": "next"}\n'
    assert read("x.jsonl", data) == [Unreadable(1, "line longer than 64 MiB"), Record(2, "next")]


def test_a_json_array_gives_a_text_for_each_element() -> None:
    poems = [{"title": "\u9759\u591c\u601d", "paragraphs": ["\u5e8a\u524d", "\u7591\u662f"]}, {"title": "-"}]
    assert read("x.json", json.dumps(poems).encode(), "paragraphs") == [
        Record(1, "\u5e8a\u524d\n\u7591\u662f"),
        Unreadable(2, "no text under 'paragraphs'"),
    ]
    assert read("x.json", b'{"text": "alone"}') == [Record(None, "alone")]
    assert read("x.json", b"nonsense") == [Unreadable(None, "not JSON")]


def test_invalid_utf8_in_any_format_is_counted() -> None:
    assert read("x.txt", b"a\xff") == [Record(None, "a\ufffd", 1)]
    assert read("x.jsonl", b'{"text": "a\xff"}') == [Record(1, "a\ufffd", 1)]
    assert read("x.json", b'["a\xff", "b"]') == [Record(1, "a\ufffd", 1), Record(2, "b")]


def test_a_file_too_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_FILE_BYTES", 10)
    assert read("x.txt", b"x" * 11) == [Unreadable(None, "larger than 256 MiB")]


@pytest.mark.parametrize(
    ("label", "suffix"), [("a/B.TXT", ".txt"), ("x.jsonl.gz", ".jsonl"), ("x.png", None), ("x", None), ("x.gz", None)]
)
def test_suffixes(label: str, suffix: str | None) -> None:
    assert records.suffix_of(label) == suffix


def test_parquet_rows_stream_from_the_text_column(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is absent: pip install 'kwen[data]'")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"text": ["one", None, "three"] * 700, "n": list(range(2100))})
    parquet.write_table(table, tmp_path / "x.parquet")
    data = (tmp_path / "x.parquet").read_bytes()
    rows = read("x.parquet", data)
    assert len(rows) == 2100
    assert rows[:3] == [Record(1, "one"), Unreadable(2, "no text under 'text'"), Record(3, "three")]
    with pytest.raises(UserError, match=r"x\.parquet: no column 'body' \(it has text, n\)"):
        read("x.parquet", data, "body")
    with pytest.raises(UserError, match=r"x\.parquet: not readable as Parquet"):
        read("x.parquet", data[:-20])


def test_parquet_without_pyarrow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"kwen\[data\]"):
        read("x.parquet", b"PAR1")
