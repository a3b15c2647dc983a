"""How far the family's base model reads beyond the length it was trained at: Table 3's rows, memory with windows, needle and
passkey (`kwen.evals.long_context`), on the corpus's held-out documents joined to long texts.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kwen.family.recipe import BASES, RELEASED
from kwen.progress import Progress

if TYPE_CHECKING:
    from kwen.engine.language_model import LanguageModel

LONG_CONTEXT = "long_context.json"
DEPTHS = (0.0, 0.5, 1.0)
TRIALS = 4
_TIMES = (0.5, 1, 2, 4, 8)
"""Lengths, in trained lengths, as in Table 3."""


def long_context_model(folders: Mapping[str, Path]) -> str | None:
    """The model that is measured: the released one, or the largest base; None where there is none or no text for it."""
    models = [name for name in (RELEASED, *BASES) if name in folders]
    return models[-1] if models and "corpus" in folders else None


def run_long_context(lm: "LanguageModel", corpus: Path, count: int, progress: Progress) -> dict[str, Any]:
    """What `kwen.evals.long_context.long_context` gives for `count` texts of the held-out part of `corpus`, at those lengths that
    all of them reach."""
    from kwen.corpus import reading
    from kwen.evals.long_context import joined, long_context

    sources: dict[str, list[str]] = {}
    for document in reading.documents(corpus, "held_out"):
        sources.setdefault(document["source"], []).append(document["text"])
    trained = lm.config.trained_length
    texts = joined(lm, sources, _TIMES[-1] * trained)[:count]
    reach = min((len(ids) + 1 for ids in lm.tokenizer.encode_batch(texts)), default=0)
    lengths = [length for times in _TIMES if (length := int(times * trained)) <= reach] or [reach]
    return long_context(lm, texts, lengths, depths=DEPTHS, trials=TRIALS, progress=progress)
