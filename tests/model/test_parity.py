"""Parity with transformers (`benchmarks/parity.py` prints the same as a table), and a real model from a GGUF file."""

import runpy
from pathlib import Path

import pytest

PARITY = runpy.run_path(str(Path(__file__).resolve().parents[2] / "benchmarks" / "parity.py"), run_name="parity")


@pytest.mark.parametrize("case", PARITY["CASES"])
def test_logits_and_greedy_tokens_are_transformers(case: str, tmp_path: Path) -> None:
    row = PARITY["compare"](case, tmp_path)
    assert row.difference <= 1e-4 and row.largest_logit > 3
    assert row.greedy_equal == 64, f"the smallest margin between two logits was {row.smallest_margin}"
    assert row.saved_difference == 0 and row.tensors_bit_equal


@pytest.mark.slow
def test_smollm2_says_what_it_says_in_transformers(smollm2_gguf: Path) -> None:
    """Logits to 1e-3, and 40 greedy tokens of 12 prompts; a difference is excused only by a tie to 1e-3."""
    for row in PARITY["compare_real"](smollm2_gguf):
        assert row.difference < 1e-3, row
        assert row.greedy_equal == 40 or row.margin < 1e-3, row
