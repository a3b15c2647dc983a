"""BBH, 27 tasks that ask for several steps of reasoning (Suzgun et al., 2022): DIR/bbh, NAME.json and NAME.txt of each task.

bbh          3-shot, for base models: the task's published instruction and worked examples (NAME.txt) before the question
bbh-0-shot   for chat models: the instruction and the question in a conversation, with the form to answer in

strict: what follows the last "the answer is", read in the form of the right answer; flexible: the last thing in the text that has
that form. Forms are an option's letter, one of two words (True/False, yes/no, valid/invalid), a number, brackets, and words.
An item's id is NAME/ROW, from 0, and its kind is its task.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from kwen.errors import UserError
from kwen.evals.task import Item, Task
from kwen.evals.tasks.choosing import chosen_right
from kwen.evals.tasks.files import Files
from kwen.verify.answers import extract_number, number_value

SHOTS = 3
HOME = "suzgunmirac/BIG-Bench-Hard"
Form = Literal["letter", "word", "number", "brackets", "words"]
_BRACKETS = frozenset("()[]{}<>")
_PAIRS = (("true", "false"), ("yes", "no"), ("valid", "invalid"))
_STATED = re.compile(r"\banswer is:?", re.IGNORECASE)
_LETTER = re.compile(r"\(([A-Z])\)|(?<![\w'])([A-Z])(?![\w'])")
_WORD = re.compile(r"[A-Za-z]+")
_HINTS: dict[Form, str] = {
    "letter": "the letter of the right option in round brackets",
    "number": "a number",
    "brackets": "the missing brackets alone, with a space between them",
    "words": "the words alone, with a space between them",
}


def form_of(target: str) -> Form:
    """The form in which an answer is given."""
    if re.fullmatch(r"\([A-Z]\)", target):
        return "letter"
    if any(target.lower() in pair for pair in _PAIRS):
        return "word"
    if number_value(target) is not None and not any(char.isalpha() for char in target):
        return "number"
    return "brackets" if set(target) - {" "} <= _BRACKETS else "words"


def _plain(text: str) -> str:
    """Without the marks and the stop around an answer."""
    return text.strip().strip("*$\"'`").rstrip(".").strip("*$\"'` ")


def _read(form: Form, target: str, said: str, last: bool) -> str | None:
    """The first or the last answer of a form in a text, as `_canonical` writes it; None where there is none."""
    if form == "letter":
        # Without brackets a capital letter may be a word, so that those in brackets come first.
        letters = _LETTER.findall(said)
        found = [inside for inside, _ in letters if inside] or [alone for _, alone in letters if alone]
    elif form == "word":
        pair = next(pair for pair in _PAIRS if target.lower() in pair)
        found = [word for word in _WORD.findall(said.lower()) if word in pair]
    elif form == "number":
        number = extract_number(said, "flexible") if last else extract_number(f"#### {said}", "strict")
        found = [] if number is None else [str(number_value(number))]
    else:
        lines = [line for line in said.splitlines() if line.strip()] or [""]
        line = _plain(lines[-1].rpartition(":")[2] if last else lines[0])
        if form == "brackets":
            tokens = line.split()
            start = max((place + 1 for place, token in enumerate(tokens) if set(token) - _BRACKETS), default=0)
            found = ["".join(tokens[start:])] if start < len(tokens) and (last or start == 0) else []
        else:
            words = line.replace(",", " ").lower().split()
            found = [" ".join(words)] if words else []
    return found[-1 if last else 0] if found else None


def _canonical(target: str) -> str:
    read = _read(form_of(target), target, target, last=False)
    return target if read is None else read


def _stated(text: str) -> str | None:
    marks = list(_STATED.finditer(text))
    return text[marks[-1].end() :].lstrip(" \n").split("\n", 1)[0] if marks else None


def stated_answer(item: Item, text: str) -> str | None:
    """What the text states as its answer, in the form of the right one."""
    target = item.extra["target"]
    said = _stated(text)
    return None if said is None else _read(form_of(target), target, said, last=False)


def last_answer(item: Item, text: str) -> str | None:
    """The stated answer; else the last in the text that has the form of the right one."""
    stated = stated_answer(item, text)
    return stated if stated is not None else _read(form_of(item.extra["target"]), item.extra["target"], text, last=True)


def _worked(files: Files, name: str) -> tuple[str, list[str]]:
    """A task's instruction and its worked examples, each from "Q:" on."""
    where = f"{files.root}/{name}.txt"
    try:
        text = files.read(f"{name}.txt").decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 ({error}); fetch it again") from None
    _, mark, body = text.replace("\r\n", "\n").partition("\n-----\n")
    instruction, *shots = (mark and body).strip().split("\n\nQ:")
    if len(shots) < SHOTS or not all("\nA:" in shot for shot in shots):
        raise UserError(f'{where}: a line "-----", the instruction and {SHOTS} examples with "Q:" and "A:" are expected')
    return instruction, [f"Q:{shot}" for shot in shots[:SHOTS]]


def _items(data: Path | None, task: str, chat: bool) -> list[Item]:
    files = Files(data, task, "bbh", HOME)
    names = [path.rpartition("/")[2].removesuffix(".json") for path in files.names(".json")]
    if not names:
        raise UserError(f"{task}: no NAME.json in {files.root}; put the files of {HOME} there")
    items = []
    for name in names:
        rows = files.rows(f"{name}.json")
        instruction, shots = _worked(files, name)
        targets = [row.text("target").strip() for row in rows]
        hint = _hint(targets)
        for number, (row, target) in enumerate(zip(rows, targets, strict=True)):
            question, right = row.text("input").strip(), _canonical(target)
            item_id, extra = f"{name}/{number}", {"target": target}
            if chat:
                said = f'{instruction}\n\n{question}\n\nThink step by step. End with "So the answer is X.", where X is {hint}.'
                items.append(Item(item_id, [{"role": "user", "content": said}], right, "en", name, extra))
            else:
                asked = f"Q: {question}\nA: Let's think step by step.\n"
                shown = tuple(f"{shot}\n\n" for shot in shots)
                items.append(Item(item_id, asked, right, "en", name, extra, opening=f"{instruction}\n\n", shots=shown))
    return items


def _hint(targets: Sequence[str]) -> str:
    """What an answer to a task looks like: a few of its targets are of another form than the rest."""
    form = Counter(form_of(target) for target in targets).most_common(1)[0][0]
    return _HINTS[form] if form != "word" else " or ".join(sorted(set(targets)))


def few_shot(data: Path | None, seed: int) -> list[Item]:
    """The questions as texts to continue, after the worked examples of their task."""
    return _items(data, "bbh", chat=False)


def zero_shot(data: Path | None, seed: int) -> list[Item]:
    """The questions as conversations."""
    return _items(data, "bbh-0-shot", chat=True)


TASK = Task(
    name="bbh",
    version=1,
    kind="generate",
    items=few_shot,
    strict=stated_answer,
    flexible=last_answer,
    judge=chosen_right,
    settings={"max_new_tokens": 512, "temperature": 0.0, "stop": ["\n\n", "\nQ:"]},
)

CHAT_TASK = Task(
    name="bbh-0-shot",
    version=1,
    kind="generate",
    items=zero_shot,
    strict=stated_answer,
    flexible=last_answer,
    judge=chosen_right,
    settings={"max_new_tokens": 768, "temperature": 0.0},
)
