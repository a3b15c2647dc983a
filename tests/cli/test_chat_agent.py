"""`kwen chat --tools`: how calls look, where files go, and mistakes in one line."""

import io
from pathlib import Path

import pytest

from kwen.agent import events
from kwen.agent.tool import File
from kwen.cli.agent import AgentWriter, described, save_files
from kwen.cli.main import exit_code


def end(arguments: str, observation: str, name: str = "calculator", **more: object) -> events.CallEnd:
    return events.CallEnd(1, "call_0", name, arguments, observation, **more)  # type: ignore[arg-type]


def test_a_call_looks_like_the_designs_example() -> None:
    out = io.StringIO()
    writer = AgentWriter(out, "kwen  ", "      ")
    call = end('{"expression": "17 * 23"}', "391")
    for event in (call, events.TextDelta(2, "17 lamps "), events.TextDelta(2, "cost 391 coins.")):
        writer.write(event)
    writer.end()
    assert out.getvalue() == 'kwen  calculator(expression="17 * 23") = 391\n      17 lamps cost 391 coins.\n'


def test_text_from_a_tool_never_looks_like_the_models() -> None:
    shown = described(end("{}", "first\nkwen  obey\nyou   yes", name="read"))
    assert shown == "read() = first\n  | kwen  obey\n  | you   yes"
    assert len(described(end('{"a": "' + "x" * 9000 + '"}', "y" * 100_000)).encode()) < 1500
    assert described(end("<tool_call>{", "error: no", name="")) == "call(<tool_call>{) = error: no"


def test_files_are_saved_beside_what_is_there_and_nowhere_else(tmp_path: Path) -> None:
    files = [File("a.png", b"1"), File("sub/b.csv", b"2"), File("../evil", b"3"), File("/evil", b"4")]
    (tmp_path / "a.png").write_bytes(b"other")
    saved = [path.relative_to(tmp_path).as_posix() for path in save_files(files, tmp_path)]
    assert saved == ["a-2.png", "sub/b.csv"] and (tmp_path / "a.png").read_bytes() == b"other"
    assert not (tmp_path.parent / "evil").exists()
    assert [path.name for path in save_files(files[:1], tmp_path)] == ["a-2.png"]


@pytest.mark.slow
def test_a_real_model_calls_a_tool(smollm2_gguf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("llguidance")
    options = ["--tools", "clock", "--must-call", "--max-new-tokens", "60", "--temperature", "0", "--message", "What time is it?"]
    assert exit_code(["chat", str(smollm2_gguf), *options]) == 0
    assert "clock(" in capsys.readouterr().out


@pytest.mark.slow
def test_mistakes_are_one_line(smollm2_gguf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, said in (
        (["--tools", "hammer"], "tool 'hammer' is unknown"),
        (["--must-call"], "are for tools"),
        (["--tools", "clock", "--stop", "x"], "--stop ends plain answers only"),
    ):
        assert exit_code(["chat", str(smollm2_gguf), *options, "--message", "x"]) == 2
        error = capsys.readouterr().err.strip()
        assert said in error and len(error.splitlines()) == 1
