"""Tasks whose answers can be checked: conversations that end with a user message, each with what tells right from wrong.

Three kinds: nanoworld's prompts, graded by its oracle; questions with a number for an answer; functions with tests, which run
in the sandbox. A score lies in [0, 1].
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kwen.engine.chat_prompt import ChatPrompt
from kwen.errors import UserError
from kwen.nanoworld.prompts import TOPICS, Prompt, Topic, prompts
from kwen.text.messages import validate_messages
from kwen.text.tokenizer import Tokenizer
from kwen.verify.answers import extract_number, number_value, same_number
from kwen.verify.code_tests import extract_code, passes
from kwen.verify.oracle import grade_replies
from kwen.verify.rows import Row, list_of, read_rows, text_of


class NanoworldTasks(BaseModel):
    """`count` prompts of nanoworld, balanced over topics and difficulty; the score is the oracle's."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["nanoworld"]
    count: int = Field(gt=0)
    topics: tuple[Topic, ...] = Field(TOPICS, min_length=1)
    split: Literal["train", "held_out"] = "train"


class NumberTasks(BaseModel):
    """A file of {"messages", "answer"} rows, the answer a number or a text that states one as GSM8K does ("#### 72").

    extraction: which number of a reply counts, as in `kwen.verify.answers.extract_number`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["numbers"]
    path: Path
    limit: int | None = Field(None, gt=0)
    extraction: Literal["strict", "flexible"] = "flexible"


class CodeTasks(BaseModel):
    """A file of {"messages", "tests", "entry_point"} rows: Python asserts, one text or a list, and the function's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["code"]
    path: Path
    limit: int | None = Field(None, gt=0)


TaskSource = Annotated[NanoworldTasks | NumberTasks | CodeTasks, Field(discriminator="kind")]


@dataclass(frozen=True)
class NumberReference:
    """The right number, and which number of a reply is compared with it."""

    answer: str
    extraction: Literal["strict", "flexible"]


@dataclass(frozen=True)
class CodeReference:
    """The tests that the reply's function must pass."""

    tests: str
    entry_point: str


@dataclass(frozen=True)
class Task:
    """A conversation that ends with a user message, and what its answer is checked against. where: names it in errors."""

    messages: Sequence[Mapping[str, Any]]
    reference: Prompt | NumberReference | CodeReference
    where: str


def tasks(source: TaskSource, seed: int) -> Iterator[Task]:
    """The tasks of `source`. Raises UserError, with the line, for a row that cannot be asked or checked."""
    if isinstance(source, NanoworldTasks):
        for prompt in prompts(seed, source.count, source.split, source.topics):
            yield Task(prompt.messages, prompt, prompt.id)
        return
    for number, (where, row) in enumerate(read_rows(source.path)):
        if number == source.limit:
            return
        messages = validate_messages(list_of(row, "messages", where), where)
        while messages and messages[-1]["role"] == "assistant":
            messages.pop()
        if not messages or messages[-1]["role"] != "user":
            raise UserError(f"{where}: the messages hold no user message to answer; fix or remove the row")
        reference = _number(row, where, source.extraction) if isinstance(source, NumberTasks) else _tests(row, where)
        yield Task(messages, reference, where)


def _number(row: Row, where: str, extraction: Literal["strict", "flexible"]) -> NumberReference:
    value = row.get("answer")
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    text = str(value) if plain else text_of(row, "answer", where)
    answer = text if number_value(text) is not None else extract_number(text, "strict")
    if answer is None:
        raise UserError(f'{where}: "answer" states no single number; fix or remove the row')
    return NumberReference(answer, extraction)


def _tests(row: Row, where: str) -> CodeReference:
    value = row.get("tests")
    tests = "\n".join(str(line) for line in value) if isinstance(value, list) else text_of(row, "tests", where)
    try:
        statements = ast.parse(tests).body
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UserError(f'{where}: "tests" is not Python ({error}); fix or remove the row') from None
    if not statements:
        raise UserError(f'{where}: "tests" holds no test; fix or remove the row')
    return CodeReference(tests, text_of(row, "entry_point", where, ""))


def task_tokens(
    sources: Sequence[TaskSource], tokenizer: Tokenizer, template: str | None, seed: int, longest: int
) -> tuple[list[list[int]], list[Task], dict[str, int]]:
    """Every task as the token ids that an answer continues, the tasks, and their counts; none of over `longest` tokens.

    Raises UserError when none remains.
    """
    prompt = ChatPrompt(tokenizer, template)
    found = [task for source in sources for task in tasks(source, seed)]
    rows = [prompt.token_ids(task.messages, room=longest) for task in found]
    kept = [number for number, row in enumerate(rows) if len(row) <= longest]
    if not kept:
        raise UserError(f"no task of at most {longest} tokens; raise sequence_length or lower max_new_tokens")
    counts = {"queries": len(kept), "queries_too_long": len(rows) - len(kept)}
    return [rows[number] for number in kept], [found[number] for number in kept], counts


def score_answers(asked: Sequence[Task], replies: Sequence[str], ended: Sequence[bool]) -> list[float]:
    """The score of each reply to its task, in [0, 1]: the oracle's grade, or 1 for the right number or passed tests, else 0.

    ended: whether a reply came to its end. One that was cut off is wrong, whatever it holds; the oracle judges that itself.
    """
    scores = [0.0] * len(asked)
    for number, (task, reply) in enumerate(zip(asked, replies, strict=True)):
        if isinstance(task.reference, NumberReference) and ended[number]:
            given = extract_number(reply, task.reference.extraction)
            scores[number] = float(given is not None and same_number(given, task.reference.answer))
    graded = {number: task.reference for number, task in enumerate(asked) if isinstance(task.reference, Prompt)}
    if graded:
        said, whole = [replies[number] for number in graded], [ended[number] for number in graded]
        grades = grade_replies(list(graded.values()), said, whole)
        for number, grade in zip(graded, grades, strict=True):
            scores[number] = grade.score
    run = {number: task.reference for number, task in enumerate(asked) if isinstance(task.reference, CodeReference)}
    run = {number: reference for number, reference in run.items() if ended[number]}
    if run:
        programs = [(extract_code(replies[number], reference.entry_point), reference.tests) for number, reference in run.items()]
        for number, passed in zip(run, passes(programs), strict=True):
            scores[number] = float(passed)
    return scores
