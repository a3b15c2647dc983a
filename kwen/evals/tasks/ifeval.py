"""IFEval, 541 prompts with instructions that a program can check (Zhou et al., 2023): DIR/ifeval/input_data.jsonl,
or ifeval_input_data.jsonl as the hub calls it.

An answer is right where it follows all instructions of its prompt: strict by the text as it is, flexible in the benchmark's loose
way (`kwen.verify.instructions`). What is extracted is the verdicts, a JSON list in the order of the instructions;
`instruction_accuracy` is the share of single instructions that are followed. An item's id is its key, and its kind the number of
its instructions.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from kwen.errors import UserError
from kwen.evals.task import Item, Task
from kwen.evals.tasks.files import Files, Row
from kwen.verify.instructions import LANGUAGE_KINDS, Checker, checker, follows, loosely_follows, require_language_detector

HOME = "google-research/instruction_following_eval"


def _checkers(row: Row) -> tuple[list[str], list[Checker]]:
    names = row.texts("instruction_id_list")
    arguments = row.values.get("kwargs")
    if not isinstance(arguments, list) or len(arguments) != len(names) or not all(isinstance(one, dict) for one in arguments):
        raise UserError(f'{row.where}: "kwargs" must be a list with one object for each of {len(names)} instructions')
    try:
        return names, [checker(name, given) for name, given in zip(names, arguments, strict=True)]
    except UserError as error:
        raise UserError(f"{row.where}: {error}") from None


def items(data: Path | None, seed: int) -> list[Item]:
    """The prompts as conversations. UserError, too, where a language is to be told and the library for it is not installed."""
    found = []
    kinds: set[str] = set()
    files = Files(data, "ifeval", "ifeval", HOME)
    for row in files.rows(files.first("input_data.jsonl", "ifeval_input_data.jsonl")):
        names, checkers = _checkers(row)
        kinds.update(names)
        prompt = row.text("prompt")
        tag = f"{len(names)} instruction{'s' * (len(names) > 1)}"
        key, extra = str(row.values.get("key")), {"checkers": tuple(checkers)}
        found.append(Item(key, [{"role": "user", "content": prompt}], " ".join(names), "en", tag, extra))
    if kinds.intersection(LANGUAGE_KINDS):
        require_language_detector()
    return found


def strict_verdicts(item: Item, text: str) -> str:
    """For each instruction, whether the text follows it."""
    return json.dumps(follows(item.extra["checkers"], text))


def loose_verdicts(item: Item, text: str) -> str:
    """For each instruction, whether the text follows it in one of the loose readings."""
    return json.dumps(loosely_follows(item.extra["checkers"], text))


def all_followed(pairs: Sequence[tuple[Item, str]]) -> list[bool]:
    """Whether all verdicts of an answer are good."""
    return [all(json.loads(verdicts)) for _, verdicts in pairs]


def _share(verdicts: str) -> tuple[int, int]:
    followed = json.loads(verdicts)
    return sum(followed), len(followed)


TASK = Task(
    name="ifeval",
    version=1,
    kind="generate",
    items=items,
    strict=strict_verdicts,
    flexible=loose_verdicts,
    judge=all_followed,
    settings={"max_new_tokens": 1280, "temperature": 0.0},
    measures={
        "instruction_accuracy": lambda item, text: _share(strict_verdicts(item, text)),
        "instruction_accuracy_flexible": lambda item, text: _share(loose_verdicts(item, text)),
    },
)
