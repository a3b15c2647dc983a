"""A family's own technical report, first half: collecting its numbers. The page that shows them is `page.py`.

    manifests, training curves, scores, kept answers -> collect -> one JSON value -> page.render -> index.html

Whatever depends on the machine's speed or the clock stands under `record`; the rest is equal for equal runs.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kwen.errors import UserError
from kwen.family.artifact import CURVE, RECORD, Manifest, read_manifest
from kwen.family.describe import describe

POINTS = 240
"""Points that are kept of a training curve, each the mean of its share of the steps."""
SPEED_KEYS = ("tokens_per_s", "mfu")
SCORES, SAMPLES = "scores.json", "samples.json"
LONG_CONTEXT, COMPRESSION, CONTAMINATION = "long_context.json", "compression.json", "contamination.json"
"""What the evals may have measured beside the scores."""
PACK = ("python", "js", "java", "go", "cpp", "rust")
"""The languages of HumanEvalPack, as its tasks end."""
PREFERENCE, SIDE_BY_SIDE, BEFORE_AND_AFTER = "preference.json", "side_by_side.json", "samples.json"


def collect(name: str, about: str, seed: int, folders: Mapping[str, Path], data: Path | None = None) -> dict[str, Any]:
    """Everything the report shows, from the artifacts that stand in `folders` (name -> folder, in build order).

    `data` is the folder of benchmarks that the evals read, for the commands that the report prints. Artifacts that are missing
    are left out: a report of half a family is a report of that half.
    """
    manifests = {artifact: read_manifest(folder) for artifact, folder in folders.items()}
    standing = {artifact: manifest for artifact, manifest in manifests.items() if manifest is not None}
    curves = {artifact: read_curve(folders[artifact]) for artifact in standing}
    evals, judging, chat = (folders.get(name) for name in ("evals", "judging", "chat"))
    settings = standing["evals"].config.get("evals", {}) if "evals" in standing else {}
    scores = _read_json(evals / SCORES, {}) if evals is not None else {}
    return {
        "family": name,
        "about": about,
        "seed": seed,
        "artifacts": {artifact: _facts(manifest, standing) for artifact, manifest in standing.items()},
        "curves": {artifact: _without_speed(curve) for artifact, curve in curves.items() if curve},
        "evals": settings | {"data": None if data is None else str(data)} if settings else {},
        "scores": scores,
        "derived": {"humanevalpack": _means(scores, [f"humanevalpack-{language}" for language in PACK])},
        "samples": _read_json(evals / SAMPLES, []) if evals is not None else [],
        "long_context": _read_json(evals / LONG_CONTEXT, {}) if evals is not None else {},
        "compression": _read_json(evals / COMPRESSION, {}) if evals is not None else {},
        "contamination": _read_json(evals / CONTAMINATION, {}) if evals is not None else {},
        "preference": _preference({name: folders[name] for name in standing}),
        "side_by_side": _read_json(judging / SIDE_BY_SIDE, {}) if judging is not None else {},
        "before_and_after": _read_json(chat / BEFORE_AND_AFTER, []) if chat is not None else [],
        RECORD: {
            "wall_s": round(sum(float(manifest.record.get("wall_s", 0.0)) for manifest in standing.values()), 3),
            "artifacts": {artifact: _speed(manifest, curves[artifact]) for artifact, manifest in standing.items()},
        },
    }


def _means(scores: Mapping[str, Mapping[str, Any]], tasks: Sequence[str]) -> dict[str, float]:
    """Model -> mean over all of `tasks`, for the models that have every one of them."""
    return {
        model: sum(of[task][metric_of(of[task])] for task in tasks) / len(tasks)
        for model, of in scores.items()
        if all(task in of for task in tasks)
    }


def _facts(manifest: Manifest, standing: Mapping[str, Manifest]) -> dict[str, Any]:
    return {
        "stage": manifest.stage,
        "summary": describe(manifest),
        "inputs": [name for name in manifest.inputs if name in standing],
        "key": manifest.key,
        "content": manifest.content,
        "bytes": manifest.size,
        "config": manifest.config,
        "metrics": manifest.metrics,
    }


def _without_speed(curve: Mapping[str, list[float]]) -> dict[str, list[float]]:
    return {key: column for key, column in curve.items() if key not in SPEED_KEYS}


def _speed(manifest: Manifest, curve: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    # The middle half of the steps: neither compiling at the start nor a last short step counts.
    middle = {key: sorted(values)[len(values) // 2] for key, values in curve.items() if key in SPEED_KEYS and values}
    return {**middle, **{key: value for key, value in manifest.record.items() if key not in ("run", "sources")}}


def read_curve(folder: Path) -> dict[str, list[float]]:
    """A training curve as columns of at most `POINTS` means (`step` is the last of each share); {} where there is none.

    A row that lacks a column counts nothing for it. UserError, with the line, for a file that is no curve.
    """
    path = folder / CURVE
    if not path.is_file():
        path = folder / RECORD / CURVE
        if not path.is_file():
            return {}
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError:
            raise UserError(f"{path}, line {number}: not JSON; build {folder.name} again") from None
        if isinstance(row, dict) and isinstance(row.get("step"), int) and len(row) > 1:
            rows.append(row)
    return _thin(rows)


def _thin(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    bins = min(POINTS, len(rows))
    edges = [round(index * len(rows) / bins) for index in range(bins + 1)] if bins else []
    parts = [rows[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    columns: dict[str, list[float]] = {"step": [part[-1]["step"] for part in parts]}
    keys = dict.fromkeys(key for row in rows for key, value in row.items() if key != "step" and isinstance(value, int | float))
    for key in keys:
        means = []
        for part in parts:
            numbers = [float(row[key]) for row in part if isinstance(row.get(key), int | float)]
            means.append(float(f"{sum(numbers) / len(numbers):.6g}") if numbers else float("nan"))
        if parts and not any(mean != mean for mean in means):
            columns[key] = means
    return columns if parts else {}


def _preference(folders: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Reward model -> set -> accuracy: on the pairs that each was kept from, and what judging found."""
    found = {name: _read_json(folder / PREFERENCE, {}) for name, folder in folders.items()}
    for name, sets in found.pop("judging", {}).items():
        found[name] = sets | found.get(name, {})
    return {name: sets for name, sets in found.items() if sets}


def _read_json(path: Path, default: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else default


def metric_of(result: Mapping[str, Any]) -> str:
    """The name of a task result's own metric: the key beside which a standard error stands."""
    names = [key.removesuffix("_stderr") for key in result if key.endswith("_stderr") and not key.endswith("_flexible_stderr")]
    if not names:
        raise UserError(f"a score without a standard error: {', '.join(result)}; build evals again")
    return names[0]
