"""Parity with transformers (`benchmarks/parity.py` prints the same as a table), and a real model from a GGUF file."""

import runpy
from pathlib import Path

import pytest
import torch

from kwen.engine.language_model import load

PARITY = runpy.run_path(str(Path(__file__).resolve().parents[2] / "benchmarks" / "parity.py"), run_name="parity")
PROMPTS = [
    "The capital of France is", "Water boils at", "def fibonacci(n):", "Once upon a time, in a small village,",
    "The three primary colours are", "To make bread you need", "Photosynthesis is the process by which",
    "Dear Sir or Madam,", "1, 2, 3, 5, 8,", "The moon is", "In 1969, Neil Armstrong", "import numpy as np\n",
]  # fmt: skip


@pytest.mark.parametrize("case", PARITY["CASES"])
def test_logits_and_greedy_tokens_are_transformers(case: str, tmp_path: Path) -> None:
    row = PARITY["compare"](case, tmp_path)
    assert row.difference <= 1e-4 and row.largest_logit > 3
    assert row.greedy_equal == 64, f"the smallest margin between two logits was {row.smallest_margin}"
    assert row.saved_difference == 0 and row.tensors_bit_equal


@pytest.mark.slow
def test_smollm2_says_what_it_says_in_transformers(smollm2_gguf: Path) -> None:
    """Logits to 1e-3, and 40 greedy tokens of 12 prompts; a difference is excused only by a tie to 1e-3."""
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(smollm2_gguf.parent, gguf_file=smollm2_gguf.name, dtype=torch.float32).eval()
    lm = load(smollm2_gguf)
    prompts = [lm.tokenizer.encode(prompt) for prompt in PROMPTS]
    completions = lm.generate(prompts, max_new_tokens=40, stop_token_ids=[])
    for prompt, completion in zip(prompts, completions, strict=True):
        with torch.inference_mode():
            expected = theirs.generate(
                torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), max_new_tokens=40,
                min_new_tokens=40, do_sample=False, eos_token_id=None, pad_token_id=0,
            )[0, len(prompt) :].tolist()  # fmt: skip
            logits = theirs(torch.tensor([prompt + expected])).logits[0]
        assert float((lm.logits(torch.tensor([prompt + expected]))[0] - logits).abs().max()) < 1e-3
        for step, (ours, other) in enumerate(zip(completion.token_ids, expected, strict=True)):
            if ours != other:
                best = logits[len(prompt) + step - 1].topk(2).values
                assert float(best[0] - best[1]) < 1e-3, f"{lm.tokenizer.decode(prompt)!r} differs at token {step}"
                break
