"""Whether a number hidden in a long text is found again: a needle in prose, a passkey in one line said over and over."""

import random
import re
from collections.abc import Iterator, Sequence
from typing import Any

from kwen.engine.generator import Generator
from kwen.engine.language_model import LanguageModel
from kwen.engine.sampler import SamplingParams
from kwen.errors import UserError
from kwen.evals.perplexity import start_token
from kwen.evals.perplexity_by_length import ANSWER_TOKENS, VARIANTS, switches
from kwen.nanoworld.documents import documents as nanoworld_documents
from kwen.progress import Progress, part_of, silent

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where a needle is hidden: 0 at the beginning of the text, 1 at its end."""
TRIALS = 5
"""Texts for each length and depth."""
_SEAMS = 6  # tokens that another number and a cut between sentences can cost
_FILLER = {"article": 3, "overview": 1, "story": 4, "reading": 2, "two_people": 1}  # nanoworld's prose
_PASSKEY_FILLER = "The road goes on over the hill. The wind turns, and the road comes back down. So the day passes. "
FORMS = {
    "needle": (
        "The bell in the tower of Averlin has the number {number}, as its maker noted. ",
        "Question: Which number has the bell in the tower of Averlin?\nAnswer: The bell in the tower of Averlin has the number",
    ),
    "passkey": (
        "The pass key is {number}. Keep it in mind: {number} is the pass key. ",
        "What is the pass key? The pass key is",
    ),
}
"""Of each kind of test: what is hidden, and the question."""


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
    if kind not in FORMS:
        raise UserError(f"retrieval: kind {kind!r} is unknown; use one of {', '.join(FORMS)}")
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
                prompts.append(_hidden(lm, kind, filler, numbers[-1], length - ANSWER_TOKENS, depth, rng))
        told = part_of(progress, column, len(lengths), length=str(length))
        params = SamplingParams(ANSWER_TOKENS, stop_token_ids=lm.stop_token_ids)
        answers = generator.generate(prompts, [params] * len(prompts), told)
        for index, (number, answer) in enumerate(zip(numbers, answers, strict=True)):
            first = re.search(r"\d+", answer.text)
            found[index // trials][column] += (first is not None and first[0] == number) / trials
    return {"lengths": [*lengths], "depths": [*depths], "found": found, "n": trials}


def least_length(lm: LanguageModel, kind: str) -> int:
    """Tokens that needle, question and answer take without any filler, at most."""
    statement, question = FORMS[kind]
    return 1 + len(lm.tokenizer.encode(statement.format(number=99_999) + "\n" + question)) + ANSWER_TOKENS + _SEAMS


def _hidden(
    lm: LanguageModel, kind: str, filler: str | None, number: str, room: int, depth: float, rng: random.Random
) -> list[int]:
    """Token ids of a text of up to `room` tokens with the number at `depth`, and the question at its end."""
    statement, question = FORMS[kind]
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
