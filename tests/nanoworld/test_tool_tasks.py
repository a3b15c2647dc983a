"""Tool tasks: right by construction, balanced, pure, and with strings, phrasings and tools that training never has."""

import json
import random
from collections import Counter
from itertools import islice, product

import pytest

from kwen import sandbox
from kwen.errors import UserError
from kwen.nanoworld.interpreter_tasks import INTERPRETER_KINDS
from kwen.nanoworld.names import Language, Names, Split, split_of
from kwen.nanoworld.tool_dialogues import TOOL_DIALOGUE_MIX, TOOL_DOCUMENT_MIX, ToolDialogue, tool_dialogues, tool_documents
from kwen.nanoworld.tool_scores import CallScore, rouge_l, score_answer, score_call
from kwen.nanoworld.tool_tasks import KINDS, MAX_OFFERED, ToolTask, tool_tasks
from kwen.nanoworld.tools import TOOLS, can_replace, tool_names
from kwen.nanoworld.tools_programs import PROGRAMS, program
from kwen.nanoworld.tools_wordings import PLANS, WORDINGS
from kwen.nanoworld.version import sources_of
from kwen.text.messages import validate_messages, validate_tools

LANGUAGES: tuple[Language, ...] = ("en", "zh")
SPLITS: tuple[Split, ...] = ("train", "held_out")
WRITTEN = {("calculator", "expression"), ("python", "code"), ("lookup", "fact"), ("convert", "unit")}
"""Arguments that are put together, or named otherwise, rather than copied."""
CALLS = {"one": 1, "two": 2, "three": 3, "four": 4, "maths": 1, "general": 1, "plot-easy": 1, "plot-hard": 2}
"""How many calls a request of each kind takes; none where it is not listed."""
WAYS: tuple[tuple[Split, Split], ...] = (("train", "train"), ("held_out", "train"), ("held_out", "held_out"))


@pytest.fixture(scope="module", params=WAYS, ids=["train", "held_out", "unseen"])
def tasks(request: pytest.FixtureRequest) -> list[ToolTask]:
    split, tools = request.param
    return list(tool_tasks(0, 1_500, split, tools=tools))


def request_of(task: ToolTask) -> str:
    return str(task.messages[0]["content"])


def test_tasks_are_pure_functions_of_seed_and_number() -> None:
    made = list(tool_tasks(0, 120))
    assert made == list(tool_tasks(0, 120)) == list(islice(tool_tasks(0, 10**9), 120)) != list(tool_tasks(1, 120))
    assert made != list(tool_tasks(0, 120, "held_out", tools="train"))


def test_kinds_and_languages_are_balanced(tasks: list[ToolTask]) -> None:
    cells = Counter((task.kind, task.language) for task in tasks)
    for kind in KINDS:
        assert cells[kind, "zh"] == pytest.approx(100, abs=2) and cells[kind, "en"] == pytest.approx(150, abs=2)
    for task in tasks:
        assert task.steps == len(task.calls) == {"one": 1, "two": 2, "three": 3, "four": 4}.get(task.kind, 0)
    assert len({task.id for task in tasks}) == len(tasks)
    assert len({request_of(task) for task in tasks if task.calls}) > 0.99 * sum(bool(task.calls) for task in tasks)


def test_every_call_is_offered_and_has_the_result_that_the_tool_gives(tasks: list[ToolTask]) -> None:
    for task in tasks:
        for call in task.calls:
            tool = TOOLS[call.name]
            assert call.name in task.tools and not call.result.startswith("error")
            assert tool.run is None or tool.call(call.arguments) == call.result
            assert set(call.arguments) == set(tool.types)


def test_every_argument_was_said_or_told_before(tasks: list[ToolTask]) -> None:
    for task in tasks:
        known = request_of(task)
        for call in task.calls:
            for name, value in call.arguments.items():
                if (call.name, name) not in WRITTEN:
                    assert str(value) in known, (task, call)
            known += f"\n{call.result}"


def test_offered_tools_are_five_at_most_different_and_do_no_other_ones_work(tasks: list[ToolTask]) -> None:
    counts = Counter(len(task.tools) for task in tasks)
    assert max(counts) == MAX_OFFERED and min(counts) == 1
    for task in tasks:
        assert len(set(task.tools)) == len(task.tools)
        needed = {call.name for call in task.calls}
        for tool in set(task.tools) - needed:
            assert not any(can_replace(tool, other) for other in task.tools if other != tool)
        assert task.unseen == any(TOOLS[tool].split == "held_out" for tool in task.tools)
    places = Counter(task.tools.index(task.calls[0].name) for task in tasks if task.calls and len(task.tools) == 3)
    assert min(places[place] for place in range(3)) > 0.25 * sum(places.values())


