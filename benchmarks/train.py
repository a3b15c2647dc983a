"""Training speed beside transformers' Qwen2, eager and compiled, in one run: same shape, rows, precision, optimiser, machine.

    python benchmarks/train.py [--rounds 5] [--steps 12] [--json benchmarks/results/train.json]

A round times each of the three in turn; the table gives medians over rounds of the median step. Ours is the training loop as
`kwen build` runs it (as many single-threaded ranks as there are cores); transformers runs in one process on all cores.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from kwen.model.config import ModelConfig
from kwen.model.initialize import initialize
from kwen.model.transformer import Transformer
from kwen.progress import Progress
from kwen.train.batches import Batches, Documents
from kwen.train.loop import TrainingConfig, train
from kwen.train.metrics import matmul_peak
from kwen.train.optimizer import OptimizerConfig
from kwen.train.parallel import Group, Ranks

SEQUENCE_LENGTH, BATCH_TOKENS, WARM_STEPS = 128, 4096, 4
SHAPES = {
    "3.4M": {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 3, "vocab_size": 4096},
    "7M": {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 4, "vocab_size": 4096},
}


def rows(seed: int = 0) -> np.ndarray:
    """Random token ids (rows, T + 1): what they are does not change the work."""
    count = BATCH_TOKENS // SEQUENCE_LENGTH * 4
    return np.random.Generator(np.random.PCG64(seed)).integers(0, 4000, (count, SEQUENCE_LENGTH + 1))


def ours(group: Group, *, shape: dict[str, int], steps: int, progress: Progress) -> tuple[float, float]:
    """Seconds of the median step, and the share of the matrix-multiply peak; runs on every rank."""
    heads = shape["num_attention_heads"]
    model = Transformer(ModelConfig(**shape, num_key_value_heads=heads, head_dim=shape["hidden_size"] // heads))
    initialize(model, "report", 0)
    tokens = rows()
    documents = Documents(tokens.reshape(-1), np.arange(0, tokens.size + 1, tokens.shape[1]))
    batches = Batches(documents, row_length=SEQUENCE_LENGTH, rows=BATCH_TOKENS // SEQUENCE_LENGTH, seed=0)
    config = TrainingConfig(
        steps=steps + WARM_STEPS,
        batch_tokens=BATCH_TOKENS,
        sequence_length=SEQUENCE_LENGTH,
        optimizer=OptimizerConfig(kind="adamw"),
        reduce_precision="bfloat16",
        compile=True,
        log_every=1,
    )
    with tempfile.TemporaryDirectory() as work:
        train(model, batches, config, group=group, work=Path(work), run={}, progress=progress)
        if group.rank > 0:
            return 0.0, 0.0
        log = [json.loads(line) for line in (Path(work) / "metrics.jsonl").read_text().splitlines()][WARM_STEPS:]
    return statistics.median(BATCH_TOKENS / row["tokens_per_s"] for row in log), statistics.median(row["mfu"] for row in log)


def transformers_step(shape: dict[str, int], compiled: bool) -> Callable[[int], None]:
    """One training step of transformers' model on the rows of step number n."""
    heads = shape["num_attention_heads"]
    model = Qwen2ForCausalLM(Qwen2Config(**shape, num_key_value_heads=heads, tie_word_embeddings=False)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    tokens = torch.from_numpy(rows())
    forward = torch.compile(model, dynamic=False) if compiled else model
    count = BATCH_TOKENS // SEQUENCE_LENGTH

    def step(number: int) -> None:
        part = tokens[number % 4 * count : (number % 4 + 1) * count]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = forward(input_ids=part[:, :-1].contiguous(), labels=part[:, :-1].contiguous()).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def median_step(step: Callable[[int], None], steps: int) -> float:
    """Seconds of the median of `steps` steps after the warm ones."""
    taken = []
    for number in range(steps + WARM_STEPS):
        start = time.perf_counter()
        step(number)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[WARM_STEPS:])


def measure(rounds: int, steps: int) -> list[dict[str, Any]]:
    """One row a shape."""
    table = []
    with Ranks(os.cpu_count() or 1) as ranks:
        for name, shape in SHAPES.items():
            eager, compiled = transformers_step(shape, False), transformers_step(shape, True)
            seconds: dict[str, list[float]] = {"ours": [], "eager": [], "compiled": []}
            shares = []
            for _ in range(rounds):
                own, share = ranks.run(ours, {"shape": shape, "steps": steps})
                seconds["ours"].append(own)
                shares.append(share)
                seconds["eager"].append(median_step(eager, steps))
                seconds["compiled"].append(median_step(compiled, steps))
            row: dict[str, Any] = {"shape": name}
            for who, values in seconds.items():
                row[f"{who}_tokens_per_s"] = BATCH_TOKENS / statistics.median(values)
            for peer in ("eager", "compiled"):
                row[f"ratio_{peer}"] = statistics.median(b / a for a, b in zip(seconds["ours"], seconds[peer], strict=True))
            row["share_of_peak"] = statistics.median(shares)
            table.append(row)
    return table


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    table = measure(arguments.rounds, arguments.steps)
    print(f"{'shape':6} {'kwen':>9} {'eager':>9} {'compiled':>9}  tokens/s    {'x eager':>8} {'x compiled':>10} {'of peak':>8}")
    for row in table:
        speeds = " ".join(f"{row[f'{who}_tokens_per_s']:9,.0f}" for who in ("ours", "eager", "compiled"))
        ratios = f"{row['ratio_eager']:8.2f} {row['ratio_compiled']:10.2f} {row['share_of_peak']:8.0%}"
        print(f"{row['shape']:6} {speeds}  {'':11} {ratios}")
    if arguments.json:
        peak = matmul_peak(torch.bfloat16) / 1e9
        machine = f"{platform.machine()}, {os.cpu_count()} cores, bf16 peak {peak:.0f} GFLOP/s, torch {torch.__version__}"
        arguments.json.write_text(json.dumps({"date": str(date.today()), "machine": machine, "rows": table}, indent=2) + "\n")


if __name__ == "__main__":
    main()
