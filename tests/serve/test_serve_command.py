"""`kwen serve` as a process: what it says, how it ends, what it refuses."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from serving import make_lm, soon

from kwen.cli.main import exit_code
from kwen.serve.settings import Settings
from kwen.serve.vllm import command, environment
from kwen.text.tokenizer import Tokenizer

PROGRAM = "from kwen.cli.main import run; run()"
LONG = {"model": "tiny", "messages": [{"role": "user", "content": "the cat"}], "max_tokens": 30_000, "ignore_eos": True}


@pytest.fixture(scope="module")
def folder(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model on disk."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    make_lm(tokenizer, context=40_000).save(path)
    return path


@contextmanager
def serving(*arguments: str, page: bool = False, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A `kwen serve` on a free port, once it accepts; and its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "serve", *arguments, "--port", "0", *([] if page else ["--no-page"])],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, process.communicate(timeout=30)
        yield process, found.group().removeprefix("http://").removesuffix("/v1")
    finally:
        process.kill()
        process.communicate(timeout=30)


def get(address: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET" if body is None else "POST", path, body if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def cut_off(address: str) -> None:
    """A request whose answer may come, with an error, or may not."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        get(address, "/v1/chat/completions", LONG)


def ended(process: subprocess.Popen[str], limit_s: float = 20) -> tuple[int, str]:
    """The exit code and standard error."""
    _, text = process.communicate(timeout=limit_s)
    return process.returncode, text


def test_models_are_served_under_the_names_of_their_folders_or_given_ones(folder: Path) -> None:
    with serving(str(folder), f"second={folder}") as (_, address):
        status, text = get(address, "/v1/models")
        assert status == 200 and [model["id"] for model in json.loads(text)["data"]] == ["tiny", "second"]
        assert get(address, "/v1/chat/completions", {**LONG, "max_tokens": 3, "model": "second"})[0] == 200


def test_keys_come_from_the_environment_too(folder: Path) -> None:
    with serving(str(folder), "--api-key", "given", KWEN_API_KEY="kept,other") as (_, address):
        assert get(address, "/v1/models")[0] == 401
        for key in ("given", "kept", "other"):
            assert get(address, "/v1/models", authorization=f"Bearer {key}")[0] == 200


def test_sigterm_lets_running_answers_end_and_takes_no_new_ones(folder: Path) -> None:
    with serving(str(folder)) as (process, address):
        answers: list[tuple[int, str]] = []
        asked = {**LONG, "max_tokens": 1500}
        running = threading.Thread(target=lambda: answers.append(get(address, "/v1/chat/completions", asked)))
        running.start()
        assert soon(lambda: 'kwen_requests_running{model="tiny"} 1' in get(address, "/metrics")[1])
        process.send_signal(signal.SIGTERM)
        assert soon(lambda: get(address, "/ready")[0] == 503, 5)
        status, text = get(address, "/v1/chat/completions", {**LONG, "max_tokens": 3})
        assert status == 503 and json.loads(text)["error"]["code"] == "stopping"
        code, log = ended(process, 60)
        running.join()
        assert code == 0 and answers[0][0] == 200
        assert json.loads(answers[0][1])["usage"]["completion_tokens"] == 1500
        assert "Traceback" not in log


def test_draining_has_a_limit(folder: Path) -> None:
    with serving(str(folder), "--drain-seconds", "0.5") as (process, address):
        texts: list[str] = []
        streaming = {**LONG, "stream": True}
        running = threading.Thread(target=lambda: texts.append(get(address, "/v1/chat/completions", streaming)[1]))
        running.start()
        assert soon(lambda: 'kwen_requests_running{model="tiny"} 1' in get(address, "/metrics")[1])
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        code, log = ended(process)
        running.join()
        assert code == 0 and time.monotonic() - began < 10 and "Traceback" not in log
        assert json.loads(texts[0].strip().split("\n\n")[-1].removeprefix("data: "))["error"]["code"] == "stopping"


def test_a_second_signal_ends_at_once(folder: Path) -> None:
    with serving(str(folder), "--drain-seconds", "60") as (process, address):
        running = threading.Thread(target=cut_off, args=(address,))
        running.start()
        assert soon(lambda: 'kwen_requests_running{model="tiny"} 1' in get(address, "/metrics")[1])
        process.send_signal(signal.SIGTERM)
        assert soon(lambda: get(address, "/ready")[0] == 503, 5)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        ended(process)
        running.join()
        assert time.monotonic() - began < 10


