"""Every number of the report is given again by the command that it names: ten of the micro family's, drawn by a seed."""

import json
import math
import random
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
SAMPLED = 10


def _kwen(words: list[str], folder: Path) -> str:
    command = [sys.executable, "-c", "from kwen.cli.main import run; run()", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs/micro in it."""
    path = tmp_path_factory.mktemp("again")
    _kwen(["build", "micro", "--out", "runs/micro"], path)
    return path


def _value(printed: Any, path: list[str | int]) -> Any:
    for key in path:
        printed = printed[key]
    return printed


def test_ten_numbers_of_the_report_come_out_again(folder: Path) -> None:
    numbers = json.loads((folder / "runs/micro/report/report.json").read_text())["numbers"]
    by_command: dict[str, list[dict[str, Any]]] = {}
    for number in numbers:
        by_command.setdefault(number["command"], []).append(number)
    draw = random.Random(0)
    commands = sorted(by_command)
    judged = next(command for command in commands if "--against" in command)
    asked = [command for command in commands if "--tasks" in command]
    chosen = [judged, *draw.sample(asked, SAMPLED - 3), *(["kwen report runs/micro --json"] * 2)]
    assert len(chosen) == SAMPLED
    for command in chosen:
        # One that is not 0, where there is one: a model that knows nothing has many zeros.
        number = draw.choice([of for of in by_command[command] if of["value"]] or by_command[command])
        words = shlex.split(command)[1:]
        out = _kwen(words, folder)
        printed = json.loads(out) if words[0] == "report" else json.loads((folder / words[words.index("--json") + 1]).read_text())
        again = _value(printed, number["path"])
        assert math.isclose(again, number["value"], rel_tol=1e-4, abs_tol=1e-9), (number, again)


def test_the_commands_that_write_the_report_and_compare_two_runs(folder: Path) -> None:
    page = folder / _kwen(["report", "runs/micro"], folder).strip()
    assert page == folder / "runs/micro/report/index.html" and page.stat().st_size < 5_000_000
    assert (page.parent / "report.md").read_text().startswith("Technical report")
    before = {path.name: path.read_bytes() for path in page.parent.iterdir()}
    shutil.copytree(folder / "runs/micro", folder / "runs/other", symlinks=True)
    compared = folder / _kwen(["report", "runs/micro", "runs/other"], folder).strip()
    assert compared == folder / "runs/micro/compared/other/index.html" and (compared.parent / "report.md").is_file()
    found = json.loads(_kwen(["report", "runs/micro", "runs/other", "--json"], folder))
    assert len(found["scores"]) > 10 and {row["verdict"] for row in found["scores"]} == {"no difference seen"}
    assert {path.name: path.read_bytes() for path in page.parent.iterdir()} == before
