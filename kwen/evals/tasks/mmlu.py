"""MMLU, 57 subjects of four choices (Hendrycks et al., 2021): DIR/mmlu, the .csv files of dev and test, in an archive too.

mmlu               5-shot, for base models: the subject's five dev questions before the question; the likeliest of " A" to " D"
mmlu-0-shot        for chat models: the question in a conversation; the letter that the answer names
mmlu-5-shot-chat   the same after the five dev questions and their letters as turns

Tables with a first line "question,choice0,...,choice3,answer" (answer a number from 0) and the published ones without (answer a
letter) are both read, and the hub's parquet files of its configuration "all" (subject, question, choices, answer). An item's id
is SUBJECT/LINE, from 0, and its kind is the subject's group in the report's table 13.
"""

from collections.abc import Iterator
from pathlib import Path

from kwen.errors import UserError
from kwen.evals.task import Item, Task
from kwen.evals.tasks.choosing import CHOICES, LETTERS, lettered
from kwen.evals.tasks.files import Files, Row
from kwen.evals.tasks.letters import NAMES_A_LETTER
from kwen.text.messages import Message

SHOTS = 5
_PARQUET = "all/{}-00000-of-00001.parquet"
_COLUMNS = ("question", "choice0", "choice1", "choice2", "choice3", "answer")
_HUMANITIES = """formal_logic high_school_european_history high_school_us_history high_school_world_history international_law
    jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory professional_law world_religions"""
_SOCIAL = """econometrics high_school_geography high_school_government_and_politics high_school_macroeconomics
    high_school_microeconomics high_school_psychology human_sexuality professional_psychology public_relations security_studies
    sociology us_foreign_policy"""
_STEM = """abstract_algebra astronomy college_biology college_chemistry college_computer_science college_mathematics
    college_physics computer_security conceptual_physics electrical_engineering elementary_mathematics high_school_biology
    high_school_chemistry high_school_computer_science high_school_mathematics high_school_physics high_school_statistics
    machine_learning"""
GROUPS = {
    subject: group
    for group, subjects in (("humanities", _HUMANITIES), ("social sciences", _SOCIAL), ("STEM", _STEM))
    for subject in subjects.split()
}
"""Group of each subject; those that are not named are of the group "other"."""


def _rows(files: Files, name: str) -> list[Row]:
    rows = files.rows(name, _COLUMNS)
    return rows[1:] if rows[0].values["question"] == "question" else rows


def _choices(row: Row) -> list[str]:
    return [row.text(f"choice{number}") for number in range(4)]


def _of_subjects(files: Files, split: str) -> dict[str, list[Row]]:
    """The rows of a parquet file in the form of the tables, by subject."""
    found: dict[str, list[Row]] = {}
    for row in files.rows(_PARQUET.format(split)):
        values = {f"choice{number}": choice for number, choice in enumerate(row.texts("choices", 4))}
        found.setdefault(row.text("subject"), []).append(Row(row.where, row.values | values))
    return found


def _subjects(data: Path | None, name: str, count: int) -> Iterator[tuple[str, list[Row], list[Row]]]:
    """Each subject with its first `count` dev questions and its test questions."""
    files = Files(data, name, "mmlu", "hendrycks/test")
    if files.names(_PARQUET.format("test")):
        test = _of_subjects(files, "test")
        dev = _of_subjects(files, "dev") if count else dict.fromkeys(test, [])
        for subject in sorted(test):
            if subject not in dev:
                raise UserError(f"{name}: no dev question of {subject} in {files.root}; fetch the whole data set")
            yield subject, dev[subject][:count], test[subject]
        return
    for subject in files.subjects("{}_test.csv"):
        yield subject, _rows(files, f"{subject}_dev.csv")[:count] if count else [], _rows(files, f"{subject}_test.csv")


def few_shot(data: Path | None, seed: int) -> list[Item]:
    """All test questions, each after the five dev questions of its subject."""
    items = []
    for subject, dev, test in _subjects(data, "mmlu", SHOTS):
        shots = []
        for row in dev:
            letter = LETTERS[row.choice("answer", LETTERS[:4])]
            shots.append(f"{lettered(row.text('question').strip(), _choices(row))} {letter}\n\n")
        opening = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"
        for number, row in enumerate(test):
            right = row.choice("answer", LETTERS[:4])
            items.append(
                Item(
                    f"{subject}/{number}", lettered(row.text("question").strip(), _choices(row)), str(right), "en",
                    GROUPS.get(subject, "other"), choices=tuple(f" {letter}" for letter in LETTERS[:4]),
                    opening=opening, shots=tuple(shots),
                )
            )  # fmt: skip
    return items


def _asked(row: Row) -> list[Message]:
    lines = lettered(row.text("question").strip(), _choices(row), "")
    return [{"role": "user", "content": f"{lines}\nWhich one is right? Name its letter."}]


def _conversations(data: Path | None, name: str, count: int) -> list[Item]:
    items = []
    for subject, dev, test in _subjects(data, name, count):
        shots: list[list[Message]] = [
            [*_asked(row), {"role": "assistant", "content": LETTERS[row.choice("answer", LETTERS[:4])]}] for row in dev
        ]
        for number, row in enumerate(test):
            right = LETTERS[row.choice("answer", LETTERS[:4])]
            extra = {"choices": tuple(_choices(row))}
            group = GROUPS.get(subject, "other")
            items.append(Item(f"{subject}/{number}", _asked(row), right, "en", group, extra, shots=tuple(shots)))
    return items


def zero_shot(data: Path | None, seed: int) -> list[Item]:
    """All test questions as conversations."""
    return _conversations(data, "mmlu-0-shot", 0)


def few_shot_chat(data: Path | None, seed: int) -> list[Item]:
    """All test questions as conversations, each after the five dev questions of its subject."""
    return _conversations(data, "mmlu-5-shot-chat", SHOTS)


TASK = Task(name="mmlu", version=1, kind="choices", items=few_shot, **CHOICES)

CHAT_TASK = Task(name="mmlu-0-shot", version=1, kind="generate", items=zero_shot, **NAMES_A_LETTER)

FEW_SHOT_CHAT_TASK = Task(name="mmlu-5-shot-chat", version=1, kind="generate", items=few_shot_chat, **NAMES_A_LETTER)
