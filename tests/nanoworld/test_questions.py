"""Held-out questions: unseen in training by construction, answerable, scored strictly, and not solved by memory alone."""

import re

import pytest

from kwen import sandbox
from kwen.errors import UserError
from kwen.nanoworld.asking import phrasings
from kwen.nanoworld.baseline import nearest_question_baseline
from kwen.nanoworld.dialogues import dialogues
from kwen.nanoworld.documents import documents
from kwen.nanoworld.facts import answer_sentence, fill
from kwen.nanoworld.names import Language
from kwen.nanoworld.questions import TASKS, Question, Task, held_out, score_answer
from kwen.nanoworld.world import build_world

WORLD = build_world(0)


@pytest.fixture(scope="module")
def training_texts() -> list[str]:
    texts = [document.text for document in documents(0, "train", 50_000)]
    return texts + [message["content"] for dialogue in dialogues(0, 20_000) for message in dialogue.messages]


def asked(question: Question) -> str:
    return question.messages[-1]["content"]


@pytest.mark.parametrize("task", TASKS)
def test_questions_are_a_pure_function_of_the_seed_and_in_both_languages(task: Task) -> None:
    questions = held_out(task)
    assert questions == held_out(task, 0, 300) and questions != held_out(task, 1)
    assert len({asked(question) for question in questions}) == len({question.id for question in questions}) == 300
    assert sum(question.language == "zh" for question in questions) == 120
    assert all(question.task == task and question.messages[0]["role"] == "user" for question in questions)


def test_no_held_out_phrasing_of_a_fact_is_in_training(training_texts: list[str]) -> None:
    told = {line for text in training_texts for line in re.split(r"\n|(?<=[?？。.])", text)} | set(training_texts)
    told |= {line.partition(": ")[2] for line in told} | {line.partition("：")[2] for line in told}
    languages: tuple[Language, ...] = ("en", "zh")
    for language in languages:
        for fact in WORLD.facts:
            for template in phrasings(fact.relation, language).held_out:
                assert fill(template, fact, language) not in told


def test_no_held_out_question_or_name_is_in_training(training_texts: list[str]) -> None:
    words = {word.lower() for text in training_texts for word in re.findall(r"[A-Za-z_]+", text)}
    runs = {run for text in training_texts for run in re.findall(r"[一-鿿]+", text)}
    characters = {run[i : i + length] for run in runs for length in (2, 3) for i in range(len(run))}
    texts = set(training_texts)
    for task in ("problems", "functions", "reading"):
        assert not texts & {asked(question) for question in held_out(task, 0, 1_000)}
    assert not words & {question.entry_point for question in held_out("functions", 0, 1_000)}
    for question in held_out("reading", 0, 1_000):
        for name in (question.answer, *question.competitors):
            assert name not in characters if question.language == "zh" else name.lower() not in words


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_fact_is_right_when_its_object_is_stated_and_no_other(language: Language) -> None:
    for question in (question for question in held_out("facts", 0, 600) if question.language == language):
        fact = next(
            fact
            for fact in WORLD.facts
            if any(fill(template, fact, language) == asked(question) for template in phrasings(fact.relation, language).held_out)
        )
        right = answer_sentence(fact, language)
        assert score_answer(question, right) and score_answer(question, question.answer)
        wrong = right.replace(question.answer, question.competitors[0])
        assert not score_answer(question, wrong)
        assert not score_answer(question, f"{right} {wrong}")
        assert not score_answer(question, "") and not score_answer(question, "I do not know.")


def test_a_problem_is_right_when_its_final_number_is() -> None:
    question = held_out("problems")[0]
    n = int(question.answer)
    assert score_answer(question, f"1 + 1 = 2. The answer is {n}.") and score_answer(question, f"答案是{n}。")
    assert score_answer(question, f"So it is {n}") and score_answer(question, f"The answer is {n}. I used 2 steps.")
    assert not score_answer(question, f"{n} + 1 = {n + 1}. The answer is {n + 1}.") and not score_answer(question, "no number")
    assert not score_answer(question, f"The answer is {n}0.")


def test_a_reading_answer_is_the_name_alone_of_the_names_in_the_text() -> None:
    for question in held_out("reading"):
        assert score_answer(question, f"{question.answer}.") and score_answer(question, f"It is {question.answer.upper()}!")
        for other in question.competitors:
            assert not score_answer(question, f"{other}.") and not score_answer(question, f"{question.answer} {other}")


def test_functions_are_not_scored_by_text() -> None:
    with pytest.raises(ValueError, match="running their tests"):
        score_answer(held_out("functions")[0], "def f(): pass")


def test_unknown_tasks_and_too_many_questions_are_refused() -> None:
    with pytest.raises(UserError, match="no task 'fact'"):
        held_out("fact")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="lower the count"):
        held_out("facts", 0, 100_000)


def test_held_out_functions_pass_their_tests_with_the_oracles_code() -> None:
    questions = held_out("functions", 0, 100)
    results = sandbox.run_many(["\n".join([question.answer, *question.tests]) for question in questions])
    assert all(result.exit_code == 0 for result in results)


@pytest.mark.parametrize("task", TASKS)
def test_the_nearest_training_question_does_not_solve_problems_or_functions(task: Task) -> None:
    questions = held_out(task)
    answers = nearest_question_baseline(task, 0, questions, dialogues(0, 5_000))
    assert len(answers) == len(questions)
    if task == "functions":
        right = [f"def {question.entry_point}(" in answer for question, answer in zip(questions, answers, strict=True)]
    else:
        right = [score_answer(question, answer) for question, answer in zip(questions, answers, strict=True)]
    score = sum(right) / len(right)
    assert score < 0.95 if task == "facts" else score <= 0.6


def test_the_baseline_finds_an_identical_question() -> None:
    training = list(dialogues(3, 2_000, mix={"fact": 1}))
    question = Question("x", "facts", "en", [training[77].messages[-2]], "", "", (), "")
    [answer] = nearest_question_baseline("facts", 3, [question], training)
    assert answer == training[77].messages[-1]["content"]
