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
    found = json.loads((tmp_path / "figures.json").read_text())
    (counts,) = found["languages"].values()
    assert found["reference"] == "report" and counts["tokens"]["report"] < counts["tokens"]["copying"]
    assert f"{counts['tokens']['copying'] / counts['tokens']['report']:.3f}" in result.output
    result = RUN.invoke(app, ["compare", *arguments, "--reference", "copying"])
    assert f"{counts['tokens']['report'] / counts['tokens']['copying']:.3f}" in result.output


def test_a_row_for_each_language(trained_folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "text" / "zh").mkdir(parents=True)
    (tmp_path / "text" / "zh" / "a.txt").write_text("她说那里很好。")
    (tmp_path / "text" / "b.md").write_text("---\nlang: en\n---\nMara walked to the old town.")
    arguments = [str(trained_folders["report"]), "--text", str(tmp_path / "text"), "--by-language"]
    result = RUN.invoke(app, ["compare", *arguments, "--json", str(tmp_path / "figures.json")])
    assert result.exit_code == 0, result.output
    assert set(json.loads((tmp_path / "figures.json").read_text())["languages"]) == {"en", "zh"}


def test_mistakes_are_one_line(tmp_path: Path, trained_folders: dict[str, Path]) -> None:
    own = trained_folders["report"]
    for arguments in (
        ["train", str(tmp_path), "--out", str(tmp_path / "out"), "--vocab-size", "10"],
        ["train", str(tmp_path), "--out", str(tmp_path / "out"), "--pattern", "none"],
        ["train", str(tmp_path / "missing"), "--out", str(tmp_path / "out")],
        ["encode", str(tmp_path), "x"],
        ["compare", str(tmp_path), "--text", str(tmp_path)],
        ["compare", str(own), "--text", str(tmp_path / "missing")],
        ["compare", str(own), "--text", str(tmp_path)],
        ["compare", str(own), "--text", str(tmp_path), "--by-language"],
        ["compare", str(own), "--text", str(tmp_path), "--reference", "other"],
    ):
        with pytest.raises(UserError) as refused:
            RUN.invoke(app, arguments, catch_exceptions=False)
        assert "\n" not in str(refused.value)
