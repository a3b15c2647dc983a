"""From what was measured to the table and the ratios of benchmarks/generate.py.

What was measured is a mapping from "MODEL ROW CELL" to the answer of a run (`measure.py`) and its time.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from peers.rows import BITS, CELLS, REFERENCE, ROWS, Cell, Row

CHECK = "check"
"""The name of the cell in which tokens are compared, on SmolLM2 alone: a random model says nothing."""
CHECK_MODEL = "smollm2"
Kept = Mapping[str, Any]


def key(model: str, row: Row, cell: str) -> str:
    """Where an answer is kept."""
    return f"{model} {row.name} {cell}"


def rate(kept: Kept, model: str, row: Row, cell: Cell) -> float | None:
    """Tokens a second of the best run; None where it was not measured."""
    answer = kept.get(key(model, row, cell.name))
    return cell.counted / min(answer["seconds"]) if answer else None


def agreement(kept: Kept, row: Row) -> float | None:
    """The share of greedy tokens that equal Kwen's in float32, up to the first difference of each text."""
    ours, theirs = (kept.get(key(CHECK_MODEL, one, CHECK)) for one in (REFERENCE, row))
    if not ours or not theirs:
        return None
    same = total = 0
    for own, other in zip(ours["tokens"], theirs["tokens"], strict=True):
        same += next((n for n, (a, b) in enumerate(zip(own, other, strict=True)) if a != b), len(own))
        total += len(own)
    return same / total


def best_of(kept: Kept, model: str, rows: Sequence[Row], cell: Cell, bits: int | None = None) -> dict[str, Any] | None:
    """Kwen's fastest row over the peers' fastest, of so many `bits` (their scales aside) where given; None where
    either was not measured."""
    found = [(value, row) for row in rows if bits in (None, int(BITS[row.dtype])) and (value := rate(kept, model, row, cell))]
    ours = max((pair for pair in found if pair[1].peer == "kwen"), key=lambda pair: pair[0], default=None)
    theirs = max((pair for pair in found if pair[1].peer != "kwen"), key=lambda pair: pair[0], default=None)
    return {"times": round(ours[0] / theirs[0], 3), "kwen": ours[1].name, "peer": theirs[1].name} if ours and theirs else None


def record(kept: Kept, model: str, weights: int, bytes_a_second: float) -> dict[str, Any]:
    """One model's figures: rows with their cells, and Kwen's fastest over the peers' fastest for each cell.

    weights: those that a token reads. `share_of_memory`: bytes of weights a second at batch 1 over `bytes_a_second`.
    """
    rows = [row for row in ROWS if any(rate(kept, model, row, cell) for cell in CELLS)]
    out: dict[str, Any] = {"model": model, "weights": weights, "rows": [], "ratios": []}
    for row in rows:
        alone = rate(kept, model, row, CELLS[0])
        cells = {}
        for cell in CELLS:
            answer = kept.get(key(model, row, cell.name))
            if answer:
                rates = [cell.counted / seconds for seconds in answer["seconds"]]
                best, median = round(max(rates), 1), round(statistics.median(rates), 1)
                cells[cell.name] = {"best": best, "median": median, "seconds": answer["seconds"], "at": answer["at"]}
        out["rows"].append({
            "name": row.name, "peer": row.peer, "dtype": row.dtype, "variant": row.variant,
            "load_s": round(min(kept[key(model, row, "load")]["seconds"]), 2),
            "share_of_memory": round(alone * weights * BITS[row.dtype] / 8 / bytes_a_second, 3) if alone else None,
            "equal_tokens": agreement(kept, row) if model == CHECK_MODEL else None,
            "cells": cells,
        })  # fmt: skip
    for label, bits, among in (
        ("any precision", None, CELLS),
        ("8 bits", 8, CELLS[:1]),
        ("4 bits", 4, CELLS[:1]),
    ):
        for cell in among:
            if ratio := best_of(kept, model, rows, cell, bits):
                out["ratios"].append({"cell": cell.name, "precision": label} | ratio)
    return out


def print_table(model: dict[str, Any]) -> None:
    """The table of one `record`."""
    shown = [cell for cell in CELLS if any(cell.name in row["cells"] for row in model["rows"])]
    heads = "".join(f"{cell.name:>10}" for cell in shown)
    print(f"\n{model['model']}, {model['weights'] / 1e6:.1f}M weights a token: new tokens/s of batch x prompt + new; +1: prefill")
    print(f"{'':31}{'load s':>8}{heads}{'memory':>8}{'equal':>7}")
    for row in model["rows"]:
        values = "".join(
            f"{row['cells'][cell.name]['best']:10.0f}" if cell.name in row["cells"] else f"{'-':>10}" for cell in shown
        )
        print(
            f"{row['name']:31}{row['load_s']:8.1f}{values}{_percent(row['share_of_memory'], 8)}{_percent(row['equal_tokens'], 7)}"
        )
    for ratio in model["ratios"]:
        label = f"{ratio['cell']}, {ratio['precision']}"
        print(f"  {label:28} {ratio['times']:5.2f} times the best peer: {ratio['kwen']} over {ratio['peer']}")


def _percent(share: float | None, width: int) -> str:
    return f"{'-':>{width}}" if share is None else f"{share:{width}.0%}"
