"""Beyond the trained length T without training (report section 5): Table 3's perplexity by length, with each technique added in
turn, and what windows save of the cache.

All variants are the loaded model under another config, its weights shared. A text is judged at L tokens by a pass over its first
L tokens, the start token among them; every token but that is predicted once. Without dynamic NTK a pass over the longest cut
holds the shorter ones, and with it a pass over the longest of each chunk of lengths: there are as many passes as there are bases.
"""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from kwen.engine.generator import Generator
from kwen.engine.language_model import LanguageModel
from kwen.engine.sampler import SamplingParams
from kwen.errors import UserError
from kwen.evals.perplexity import start_token
from kwen.model.config import ModelConfig
from kwen.model.rope import chunk_of
from kwen.model.transformer import Transformer
from kwen.progress import Progress, part_of, silent

VARIANTS = ("plain", "ntk", "ntk+logn", "ntk+logn+window")
"""Table 3's rows, each with one technique more."""
ANSWER_TOKENS = 12
"""Room for an answer after the longest text."""
_EIGHTHS = 8


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
        "max_position_embeddings": max(longest + ANSWER_TOKENS, config.max_position_embeddings),
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
