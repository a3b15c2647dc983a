"""C-Eval, 52 subjects of four choices in Chinese (Huang et al., 2023): DIR/ceval, the files of ceval-exam.zip, packed or not.

ceval               5-shot, for base models (see `chinese_exams.py`)
ceval-0-shot        for chat models: the question in a conversation; the letter that the answer names
ceval-5-shot-chat   the same after five worked questions as turns

The val split is scored, since the test split's answers are not published: val/SUBJECT_val.csv, with dev/SUBJECT_dev.csv for the
worked questions, or as on the hub SUBJECT/val-00000-of-00001.parquet with its dev; columns id, question, A, B, C, D, answer. An
item's id is SUBJECT/LINE, from 0, and its kind is the subject's group in the report's table 14; `hard` is the accuracy on the
eight subjects of C-Eval Hard. A figure is the share of its items, where the leaderboard takes the mean over subjects.
"""

from pathlib import Path

from kwen.evals.task import Item, Task
from kwen.evals.tasks.chinese_exams import SHOTS, Exam
from kwen.evals.tasks.choosing import CHOICES, best_choice
from kwen.evals.tasks.letters import NAMES_A_LETTER, stated_letter

_STEM = """computer_network operating_system computer_architecture college_programming college_physics college_chemistry
    advanced_mathematics probability_and_statistics discrete_mathematics electrical_engineer metrology_engineer
    high_school_mathematics high_school_physics high_school_chemistry high_school_biology middle_school_mathematics
    middle_school_biology middle_school_physics middle_school_chemistry veterinary_medicine"""
_SOCIAL = """college_economics business_administration marxism mao_zedong_thought education_science teacher_qualification
    high_school_politics high_school_geography middle_school_politics middle_school_geography"""
_HUMANITIES = """modern_chinese_history ideological_and_moral_cultivation logic law chinese_language_and_literature art_studies
    professional_tour_guide legal_professional high_school_chinese high_school_history middle_school_history"""
_HARD = """advanced_mathematics discrete_mathematics probability_and_statistics college_physics college_chemistry
    high_school_mathematics high_school_physics high_school_chemistry"""
HARD = frozenset(_HARD.split())
EXAM = Exam(
    folder="ceval",
    home="ceval/ceval-exam",
    layouts=(("{}_dev.csv", "{}_val.csv"), ("{}/dev-00000-of-00001.parquet", "{}/val-00000-of-00001.parquet")),
    question="question",
    answer="answer",
    groups={
        subject: group
        for group, subjects in (("STEM", _STEM), ("social sciences", _SOCIAL), ("humanities", _HUMANITIES))
        for subject in subjects.split()
    },
)


def few_shot(data: Path | None, seed: int) -> list[Item]:
    """The val questions as texts to continue."""
    return EXAM.few_shot(data, "ceval")


def zero_shot(data: Path | None, seed: int) -> list[Item]:
    """The val questions as conversations."""
    return EXAM.conversations(data, "ceval-0-shot", 0)


def few_shot_chat(data: Path | None, seed: int) -> list[Item]:
    """The val questions as conversations, after worked ones."""
    return EXAM.conversations(data, "ceval-5-shot-chat", SHOTS)


def hard_choice(item: Item, text: str) -> float | None:
    """Whether the likeliest choice is right, for items of C-Eval Hard."""
    return float(best_choice(item, text) == item.reference) if item.extra["subject"] in HARD else None


def hard_letter(item: Item, text: str) -> float | None:
    """Whether the stated letter is right, for items of C-Eval Hard."""
    return float(stated_letter(item, text) == item.reference) if item.extra["subject"] in HARD else None


TASK = Task(name="ceval", version=1, kind="choices", items=few_shot, measures={"hard": hard_choice}, **CHOICES)

CHAT_TASK = Task(
    name="ceval-0-shot", version=1, kind="generate", items=zero_shot, measures={"hard": hard_letter}, **NAMES_A_LETTER
)  # fmt: skip

FEW_SHOT_CHAT_TASK = Task(
    name="ceval-5-shot-chat", version=1, kind="generate", items=few_shot_chat, measures={"hard": hard_letter}, **NAMES_A_LETTER
)  # fmt: skip
