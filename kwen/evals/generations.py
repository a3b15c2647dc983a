"""Answers on disk, one JSON object a line: kept as they come, so that a killed run goes on and scoring can run again."""

import fcntl
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from kwen.errors import UserError
from kwen.files import json_hash

HEADER = "kwen_generations"
"""The key that marks a file's first line as a header; its value is the hash of what the answers depend on."""


@dataclass(frozen=True)
class Answer:
    """One item's answer, what both extractors found in it, and whether each is right.

    `prompt_tokens` and `finish_reason` are None for an answer that was read from a file of saved answers. `shots`: how many were
    shown, where the item has any.
    """

    task: str
    id: str
    text: str
    strict: str | None
    flexible: str | None
    correct: bool
    correct_flexible: bool
    prompt_tokens: int | None = None
    finish_reason: str | None = None
    shots: int | None = None


class KeptAnswers(AbstractContextManager["KeptAnswers"]):
    """The file of one task's answers: locked while it is open, read as far as it goes, then appended to."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        """Open `path` or begin it. `facts` are what the answers depend on (task, version, prompts, model, settings).

        A last line that a kill cut short is dropped. Raises UserError, and changes nothing, where the file belongs to other
        facts (those that differ are named), a line is malformed (its number), or another process writes to it.
        """
        self.path = path
        self.answers: dict[str, Answer] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "ab")  # noqa: SIM115 (closed by __exit__)
        try:
            self._lock()
            self._read({HEADER: json_hash(facts), **facts})
        except BaseException:
            self._file.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, answers: Sequence[Answer]) -> None:
        """Add answers, in memory and at the end of the file, before returning."""
        self._write([asdict(answer) for answer in answers])
        self.answers |= {answer.id: answer for answer in answers}

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{self.path}: another kwen is writing to it; wait for it, or choose another --out folder") from None

    def _read(self, header: dict[str, Any]) -> None:
        """The answers of the whole lines. A line is whole when its newline is there, since that is written last."""
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if not whole and _line(header).startswith(data):
            self._file.truncate(0)
            self._write([header])
            return
        rows = parse_rows(data[:whole].splitlines(keepends=True), self.path)
        self._check_header(next(rows, (1, {}))[1], header)
        for number, row in rows:
            try:
                answer = Answer(**row)
            except TypeError:
                raise UserError(f"{self.path}, line {number}: not an answer that kwen kept; remove it to start anew") from None
            if answer.id in self.answers:
                raise UserError(f"{self.path}, line {number}: id {answer.id!r} stands twice; remove the file to start anew")
            self.answers[answer.id] = answer
        self._file.truncate(whole)

    def _check_header(self, row: dict[str, Any], header: dict[str, Any]) -> None:
        if row.get(HEADER) == header[HEADER]:
            return
        other = [key for key in header if key != HEADER and key in row and row[key] != header[key]]
        raise UserError(
            f"{self.path}: kept answers of another {' and '.join(other) or 'kind of file'}; "
            "choose another --out folder, or remove the file to start anew"
        )

    def _write(self, rows: Sequence[dict[str, Any]]) -> None:
        self._file.write(b"".join(_line(row) for row in rows))
        self._file.flush()


def _line(row: dict[str, Any]) -> bytes:
    return (json.dumps(row, ensure_ascii=False) + "\n").encode()


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of a JSON lines file; empty lines are passed over.

    Raises UserError with the line number for invalid UTF-8, invalid JSON, or a value that is not an object.
    """
    if not path.is_file():
        raise UserError(f"{path}: {'not a file' if path.exists() else 'no such file'}; give a file of JSON lines")
    with open(path, "rb") as file:
        yield from parse_rows(file, path)


def parse_rows(lines: Iterable[bytes], path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """`read_rows` of lines that are at hand; `path` is what an error names."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: a JSON object is expected, not {type(row).__name__}")
        yield number, row


def check_text(value: Any, where: str) -> str:
    """`value`, where it is text that UTF-8 can hold (JSON's escapes can spell half a surrogate pair); else UserError."""
    if not isinstance(value, str):
        raise UserError(f"{where} must be text, not {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{where} holds half a surrogate pair at character {error.start}; write the whole character") from None
    return value


def read_saved_answers(path: Path, tasks: Sequence[str]) -> dict[str, dict[str, tuple[int, str]]]:
    """Answers to score again: task -> id -> (line number, text), for the named tasks; rows of other tasks are left alone.

    A row is {"task", "id", "text"}, more keys allowed; ids may be whole numbers. Files that `KeptAnswers` wrote are read
    too. Raises UserError with the line number for a missing or wrong key and for an id that stands twice in its task.
    """
    answers: dict[str, dict[str, tuple[int, str]]] = {task: {} for task in tasks}
    for number, row in read_rows(path):
        if HEADER in row:
            continue
        for key in ("task", "id", "text"):
            if key not in row:
                raise UserError(f'{path}, line {number}: no "{key}"; each line needs "task", "id" and "text"')
        if not isinstance(row["id"], (str, int)) or isinstance(row["id"], bool):
            raise UserError(f'{path}, line {number}: "id" must be text or a whole number')
        for key in ("task", "text"):
            check_text(row[key], f'{path}, line {number}: "{key}"')
        if row["task"] not in answers:
            continue
        of_task = answers[row["task"]]
        item_id = str(row["id"])
        if item_id in of_task:
            raise UserError(f"{path}, line {number}: id {item_id!r} of {row['task']} is on line {of_task[item_id][0]} already")
        of_task[item_id] = (number, row["text"])
    return answers
