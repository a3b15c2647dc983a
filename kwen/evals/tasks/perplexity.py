"""Bits a byte on held-out text: DIR/held_out.jsonl, one {"text", "source"?, "language"?, "kind"?, "file"?, "id"?} a line."""

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
        facts = {key: row.get(key, UNKNOWN) for key in ("source", "language", "kind")}
        facts["id"] = row.get("id", f"line {number}")
        facts["file"] = row.get("file", "")
        facts["text"] = row.get("text")
        for key, value in facts.items():
            facts[key] = check_text(str(value) if key == "id" else value, f'{path}, line {number}: "{key}"')
        if facts["id"] in found:
            raise UserError(f"{path}, line {number}: id {facts['id']!r} stands twice")
        if facts["text"]:
            extra = {"source": facts["source"]} | ({"file": facts["file"]} if facts["file"] else {})
            found[facts["id"]] = Item(facts["id"], facts["text"], "", facts["language"], facts["kind"], extra)
    if not found:
        raise UserError(f"{path}: no text in it; build the corpus with a held-out share above 0")
    return list(found.values())


TASK = Task(name="perplexity", version=1, kind="perplexity", items=items, metric="bits_per_byte",
            settings={"window": 2048, "stride": 1024})
