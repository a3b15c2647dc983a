"""Beyond the trained length T without training (report section 5): Table 3's perplexity by length, with each technique added in
turn; what windows save of the cache; and whether a number hidden in a long text is found again.

All variants are the loaded model under another config, its weights shared. A text is judged at L tokens by a pass over its first
L tokens, the start token among them; every token but that is predicted once. Without dynamic NTK a pass over the longest cut
holds the shorter ones, and with it a pass over the longest of each chunk of lengths: there are as many passes as there are bases.
"""

import json
import random
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kwen.engine.generator import Generator
from kwen.engine.language_model import LanguageModel
from kwen.engine.sampler import SamplingParams
from kwen.errors import UserError
from kwen.evals.generations import read_rows
from kwen.evals.perplexity import start_token
from kwen.evals.run import model_hash
from kwen.files import json_hash, write_text
from kwen.model.config import ModelConfig
from kwen.model.rope import chunk_of
from kwen.model.transformer import Transformer
from kwen.nanoworld.documents import documents as nanoworld_documents
from kwen.progress import Progress, part_of, silent

VARIANTS = ("plain", "ntk", "ntk+logn", "ntk+logn+window")
"""Table 3's rows, each with one technique more."""
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where a needle is hidden: 0 at the beginning of the text, 1 at its end."""
TRIALS = 5
"""Texts for each length and depth."""
_TABLES = ("perplexity", "stderr")
_ANSWER_TOKENS = 12
_SEAMS = 6  # tokens that another number and a cut between sentences can cost
_EIGHTHS = 8
_FILLER = {"article": 3, "overview": 1, "story": 4, "reading": 2, "two_people": 1}  # nanoworld's prose
_PASSKEY_FILLER = "The road goes on over the hill. The wind turns, and the road comes back down. So the day passes. "
_FORMS = {
    "needle": (
        "The bell in the tower of Averlin has the number {number}, as its maker noted. ",
        "Question: Which number has the bell in the tower of Averlin?\nAnswer: The bell in the tower of Averlin has the number",
    ),
    "passkey": (
        "The pass key is {number}. Keep it in mind: {number} is the pass key. ",
        "What is the pass key? The pass key is",
    ),
}


def layer_windows(layers: int, trained_length: int, longest: int) -> tuple[int | None, ...]:
    """Windows of T in the lowest eighth of the layers, 2 T in the next, 4 T in the one after, and so on upwards; None from
    `longest` on.

    The developers' one example (QwenLM/Qwen issue 422) has four layers a step at 32 layers.
    """
    step = max(1, layers // _EIGHTHS)
    widths = (trained_length << min(layer // step, 31) for layer in range(layers))
    return tuple(width if width < longest else None for width in widths)


def switches(config: ModelConfig, variant: str, longest: int) -> dict[str, Any]:
    """What a variant changes in `config` for texts of up to `longest` tokens."""
    windows = layer_windows(config.num_hidden_layers, config.trained_length, longest) if "window" in variant else None
    return {
        "use_dynamic_ntk": "ntk" in variant,
        "use_logn_attn": "logn" in variant,
        "attention_windows": windows,
        "seq_length": config.trained_length,
        "max_position_embeddings": max(longest + _ANSWER_TOKENS, config.max_position_embeddings),
    }


def perplexity_by_length(
    lm: LanguageModel,
    documents: Sequence[str],
    lengths: Sequence[int],
    variants: Sequence[str] = VARIANTS,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Mean perplexity of `documents` cut to each of `lengths` tokens: {"perplexity": {variant: [one a length]}, "stderr": the
    same, "documents": how many, "cache_bytes": {variant: the most that a text's keys and values took}}.

    Only documents of max(lengths) tokens and more count, so that all lengths are of the same texts; UserError where there is
    none. The standard error is that of the mean over documents, 0 for a single one.
    """
    longest = max(lengths)
    start = start_token(lm)
    texts = [[start, *ids][:longest] for ids in lm.tokenizer.encode_batch(list(documents)) if len(ids) >= longest - 1]
    if min(lengths) < 2 or not texts:
        most = max((len(ids) + 1 for ids in lm.tokenizer.encode_batch(list(documents))), default=0)
        raise UserError(
            f"perplexity by length: no text of {longest} tokens (the longest has {most}); give longer ones or less length"
        )
    result: dict[str, Any] = {"perplexity": {}, "stderr": {}, "documents": len(texts), "cache_bytes": {}}
    for number, variant in enumerate(variants):
        model = lm.model.with_switches(**switches(lm.config, variant, longest))
        told = part_of(progress, number, len(variants), variant=variant)
        rows, result["cache_bytes"][variant] = _perplexities(model, lm, texts, lengths, told)
        result["perplexity"][variant] = [statistics.fmean(row) for row in rows]
        result["stderr"][variant] = [statistics.stdev(row) / len(row) ** 0.5 if len(row) > 1 else 0.0 for row in rows]
    return result


