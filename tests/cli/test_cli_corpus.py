"""`kwen corpus`: what it prints, and what a user's mistake looks like."""

import json
from pathlib import Path

import pytest

from kwen.cli.main import exit_code


def test_build_then_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t").mkdir()
    for i in range(4):
        (tmp_path / "t" / f"{i}.txt").write_text(f"Text [number] {i // 2}")
    (tmp_path / "c.yaml").write_text(f"sources: [{{kind: folder, path: '{tmp_path / 't'}', name: texts, language: en}}]")
    assert exit_code(["corpus", "build", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "corpus")]) == 0
    assert "2 documents" in capsys.readouterr().out
    assert exit_code(["corpus", "inspect", str(tmp_path / "corpus"), "--samples", "1"]) == 0
    out = capsys.readouterr().out
    assert "duplicate" in out and "texts/" in out and "Text [number]" in out


def test_a_failed_build_leaves_the_old_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "train.jsonl").write_text("old")
    (tmp_path / "c.yaml").write_text(f"sources: [{{kind: folder, path: '{tmp_path / 'absent'}'}}]")
    assert exit_code(["corpus", "build", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "corpus")]) == 2
    assert "absent: no such file or folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.name != "c.yaml"] == ["corpus"]
    assert (tmp_path / "corpus" / "train.jsonl").read_text() == "old"


QUESTION = "Ada has three red marbles and Ben gives her five more so how many marbles has she now?"


def gsm8k(folder: Path) -> Path:
    """A data folder of two problems in GSM8K's form."""
    (folder / "gsm8k").mkdir(parents=True)
    other = "A train leaves at noon and needs four hours for the whole way; at what hour of the day does it arrive?"
    rows = [{"question": QUESTION, "answer": "3 + 5 = 8\n#### 8"}, {"question": other, "answer": "12 + 4 = 16\n#### 16"}]
    (folder / "gsm8k" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_overlap_reads_text_conversations_and_a_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, found = gsm8k(tmp_path / "data"), tmp_path / "found.json"
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.md").write_text(f"# Notes\n\nBefore.\n{QUESTION.replace(' ', chr(10))} After.\n")
    (tmp_path / "t" / "b.bin").write_bytes(b"no text")
    (tmp_path / "chat.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": QUESTION}]}) + "\n")
    (tmp_path / "clean.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "Hello"}]}) + "\n")
    (tmp_path / "c.yaml").write_text(f"sources: [{{kind: folder, path: '{tmp_path / 't'}'}}]")
    assert exit_code(["corpus", "build", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "corpus")]) == 0
    for source, ids in (("t", ["0"]), ("chat.jsonl", ["0"]), ("clean.jsonl", []), ("corpus", ["0"])):
        command = ["corpus", "overlap", str(tmp_path / source), "--tasks", "gsm8k", "--data", str(data), "--json", str(found)]
        assert exit_code(command) == 0
        counts = {"items": 2, "overlapping": len(ids), "whole": 0, "unchecked": 0, "ids": ids}
        assert json.loads(found.read_text()) == {"n": 13, "tasks": {"gsm8k": counts}}
        assert ("not read: 1 not a text format" in capsys.readouterr().out) == (source == "t")


def test_overlap_of_what_cannot_be_read_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(gsm8k(tmp_path / "data"))
    (tmp_path / "bad.jsonl").write_text('{"text": "fine"}\nnot json\n')
    (tmp_path / "empty").mkdir()
    for source, tasks, said in (
        ("absent", "gsm8k", "absent: no such file or folder"),
        ("bad.jsonl", "gsm8k", "bad.jsonl:2: not JSON"),
        ("empty", "gsm8k", "empty: no text in it"),
        ("bad.jsonl", "gsm", "'gsm' is not a task"),
    ):
        assert exit_code(["corpus", "overlap", str(tmp_path / source), "--tasks", tasks, "--data", data]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1


def test_a_corpus_is_built_without_what_overlaps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = gsm8k(tmp_path / "data")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.txt").write_text(f"Before.\n{QUESTION}\nAfter.")
    (tmp_path / "t" / "b.txt").write_text("Ada has red marbles and Ben has none.")
    source, wanted = (
        f"sources: [{{kind: folder, path: '{tmp_path / 't'}'}}]",
        f"decontaminate: {{tasks: [gsm8k], data: '{data}'}}",
    )
    for settings, documents in ((source, 2), (f"{source}\n{wanted}", 1)):
        (tmp_path / "c.yaml").write_text(settings)
        assert exit_code(["corpus", "build", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "corpus")]) == 0
        assert f"{documents} documents" in capsys.readouterr().out
    assert exit_code(["corpus", "inspect", str(tmp_path / "corpus")]) == 0
    assert "13 words" in capsys.readouterr().out
