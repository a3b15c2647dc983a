"""The command line itself: quick help, one line and an exit code for what a user does wrong."""

import errno
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

import kwen.cli.main as main
from kwen.errors import UserError


def test_help_is_quick_and_imports_no_command_and_no_tensor_library() -> None:
    program = (
        "import sys; from kwen.cli.main import exit_code; code = exit_code(['--help']); "
        "heavy = {'torch', 'numpy', 'pydantic', 'matplotlib', 'rich', 'kwen.cli.build'} & set(sys.modules); "
        "print(heavy, file=sys.stderr); sys.exit(code or bool(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert all(f"  {name} " in done.stdout for name in main.COMMANDS)


def test_every_command_in_the_table_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in main.COMMANDS:
        assert main.exit_code([name, "--help"]) == 0, name
        assert f"Usage: kwen {name}" in capsys.readouterr().out


def fail_with(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], int]:
    """Run a command that raises the given error; its exit code."""

    def run(error: BaseException) -> int:
        module = ModuleType("failing_command")
        module.fail = fail_with(error)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "failing_command", module)
        monkeypatch.setitem(main.COMMANDS, "fail", ("failing_command:fail", "Fails."))
        return main.exit_code(["fail"])

    return run


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (UserError("x.yaml: base is missing;\nadd it"), 2, "error: x.yaml: base is missing; add it\n"),
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), 2, "error: the disk is full at a/b; make room"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), 2, "error: not allowed at a/b: Permission denied"),
        (KeyboardInterrupt(), 130, "stopped; the same command goes on from here"),
    ],
)
def test_errors_become_a_line_and_an_exit_code(
    failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str], error: BaseException, code: int, told: str
) -> None:
    assert failing(error) == code
    written = capsys.readouterr()
    assert written.err.startswith(told) and written.err.count("\n") == 1 and written.out == ""


def test_a_fault_of_our_own_keeps_its_traceback(failing: Callable[[BaseException], int]) -> None:
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())


@pytest.mark.parametrize("arguments", [["no-such-command"], ["build"], ["build", "micro", "--no-such-option"], ["--wrong"]])
def test_wrong_usage_is_one_line_and_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.exit_code(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1 and "--help" in told


def test_a_reader_that_goes_away_is_no_error() -> None:
    program = "from kwen.cli.main import run; import sys; sys.argv[1:] = ['--help']; run()"
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -c "{program}" | head -c 5; exit ${{PIPESTATUS[0]}}'], capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stderr == ""
