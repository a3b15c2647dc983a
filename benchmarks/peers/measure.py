"""How each peer is timed: the part that every run_PEER.py shares, with the standard library alone.

A run reads one JSON object from standard input, {"path", "dtype", "variant", "threads", "most_seconds", "whole_warm_up",
"cells": [...]}, loads the model once, and answers with one JSON line for the loading and one for each cell. A cell is {"name",
"batch", "prompt", "new", "repeats"} or, for the check of tokens, {"name", "prompts": token ids, "new"}. What libraries print goes
to standard error.
"""

import json
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

Generate = Callable[[list[list[int]], int], list[list[int]]]
"""(prompts of equal length, new tokens) -> the new tokens of each, greedy, ends ignored."""

SMALLEST_VOCABULARY = 8000
WARM_PROMPT_TOKENS = 16_384
"""A cell of more prompt tokens gets no warm-up of its own: the smaller cells before it were one."""


def prompts_of(cell: dict[str, Any], repeat: int) -> list[list[int]]:
    """Random token ids, others for each repeat, so that no cache of prompts helps anyone."""
    source = random.Random(f"{cell['batch']} {cell['prompt']} {cell['new']} {repeat}")
    return [[source.randrange(300, SMALLEST_VOCABULARY) for _ in range(cell["prompt"])] for _ in range(cell["batch"])]


def run(load: Callable[[dict[str, Any]], Generate]) -> None:
    """Answer one request from standard input; `load` gets it whole."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    start = time.perf_counter()
    generate = load(request)
    _tell(out, {"name": "load", "seconds": [time.perf_counter() - start]})
    for cell in request["cells"]:
        if "prompts" in cell:
            _tell(out, {"name": cell["name"], "tokens": [generate([prompt], cell["new"])[0] for prompt in cell["prompts"]]})
        else:
            _tell(out, {"name": cell["name"], "seconds": _measure(generate, cell, request)})
    out.close()


def _measure(generate: Generate, cell: dict[str, Any], request: dict[str, Any]) -> list[float]:
    """Seconds of up to `repeats` runs, fewer where they would exceed `most_seconds`, after a warm-up (of the whole length where
    something is compiled for it)."""
    if cell["batch"] * cell["prompt"] <= WARM_PROMPT_TOKENS:
        generate(prompts_of(cell, -1), cell["new"] if request["whole_warm_up"] else min(cell["new"], 8))
    seconds: list[float] = []
    while len(seconds) < cell["repeats"] and (not seconds or sum(seconds) + seconds[-1] <= request["most_seconds"]):
        prompts = prompts_of(cell, len(seconds))
        start = time.perf_counter()
        answers = generate(prompts, cell["new"])
        seconds.append(time.perf_counter() - start)
        lengths = {len(answer) for answer in answers}
        if len(answers) != cell["batch"] or lengths != {cell["new"]}:
            raise SystemExit(f"{cell['name']}: {len(answers)} answers of {sorted(lengths)} tokens are not what was asked for")
    return seconds


def _tell(out: TextIO, line: dict[str, Any]) -> None:
    out.write(json.dumps(line) + "\n")
    out.flush()
