"""Building a corpus: sources -> normalise -> deduplicate -> split -> shuffle -> train.jsonl, held_out.jsonl, statistics.json.

Where the configuration says so, training documents that share 13 words in a row with a task's test items fall out as well.

Guarantees
    Byte-identical output for the same sources, configuration and seed.
    No held-out text is also a training text, compared by `deduplicate.text_key`.
    Held-out documents keep the order of their source, so that a book can be read on; training documents are shuffled.
    Memory grows with the number of documents (about 300 bytes each), not with their length.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kwen.corpus.deduplicate import Deduplicator, share_of, text_key
from kwen.corpus.documents import Document, Excluded
from kwen.corpus.extract import HTML_EXTRACTOR, normalize
from kwen.corpus.sources import Source, read
from kwen.errors import UserError
from kwen.files import write_json
from kwen.progress import Progress, silent

TRAIN, HELD_OUT, STATISTICS = "train.jsonl", "held_out.jsonl", "statistics.json"
SAMPLES = 3  # exclusion samples kept for each reason
SAMPLE_CHARACTERS = 200
REPORT_EVERY = 500  # documents
OVERLAP = "13 words shared with a test item"
UNKNOWN = "unknown"  # the language of a document whose source does not say


class Decontaminate(BaseModel):
    """The tasks whose test items no training document may overlap with; `data` is the folder of the benchmarks' own files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[str, ...] = Field(min_length=1)
    data: Path | None = None