def test_the_first_call_of_an_unseen_task_is_of_a_held_out_tool() -> None:
    first = Counter(task.calls[0].name for task in tool_tasks(3, 900, "held_out") if task.calls)
    assert set(first) == set(tool_names("held_out"))
    for task in tool_tasks(3, 300, "held_out", kinds=["one", "unneeded", "missing"]):
        assert set(task.tools) <= set(tool_names("held_out"))
    seen = {call.name for task in tool_tasks(3, 900, kinds=["one"]) for call in task.calls}
    assert seen == set(tool_names("train"))


def test_messages_are_openai_conversations_that_end_in_the_answer(tasks: list[ToolTask]) -> None:
    for task in tasks:
        checked = validate_messages(task.messages)
        roles = [message["role"] for message in checked]
        assert roles == ["user", *["assistant", "tool"] * task.steps, "assistant"]
        calls = [message["tool_calls"][0] for message in checked if "tool_calls" in message]
        written = [(call["function"]["name"], call["function"]["arguments"]) for call in calls]
        assert written == [(call.name, call.arguments) for call in task.calls]
        assert [call["id"] for call in calls] == [message["tool_call_id"] for message in checked if message["role"] == "tool"]
        for text in (request_of(task), task.ideal):
            assert text and text == text.strip() and not any(mark in text for mark in ("{", "}", "??", "？？", "。。", ".."))
        assert validate_tools(task.definitions())


def test_ideal_calls_and_answers_score_best_and_others_do_not(tasks: list[ToolTask]) -> None:
    previous, passed_by_another = tasks[-1], 0
    for task in tasks:
        assert score_answer(task, task.ideal)
        for step, call in enumerate(task.calls):
            assert score_call(task, call.name, call.arguments, step) == CallScore(True, True, 1.0)
            assert score_call(task, call.name, json.dumps(call.arguments), step) == CallScore(True, True, 1.0)
            assert score_call(task, None, None, step) == CallScore(False, False, 0.0)
            assert not score_call(task, "other", call.arguments, step).selected
        assert score_call(task, None, None, task.steps) == CallScore(True, True, 1.0)
        assert not score_call(task, "price", {"item": "x"}, task.steps).selected
        passed_by_another += bool(task.calls) and previous.answer != task.answer and score_answer(task, previous.ideal)
        previous = task
    assert passed_by_another < 0.01 * len(tasks)


def test_a_wrong_answer_scores_nothing() -> None:
    for task in tool_tasks(1, 600):
        assert not score_answer(task, "") and not score_answer(task, "Banana.")
        if task.answer.isdigit():
            assert not score_answer(task, task.ideal.replace(task.answer, str(int(task.answer) + 1)))
        if task.kind == "missing":
            assert not score_answer(task, "The weight is 12 kg.") and not score_answer(task, "I cannot, but it is 12.")
        for other in task.competitors:
            assert not score_answer(task, f"{task.answer} {other}")


def test_rouge_l_counts_the_longest_common_subsequence_of_tokens() -> None:
    assert rouge_l('{"item": "Vorin"}', '{"item": "Vorin"}') == rouge_l('{"item":"Vorin"}', '{"item": "Vorin"}') == 1.0
    assert rouge_l('{"item": "Belto"}', '{"item": "Vorin"}') == 0.5
    assert rouge_l('{"item": "\\u7ef4\\u8389"}', '{"item": "维莉"}') == 1.0
    assert rouge_l('{"item": "维佳"}', '{"item": "维莉"}') == pytest.approx(2 / 3)
    assert rouge_l("", '{"item": "Vorin"}') == rouge_l("{", '{"item": "Vorin"}') == 0.0
    assert rouge_l('{"expression": "3 + 4"}', '{"expression": "3 * 4"}') == 0.75
    assert rouge_l("x " * 100_000, "y " * 1_000) == 0.0


def test_held_out_tasks_share_no_request_and_no_phrasing_with_training() -> None:
    said = [message for dialogue in tool_dialogues(0, 2_000) for message in dialogue.messages if message["role"] == "user"]
    training = {request_of(task) for task in tool_tasks(0, 3_000)} | {str(message["content"]) for message in said}
    held_out = [request_of(task) for tools in SPLITS for task in tool_tasks(0, 1_000, "held_out", tools=tools)]
    assert not training & set(held_out)
    for wording in (*WORDINGS.values(), *PLANS.values(), *(requests for requests, _ in PROGRAMS.values())):
        for language in LANGUAGES:
            held = set(wording.requests(language, "held_out"))
            assert held and not held & set(wording.requests(language, "train"))


