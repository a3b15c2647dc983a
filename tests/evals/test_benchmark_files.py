import gzip
import io
import json
import os
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from kwen.errors import UserError
from kwen.evals.tasks import files as files_module
from kwen.evals.tasks.files import Files

MEMBERS = {"data/test/sea.csv": b"question,answer\nHow deep?,B\n", "data/test/sky.csv": b"question,answer\nHow high?,A\n"}


def pack(path: Path, members: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    elif path.name.endswith((".tar", ".tar.gz", ".tgz")):
        with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as packed:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                packed.addfile(info, io.BytesIO(content))
    else:
        for name, content in members.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content)
    return path


def opened(data: Path) -> Files:
    return Files(data, "seas", "seas", "their/home")


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tgz", "deep/in/x.zip", "loose"])
def test_files_are_read_wherever_they_lie(tmp_path: Path, name: str) -> None:
    pack(tmp_path / "seas" / name, MEMBERS)
    files = opened(tmp_path)
    assert files.subjects("test/{}.csv") == ["sea", "sky"]
    assert [path.endswith("data/test/sea.csv") for path in files.names(".csv")] == [True, False]
    assert files.read("sea.csv") == files.read("test/sea.csv") == MEMBERS["data/test/sea.csv"]
    (row,) = files.rows("test/sky.csv")
    assert row.values == {"question": "How high?", "answer": "A"} and row.where.endswith("seas/test/sky.csv, line 2")


def test_a_packed_file_is_read_under_its_own_name_and_a_loose_one_goes_before_it(tmp_path: Path) -> None:
    folder = pack(tmp_path / "seas", {"test.jsonl.gz": gzip.compress(b'{"a": "packed"}\n\n{"a": "2"}\n')})
    assert [(row.text("a"), row.where[-6:]) for row in opened(tmp_path).rows("test.jsonl")] == [
        ("packed", "line 1"),
        ("2", "line 3"),
    ]
    (folder / "test.jsonl").write_text('{"a": "loose"}\n')
    assert opened(tmp_path).rows("test.jsonl")[0].text("a") == "loose"


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = pack(tmp_path / "seas" / "x.zip", {"test.jsonl": b'{"a": "one"}'})
    assert opened(tmp_path).rows("test.jsonl")[0].text("a") == "one"
    pack(path, {"test.jsonl": b'{"a": "two"}'})
    os.utime(path, (1, 1))
    assert opened(tmp_path).rows("test.jsonl")[0].text("a") == "two"


def test_two_files_of_one_name_must_be_equal(tmp_path: Path) -> None:
    folder = pack(tmp_path / "seas", {"v1/sea.csv": b"a\n1\n", "v2/sea.csv": b"a\n1\n", "v2/other_sea.csv": b"a\n3\n"})
    assert opened(tmp_path).rows("sea.csv")[0].text("a") == "1"
    (folder / "v2" / "sea.csv").write_bytes(b"a\n2\n")
    with pytest.raises(UserError, match=r"seas: v1/sea.csv and v2/sea.csv in .*seas differ; keep one of them"):
        opened(tmp_path).read("sea.csv")
    assert opened(tmp_path).rows("v2/sea.csv")[0].text("a") == "2"


def test_what_macos_packs_beside_a_file_is_no_file(tmp_path: Path) -> None:
    pack(tmp_path / "seas" / "x.zip", MEMBERS | {"__MACOSX/data/test/._sea.csv": b"\x00\x05\x16\x07"})
    assert opened(tmp_path).subjects("{}.csv") == ["sea", "sky"]


def test_tables_with_and_without_names_of_columns(tmp_path: Path) -> None:
    folder = pack(tmp_path / "seas", {"bare.csv": b'"How, deep?\nReally",B\n', "bom.csv": "\ufeffa,b\n1,2\n\n3,4\n".encode()})
    (row,) = opened(tmp_path).rows("bare.csv", ("question", "answer"))
    assert row.text("question") == "How, deep?\nReally" and row.choice("answer", "ABCD") == 1
    assert [row.values for row in opened(tmp_path).rows("bom.csv")] == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    (folder / "t.tsv").write_text("a\tb\n1, 2\t3\n")
    assert opened(tmp_path).rows("t.tsv")[0].values == {"a": "1, 2", "b": "3"}


