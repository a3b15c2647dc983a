"""Why a cell of the family's own is empty, by rules, from what the report collected."""

from collections.abc import Iterable, Mapping
from typing import Any

from kwen.evals.tasks import TASKS


def why(report: Mapping[str, Any], model: str, task: str) -> str:
    """The end of "not run, because ..." for a task that a model has no score of."""
    evals = report["evals"]
    if task not in TASKS:
        return "Kwen has no such task"
    if not evals:
        return "the family has no evals"
    if task not in {name for names in evals.values() if isinstance(names, list) for name in names}:
        without_data = not task.startswith("nanoworld-") and evals.get("data") is None
        return "the recipe's evals do not name it" + (", nor a folder of benchmark data" if without_data else "")
    return f"the evals ask it of other models than {model}"


def absent(report: Mapping[str, Any], file: str) -> str:
    """The same for a whole measurement that the evals write to `file`."""
    if "evals" not in report["artifacts"]:
        return "the family has no evals"
    return f"the evals wrote no {file}"


def sentences(reasons: Iterable[tuple[str, str]]) -> list[str]:
    """(column, reason) pairs as lines, one a reason: `MMLU, BBH: not run, because ...`."""
    grouped: dict[str, list[str]] = {}
    for column, reason in reasons:
        columns = grouped.setdefault(reason, [])
        if column not in columns:
            columns.append(column)
    return [f"{'; '.join(columns)}: not run, because {reason}." for reason, columns in grouped.items()]