def test_numbers_and_dates_of_calls_stay_in_their_split() -> None:
    unnamed = ("convert", "calculator", "calendar", "free", "weekday", "timer", "percent", "alarm")
    for split, tools in WAYS:
        for task in tool_tasks(2, 600, split, ["one"], tools):
            [call] = task.calls
            if call.name in unnamed:
                assert split_of(f"{call.name} {call.arguments}") == split
            elif call.name not in ("python", "send"):
                assert split_of(next(value for value in call.arguments.values() if isinstance(value, str))) == split


def test_unknown_kinds_and_held_out_tools_in_training_are_refused() -> None:
    with pytest.raises(UserError, match="no kind 'five'"):
        next(tool_tasks(0, 1, kinds=["five"]))  # type: ignore[list-item]
    with pytest.raises(UserError, match="no kind given"):
        next(tool_tasks(0, 1, kinds=[]))
    with pytest.raises(UserError, match="held-out tools are not for"):
        next(tool_tasks(0, 1, "train", tools="held_out"))
    with pytest.raises(UserError, match="unknown kind"):
        next(tool_dialogues(0, 1, {"five": 1}))


@pytest.fixture(scope="module")
def dialogues() -> list[ToolDialogue]:
    return list(tool_dialogues(0, 2_000))


def test_dialogues_are_pure_and_follow_their_mix(dialogues: list[ToolDialogue]) -> None:
    assert list(tool_dialogues(0, 100)) == dialogues[:100] != list(tool_dialogues(1, 100))
    firsts = (one.kinds[0] for one in dialogues)
    kinds, total = (
        Counter("interpreter" if kind in INTERPRETER_KINDS else kind for kind in firsts),
        sum(TOOL_DIALOGUE_MIX.values()),
    )
    assert all(abs(kinds[kind] / len(dialogues) - weight / total) < 0.04 for kind, weight in TOOL_DIALOGUE_MIX.items())
    assert sum(one.language == "zh" for one in dialogues) / len(dialogues) == pytest.approx(0.4, abs=0.04)
    assert all(tool["type"] == "function" for one in dialogues for tool in one.tools)


def test_dialogues_call_what_they_offer_and_never_a_held_out_tool(dialogues: list[ToolDialogue]) -> None:
    held_out = set(tool_names("held_out"))
    described = {text for name in held_out for text in (TOOLS[name].description_en, TOOLS[name].description_zh)}
    once = 0
    for dialogue in dialogues:
        offered = {tool["function"]["name"]: tool["function"] for tool in dialogue.tools}
        assert 1 <= len(offered) == len(dialogue.tools) <= MAX_OFFERED
        assert not held_out & set(offered) and not described & {tool["description"] for tool in offered.values()}
        called = [message["tool_calls"][0]["function"] for message in dialogue.messages if "tool_calls" in message]
        steps = [CALLS.get(kind, 0) for kind in dialogue.kinds]
        assert len(called) == sum(steps) and 1 <= len(steps) <= 2
        said = [str(message["content"]) for message in dialogue.messages if message["role"] == "user"]
        assert len(said) == len(steps) and validate_messages(dialogue.messages)
        for function in called:
            assert list(json.loads(function["arguments"])) == list(offered[function["name"]]["parameters"]["properties"])
        once += not set(offered) & set(TOOLS)
    assert once > 0.2 * len(dialogues)
    assert sum(len(dialogue.kinds) for dialogue in dialogues) > 1.15 * len(dialogues)


def test_documents_are_pure_short_and_never_about_held_out_tools() -> None:
    made = list(tool_documents(0, "train", 600))
    assert made == list(tool_documents(0, "train", 600)) and {one.kind for one in made} == set(TOOL_DOCUMENT_MIX)
    named = {one.text for one in made if one.kind != "result"}  # a result may be a bare number, of either split
    assert not named & {one.text for one in tool_documents(0, "held_out", 300)}
    held_out = [f"): {TOOLS[name].description_en}" for name in tool_names("held_out")]
    for document in made:
        assert 20 < len(document.text) < 1_600 and not any(text in document.text for text in held_out)


def test_training_on_tools_depends_on_no_grading_and_nobody_imports_it_in_turn() -> None:
    assert not {"oracle", "preferences", "prompts", "questions", "tool_scores"} & set(sources_of("tool_dialogues"))


@pytest.mark.slow
def test_every_program_prints_what_the_trajectories_say() -> None:
    rng = random.Random("programs")
    ways = product(PROGRAMS, LANGUAGES, SPLITS, range(6))
    made = [program(rng, language, Names(split), kind) for kind, language, split, _ in ways]
    results = sandbox.run_many([one.code for one in made])
    assert [result.stdout.strip() for result in results] == [one.output for one in made]