def test_json_lists_and_lines(tmp_path: Path) -> None:
    folder = pack(tmp_path / "seas", {})
    folder.mkdir(exist_ok=True)
    for key in ("examples", "example", None):
        rows = [{"a": "1"}, {"a": "2"}]
        (folder / f"{key}.json").write_text(json.dumps({"name": "x", key: rows} if key else rows))
        assert [row.text("a") for row in opened(tmp_path).rows(f"{key}.json")] == ["1", "2"]
        assert opened(tmp_path).rows(f"{key}.json")[1].where.endswith(f"{key}.json, row 2")
    (folder / "lines.json").write_text('{"a": "1"}\n{"a": "2"}\n')
    assert opened(tmp_path).rows("lines.json", json_lines=True)[1].where.endswith("lines.json, line 2")
    with pytest.raises(UserError, match="lines.json: not JSON"):
        opened(tmp_path).rows("lines.json")


def test_parquet_is_read_with_its_lists_and_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is absent: pip install 'kwen[data]'")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = pack(tmp_path / "seas", {"cut.parquet": b"PAR1 and no more PAR1"})
    values = [{"q": f"Sea {n}?", "all": ["a", "b"], "of": {"text": ["x"]}, "right": n % 2} for n in range(2100)]
    parquet.write_table(pyarrow.Table.from_pylist(values), folder / "t.parquet")
    rows = opened(tmp_path).rows("t.parquet")
    assert [row.values for row in rows] == values and rows[2099].where.endswith("seas/t.parquet, row 2100")
    assert rows[1].texts("all", 2) == ["a", "b"] and opened(tmp_path).labelled(rows[:2], "right", ("0", "1")) == [0, 1]
    with pytest.raises(UserError, match=r't.parquet, row 2: "right" is 1; it must be one of 0, 2'):
        opened(tmp_path).labelled(rows, "right", ("0", "2"))
    with pytest.raises(UserError, match=r"cut.parquet: not readable as Parquet \(.*\); fetch it again"):
        opened(tmp_path).rows("cut.parquet")
    monkeypatch.setattr(files_module, "MAX_BYTES", 1 << 14)
    with pytest.raises(UserError, match="t.parquet: unpacks to more than"):
        opened(tmp_path).rows("t.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r't.parquet: reading Parquet needs pyarrow; pip install "kwen\[data\]"'):
        opened(tmp_path).rows("t.parquet")


def test_files_whose_name_begins_with_a_dot_are_none(tmp_path: Path) -> None:
    pack(tmp_path / "seas", {".hub.json": b"{}", "sea.json": b'[{"a": "1"}]'})
    assert opened(tmp_path).names(".json") == ["sea.json"] and opened(tmp_path).following("{}.json") == ["sea"]


def test_a_subject_may_be_a_folder(tmp_path: Path) -> None:
    pack(tmp_path / "seas", {"data/north/val.csv": b"a\n1\n", "data/south/val.csv": b"a\n2\n", "val.csv": b"a\n3\n"})
    assert opened(tmp_path).subjects("{}/val.csv") == ["north", "south"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("t.csv", b"a,b\n1,2\n1\n", r"t.csv, line 3: 1 cells, but 2 columns"),
        ("t.csv", b"a,b\n\xff,2\n", r"t.csv: not a table in UTF-8"),
        ("t.csv", b"a,b\n", r"t.csv: no row in it"),
        ("t.jsonl", b'{"a": 1}\n{"a"', r"t.jsonl, line 2: not JSON"),
        ("t.jsonl", b"[]\n", r"t.jsonl, line 1: a JSON object is expected"),
        ("t.json", b"[" * 200_000, r"t.json: not JSON"),
        ("t.json", b'{"rows": []}', r't.json: a list of objects is expected, or an object with one under "examples"'),
        ("t.json", b'{"example": []}', r"t.json: no row in it"),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    pack(tmp_path / "seas", {name: content})
    with pytest.raises(UserError, match=problem):
        opened(tmp_path).rows(name)


@pytest.mark.parametrize(
    ("value", "problem"),
    [({"a": 3}, '"a" must be text, not int'), ({}, '"a" must be text'), ({"a": "\ud83d"}, '"a" holds half a surrogate pair')],
)
def test_a_text_that_is_none(tmp_path: Path, value: object, problem: str) -> None:
    pack(tmp_path / "seas", {"t.jsonl": json.dumps(value).encode()})
    with pytest.raises(UserError, match=f"t.jsonl, line 1: {problem}"):
        opened(tmp_path).rows("t.jsonl")[0].text("a")


def test_a_list_of_texts_and_a_choice(tmp_path: Path) -> None:
    rows = [{"a": ["1", "2"], "b": "C"}, {"a": ["1"], "b": 2}, {"a": "12", "b": 4}, {"a": [1, 2], "b": "E"}, {"b": True}]
    pack(tmp_path / "seas", {"t.jsonl": "\n".join(map(json.dumps, rows)).encode()})
    good, second, *bad = opened(tmp_path).rows("t.jsonl")
    assert good.texts("a", 2) == ["1", "2"] and good.choice("b", "ABCD") == second.choice("b", "ABCD") == 2
    for row in (second, *bad):
        with pytest.raises(UserError, match=r'line [2345]: "a" must be'):
            row.texts("a", 2)
    for row in bad:
        with pytest.raises(UserError, match=r'line [345]: "b" is .*; it must be one of A, B, C, D or a number from 0'):
            row.choice("b", "ABCD")


def test_labels_of_another_file(tmp_path: Path) -> None:
    folder = pack(tmp_path / "seas", {"dev.jsonl": b'{"a": 1}\n{"a": 2}\n', "dev-labels.lst": b"2\n1\n"})
    rows = opened(tmp_path).rows("dev.jsonl")
    assert opened(tmp_path).labels("dev-labels.lst", ("1", "2", "3"), rows) == [1, 0]
    (folder / "dev-labels.lst").write_text("2\n4\n")
    with pytest.raises(UserError, match=r"dev-labels.lst, line 2: '4' is no label; it must be one of 1, 2, 3"):
        opened(tmp_path).labels("dev-labels.lst", ("1", "2", "3"), rows)
    (folder / "dev-labels.lst").write_text("2\n")
    with pytest.raises(UserError, match=r"dev-labels.lst: 1 labels for 2 rows"):
        opened(tmp_path).labels("dev-labels.lst", ("1", "2", "3"), rows)


def test_missing_data_says_where_it_looked_and_who_publishes_it(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"seas needs its data: give --data a folder that holds seas/ \(published as their/home\)"
    ):
        Files(None, "seas", "seas", "their/home")
    with pytest.raises(UserError, match=r"seas: .*/seas does not exist; put the files of their/home there"):
        opened(tmp_path)
    (tmp_path / "seas").mkdir()
    for ask, name in (
        (lambda files: files.read("sea.csv"), "sea.csv"),
        (lambda files: files.first("sea.csv", "ocean.csv"), "sea.csv or ocean.csv"),
        (lambda files: files.subjects("dev/{}.csv"), "dev/SUBJECT.csv"),
    ):
        with pytest.raises(UserError, match=f"seas: no {name} in .*/seas; put the files of their/home there"):
            ask(opened(tmp_path))


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.tgz", "x.tar", "sea.csv.gz"])
def test_a_damaged_archive_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "seas" / name
    if name.endswith("csv.gz"):
        path.parent.mkdir()
        path.write_bytes(gzip.compress(MEMBERS["data/test/sea.csv"]))
    else:
        pack(path, {"sea.csv": os.urandom(50_000)})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=f"{name}: damaged.*fetch it again"):
        opened(tmp_path).read("sea.csv")


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "sea.csv.gz"])
def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(files_module, "MAX_BYTES", 1 << 20)
    path = tmp_path / "seas" / name
    if name.endswith("csv.gz"):
        path.parent.mkdir()
        path.write_bytes(gzip.compress(bytes((1 << 20) + 1)))
    else:
        pack(path, {"sea.csv": bytes(1 << 19), "sky.csv": bytes((1 << 19) + 1)})
    with pytest.raises(UserError, match=f"{name}: unpacks to more than 1 MiB"):
        opened(tmp_path).read("sea.csv")
