"""`kwen eval MODEL --long-context`: from text files to tables, part by part."""

import json
from pathlib import Path

import pytest

import kwen
from kwen.cli.main import exit_code
from kwen.evals import long_context as module
from kwen.evals.long_context import joined
from kwen.evals.perplexity_by_length import VARIANTS


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = exit_code(["eval", *map(str, arguments), "--long-context"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [{"text": f"The lamp {n} of Orvane costs {n} coins. " * 9, "source": "ab"[n % 2]} for n in range(40)]
    (tmp_path / "held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_the_tables_and_what_is_kept(
    tiny_folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [tiny_folder, "--data", data, "--lengths", "256,1024", "--limit", 2, "--out", tmp_path / "kept", "--json",
                 tmp_path / "first.json"]  # fmt: skip
    with monkeypatch.context() as cut_off:
        cut_off.setattr(module, "retrieval", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(capsys, *arguments)[0] == 130
    kept = json.loads((tmp_path / "kept" / "long-context.json").read_text())
    assert list(kept["parts"]) == list(VARIANTS)
    with monkeypatch.context() as counted:
        asked: list[tuple[str, ...]] = []
        counted.setattr(module, "perplexity_by_length", lambda *args, **_: asked.append(args[3]))
        code, out, err = run(capsys, *arguments)
    assert code == 0 and asked == [] and "perplexity of 2 texts" in out and "passkey found" in out, err
    found = json.loads((tmp_path / "first.json").read_text())
    assert found["lengths"] == [256, 1024] == found["needle"]["lengths"]
    lm = kwen.load(tiny_folder)
    texts = joined(lm, {"a": [f"The lamp {n} of Orvane costs {n} coins. " * 9 for n in range(0, 40, 2)],
                        "b": [f"The lamp {n} of Orvane costs {n} coins. " * 9 for n in range(1, 40, 2)]}, 1024)  # fmt: skip
    whole = module.long_context(lm, texts[:2], [256, 1024])
    assert {key: found[key] for key in whole} == whole

    code, _, err = run(capsys, *arguments, "--seed", 3)
    assert code == 2 and "parts of another settings" in err and len(err.splitlines()) <= 2


def test_without_texts_only_the_tests_are_asked(tiny_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, tiny_folder, "--lengths", "400")
    assert code == 0 and "needle found" in out and "perplexity" not in out and "trained at 512 tokens" in out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["m", "--tasks", "mmlu"], "leave one of the two out"),
        ([], "needs a MODEL too"),
        (["m", "--lengths", "1k"], "--lengths 1k: give numbers of tokens"),
        (["m", "--lengths", "1"], "at least 2"),
        (["m", "--data", "empty"], "held_out.jsonl"),
        (["m", "--limit", "0"], "limit 0"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *arguments)
    assert code == 2 and problem in err and len(err.splitlines()) == 1


def test_lengths_alone_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["eval", "m", "--tasks", "nanoworld-facts", "--lengths", "100"]) == 2
    assert "--lengths belongs to --long-context" in capsys.readouterr().err
