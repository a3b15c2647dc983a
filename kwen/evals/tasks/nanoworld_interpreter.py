"""The code interpreter in nanoworld (report, Tables 7 and 8): sums, lists and words, plots of given numbers, plots of a file.

The model calls `python`; its cells run in one session of the sandbox, with the task's files. executable: the share of tasks with
code, none of which failed (Table 7), in all and of maths, plots and the rest. accuracy: the right value in the final answer, or a
plot that shows the right data (Table 8), by kind; a plot is read by its data and not by its pixels.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

from kwen.evals.figure_data import READ, RECORD, figures_of, shows
from kwen.evals.task import Item, Task
from kwen.nanoworld.interpreter_tasks import INTERPRETER_KINDS, InterpreterTask, interpreter_tasks
from kwen.nanoworld.tool_scores import states_value
from kwen.nanoworld.tools import TOOLS
from kwen.sandbox.session import Outcome, Session
from kwen.text.messages import Message

COUNT = 400
"""Held-out tasks, a quarter of each kind."""
TURNS = 5
_CELL_S = 5.0
_FAILED = "error: "
_NO_TOOL = f"{_FAILED}there is no such tool"


def _items(data: Path | None, seed: int) -> list[Item]:
    return [
        Item(
            task.id,
            cast(list[Message], task.messages[:1]),
            task.ideal,
            task.language,
            task.kind,
            {"task": task},
            [TOOLS["python"].definition(task.language)],
        )
        for task in interpreter_tasks(seed, COUNT, "held_out")
    ]


def _task(item: Item) -> InterpreterTask:
    return cast(InterpreterTask, item.extra["task"])


@contextmanager
def _session(task: InterpreterTask) -> Iterator[Session]:
    """An interpreter with the task's files, which keeps its figures."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in task.files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        with Session(Path(folder), timeout_s=_CELL_S) as session:
            session.run(RECORD)
            yield session


def _codes(message: Mapping[str, Any]) -> list[str | None]:
    """The code of each call of a turn; None for a call of anything but python."""
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    return [str(json.loads(call["arguments"]).get("code", "")) if call["name"] == "python" else None for call in calls]


def respond(item: Item, said: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What the interpreter shows for the calls of the last turn. The cells before run again first: a session lasts one turn, and
    these cells give the same each time."""
    *earlier, last = [message for message in said if message["role"] == "assistant"]
    with _session(_task(item)) as session:
        for code in (code for message in earlier for code in _codes(message) if code is not None):
            session.run(code)
        return [
            {"role": "tool", "tool_call_id": call["id"], "content": _shown(session.run(code)) if code is not None else _NO_TOOL}
            for call, code in zip(last["tool_calls"], _codes(last), strict=True)
        ]


def _shown(outcome: Outcome) -> str:
    """What the model reads of a cell."""
    images = len(outcome.images)
    parts = [outcome.text.rstrip(), f"[{images} image{'s' if images > 1 else ''} shown to the user]" if images else ""]
    text = "\n".join(part for part in parts if part) or "done, nothing printed"
    return text if outcome.error is None else f"{_FAILED}{outcome.error.strip()}"


def _said(text: str) -> list[dict[str, Any]]:
    return cast(list[dict[str, Any]], json.loads(text))


def _judge(pairs: Sequence[tuple[Item, str]]) -> list[bool]:
    return [_right(_task(item), _said(text)) for item, text in pairs]


def _right(task: InterpreterTask, said: Sequence[Mapping[str, Any]]) -> bool:
    if not said or said[-1]["role"] != "assistant" or said[-1].get("tool_calls"):
        return False  # it was still calling
    if task.plot is None:
        return states_value(said[-1]["content"], task.answer)
    codes = [code for message in said if message["role"] == "assistant" for code in _codes(message) if code is not None]
    if not codes:
        return False
    with _session(task) as session:
        for code in codes:
            session.run(code)
        return shows(figures_of(session.run(READ).text), task.plot.form, task.plot.values)


def _executable(kinds: Sequence[str], item: Item, text: str) -> float | None:
    if item.tag not in kinds:
        return None
    results = [message["content"] for message in _said(text) if message["role"] == "tool"]
    return float(bool(results) and not any(result.startswith(_FAILED) for result in results))


TASK = Task(
    name="nanoworld-interpreter",
    version=1,
    kind="generate",
    items=_items,
    judge=_judge,
    settings={"max_new_tokens": 128, "temperature": 0.0},
    respond=respond,
    turns=TURNS,
    needs_sandbox=True,
    measures={
        "executable": partial(_executable, INTERPRETER_KINDS),
        "executable_maths": partial(_executable, ("maths",)),
        "executable_plots": partial(_executable, ("plot-easy", "plot-hard")),
        "executable_general": partial(_executable, ("general",)),
    },
)
