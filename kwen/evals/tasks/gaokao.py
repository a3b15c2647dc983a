"""Gaokao-Bench, questions of the Chinese college entrance examination (Zhang et al., 2023): DIR/gaokao, the .json files of
Data/Objective_Questions, packed or not.

gaokao   0-shot, for base models: 问题：, the question with the choices that stand in it, 答案：; the likeliest of "A" to "D"

A file is {"example": [{question, answer: [letters], ...}]}. Scored are the questions with one right letter, that is nine of the
fourteen files whole or in part; left out are those with several parts under one text (reading, cloze, geography) and those with
several right letters (a third of physics), which one likeliest letter cannot answer. An item's id is SUBJECT/ROW, from 0, and its
kind is the subject. Questions count one each, where the benchmark weighs them by their marks.
"""

import re
from pathlib import Path

from kwen.errors import UserError
from kwen.evals.task import Item, Task
from kwen.evals.tasks.choosing import CHOICES, LETTERS
from kwen.evals.tasks.files import Files

_HOME = "OpenLMLab/GAOKAO-Bench"
_NAME = re.compile(r"[0-9]{4}-[0-9]{4}_([A-Za-z_]{1,80})")
_CHOICES = LETTERS[:4]


def zero_shot(data: Path | None, seed: int) -> list[Item]:
    """The questions with one right letter."""
    files = Files(data, "gaokao", "gaokao", _HOME)
    items = []
    for file in files.subjects("{}.json"):
        if (named := _NAME.fullmatch(file)) is None:
            continue
        subject = named[1].removesuffix("_MCQs").replace("_", " ")
        for number, row in enumerate(files.rows(f"{file}.json")):
            answer = row.texts("answer")
            if wrong := [part for part in answer if not part or not set(part) <= set(LETTERS[:7])]:
                raise UserError(f'{row.where}: "answer" holds {wrong[0]!r}; letters from A to G are expected')
            if len(answer) > 1 or len(answer[0]) > 1:
                continue
            if answer[0] not in _CHOICES:
                raise UserError(f'{row.where}: "answer" is {answer[0]!r}; it must be one of {", ".join(_CHOICES)}')
            language = "en" if subject.startswith("English") else "zh"
            said = f"问题：{row.text('question').strip()}\n答案："
            right = str(_CHOICES.index(answer[0]))
            items.append(Item(f"{subject}/{number}", said, right, language, subject, choices=tuple(_CHOICES)))
    if not items:
        raise UserError(f"gaokao: no YEARS_SUBJECT_MCQs.json in {files.root}; put the files of {_HOME} there")
    return items


TASK = Task(name="gaokao", version=1, kind="choices", items=zero_shot, **CHOICES)
