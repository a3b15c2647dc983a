"""Reading a built corpus: its documents, its held-out texts file by file, its statistics."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kwen.corpus.pipeline import HELD_OUT, STATISTICS, TRAIN
from kwen.errors import UserError


def statistics(corpus: Path | str) -> dict[str, Any]:
    """What `pipeline.build` returned for the corpus in this folder."""
    path = _file(corpus, STATISTICS)
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        value = None
    if not isinstance(value, dict) or "sources" not in value:
        raise UserError(f"{path}: not a corpus's statistics; build the corpus again")
    return value


def documents(corpus: Path | str, part: str = "train") -> Iterator[dict[str, Any]]:
    """The records {"id", "text", "source", "language", "kind", "file"} of the part "train" or "held_out", in file order."""
    path = _file(corpus, TRAIN if part == "train" else HELD_OUT)
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict) or not isinstance(record.get("text"), str):
                raise UserError(f"{path}, line {number}: not a document; build the corpus again")
            yield record


def held_out_texts(corpus: Path | str) -> dict[str, str]:
    """The held-out text of each file (or source, where documents have no file): its documents in reading order, a blank line
    between them. A book in an archive of chapters comes out whole."""
    texts: dict[str, list[str]] = {}
    for record in documents(corpus, "held_out"):
        texts.setdefault(record["file"] or record["source"], []).append(record["text"])
    return {label: "\n\n".join(parts) for label, parts in texts.items()}


def sample(corpus: Path | str, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """`count` training documents, drawn evenly in one pass; the same seed draws the same ones."""
    generator, drawn = random.Random(f"{seed}/corpus/sample"), []
    for number, record in enumerate(documents(corpus)):
        if number < count:
            drawn.append(record)
        elif (place := generator.randrange(number + 1)) < count:
            drawn[place] = record
    return drawn


def _file(corpus: Path | str, name: str) -> Path:
    path = Path(corpus) / name
    if not path.is_file():
        raise UserError(f"{corpus}: not a corpus (no {name}); name the folder that `kwen corpus build` or `kwen build` made")
    return path
