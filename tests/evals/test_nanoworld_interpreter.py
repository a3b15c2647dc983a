"""The interpreter benchmark: ideal solutions are right and run, others are not, and plots are read by their data."""

import json
from typing import Any

import pytest

from kwen.evals.figure_data import READ, RECORD, Series, figures_of, shows
from kwen.evals.task import Item
from kwen.evals.tasks.nanoworld_interpreter import TASK, respond
from kwen.nanoworld.interpreter_tasks import INTERPRETER_KINDS, InterpreterTask
from kwen.sandbox.session import Session


@pytest.fixture(scope="module")
def items() -> dict[str, Item]:
    return {item.tag: item for item in TASK.items(None, 0)[:8]}


def call(code: str, name: str = "python") -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps({"code": code})}
    return {"role": "assistant", "content": "", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}


def solved(item: Item, codes: list[str], answer: str) -> str:
    """The conversation of a model that runs these cells and says this."""
    said: list[Any] = []
    for code in codes:
        said.append(call(code))
        said += respond(item, said)
    return json.dumps([*said, {"role": "assistant", "content": answer}])


def score(item: Item, text: str) -> tuple[bool, float | None]:
    assert TASK.judge is not None
    return TASK.judge([(item, text)])[0], TASK.measures["executable"](item, text)


def task_of(item: Item) -> InterpreterTask:
    task = item.extra["task"]
    assert isinstance(task, InterpreterTask)
    return task


@pytest.mark.parametrize("kind", INTERPRETER_KINDS)
def test_an_ideal_solution_runs_shows_what_it_says_and_is_right(items: dict[str, Item], kind: str) -> None:
    item = items[kind]
    task = task_of(item)
    text = solved(item, [str(one.arguments["code"]) for one in task.calls], task.ideal)
    assert [m["content"] for m in json.loads(text) if m["role"] == "tool"] == [one.result for one in task.calls]
    assert score(item, text) == (True, 1.0)
    measured = [name for name, measure in TASK.measures.items() if measure(item, text) is not None]
    assert measured == ["executable", f"executable_{'plots' if 'plot' in kind else kind}"]


def test_wrong_values_failing_code_and_no_code_are_told_apart(items: dict[str, Item]) -> None:
    item = items["maths"]
    task = task_of(item)
    code = str(task.calls[0].arguments["code"])
    assert score(item, solved(item, [code], "The answer is 123456789.")) == (False, 1.0)
    assert score(item, solved(item, ["print(nothing)", code], task.ideal)) == (True, 0.0)
    assert score(item, solved(item, [], task.ideal)) == (True, 0.0)
    assert score(item, json.dumps([call(code)])) == (False, 0.0)
    other = [call("print(1)", name="shell")]
    assert respond(item, other)[0]["content"] == "error: there is no such tool"


def test_a_plot_of_other_data_or_another_form_is_wrong_and_so_is_a_drawing_by_words(items: dict[str, Item]) -> None:
    item = items["plot-easy"]
    plot = task_of(item).plot
    assert plot is not None
    values, head = list(plot.values), "import matplotlib.pyplot as plt\n"
    drawn = {"line": "plt.plot({y})", "bars": "plt.bar(range(len({y})), {y})", "points": "plt.scatter(range(len({y})), {y})"}
    right = head + drawn[plot.form].format(y=values)
    assert score(item, solved(item, [f"{right}\nplt.close()"], "Here.")) == (True, 1.0)  # shown or not, its data counts
    assert score(item, solved(item, [head + drawn[plot.form].format(y=values[::-1])], "Here.")) == (False, 1.0)
    other = drawn["line" if plot.form != "line" else "bars"].format(y=values)
    assert score(item, solved(item, [head + other], "Here.")) == (False, 1.0)
    assert score(item, solved(item, [f"print({values})"], f"Here: {values}")) == (False, 1.0)


def test_cells_of_a_conversation_share_their_names(items: dict[str, Item]) -> None:
    said: list[Any] = [call("a = 20")]
    said += respond(items["general"], said)
    said.append(call("a + 22"))
    assert [one["content"] for one in respond(items["general"], said)] == ["42"]


def test_figures_are_read_with_all_their_series_and_hostile_text_is_none() -> None:
    with Session() as session:
        session.run(RECORD)
        drawn = session.run(
            "import matplotlib.pyplot as plt\nplt.plot([1, 2.5], label='a')\nplt.plot([3, 4], 'o')\nplt.show()\n"
            "fig, (left, right) = plt.subplots(1, 2)\nleft.barh([0, 1], [5, 6])\nright.scatter([1, 2], [7, 8])\nplt.show()"
        )
        assert drawn.error is None and len(drawn.images) == 2
        found = figures_of(session.run(READ).text)
    assert found == [
        Series("line", (1.0, 2.5)), Series("points", (3.0, 4.0)), Series("bars", (5.0, 6.0)), Series("points", (7.0, 8.0)),
    ]  # fmt: skip
    assert shows(found, "bars", (5, 6)) and not shows(found, "bars", (6, 5)) and not shows(found, "line", (5, 6))
    for text in ("", "nothing", "{}", "[1]", '[["line", "x"]]', '[["line", [1e999]]]', "[" * 100_000):
        assert figures_of(text) == []


def test_a_table_is_read_with_pandas_within_a_session_s_memory() -> None:
    with Session(memory_mb=512) as session:
        session.run("open('table.csv', 'w').write('a,b\\n1,2\\n3,4\\n')")
        outcome = session.run("import pandas as pd\nprint(pd.read_csv('table.csv')['b'].sum())")
    assert outcome.error is None and outcome.text.strip() == "6"
