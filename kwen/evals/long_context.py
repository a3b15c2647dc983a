"""How far a model reads beyond its trained length: Table 3's perplexity by length, memory, needle and passkey, part by part."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kwen.engine.language_model import LanguageModel
from kwen.errors import UserError
from kwen.evals.generations import read_rows
from kwen.evals.perplexity_by_length import VARIANTS, perplexity_by_length
from kwen.evals.retrieval import DEPTHS, FORMS, TRIALS, least_length, retrieval
from kwen.evals.run import model_hash
from kwen.files import json_hash, write_text
from kwen.progress import Progress, part_of, silent

_TABLES = ("perplexity", "stderr")


def joined(lm: LanguageModel, sources: Mapping[str, Sequence[str]], tokens: float) -> list[str]:
    """Texts of so many tokens: the documents of each source in their order, a blank line between two. The longest there is where
    no source has so many."""
    texts, rests = [], []
    for documents in sources.values():
        parts: list[str] = []
        length = 0
        for text, ids in zip(documents, lm.tokenizer.encode_batch(list(documents)), strict=True):
            parts.append(text)
            length += len(ids)
            if length >= tokens:
                texts.append("\n\n".join(parts))
                parts, length = [], 0
        rests.append("\n\n".join(parts))
    return texts or [max(rests, key=len)]


def long_context(
    lm: LanguageModel,
    documents: Sequence[str],
    lengths: Sequence[int] | None = None,
    needle_lengths: Sequence[int] | None = None,
    depths: Sequence[float] = DEPTHS,
    trials: int = TRIALS,
    seed: int = 0,
    keep: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Table 3 and the needle test of one model, as JSON: {"model_hash", "trained": T, "lengths", "perplexity": {variant: [...]},
    "stderr", "documents", "memory_bytes": {"full", "window"}, "needle": as `retrieval` gives it, "passkey": the same}; needle and
    passkey alone where there are no documents.

    lengths: in tokens, by default T/2, T, 2 T, 4 T and 8 T, as far as a document reaches. needle_lengths: by default those of
    `lengths` that hold needle and question. memory_bytes: the most that keys and values of one text of the longest length took,
    without and with windows. Needle and passkey are read with all techniques. keep: a file of the parts that are done (a variant,
    or a length of a test), so that the same call goes on after a kill; UserError where it is of another model, text or setting.
    """
    trained = lm.config.trained_length
    usual = [trained // 2, *(trained << doubled for doubled in range(4))]
    if lengths is None and documents:
        most = max(len(ids) + 1 for ids in lm.tokenizer.encode_batch(list(documents)))
        lengths = [length for length in usual if length <= most]
        if not lengths:
            raise UserError(f"long context: the longest text has {most} tokens; give one of {trained // 2} at least")
    lengths = lengths or usual
    asked = {
        kind: needle_lengths or [length for length in lengths if length >= least_length(lm, kind)] or [least_length(lm, kind)]
        for kind in FORMS
    }
    settings = {"depths": [*depths], "trials": trials, "seed": seed, "lengths": [*lengths], "asked": asked}
    facts = {"model_hash": model_hash(lm), "documents_hash": json_hash([*documents]), "settings": settings}
    parts = _Parts(keep, facts, (len(VARIANTS) if documents else 0) + sum(map(len, asked.values())), progress)
    result: dict[str, Any] = {"model_hash": facts["model_hash"], "trained": trained, "lengths": [*lengths]}
    if documents:
        tables = [
            parts.part(variant, partial(perplexity_by_length, lm, documents, lengths, (variant,))) for variant in VARIANTS
        ]
        merged = {key: {name: row for table in tables for name, row in table[key].items()} for key in (*_TABLES, "cache_bytes")}
        memory = {"full": merged["cache_bytes"]["ntk+logn"], "window": merged["cache_bytes"]["ntk+logn+window"]}
        result |= {key: merged[key] for key in _TABLES} | {"documents": tables[0]["documents"], "memory_bytes": memory}
    for kind in FORMS:
        columns = [
            parts.part(f"{kind} {length}", partial(retrieval, lm, [length], depths, trials, kind, seed=seed))["found"]
            for length in asked[kind]
        ]
        found = [[column[row][0] for column in columns] for row in range(len(depths))]
        result[kind] = {"lengths": [*asked[kind]], "depths": [*depths], "found": found, "n": trials}
    return result


class _Parts:
    """The parts of a measurement by name, kept in a file as each is done."""

    def __init__(self, path: Path | None, facts: dict[str, Any], count: int, progress: Progress) -> None:
        self._path, self._count, self._progress = path, count, progress
        self._kept: dict[str, Any] = facts | {"parts": {}}
        self._asked = 0
        if path is not None and path.exists():
            kept = next((row for _, row in read_rows(path)), {})
            other = [key for key in facts if kept.get(key) != json.loads(json.dumps(facts[key]))]
            if other or not isinstance(kept.get("parts"), dict):
                of = " and ".join(other) or "kind of file"
                raise UserError(f"{path}: parts of another {of}; choose another place, or remove it to start anew")
            self._kept = kept

    def part(self, name: str, make: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        """What `make(progress=...)` gives, or gave before."""
        if name not in self._kept["parts"]:
            self._kept["parts"][name] = make(progress=part_of(self._progress, self._asked, self._count, part=name))
            if self._path is not None:
                write_text(self._path, json.dumps(self._kept) + "\n")
        self._asked += 1
        return self._kept["parts"][name]
