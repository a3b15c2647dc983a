"""Runs inside the sandbox (`main`): builds a program, runs it, and prints a token if, and only if, the program earned it.

Its stdin holds JSON: "files" (text by path), "links" (target by path), "build" (command lines), "run" (one), "environment", and
"token". Building sees no token. The program finds the token on its stdin and its trusted last lines copy it to stdout, which
they reach only when every test passed; what else it prints does not count, and it must exit with 0.
"""

import contextlib
import json
import os
import subprocess
import sys

TAIL_BYTES = 4096  # of the program's output, and of a compiler's: enough for the token, and for its last complaint


def main() -> None:
    """The order of events; ends the process with 0 for a pass, 1 for a failed build, 2 for a failed program."""
    try:
        build_and_run()
    except OSError as error:  # a compiler that is not there, a full disk
        sys.exit(f"{error}")


def build_and_run() -> None:
    """Reads the request, and ends the process unless the program passes."""
    request = json.loads(sys.stdin.buffer.read())
    for path, text in request["files"].items():
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
    for path, target in request["links"].items():
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        os.symlink(target, path)
    for command in request["build"]:
        with open("build.log", "w+b") as log:  # a file, which the sandbox limits, holds any flood of messages
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=request["environment"]
            )
            if done.returncode != 0:
                log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
                sys.stderr.buffer.write(log.read() or f"{command[0]} ended with {done.returncode}\n".encode())
                sys.exit(1)
    token = request["token"].encode()
    run = subprocess.Popen(
        request["run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=request["environment"],
    )
    assert run.stdin is not None and run.stdout is not None
    with contextlib.suppress(BrokenPipeError), run.stdin:  # it may end without a look at it
        run.stdin.write(token)
    tail = b""
    while piece := os.read(run.stdout.fileno(), 1 << 16):
        tail = (tail + piece)[-TAIL_BYTES:]
    if run.wait() != 0 or token not in tail:
        sys.stderr.write(f"{request['run'][0]} ended with {run.returncode}\n")
        sys.exit(2)
    sys.stdout.write(request["token"])
