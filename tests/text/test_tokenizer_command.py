"""`kwen tokenizer`: the commands on small files."""

import json
from pathlib import Path

import pytest
from conftest_texts import sample_texts
from typer.testing import CliRunner

from kwen.cli.tokenizer import app
from kwen.errors import UserError

RUN = CliRunner()


def test_train_encode_compare(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("\n".join(sample_texts()))
    for pattern in ("report", "copying"):
        options = ["--out", str(tmp_path / pattern), "--vocab-size", "400", "--extra-tokens", "3", "--pattern", pattern]
        result = RUN.invoke(app, ["train", str(tmp_path / "text"), *options])
        assert result.exit_code == 0 and "400 entries" in result.output, result.output

    result = RUN.invoke(app, ["encode", str(tmp_path / "report"), "Hi<|im_end|>"])
    assert result.exit_code == 0 and len(result.output.split()) > 5
    result = RUN.invoke(app, ["encode", str(tmp_path / "report"), "-", "--control", "--pieces"], input="H<|im_end|>")
    assert result.output.splitlines()[1].endswith('"<|im_end|>"')

    arguments = [str(tmp_path / "report"), str(tmp_path / "copying"), "--text", str(tmp_path / "text")]
    result = RUN.invoke(app, ["compare", *arguments, "--json", str(tmp_path / "figures.json")])
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "figures.json").read_text())
    assert [row["ratio"] > 1 for row in rows] == [False, True]


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    for arguments in (
        ["train", str(tmp_path), "--out", str(tmp_path / "out"), "--vocab-size", "10"],
        ["train", str(tmp_path), "--out", str(tmp_path / "out"), "--pattern", "none"],
        ["train", str(tmp_path / "missing"), "--out", str(tmp_path / "out")],
        ["encode", str(tmp_path), "x"],
    ):
        with pytest.raises(UserError) as refused:
            RUN.invoke(app, arguments, catch_exceptions=False)
        assert "\n" not in str(refused.value)