def test_after_a_kill_the_same_port_serves_again(folder: Path) -> None:
    with serving(str(folder)) as (process, address):
        connection = socket.create_connection(address.split(":"))  # type: ignore[arg-type]
        process.kill()
        process.wait()
        connection.close()
    again = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "serve", str(folder), "--no-page", "--port", address.split(":")[1]],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert again.stdout is not None and address in again.stdout.readline()
        assert get(address, "/ready")[0] == 200
    finally:
        again.kill()
        again.communicate()


def test_the_access_log_is_lines_of_json(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    with serving(str(folder), "--access-log", str(log)) as (_, address):
        get(address, "/v1/models")
        get(address, "/nowhere")
        assert soon(lambda: log.read_text().count("\n") == 2)  # a line is written once its answer has gone
    assert [json.loads(line)["status"] for line in log.read_text().splitlines()] == [200, 404]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert exit_code(["serve", *arguments]) == 2
    line = capsys.readouterr().err.strip()
    assert line.startswith("error: ") and "\n" not in line
    return line


def test_what_cannot_be_served_is_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere" in refusal(capsys, str(tmp_path / "nowhere"), "--port", "0")
    assert "NAME=PATH" in refusal(capsys, str(folder), str(folder), "--port", "0")
    assert "--api-key KEY" in refusal(capsys, str(folder), "--host", "0.0.0.0")
    assert "unknown; use kwen or vllm" in refusal(capsys, str(folder), "--backend", "tgi")
    assert "--host" in refusal(capsys, str(folder), "--host", "no.such.host.invalid", "--api-key", "k")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "choose another" in refusal(capsys, str(folder), "--port", str(taken.getsockname()[1]))


def test_vllm_is_handed_the_same_flags(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    settings = Settings(port=9000, slots=8, api_keys=("a", "b"), cors_origins=("https://x",))
    line = command("tiny", folder, settings, "bfloat16", "cpu")
    text = " ".join(line)
    assert line[:3] == ["vllm", "serve", str(folder)] and "--served-model-name tiny --host 127.0.0.1 --port 9000" in text
    assert (
        "--max-num-seqs 8" in text
        and "--dtype bfloat16" in text
        and text.endswith('--api-key a b --allowed-origins ["https://x"]')
    )
    alone = Settings(api_keys=("secret",))
    assert "secret" not in " ".join(command("tiny", folder, alone, None, None)) and environment(alone) == {
        "VLLM_API_KEY": "secret"
    }
    assert "one model" in refusal(capsys, str(folder), f"b={folder}", "--backend", "vllm")
    assert "convert" in refusal(capsys, "x.gguf", "--backend", "vllm")


def test_a_missing_vllm_is_told(capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "pip install vllm" in refusal(capsys, str(folder), "--backend", "vllm")


def test_a_present_vllm_takes_the_process_over(folder: Path, tmp_path: Path) -> None:
    program = tmp_path / "vllm"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    line = [sys.executable, "-c", PROGRAM, "serve", f"n={folder}", "--backend", "vllm", "--port", "9001"]
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert done.returncode == 0 and done.stdout.startswith(f"serve {folder} --served-model-name n"), done.stderr


def test_the_build_for_cpus_is_started_as_a_module(folder: Path, tmp_path: Path) -> None:
    """It has no distribution of the name vllm, and so no command that starts."""
    package = tmp_path / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    for part in (package, *package.parents[:2]):
        (part / "__init__.py").touch()
    (package / "api_server.py").write_text("import sys; print(*sys.argv[1:])")
    line = [sys.executable, "-c", PROGRAM, "serve", f"n={folder}", "--backend", "vllm", "--port", "9001"]
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    assert done.returncode == 0 and done.stdout.startswith(f"--model {folder} --served-model-name n"), done.stderr


@pytest.mark.slow
def test_the_page_comes_after_the_api_and_a_tool_it_does_not_know_ends_the_server(folder: Path) -> None:
    pytest.importorskip("gradio", reason="the page is absent: pip install 'kwen[page]'")
    with serving(str(folder), page=True) as (process, address):
        assert get(address, "/v1/models")[0] == 200
        assert process.stdout is not None and process.stdout.readline().startswith("page")
        assert "<html" in get(address, "/")[1]
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 0
    with serving(str(folder), "--tools", "hammer", page=True) as (process, _):
        code, text = ended(process, 60)
        assert code == 2 and "error: tool 'hammer' is unknown" in text
