"""A table of the family's own numbers, each with the command that gives it again and the key path in that command's JSON.

Both forms of the report, the page and its Markdown twin, and `report.json`'s list of numbers are made from these.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kwen.family.report import metric_of

Report = Mapping[str, Any]
"""What `report.collect` gives."""
JSON_FILE = "scores.json"


@dataclass(frozen=True)
class Cell:
    """One place of a table: its text, and where it is a number the value as `command` gives it at `path` in its JSON.

    `time` marks what depends on the machine's speed; such a cell has no command.
    """

    text: str = ""
    value: float | None = None
    command: str = ""
    path: tuple[str | int, ...] = ()
    time: bool = False


BLANK = Cell(" ")
"""A place where no number belongs, so none is missing."""


@dataclass(frozen=True)
class Row:
    """A row: what it is called, a note under that, and a cell for each column after the first. `key` tells rows of one name
    apart."""

    name: str
    cells: tuple[Cell, ...]
    note: str = ""
    key: str = ""


@dataclass(frozen=True)
class Grid:
    """A table of our own. `columns` are the headings, the first that of the rows' names; `id` is its own within the report."""

    id: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def cell_id(self, row: Row, place: int) -> str:
        """The id of a row's cell: table, row and column."""
        return "/".join([self.id, row.name, *([row.key] if row.key else []), self.columns[place + 1]])

    def numbers(self) -> Iterator[dict[str, Any]]:
        """Every number: {"id", "value", "command", "path"}."""
        for row in self.rows:
            for place, cell in enumerate(row.cells):
                if cell.value is not None:
                    yield {
                        "id": self.cell_id(row, place), "value": cell.value, "command": cell.command, "path": list(cell.path),
                    }  # fmt: skip

    def commands(self) -> list[str]:
        """The commands that its numbers need, each once."""
        return list(dict.fromkeys(cell.command for row in self.rows for cell in row.cells if cell.command))


def run_of(report: Report) -> str:
    """The run's folder as the printed commands call it."""
    return f"runs/{report['family']}"


def per_cent(share: float, error: float | None = None) -> str:
    """A share between 0 and 1 as `94.3 %`, with its standard error as `94.3 ± 1.3 %`."""
    return f"{100 * share:.1f} %" if error is None else f"{100 * share:.1f} ± {100 * error:.1f} %"


def eval_command(report: Report, model: str, task: str, baselines: bool = False) -> str:
    """The `kwen eval` that gives a model's score on a task as the evals stage did; `baselines` adds the nearest question's."""
    run, evals = run_of(report), report["evals"]
    words = ["kwen", "eval", f"{run}/{model}", "--tasks", task]
    if task == "perplexity":
        words += ["--data", f"{run}/corpus"]
    else:
        data = evals.get("data")
        words += ["--data", str(data)] if data is not None and not task.startswith("nanoworld-") else []
        words += ["--limit", str(evals["limit"])] if evals.get("limit") is not None else []
    return shlex.join([*words, *(["--baselines"] if baselines else []), "--json", JSON_FILE])


def report_command(report: Report) -> str:
    """The command that prints the collected numbers."""
    return shlex.join(["kwen", "report", run_of(report), "--json"])


def merged(commands: Iterable[str]) -> list[str]:
    """The commands, each once, those that differ in the task alone as one command with all their tasks."""
    tasks: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for command in commands:
        words = shlex.split(command)
        place = words.index("--tasks") + 1 if "--tasks" in words else len(words)
        named = tasks.setdefault((tuple(words[:place]), tuple(words[place + 1 :])), [])
        named += [task for task in words[place : place + 1] if task not in named]
    return [shlex.join([*before, *([",".join(named)] if named else []), *after]) for (before, after), named in tasks.items()]


def score_cell(report: Report, model: str, task: str, measure: str | None = None, part: Sequence[str] = ()) -> Cell:
    """A model's score on a task with its standard error, or one of its other measures; `part` leads to a part of the score.

    An empty cell where there is none. Bits a byte stand as they are, shares as per cent.
    """
    score: Any = report["scores"].get(model, {}).get(task)
    for key in part:
        score = score.get(key) if isinstance(score, Mapping) else None
    if not isinstance(score, Mapping):
        return Cell()
    name = measure if measure is not None else metric_of(score)
    if name not in score:
        return Cell()
    value, error = score[name], score.get(f"{name}_stderr")
    if name == "bits_per_byte":
        text = f"{value:.3f}" if error is None else f"{value:.3f} ± {error:.3f}"
    else:
        text = per_cent(value, error)
    has_baseline = any(key.startswith("baseline_") for key in report["scores"][model][task])
    command = eval_command(report, model, task, has_baseline)
    return Cell(text, value, command, (task, *part, name))


def judged_cell(report: Report, decoding: str, path: Sequence[str | int], text: str) -> Cell:
    """A figure of `chat` against `chat-sft`, at `path` in their result; greedy answers are judged again by one command."""
    value: Any = report["side_by_side"][decoding]
    for key in path:
        value = value[key]
    settings = report["artifacts"].get("judging", {}).get("config", {}).get("judging")
    if decoding != "greedy" or settings is None:
        return Cell(text, value, report_command(report), ("side_by_side", decoding, *path))
    run = run_of(report)
    words = ["kwen", "eval", f"{run}/chat", "--against", f"{run}/chat-sft", "--limit", str(settings["prompts"])]
    words += ["--max-new-tokens", str(settings["max_new_tokens"]), "--seed", str(report["seed"]), "--json", JSON_FILE]
    return Cell(text, value, shlex.join(words), tuple(path))


def fact_cell(report: Report, path: Sequence[str | int], text: str | None = None) -> Cell:
    """A number that was collected, at `path` in the report's own JSON; empty where nothing stands there."""
    value: Any = report
    for key in path:
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            value = None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return Cell()
    return Cell(f"{value:,}" if text is None else text, value, report_command(report), tuple(path))