def _perplexities(
    model: Transformer, lm: LanguageModel, texts: list[list[int]], lengths: Sequence[int], progress: Progress
) -> tuple[list[list[float]], int]:
    """Perplexity of each text at each length, and the most bytes of cache that one text took."""
    generator = Generator(model, lm.tokenizer, slots=1)

    def base(length: int) -> int:
        return chunk_of(length, model.config.trained_length) if model.config.use_dynamic_ntk else 0

    longest_of = {base(length): length for length in sorted(lengths)}
    found: list[list[float]] = [[] for _ in lengths]
    for done, text in enumerate(texts):
        for chunk, longest in longest_of.items():
            (whole,) = generator.generate([text[:longest]], [SamplingParams(1, prompt_logprobs=0)])
            logprobs = [one.logprob for one in whole.prompt_logprobs if one.logprob is not None]  # of all but the first token
            nats = -np.cumsum(logprobs, dtype=np.float64)
            for row, length in zip(found, lengths, strict=True):
                if base(length) == chunk:
                    row.append(float(np.exp(nats[length - 2] / (length - 1))))
        progress(done + 1, len(texts))
    engine = generator.engine
    return found, engine.statistics().most_blocks_used * engine.runner.block_bytes


def retrieval(
    lm: LanguageModel,
    lengths: Sequence[int],
    depths: Sequence[float] = DEPTHS,
    trials: int = TRIALS,
    kind: str = "needle",
    filler: str | None = None,
    variant: str = VARIANTS[-1],
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """How often a number hidden at each depth of a text of each length is found again: {"lengths", "depths", "found": [[share for
    each length] for each depth], "n": trials}.

    kind: "needle", in prose, nanoworld's or `filler`, or "passkey", in one line said over and over. A text, its question and the
    answer take `length` tokens, less what no whole sentence of filler fits into. Greedy; right is an answer whose first number
    is the hidden one. Texts are a pure function of (seed, kind, length, depth, trial). Raises UserError for a length that does
    not hold the question.
    """
    if kind not in _FORMS:
        raise UserError(f"retrieval: kind {kind!r} is unknown; use one of {', '.join(_FORMS)}")
    if min(lengths) < (least := least_length(lm, kind)):
        raise UserError(f"retrieval: {kind} and question take {least} tokens; length {min(lengths)} does not hold them")
    model = lm.model.with_switches(**switches(lm.config, variant, max(lengths)))
    generator = Generator(model, lm.tokenizer, slots=4)
    found = [[0.0] * len(lengths) for _ in depths]
    for column, length in enumerate(lengths):
        numbers, prompts = [], []
        for depth in depths:
            for trial in range(trials):
                rng = random.Random(f"{seed}/{kind}/{length}/{depth}/{trial}")
                numbers.append(str(rng.randint(10_000, 99_999)))
                prompts.append(_hidden(lm, kind, filler, numbers[-1], length - _ANSWER_TOKENS, depth, rng))
        told = part_of(progress, column, len(lengths), length=str(length))
        params = SamplingParams(_ANSWER_TOKENS, stop_token_ids=lm.stop_token_ids)
        answers = generator.generate(prompts, [params] * len(prompts), told)
        for index, (number, answer) in enumerate(zip(numbers, answers, strict=True)):
            first = re.search(r"\d+", answer.text)
            found[index // trials][column] += (first is not None and first[0] == number) / trials
    return {"lengths": [*lengths], "depths": [*depths], "found": found, "n": trials}


def least_length(lm: LanguageModel, kind: str) -> int:
    """Tokens that needle, question and answer take without any filler, at most."""
    statement, question = _FORMS[kind]
    return 1 + len(lm.tokenizer.encode(statement.format(number=99_999) + "\n" + question)) + _ANSWER_TOKENS + _SEAMS


def _hidden(
    lm: LanguageModel, kind: str, filler: str | None, number: str, room: int, depth: float, rng: random.Random
) -> list[int]:
    """Token ids of a text of up to `room` tokens with the number at `depth`, and the question at its end."""
    statement, question = _FORMS[kind]
    encode = lm.tokenizer.encode
    needle, asked = encode(statement.format(number=number)), encode("\n" + question)
    left = room - 1 - len(needle) - len(asked)
    sentences: list[list[int]] = []
    for sentence in _sentences(kind, filler, rng):
        ids = encode(sentence)
        if len(ids) > left:
            break
        sentences.append(ids)
        left -= len(ids)
    sentences.insert(round(depth * len(sentences)), needle)
    return [start_token(lm), *(token for sentence in sentences for token in sentence), *asked]


def _sentences(kind: str, filler: str | None, rng: random.Random) -> Iterator[str]:
    """Filler without end, from a place of its own in each text."""
    if kind == "passkey":
        while True:
            yield _PASSKEY_FILLER
    if filler is None:
        while True:
            for document in nanoworld_documents(rng.getrandbits(32), "held_out", 50, _FILLER):
                if document.language == "en":
                    yield document.text + "\n"
    sentences = [one + " " for one in re.split(r"(?<=[.!?])\s", filler) if one.strip()]
    if not sentences:
        raise UserError("retrieval: the filler has no sentences; give a text or none")
    at = rng.randrange(len(sentences))
    while True:
        yield sentences[at % len(sentences)]
        at += 1


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
    """Table 3 and the needle test of one model, as JSON: {"trained": T, "lengths", "perplexity": {variant: [...]}, "stderr",
    "documents", "memory_bytes": {"full", "window"}, "needle": as `retrieval` gives it, "passkey": the same}; the last two alone
    where there are no documents.

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
        for kind in _FORMS
    }
    settings = {"depths": [*depths], "trials": trials, "seed": seed, "lengths": [*lengths], "asked": asked}
    facts = {"model_hash": model_hash(lm), "documents_hash": json_hash([*documents]), "settings": settings}
    parts = _Parts(keep, facts, (len(VARIANTS) if documents else 0) + sum(map(len, asked.values())), progress)
    result: dict[str, Any] = {"trained": trained, "lengths": [*lengths]}
    if documents:
        tables = [
            parts.part(variant, partial(perplexity_by_length, lm, documents, lengths, (variant,))) for variant in VARIANTS
        ]
        merged = {key: {name: row for table in tables for name, row in table[key].items()} for key in (*_TABLES, "cache_bytes")}
        memory = {"full": merged["cache_bytes"]["ntk+logn"], "window": merged["cache_bytes"]["ntk+logn+window"]}
        result |= {key: merged[key] for key in _TABLES} | {"documents": tables[0]["documents"], "memory_bytes": memory}
    for kind in _FORMS:
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
