"""Tiny random chat models for tests."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from kwen.model.config import ModelConfig
from kwen.model.formats.huggingface import save
from kwen.model.transformer import Transformer
from kwen.text.tokenizer import Tokenizer


def make_chat(
    folder: Path,
    tokenizer: Tokenizer,
    *,
    seed: int = 0,
    hidden: int = 32,
    layers: int = 2,
    scale: float = 0.1,
    context: int = 256,
) -> Path:
    """A model folder with random weights of this scale."""
    config = ModelConfig(tokenizer.vocab_size, hidden, 48, layers, 4, 2, hidden // 4, max_position_embeddings=context)
    model = Transformer(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * scale + (1.0 if p.dim() == 1 else 0.0))
    generation = {"eos_token_id": tokenizer.eos_token_ids, "pad_token_id": tokenizer.pad_token_id}
    save(model, tokenizer, folder, generation)
    return folder


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """JSON lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def sums(count: int) -> list[dict[str, Any]]:
    """Questions with a number for an answer."""
    return [
        {"messages": [{"role": "user", "content": f"What is {number} plus {number + 1}?"}], "answer": 2 * number + 1}
        for number in range(count)
    ]


def weights(model: torch.nn.Module) -> list[torch.Tensor]:
    """Copies of the parameters."""
    return [p.detach().clone() for p in model.parameters()]


def equal(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> bool:
    """Whether all tensors are the same bit for bit."""
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def largest_difference(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> float:
    """Over weights as lists."""
    return max(abs(x - y) for left, right in zip(a, b, strict=True) for x, y in zip(left, right, strict=True))
