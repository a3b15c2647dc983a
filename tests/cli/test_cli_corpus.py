"""`kwen corpus`: what it prints, and what a user's mistake looks like."""

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
