"""The page's sections on tool use, the code interpreter, code and mathematics, in the form of the report's Tables 6 to 12."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from kwen.family.page_parts import per_cent, table
from kwen.family.report import metric_of

Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Model -> task -> score."""
STEPS = ("one", "two", "three", "four", "unneeded", "missing")
INTERPRETED = ("maths", "plots", "general")


def is_special(task: str) -> bool:
    """Whether a task is shown in one of these sections, and so not among the questions."""
    return _section_of(task) is not None


def _section_of(task: str) -> str | None:
    if task.startswith("nanoworld-tools"):
        return "tools"
    if task == "nanoworld-interpreter":
        return "interpreter"
    if task.startswith(("nanoworld-code", "humaneval", "mbpp")):
        return "code"
    return "maths" if task in ("nanoworld-arithmetic", "nanoworld-equations", "nanoworld-problems-zh") else None


def specialists(scores: Scores) -> Iterator[str]:
    """The sections that the scores have something for."""
    parts = {"tools": _tools, "interpreter": _interpreter, "code": _code, "maths": _maths}
    for section, written in parts.items():
        chosen = {
            model: {task: score for task, score in of.items() if _section_of(task) == section} for model, of in scores.items()
        }
        chosen = {model: of for model, of in chosen.items() if of}
        if chosen:
            yield "<section>" + "".join(written(chosen)) + "</section>"


def _share(score: Mapping[str, Any], name: str) -> str:
    return per_cent(score[name], score[f"{name}_stderr"]) if name in score else ""


def _tools(scores: Scores) -> Iterator[str]:
    yield "<h2>Tool use</h2><p>Held-out tasks with at most five tools offered (Table 6's form). Selection, arguments and their"
    yield " Rouge-L are of the first call where one is due; a false positive is a call where none is.</p>"
    columns = {
        "tool_selection": "selection", "arguments_exact": "arguments exact", "arguments_rouge_l": "Rouge-L",
        "false_positive": "false positives", "valid_calls": "valid calls",
    }  # fmt: skip
    pairs = [(model, task, score) for model, of in scores.items() for task, score in of.items()]
    rows = [[_named(model, task, score), *(_share(score, name) for name in columns)] for model, task, score in pairs]
    yield table(["", *columns.values()], rows)
    yield "<p>Planning: tasks solved to the right final answer, by the calls that they take.</p>"
    kinds = [[_named(model, task, score), *(_of_kind(score, kind) for kind in STEPS)] for model, task, score in pairs]
    yield table(["", "one step", "two steps", "three steps", "four steps", "none due", "tool missing"], kinds)


def _named(model: str, task: str, score: Mapping[str, Any]) -> str:
    return f"<b>{escape(model)}</b><br><small>{escape(task)} · n = {score['n']}</small>"


def _of_kind(score: Mapping[str, Any], kind: str) -> str:
    part = score.get("by_kind", {}).get(kind)
    return per_cent(part["accuracy"], part["accuracy_stderr"]) if part else ""


def _interpreter(scores: Scores) -> Iterator[str]:
    yield "<h2>Code interpreter</h2><p>Code that ran without an error (Table 7's form), and right final answers, plots judged by"
    yield " the data in them (Table 8's).</p>"
    rows, right = [], []
    for model, of in scores.items():
        for score in of.values():
            parts = [_share(score, f"executable_{part}") for part in INTERPRETED]
            rows.append([escape(model), *parts, _share(score, "executable")])
            kinds = ("maths", "plot-hard", "plot-easy", "general")
            right.append([escape(model), *(_of_kind(score, kind) for kind in kinds), _share(score, "accuracy")])
    yield table(["executable", "maths", "visualisation", "general", "all"], rows)
    yield table(["right", "maths", "plots, hard", "plots, easy", "general", "all"], right)


def _code(scores: Scores) -> Iterator[str]:
    yield "<h2>Code</h2><p>Functions that pass their hidden tests in the sandbox at once (Tables 10 and 11's form).</p>"
    yield _models_by_tasks(scores)


def _maths(scores: Scores) -> Iterator[str]:
    yield "<h2>Mathematics</h2><p>Right final numbers (Table 12's form).</p>"
    yield _models_by_tasks(scores)


def _models_by_tasks(scores: Scores) -> str:
    tasks = list(dict.fromkeys(task for of in scores.values() for task in of))
    rows = [
        [escape(model), *(_share(of[task], metric_of(of[task])) if task in of else "" for task in tasks)]
        for model, of in scores.items()
    ]
    return table(["", *(escape(task.removeprefix("nanoworld-")) for task in tasks)], rows)
