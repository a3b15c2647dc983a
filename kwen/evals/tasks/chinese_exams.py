"""What C-Eval and CMMLU share: examinations of many subjects in Chinese, tables of questions with four choices.

Few-shot, for base models, as the report's scripts ask (6.x): five worked questions of the subject, 问题：, the choices a line
each, 答案：; the likeliest of "A" to "D", without a space. For chat models the question in a conversation, with worked questions
before it as turns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kwen.evals.task import Item
from kwen.evals.tasks.choosing import LETTERS, lettered
from kwen.evals.tasks.files import Files, Row
from kwen.text.messages import Message

SHOTS = 5
_CHOICES = LETTERS[:4]


@dataclass(frozen=True)
class Exam:
    """Where an examination's tables lie, {} for the subject, what their columns are called, and the group of each subject
    ("other" for those that are not named). `layouts` are (dev, scored) pairs; the first whose files are there is read."""

    folder: str
    home: str
    layouts: Sequence[tuple[str, str]]
    question: str
    answer: str
    groups: Mapping[str, str]

    def few_shot(self, data: Path | None, task: str) -> list[Item]:
        """All scored questions as texts, each after five dev questions of its subject."""
        items = []
        files, dev, scored = self._opened(data, task)
        for subject in files.subjects(scored):
            shots = tuple(
                f"{self._text(row)}{LETTERS[row.choice(self.answer, _CHOICES)]}\n\n"
                for row in files.rows(dev.format(subject))[:SHOTS]
            )
            for number, row in enumerate(files.rows(scored.format(subject))):
                right = str(row.choice(self.answer, _CHOICES))
                tag = self.groups.get(subject, "other")
                items.append(
                    Item(
                        f"{subject}/{number}", self._text(row), right, "zh", tag, {"subject": subject},
                        choices=tuple(_CHOICES), shots=shots,
                    )
                )  # fmt: skip
        return items

    def conversations(self, data: Path | None, task: str, count: int) -> list[Item]:
        """All scored questions as conversations, each after `count` dev questions and their letters as turns."""
        items = []
        files, dev, scored = self._opened(data, task)
        for subject in files.subjects(scored):
            shots: list[list[Message]] = [
                [*self._asked(row), {"role": "assistant", "content": LETTERS[row.choice(self.answer, _CHOICES)]}]
                for row in (files.rows(dev.format(subject))[:count] if count else [])
            ]
            for number, row in enumerate(files.rows(scored.format(subject))):
                right = LETTERS[row.choice(self.answer, _CHOICES)]
                extra = {"subject": subject, "choices": tuple(row.text(letter) for letter in _CHOICES)}
                tag = self.groups.get(subject, "other")
                items.append(Item(f"{subject}/{number}", self._asked(row), right, "zh", tag, extra, shots=tuple(shots)))
        return items

    def _opened(self, data: Path | None, task: str) -> tuple[Files, str, str]:
        """The files, and the layout that they have."""
        files = Files(data, task, self.folder, self.home)
        dev, scored = next((layout for layout in self.layouts if files.following(layout[1])), self.layouts[0])
        return files, dev, scored

    def _text(self, row: Row) -> str:
        return lettered(f"问题：{row.text(self.question)}", [row.text(letter) for letter in _CHOICES], "答案：")

    def _asked(self, row: Row) -> list[Message]:
        lines = lettered(row.text(self.question), [row.text(letter) for letter in _CHOICES], "")
        return [{"role": "user", "content": f"{lines}\n哪一项是正确的？请给出它的字母。"}]
