"""math-verify's verdicts on pairs of LaTeX answers, each within a time limit.

Sympy may take for ever on a short text and may not heed a signal, so pairs go one by one to processes of their own (this module
run as a program: JSON lines in and out), and a process that is late is killed and replaced. Its memory is bounded too. Only LaTeX
is read, by a grammar; math-verify's other reader, which evaluates expressions as Python, is not used.
"""

import functools
import importlib.util
import json
import selectors
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from kwen.errors import UserError

MEMORY_BYTES = 4 << 30
START_S = 120.0
"""For a process to import what it needs, on a busy machine."""


@functools.cache
def available() -> bool:
    """Whether math-verify and its reader of LaTeX are installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("math_verify", "latex2sympy2_extended", "antlr4"))


@dataclass
class _Worker:
    """A process, the pair that it works at, and when it is late. Without a pair it is still starting, or has nothing to do."""

    process: subprocess.Popen[str]
    pair: int | None = None
    deadline: float = 0.0
    ready: bool = False


def verify(pairs: Sequence[tuple[str, str]], timeout_s: float = 5.0, workers: int = 2) -> list[bool]:
    """Whether math-verify finds each (answer, right) the same; False for a pair that it can't read or that takes longer.

    Raises UserError where the processes do not start.
    """
    verdicts = [False] * len(pairs)
    waiting = list(reversed(range(len(pairs))))
    running: list[_Worker] = []
    try:
        with selectors.DefaultSelector() as selector:
            for _ in range(min(workers, len(pairs))):
                running.append(_start(selector))
            while running:
                for key, _ in selector.select(timeout=0.2):
                    worker: _Worker = key.data
                    line = worker.process.stdout.readline() if worker.process.stdout else ""
                    if worker.pair is not None and line:
                        verdicts[worker.pair] = line.strip() == "true"
                    if line:
                        _next(worker, waiting, pairs, timeout_s)
                    else:
                        worker.deadline = 0.0  # it has died
                for worker in list(running):
                    idle = worker.ready and worker.pair is None
                    if not idle and time.monotonic() < worker.deadline:
                        continue
                    _end(worker, selector)
                    running.remove(worker)
                    if not worker.ready:
                        raise UserError("math-verify does not start: run `python -m kwen.verify.math_verify_pool` to see why")
                    if waiting:
                        running.append(_start(selector))
    finally:
        for worker in running:
            worker.process.kill()
            worker.process.wait()
    return verdicts


def _start(selector: selectors.BaseSelector) -> _Worker:
    process = subprocess.Popen(
        [sys.executable, "-m", "kwen.verify.math_verify_pool"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8",
    )  # fmt: skip
    worker = _Worker(process, deadline=time.monotonic() + START_S)
    assert process.stdout is not None
    selector.register(process.stdout, selectors.EVENT_READ, worker)
    return worker


def _next(worker: _Worker, waiting: list[int], pairs: Sequence[tuple[str, str]], timeout_s: float) -> None:
    worker.ready = True
    worker.pair = waiting.pop() if waiting else None
    if worker.pair is None:
        return
    worker.deadline = time.monotonic() + timeout_s
    assert worker.process.stdin is not None
    with suppress(BrokenPipeError):  # it has died: its output ends, which is seen next
        worker.process.stdin.write(json.dumps(pairs[worker.pair]) + "\n")
        worker.process.stdin.flush()


def _end(worker: _Worker, selector: selectors.BaseSelector) -> None:
    assert worker.process.stdout is not None and worker.process.stdin is not None
    selector.unregister(worker.process.stdout)
    worker.process.kill()
    worker.process.wait()
    worker.process.stdout.close()
    with suppress(BrokenPipeError):
        worker.process.stdin.close()


def _serve() -> None:
    """Answer "true" or "false" to each JSON line [answer, right] of standard input, after a first line "ready"."""
    import logging
    import resource

    from math_verify import LatexExtractionConfig, parse
    from math_verify import verify as same

    logging.disable()
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing that a library prints is taken for a verdict
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    latex = [LatexExtractionConfig()]
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        verdict = False
        with suppress(Exception):  # whatever sympy raises about a text that a model wrote: the answer is not the right one
            answer, right = (parse(f"${text}$", latex, parsing_timeout=None) for text in json.loads(line))
            verdict = bool(answer and right and same(right, answer, timeout_seconds=None))
        print(json.dumps(verdict), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
