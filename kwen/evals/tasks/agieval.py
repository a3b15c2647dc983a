"""AGIEval, college and law entrance examinations (Zhong et al., 2023): DIR/agieval, the .jsonl files of data/v1, packed or not.

agieval   0-shot, for base models: the likeliest letter after the benchmark's own zero-shot words; " A" in English, "A" in Chinese

A row is passage (or null), question, options ("(A)..." each) and label (a letter, or a list of letters). Left out are the two
sets without options (math, gaokao-mathcloze), whose answers are texts, and the questions with several right letters or none,
which one likeliest letter cannot answer. An item's id is SET/LINE, from 0, and its kind is the set.
"""

from pathlib import Path

from kwen.errors import UserError
from kwen.evals.generations import check_text
from kwen.evals.task import Item, Task
from kwen.evals.tasks.choosing import CHOICES, LETTERS
from kwen.evals.tasks.files import Files, Row

ENGLISH = (
    "aqua-rat",
    "logiqa-en",
    "lsat-ar",
    "lsat-lr",
    "lsat-rc",
    "sat-en",
    "sat-en-without-passage",
    "sat-math",
    "gaokao-english",
)
CHINESE = (
    "logiqa-zh", "jec-qa-kd", "jec-qa-ca", "gaokao-biology", "gaokao-chemistry", "gaokao-chinese", "gaokao-geography",
    "gaokao-history", "gaokao-mathqa", "gaokao-physics",
)  # fmt: skip
_HOME = "ruixiangcui/AGIEval"


def zero_shot(data: Path | None, seed: int) -> list[Item]:
    """The questions of all sets that are there."""
    files = Files(data, "agieval", "agieval", _HOME)
    there = set(files.subjects("{}.jsonl"))
    sets = [name for name in (*ENGLISH, *CHINESE) if name in there]
    if not sets:
        raise UserError(f"agieval: no {ENGLISH[0]}.jsonl or another set in {files.root}; put the files of {_HOME} there")
    items = []
    for name in sets:
        for number, row in enumerate(files.rows(f"{name}.jsonl")):
            if (right := _right(row)) is not None:
                items.append(_item(f"{name}/{number}", name, row, right))
    return items


def _right(row: Row) -> int | None:
    """The place of the one right option; None where several are right, or none."""
    label = row.values.get("label")
    count = len(row.texts("options", 2))
    if count > len(LETTERS):
        raise UserError(f'{row.where}: "options" are {count}; {len(LETTERS)} at most can have a letter')
    if not isinstance(label, (str, list)) or not all(isinstance(one, str) and one for one in label) or label == "":
        raise UserError(f'{row.where}: "label" is {label!r}; a letter is expected, or a list of letters')
    if len(label) != 1:
        return None
    if label[0] not in list(LETTERS[:count]):
        raise UserError(f'{row.where}: "label" is {label!r}; it must be one of {", ".join(LETTERS[:count])}')
    return LETTERS.index(label[0])


def _item(item_id: str, name: str, row: Row, right: int) -> Item:
    passage = row.values.get("passage")
    passage = "" if passage is None else check_text(passage, f'{row.where}: "passage"')
    question, options = row.text("question"), row.texts("options", 2)
    last = LETTERS[len(options) - 1]
    if name in ENGLISH:
        said = f"{passage}Q: {question} Answer Choices: {' '.join(options)}\nA: Among A through {last}, the answer is"
        space, language = " ", "en"
    else:
        said = f"{passage}问题：{question} 选项：{' '.join(options)}\n答案：从A到{last}, 我们应选择"
        space, language = "", "zh"
    choices = tuple(space + letter for letter in LETTERS[: len(options)])
    return Item(item_id, said, str(right), language, name, choices=choices)


TASK = Task(name="agieval", version=1, kind="choices", items=zero_shot, **CHOICES)
