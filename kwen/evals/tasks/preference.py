"""Preference accuracy (the report's Table 4): how often a model puts the better of two replies first.

preference   DIR/preference, any files of pairs that `kwen.verify.pairs` reads (HH, Open Assistant, Kwen's own held_out/*.jsonl),
             each a kind of its own unless its rows have a tag

A reward model gives each reply a score. A language model is asked for each reply's loglikelihood under its chat template, with
the token that ends an answer; flexible is then by character. Equal replies, empty ones, and pairs without a shared prompt are
passed over. Where both sides come out equal, the answer is not right.
"""

import json
import math
from pathlib import Path

from kwen.errors import UserError
from kwen.evals.task import Item, Task
from kwen.evals.tasks.choosing import CHOICES, told
from kwen.evals.tasks.perplexity import UNKNOWN
from kwen.verify.pairs import read_pairs

FOLDER = "preference"
_SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz")


def items(data: Path | None, seed: int) -> list[Item]:
    """The pairs of all files, in the files' order by name; an id is the file and the pair's number in it, from 1."""
    if data is None:
        raise UserError(f"preference needs pairs: give --data a folder that holds {FOLDER}/ with files of pairs")
    root = data / FOLDER
    files = sorted(path for path in root.rglob("*") if path.name.endswith(_SUFFIXES) and path.is_file())
    if not files:
        raise UserError(f"preference: no file of pairs ({', '.join(_SUFFIXES)}) in {root}; put one there")
    found = [
        Item(f"{path.relative_to(root).as_posix()} {number}", pair.messages, "0", UNKNOWN, pair.tag,
             choices=(pair.chosen, pair.rejected))
        for path in files
        for number, pair in enumerate(read_pairs(path), start=1)
        if not pair.flaw
    ]  # fmt: skip
    if not found:
        raise UserError(f"preference: {root} holds no pair of two different replies to one prompt; put one there")
    return found


def preferred(item: Item, text: str) -> str | None:
    """The number of the better reply by score or loglikelihood; None where they are equal."""
    return _greater(_scores(text) or told(item, text)[0])


def preferred_per_character(item: Item, text: str) -> str | None:
    """The same by loglikelihood a character; scores are compared as they are."""
    if (scores := _scores(text)) is not None:
        return _greater(scores)
    return _greater([value / max(1, len(reply)) for value, reply in zip(told(item, text)[0], item.choices, strict=True)])


def _scores(text: str) -> list[float] | None:
    """Both replies' scores out of a reward model's answer; None for a text that is none."""
    try:
        scores = [float(score) for score in json.loads(text)["scores"]]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return scores if len(scores) == 2 and all(map(math.isfinite, scores)) else None


def _greater(values: list[float]) -> str | None:
    return None if values[0] == values[1] else str(int(values[1] > values[0]))


TASK = Task(name="preference", version=1, kind="preference", items=items, **{**CHOICES, "strict": preferred,
            "flexible": preferred_per_character})  # fmt: skip
