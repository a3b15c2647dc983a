"""A build killed at any moment and started again gives the bytes of one that was never interrupted."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kwen.files import file_hash

KILLS, KILLS_OF_PPO = 20, 10


def _start(out: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from kwen.cli.main import run; run()", "build", "micro", "--out", str(out), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _weights(run: Path) -> dict[str, str]:
    return {str(path.relative_to(run)): file_hash(path) for path in sorted(run.glob("*/model.safetensors"))}


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(part) for key, part in value.items() if key not in ("record", "tokens_per_s", "mfu")}
    return [_without_times(part) for part in value] if isinstance(value, list) else value


@pytest.mark.slow
def test_killed_at_twenty_random_moments_the_micro_family_is_the_same(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    began = time.monotonic()
    process = _start(whole)
    assert process.wait() == 0, process.stderr and process.stderr.read().decode()
    length = time.monotonic() - began
    moments = random.Random(0)
    for _ in range(KILLS):
        process = _start(cut)
        time.sleep(moments.uniform(0.05, 0.35) * length)
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = _start(cut)
    assert process.wait() == 0, process.stderr and process.stderr.read().decode()
    assert len(_weights(whole)) == 11
    assert _weights(cut) == _weights(whole)
    reports = [json.loads((run / "report" / "report.json").read_text()) for run in (whole, cut)]
    for section in reports[0]:
        if section != "record":
            assert _without_times(reports[0][section]) == _without_times(reports[1][section]), section
    pages = [(run / "report" / "index.html").read_text() for run in (whole, cut)]
    masked = [re.sub(r'(<(\w+)[^>]*class="[^"]*\btime\b[^"]*"[^>]*>).*?(</\2>)', r"\1\3", page, flags=re.S) for page in pages]
    assert masked[0] == masked[1]


@pytest.mark.slow
def test_killed_ten_times_during_ppo_the_chat_model_is_the_same(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    options = ["--only", "chat", "--set", "chat.warmup_steps=4", "--set", "chat.steps=40", "--set", "chat.checkpoint_every=2"]
    process = _start(whole, *options)
    assert process.wait() == 0, process.stderr and process.stderr.read().decode()
    shutil.copytree(whole, cut, ignore=shutil.ignore_patterns("chat", ".work", ".lock"))
    moments, curve = random.Random(0), cut / ".work" / "chat" / "metrics.jsonl"
    for kill in range(KILLS_OF_PPO):
        began = time.time()
        process = _start(cut, *options)
        deadline = time.monotonic() + 120
        # Steps are under way when this start has written the curve, and it is longer than at the kill before.
        while not (curve.is_file() and curve.stat().st_mtime > began and len(curve.read_text().splitlines()) > 4 * kill):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    process = _start(cut, *options)
    assert process.wait() == 0, process.stderr and process.stderr.read().decode()
    for name in ("model.safetensors", "samples.json"):
        assert file_hash(cut / "chat" / name) == file_hash(whole / "chat" / name)
