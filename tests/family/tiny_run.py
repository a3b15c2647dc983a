"""A family of hand-made artifacts: folders with manifests, a curve, scores, and whatever else a test puts beside them."""

import json
from pathlib import Path
from typing import Any

from kwen.family.artifact import Manifest

HOSTILE = "<script>alert(1)</script>"


def score(metric: str, value: float, n: int = 300, error: float = 0.01, **parts: Any) -> dict[str, Any]:
    flexible = {f"{metric}_flexible": value, f"{metric}_flexible_stderr": 0.01}
    return {metric: value, f"{metric}_stderr": error, **flexible, "n": n, **parts}


def artifact(
    folder: Path, name: str, stage: str, inputs: tuple[str, ...] = (), metrics: dict[str, Any] | None = None, **config: Any
) -> Path:
    """A folder with a manifest."""
    (folder / name).mkdir()
    record = {"wall_s": 12.5, "started": "2030-01-01T00:00:00+0000", "machine": "Linux", "run": "/secret/place"}
    Manifest(name, stage, 1, "ab" * 32, dict.fromkeys(inputs, "x"), config, 0, {}, metrics or {}, record).write(folder / name)
    return folder / name


def tiny_family(folder: Path) -> dict[str, Path]:
    """shards, base with its curve, evals with scores and samples; `absent` stands nowhere."""
    training = {"parameters": 3_400_000, "steps": 30, "tokens": 7_900_000, "epochs": 1.5, "loss": 2.0}
    artifact(folder, "shards", "shards", (), {"train": {"tokens": 1000, "bytes_per_token": 3.8}})
    artifact(folder, "base", "base", ("shards",), training)
    evals = {"tasks": ["nanoworld-facts"], "limit": 100}
    artifact(folder, "evals", "evals", ("shards", "base"), {"scores": {"base": {"perplexity": 1.2}}}, evals=evals)
    steady = {"grad_norm": 1.0, "lr": 0.01, "mfu": 0.3}
    rows = [{"step": i, "loss": 5 - i / 500, "tokens_per_s": 100.0 + i, **steady} for i in range(1, 1001)]
    (folder / "base" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parts = {"by_language": {"en": score("accuracy", 0.9), "zh": score("accuracy", 0.8)}}
    scores = {
        "base": {"perplexity": score("bits_per_byte", 1.2, by_source={"<b>books</b>": score("bits_per_byte", 1.3)})},
        "chat-sft": {"nanoworld-facts": score("accuracy", 0.9, ended=1.0, baseline_accuracy=0.4, **parts)},
    }
    write(folder, "scores", scores)
    sample = {"model": "chat-sft", "task": "nanoworld-facts", "id": "1", "language": "zh", "correct": True}
    sample |= {"question": f"谁？{HOSTILE}", "answer": "米拉", "reference": "米拉"}
    write(folder, "samples", [sample])
    return {name: folder / name for name in ("shards", "base", "evals", "absent")}


def write(folder: Path, name: str, value: Any) -> None:
    """One of the JSON files of evals."""
    (folder / "evals" / f"{name}.json").write_text(json.dumps(value))


def add_scores(folder: Path, scores: dict[str, dict[str, Any]]) -> None:
    """More scores, model by model."""
    path = folder / "evals" / "scores.json"
    held = json.loads(path.read_text())
    for model, of in scores.items():
        held[model] = held.get(model, {}) | of
    path.write_text(json.dumps(held))
