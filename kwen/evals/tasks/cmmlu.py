"""CMMLU, 67 subjects of four choices in Chinese (Li et al., 2023): DIR/cmmlu, the files of cmmlu_v1_0_1.zip, packed or not.

cmmlu          5-shot, for base models (see `chinese_exams.py`)
cmmlu-0-shot   for chat models: the question in a conversation; the letter that the answer names

test/SUBJECT.csv is scored, with dev/SUBJECT.csv for the worked questions; columns: a number without a name, Question, A, B, C, D,
Answer. An item's id is SUBJECT/LINE, from 0, and its kind is the subject's group; `china_specific` is the accuracy on the
subjects that the benchmark marks so, which are of other groups too.
"""

from pathlib import Path

from kwen.evals.task import Item, Task
from kwen.evals.tasks.chinese_exams import Exam
from kwen.evals.tasks.choosing import CHOICES, best_choice
from kwen.evals.tasks.letters import NAMES_A_LETTER, stated_letter

_STEM = """anatomy astronomy college_actuarial_science college_engineering_hydrology college_mathematics
    college_medical_statistics computer_science conceptual_physics electrical_engineering elementary_mathematics genetics
    high_school_biology high_school_chemistry high_school_mathematics high_school_physics machine_learning virology"""
_HUMANITIES = """arts chinese_history chinese_literature college_law global_facts international_law jurisprudence logical
    marxist_theory philosophy professional_law world_history world_religions"""
_SOCIAL = """ancient_chinese business_ethics chinese_civil_service_exam chinese_food_culture chinese_foreign_policy
    chinese_teacher_qualification college_education economics education elementary_chinese ethnology high_school_geography
    high_school_politics journalism management marketing modern_chinese professional_accounting professional_psychology
    public_relations security_study sociology"""
_CHINA = """ancient_chinese chinese_civil_service_exam chinese_driving_rule chinese_food_culture chinese_foreign_policy
    chinese_history chinese_literature chinese_teacher_qualification construction_project_management elementary_chinese
    elementary_commonsense ethnology high_school_politics modern_chinese traditional_chinese_medicine"""
CHINA_SPECIFIC = frozenset(_CHINA.split())
EXAM = Exam(
    folder="cmmlu",
    home="haonan-li/CMMLU",
    layouts=(("dev/{}.csv", "test/{}.csv"),),
    question="Question",
    answer="Answer",
    groups={
        subject: group
        for group, subjects in (("STEM", _STEM), ("social sciences", _SOCIAL), ("humanities", _HUMANITIES))
        for subject in subjects.split()
    },
)


def few_shot(data: Path | None, seed: int) -> list[Item]:
    """The test questions as texts to continue."""
    return EXAM.few_shot(data, "cmmlu")


def zero_shot(data: Path | None, seed: int) -> list[Item]:
    """The test questions as conversations."""
    return EXAM.conversations(data, "cmmlu-0-shot", 0)


def china_choice(item: Item, text: str) -> float | None:
    """Whether the likeliest choice is right, for items about China."""
    return float(best_choice(item, text) == item.reference) if item.extra["subject"] in CHINA_SPECIFIC else None


def china_letter(item: Item, text: str) -> float | None:
    """Whether the stated letter is right, for items about China."""
    return float(stated_letter(item, text) == item.reference) if item.extra["subject"] in CHINA_SPECIFIC else None


TASK = Task(name="cmmlu", version=1, kind="choices", items=few_shot, measures={"china_specific": china_choice}, **CHOICES)

CHAT_TASK = Task(
    name="cmmlu-0-shot", version=1, kind="generate", items=zero_shot, measures={"china_specific": china_letter}, **NAMES_A_LETTER
)  # fmt: skip
