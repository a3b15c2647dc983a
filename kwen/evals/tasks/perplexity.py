"""Bits a byte on held-out text: DIR/held_out.jsonl, one {"text", "source"?, "language"?, "kind"?, "file"?, "id"?} a line.

Values are text; what is absent or null is reported as unknown, a file as none.
"""

from pathlib import Path

from kwen.errors import UserError
from kwen.evals.generations import check_text, read_rows
from kwen.evals.task import Item, Task

UNKNOWN = "unknown"


def items(data: Path | None, seed: int) -> list[Item]:
    """The texts of `data`/held_out.jsonl, in the file's order; a text without an id is called by its line number.

    Raises UserError without `data`, without the file, and with the line number for a malformed row or an id seen before.
    """
    if data is None:
        raise UserError("perplexity reads held-out text: give --data a folder with held_out.jsonl, such as a built corpus")
    path = data / "held_out.jsonl"
    found: dict[str, Item] = {}
    for number, row in read_rows(path):
        known = {key: value for key, value in row.items() if value is not None}
        if type(known.get("id")) is int:
            known["id"] = str(known["id"])
        facts = {"id": f"line {number}"} | dict.fromkeys(("source", "language", "kind"), UNKNOWN) | known
        for key in ("id", "text", "source", "language", "kind", "file"):
            if key in facts or key == "text":
                check_text(facts.get(key), f'{path}, line {number}: "{key}"')
        if facts["id"] in found:
            raise UserError(f"{path}, line {number}: id {facts['id']!r} stands twice")
        if facts["text"]:
            extra = {key: facts[key] for key in ("source", "file") if key in facts}
            found[facts["id"]] = Item(facts["id"], facts["text"], "", facts["language"], facts["kind"], extra)
    if not found:
        raise UserError(f"{path}: no text in it; build the corpus with a held-out share above 0")
    return list(found.values())


TASK = Task(name="perplexity", version=1, kind="perplexity", items=items, metric="bits_per_byte",
            settings={"window": 2048, "stride": 1024})
