"""Code tasks: right in both languages, told apart by their tests, and held out by name and by combination."""

import ast
import re

import pytest

from kwen import sandbox
from kwen.errors import UserError
from kwen.nanoworld.code_chains import STEPS, split_of_chain
from kwen.nanoworld.code_documents import STYLES, code_documents
from kwen.nanoworld.code_families import BODIES
from kwen.nanoworld.code_tasks import CODE_LANGUAGES, LEVELS, CodeTask, Level, as_code_answer, code_dialogues, code_tasks
from kwen.nanoworld.functions import FAMILIES
from kwen.nanoworld.names import Split, split_of

BY_NAME = {step.name: step for step in STEPS}
SPLITS: tuple[Split, ...] = ("train", "held_out")


def tasks(level: Level, split: Split, count: int, language: str = "python") -> list[CodeTask]:
    return list(code_tasks(1, count, level, language, split))  # type: ignore[arg-type]


def runs(made: list[CodeTask], codes: list[str] | None = None) -> list[bool]:
    codes = codes or [task.code for task in made]
    programs = ["\n".join([code, *task.tests, *task.hidden]) for code, task in zip(codes, made, strict=True)]
    return [result.exit_code == 0 for result in sandbox.run_many(programs)]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("language", CODE_LANGUAGES)
def test_tasks_are_a_pure_function_of_their_arguments_and_all_differ(level: Level, language: str) -> None:
    made = tasks(level, "held_out", 150, language)
    assert made[:50] == tasks(level, "held_out", 50, language)
    assert len({task.request for task in made}) == len({task.id for task in made}) == 150
    assert {task.language for task in made} == {"en", "zh"}
    assert made[:50] != list(code_tasks(2, 50, level, language, "held_out"))  # type: ignore[arg-type]


@pytest.mark.parametrize("level", LEVELS)
def test_requests_name_the_function_and_the_language_and_hold_no_placeholder(level: Level) -> None:
    for language, label in (("python", "Python"), ("javascript", "JavaScript")):
        for task in tasks(level, "train", 150, language):
            assert task.entry_point in task.request and label in task.request
            assert not re.search(r"\{[a-z]\}", task.request + task.code)
            head = f"def {task.entry_point}(" if language == "python" else f"function {task.entry_point}("
            assert head in task.code and len(task.hidden) >= 5 and not set(task.tests) & set(task.hidden)
            assert all(test.startswith("assert") and f"{task.entry_point}(" in test for test in task.tests + task.hidden)
            assert as_code_answer(task).startswith(f"```{language}\n")


def test_both_languages_have_the_same_families_and_steps() -> None:
    assert set(BODIES) == {family.name for family in FAMILIES}
    assert len(BY_NAME) == len(STEPS) >= 100
    for family in FAMILIES:
        for arguments, value in family.tests:
            assert BODIES[family.name][0](*ast.literal_eval(f"[{arguments}]")) == ast.literal_eval(value)


def test_reference_code_passes_its_tests_and_another_task_s_code_does_not() -> None:
    made = [task for level in LEVELS for task in tasks(level, "held_out", 15)]
    assert all(runs(made))
    pairs = list(zip(made, made[1:] + made[:1], strict=True))
    swapped = [re.sub(rf"\b{other.entry_point}\b", task.entry_point, other.code) for task, other in pairs]
    assert sum(runs(made, swapped)) <= sum(one.combination == other.combination for one, other in pairs) + 1


@pytest.mark.slow
def test_every_reference_passes_in_the_sandbox_and_every_step_is_used() -> None:
    made = [task for split in SPLITS for level in LEVELS for task in tasks(level, split, 1_200)]
    assert all(runs(made))
    used = {name for task in made if task.level > 1 for name in task.combination.split("/")}
    assert used == set(BY_NAME)


def test_no_held_out_name_or_combination_is_in_training() -> None:
    for level in (2, 3):
        training = {task.combination for task in tasks(level, "train", 800)}  # type: ignore[arg-type]
        held_out = {task.combination for task in tasks(level, "held_out", 300)}  # type: ignore[arg-type]
        assert len(held_out) > 100 and not training & held_out
        for combination in training:
            steps = [BY_NAME[name] for name in combination.split("/")]
            assert split_of_chain(steps) == "train"
            assert not any(f"/{name}/" in f"/{combination}/" for name in held_out)
    assert all(split_of(task.entry_point) == "held_out" for level in LEVELS for task in tasks(level, "held_out", 100))
    assert all(split_of(task.entry_point) == "train" for level in LEVELS for task in tasks(level, "train", 100))


def test_every_step_of_a_chain_matters_for_its_tests() -> None:
    made = [task for task in tasks(2, "train", 200) if task.combination.split("/")[0] == "sort"]
    assert made and not any(task.combination.split("/")[1] in ("sum", "count", "largest", "smallest", "product") for task in made)


def test_dialogues_answer_with_code_in_the_asked_shares() -> None:
    made = list(code_dialogues(0, 600, levels=(2, 3, 3), javascript=0.25))
    assert made[:20] == list(code_dialogues(0, 20, levels=(2, 3, 3), javascript=0.25))
    kinds = [dialogue.kind for dialogue in made]
    assert 0.6 < sum(kind.startswith("code-3") for kind in kinds) / 600 < 0.73
    assert 0.2 < sum(kind.endswith("javascript") for kind in kinds) / 600 < 0.3
    assert all(dialogue.messages[1]["content"].startswith("```") for dialogue in made)


@pytest.mark.parametrize("split", SPLITS)
def test_documents_are_code_in_both_languages_with_names_of_their_split(split: Split) -> None:
    made = list(code_documents(0, split, 400))
    assert made[:30] == list(code_documents(0, split, 30))
    assert {document.kind for document in made} == {f"code-{style}" for style in STYLES}
    python = [document.text for document in made if "def " in document.text and "```" not in document.text]
    assert 150 < len(python) < 300
    for text in python:
        ast.parse(text)
        assert text.count("def is_prime") <= 1
        for name in re.findall(r"^def (?!is_prime|gcd|digit_sum|is_mirrored|test_)(\w+)", text, re.MULTILINE):
            assert split_of(name) == split


def test_unknown_levels_and_languages_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="no level 4"):
        list(code_tasks(0, 1, 4))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no language 'rust'"):
        list(code_tasks(0, 1, 1, "rust"))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no level given"):
        list(code_dialogues(0, 1, levels=()))
    with pytest.raises(UserError, match="share from 0 to 1"):
        list(code_dialogues(0, 1, javascript=2))