class CorpusConfig(BaseModel):
    """What a corpus is made of. `deduplicate` drops all but the first of texts that are equal after normalisation; between
    the held-out and the training part that happens in any case. `decontaminate` drops training documents (report, section 2)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[Source, ...] = Field(min_length=1)
    deduplicate: bool = True
    decontaminate: Decontaminate | None = None

    @model_validator(mode="after")
    def _names_are_unique(self) -> "CorpusConfig":
        twice = [label for label, count in Counter(source.label for source in self.sources).items() if count > 1]
        if twice:
            raise ValueError(f"two sources are called {twice[0]!r}; give each a name of its own")
        return self


def load_config(path: Path | str) -> CorpusConfig:
    """The corpus configuration in a YAML file. Raises UserError that names the file and the key."""
    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}); name a YAML file") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    try:
        return CorpusConfig.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise UserError(f"{path}: {key}: {first['msg'].removeprefix('Value error, ')}") from None


class _Row(NamedTuple):
    """A training document that waits in the spool: where it lies there, and what the statistics need."""

    offset: int
    length: int
    key: bytes
    source: str
    language: str
    text_bytes: int


class _Statistics:
    """Counts while a corpus is built."""

    def __init__(self, config: CorpusConfig) -> None:
        self.parts: dict[str, Counter[str]] = {part: Counter({"documents": 0, "bytes": 0}) for part in ("train", "held_out")}
        keys = ("train_documents", "train_bytes", "held_out_documents", "held_out_bytes", "excluded", "invalid_utf8")
        self.sources: dict[str, Counter[str]] = {source.label: Counter(dict.fromkeys(keys, 0)) for source in config.sources}
        self.languages: dict[str, Counter[str]] = {}
        self.files: dict[str, Counter[str]] = {}
        self.excluded: dict[str, dict[str, Any]] = {}

    def keep(self, part: str, source: str, language: str, text_bytes: int) -> None:
        """Count a document of `part` ("train" or "held_out")."""
        self.parts[part].update(documents=1, bytes=text_bytes)
        self.sources[source].update({f"{part}_documents": 1, f"{part}_bytes": text_bytes})
        self.languages.setdefault(language, Counter(documents=0, bytes=0)).update(documents=1, bytes=text_bytes)

    def keep_held_out(self, document: Document) -> None:
        """Count a held-out document, for its file too."""
        size = len(document.text.encode())
        self.keep("held_out", document.source, document.language or UNKNOWN, size)
        self.files.setdefault(document.file or document.source, Counter()).update(documents=1, bytes=size)

    def exclude(self, excluded: Excluded) -> None:
        """Count something left out, and keep it as a sample if it is among the first for its reason."""
        self.sources[excluded.source].update(excluded=1)
        entry = self.excluded.setdefault(excluded.reason, {"count": 0, "samples": []})
        entry["count"] += 1
        if len(entry["samples"]) < SAMPLES:
            entry["samples"].append({"id": excluded.id, "text": excluded.text[:SAMPLE_CHARACTERS]})

    def as_dict(self) -> dict[str, Any]:
        """The content of statistics.json; bytes are of UTF-8 text, `documents` and `bytes` those of both parts together."""
        return {
            "documents": sum(part["documents"] for part in self.parts.values()),
            "bytes": sum(part["bytes"] for part in self.parts.values()),
            **{name: dict(part) for name, part in self.parts.items()},
            "sources": {name: dict(counts) for name, counts in self.sources.items()},
            "languages": {name: dict(counts) for name, counts in sorted(self.languages.items())},
            "held_out_files": {name: dict(counts) for name, counts in self.files.items()},
            "excluded": dict(sorted(self.excluded.items())),
            "html_extractor": HTML_EXTRACTOR,
        }


def build(
    config: CorpusConfig,
    seed: int,
    out: Path | str,
    progress: Progress = silent,
    overlaps: Callable[[str], bool] | None = None,
) -> dict[str, Any]:
    """Build the corpus into the existing, empty folder `out` and return what statistics.json holds.

    `seed` decides the order of the training documents. `overlaps` tells a text that shares words with the test items of
    `config.decontaminate`, and goes with it. Progress counts sources; its facts are documents and characters.
    Raises UserError for an empty corpus and for whatever `sources.read` refuses.
    """
    assert (overlaps is None) == (config.decontaminate is None)
    out = Path(out)
    statistics = _Statistics(config)
    seen = {"train": Deduplicator(), "held_out": Deduplicator()}
    rows: list[_Row] = []
    spool_path = out / f"{TRAIN}.spool"
    with open(spool_path, "w+b") as spool, open(out / HELD_OUT, "wb") as held_out:
        for document, key in _documents(config, statistics, progress):
            part = "held_out" if document.held_out else "train"
            if not seen[part].is_new(key) and config.deduplicate:
                statistics.exclude(_excluded(document, "duplicate"))
                continue
            if overlaps is not None and not document.held_out and overlaps(document.text):
                statistics.exclude(_excluded(document, OVERLAP))
                continue
            line = _line(document)
            if document.held_out:
                held_out.write(line)
                statistics.keep_held_out(document)
            else:
                size = len(document.text.encode())
                rows.append(_Row(spool.tell(), len(line), key, document.source, document.language or UNKNOWN, size))
                spool.write(line)
        _write_train(out / TRAIN, spool, rows, seen["held_out"], seed, statistics)
    spool_path.unlink()
    result = statistics.as_dict()
    if not result["train"]["documents"]:
        reasons = ", ".join(f"{entry['count']} {reason}" for reason, entry in result["excluded"].items())
        raise UserError(
            f"corpus: no training document in {', '.join(statistics.sources)}"
            f" ({result['held_out']['documents']} held out; left out: {reasons or 'nothing'}); name a source that holds text"
        )
    write_json(out / STATISTICS, result)
    return result


def _documents(config: CorpusConfig, statistics: _Statistics, progress: Progress) -> Iterator[tuple[Document, bytes]]:
    """Normalised documents with their part decided, and their keys; what falls out on the way is counted."""
    documents, characters = 0, 0
    for number, source in enumerate(config.sources):
        progress(number, len(config.sources), source=source.label, documents=documents)
        for item in read(source):
            if isinstance(item, Excluded):
                statistics.exclude(item)
                continue
            statistics.sources[item.source].update(invalid_utf8=item.invalid_utf8)
            text = normalize(item.text)
            if not text.strip():
                statistics.exclude(_excluded(item, "empty"))
                continue
            key = text_key(text)
            yield replace(item, text=text, held_out=item.held_out or share_of(key) < source.held_out_share), key
            documents, characters = documents + 1, characters + len(text)
            if documents % REPORT_EVERY == 0:
                progress(number, len(config.sources), source=source.label, documents=documents, characters=characters)
    progress(len(config.sources), len(config.sources), documents=documents, characters=characters)


def _write_train(
    path: Path, spool: BinaryIO, rows: list[_Row], held_out: Deduplicator, seed: int, statistics: _Statistics
) -> None:
    """The spooled documents in an order that `seed` decides, without those that turned out to be held out elsewhere."""
    random.Random(f"{seed}/corpus/order").shuffle(rows)
    with open(path, "wb") as train:
        for row in rows:
            spool.seek(row.offset)
            line = spool.read(row.length)
            if row.key in held_out:
                record = json.loads(line)
                statistics.exclude(Excluded(record["id"], row.source, "same text as a held-out document", record["text"]))
            else:
                train.write(line)
                statistics.keep("train", row.source, row.language, row.text_bytes)


def _line(document: Document) -> bytes:
    record = {
        "id": document.id,
        "text": document.text,
        "source": document.source,
        "language": document.language,
        "kind": document.kind,
        "file": document.file,
    }
    return (json.dumps(record, ensure_ascii=False) + "\n").encode()


def _excluded(document: Document, reason: str) -> Excluded:
    return Excluded(document.id, document.source, reason, document.text)
