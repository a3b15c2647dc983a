"""Bits a byte on held-out books: general compressors beside a model that never saw them.

    python benchmarks/books.py runs/books/base [--corpus runs/books/corpus] [--json FILE]

Every row reads the same bytes: the held-out text of the corpus that the model was trained from, a book whole and in reading
order. xz and PPMd see the book alone; primed PPMd has first read the corpus's training text, so it knows what the model was
trained on. The model sees windows of `--window` tokens, each predicting what the one before did not (kwen/evals/perplexity.py).
PPMd needs `pip install pyppmd`.
"""

import argparse
import datetime
import lzma
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from kwen.corpus import reading
from kwen.corpus.archives import natural_key
from kwen.engine.language_model import LanguageModel, load
from kwen.errors import UserError
from kwen.evals.perplexity import bits_per_byte
from kwen.files import write_json

PPMD_ORDER = 8
PPMD_MEMORY = 1 << 30  # bytes; a model that runs out starts afresh, and for 34 MB of novels more changes nothing
ROWS = ("xz -9e", f"PPMd order {PPMD_ORDER}", f"PPMd order {PPMD_ORDER}, primed", "Kwen")


def xz_bytes(book: bytes) -> int:
    """Size of `book` as `xz -9e` writes it."""
    return len(lzma.compress(book, preset=9 | lzma.PRESET_EXTREME))


def ppmd_bytes(book: bytes, primer: bytes = b"") -> int:
    """What PPMd (variant H) adds to its output for `book` after it has read `primer`."""
    import pyppmd

    encoder = pyppmd.Ppmd7Encoder(PPMD_ORDER, PPMD_MEMORY)
    encoder.encode(primer)
    return len(encoder.encode(book)) + len(encoder.flush())


def training_text(corpus: Path) -> bytes:
    """The corpus's training documents in reading order: the shuffled chapters go back to their books."""
    records = sorted(reading.documents(corpus), key=lambda record: natural_key(record["id"]))
    return "\n\n".join(record["text"] for record in records).encode() + b"\n\n"


def measure_book(text: str, primer: bytes, lm: LanguageModel, window: int, stride: int) -> dict[str, Any]:
    """{"bytes", "rows": {row: {"bits_per_byte", "seconds"}}} of one book."""
    book = text.encode()
    ways = (
        lambda: 8 * xz_bytes(book) / len(book),
        lambda: 8 * ppmd_bytes(book) / len(book),
        lambda: 8 * ppmd_bytes(book, primer) / len(book),
        lambda: bits_per_byte(lm, text, window, stride),
    )
    rows = {}
    for name, way in zip(ROWS, ways, strict=True):
        began = time.perf_counter()
        bits = way()
        rows[name] = {"bits_per_byte": round(bits, 4), "seconds": round(time.perf_counter() - began, 2)}
    return {"bytes": len(book), "rows": rows}


def measure(model: Path, corpus: Path, window: int | None, stride: int | None) -> dict[str, Any]:
    """What the table shows, with the settings, the sizes and the machine that gave it."""
    books = reading.held_out_texts(corpus)
    if not books:
        raise UserError(f"{corpus}: holds out nothing; name a corpus with held-out books")
    primer = training_text(corpus)
    lm = load(model)
    window = window or lm.config.max_position_embeddings
    stride = stride or max(1, window // 2)
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "training_bytes": len(primer),
        "parameters": sum(parameter.numel() for parameter in lm.model.parameters()),
        "window": window,
        "stride": stride,
        "books": {label: measure_book(text, primer, lm, window, stride) for label, text in books.items()},
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown, a book a column."""
    labels = list(result["books"])
    names = [label.removesuffix(".tar.gz").rpartition("_")[2] for label in labels]
    lines = ["| bits a byte | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for row in ROWS:
        cells = (f"{result['books'][label]['rows'][row]['bits_per_byte']:.3f}" for label in labels)
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Print the table; write the result where `--json` says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, nargs="?", default=Path("runs/books/base"))
    parser.add_argument("--corpus", type=Path, help="default: the folder `corpus` beside the model")
    parser.add_argument("--window", type=int, help="tokens; default: the model's own context")
    parser.add_argument("--stride", type=int, help="tokens; default: half the window")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    try:
        if not arguments.model.is_dir():
            raise UserError(f"{arguments.model}: no model there; make it with `kwen build books`, or name its folder")
        corpus = arguments.corpus or arguments.model.parent / "corpus"
        result = measure(arguments.model, corpus, arguments.window, arguments.stride)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(result))
    if arguments.json:
        write_json(arguments.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
