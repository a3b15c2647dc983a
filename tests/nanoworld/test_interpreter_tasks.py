"""Interpreter tasks: pure, balanced, with new names and phrasings where held out, and unknown kinds refused."""

from collections import Counter

import pytest

from kwen.errors import UserError
from kwen.nanoworld.interpreter_tasks import INTERPRETER_KINDS, SHOWN, InterpreterTask, interpreter_tasks
from kwen.text.messages import validate_messages


@pytest.fixture(scope="module", params=["train", "held_out"])
def tasks(request: pytest.FixtureRequest) -> list[InterpreterTask]:
    return list(interpreter_tasks(0, 400, request.param))


def test_tasks_are_pure_and_kinds_take_turns(tasks: list[InterpreterTask]) -> None:
    assert list(interpreter_tasks(0, 40)) == list(interpreter_tasks(0, 400))[:40] != list(interpreter_tasks(1, 40))
    assert Counter(task.kind for task in tasks) == dict.fromkeys(INTERPRETER_KINDS, 100)
    assert sum(task.language == "zh" for task in tasks) == pytest.approx(160, abs=2)


def test_conversations_are_openai_s_and_end_in_a_value_or_a_plot(tasks: list[InterpreterTask]) -> None:
    for task in tasks:
        assert validate_messages(task.messages)
        assert (task.plot is None) == bool(task.answer) and (task.plot is not None) == (task.calls[-1].result == SHOWN)
        assert bool(task.files) == (task.kind == "plot-hard") == (len(task.calls) == 2)


def test_the_values_of_a_plot_are_those_of_the_request_or_of_the_file(tasks: list[InterpreterTask]) -> None:
    for task in tasks:
        if task.kind == "plot-easy" and task.plot:
            assert ", ".join(f"{value:.0f}" for value in task.plot.values) in task.request
        if task.kind == "plot-hard" and task.plot:
            [(name, text)] = task.files.items()
            header, *rows = [line.split(",") for line in text.splitlines()]
            columns = [tuple(map(float, column)) for column in zip(*rows, strict=True)]
            assert name in task.request and columns.count(task.plot.values) == 1
            assert task.calls[0].result == header[columns.index(task.plot.values)]
            assert not any(column in task.request for column in header)


def test_held_out_requests_are_worded_otherwise() -> None:
    said = {task.request for task in interpreter_tasks(0, 800)}
    assert not said & {task.request for task in interpreter_tasks(0, 800, "held_out")}


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UserError, match="no kind 'plots'; the kinds are maths"):
        next(interpreter_tasks(0, 1, kinds=["plots"]))  # type: ignore[list-item]
    with pytest.raises(UserError, match="no kind ''"):
        next(interpreter_tasks(0, 1, kinds=[]))
