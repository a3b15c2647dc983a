"""Metrics of a training run: one JSON object a line, and how far the arithmetic is from the machine's peak."""

import json
import time
from pathlib import Path
from typing import Any

import torch

from kwen.files import write_text
from kwen.model.config import ModelConfig


class MetricsLog:
    """Append-only `metrics.jsonl`; opened at a step, it drops what an interrupted run wrote beyond that step."""

    def __init__(self, path: Path, step: int, tensorboard: Path | None = None) -> None:
        kept = []
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except ValueError:
                    break  # a line cut off by a kill; what follows a checkpoint is written again
                if row["step"] <= step:
                    kept.append(line)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "".join(line + "\n" for line in kept))  # aside and renamed: a kill here loses no row
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (closed by close)
        self._board = None
        if tensorboard is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(tensorboard))

    def write(self, row: dict[str, Any]) -> None:
        """Append one row; it holds `step`."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in row.items():
                if name != "step" and isinstance(value, int | float):
                    self._board.add_scalar(name, value, row["step"])

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def flops_per_token(config: ModelConfig, sequence_length: int) -> float:
    """Arithmetic of one training token: 6 a matrix weight, and 12 * L * H * E * T for attention (arXiv 2204.02311, B)."""
    embeddings = config.vocab_size * config.hidden_size
    matrices = config.num_parameters - (0 if config.tie_word_embeddings else embeddings)
    attention = 12 * config.num_hidden_layers * config.num_attention_heads * config.head_dim * sequence_length
    return 6.0 * matrices + attention


def matmul_peak(dtype: torch.dtype, device: torch.device | str = "cpu") -> float:
    """Measured FLOP/s of a square matrix product in `dtype` with the threads of this process: the best of several."""
    size = 1024 if torch.device(device).type == "cpu" else 8192
    a = torch.randn(size, size, device=device).to(dtype)
    best = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        b = a @ a
        float(b[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
