"""kill -9 at random moments of a whole micro family: the same command ends with the same bytes (slow: about five minutes)."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kwen.files import file_hash

KILLS = 20


def start(run: Path) -> subprocess.Popen[bytes]:
    """`kwen build micro` into `run`, with its ranks in a process group of its own."""
    program = "from kwen.cli.main import run\nif __name__ == '__main__':\n    run()\n"
    script = run.parent / "kwen_program.py"
    script.write_text(program)
    return subprocess.Popen(
        [sys.executable, str(script), "build", "micro", "--out", str(run)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | {"OMP_WAIT_POLICY": "passive"},
    )


def weights(run: Path) -> dict[str, str]:
    return {str(path.relative_to(run)): file_hash(path) for path in sorted(run.glob("*/*.safetensors"))}


def masked_report(run: Path) -> str:
    return re.sub(r'<span class="time">.*?</span>', "", (run / "report" / "index.html").read_text())


@pytest.mark.slow
def test_killed_at_random_moments_micro_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole" / "micro", tmp_path / "killed" / "micro"
    for run in (whole, killed):
        run.parent.mkdir()
    began = time.monotonic()
    process = start(whole)
    assert process.wait(600) == 0, process.stderr and process.stderr.read()
    seconds = time.monotonic() - began
    moments = random.Random("kwen/kill")
    for _ in range(KILLS):
        process = start(killed)
        try:
            code = process.wait(moments.uniform(1.0, max(6.0, seconds / 3)))
            assert code == 0, process.stderr and process.stderr.read()
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait(30)
    process = start(killed)
    assert process.wait(600) == 0, process.stderr and process.stderr.read()
    assert weights(whole) and weights(killed) == weights(whole)
    assert masked_report(killed) == masked_report(whole)
