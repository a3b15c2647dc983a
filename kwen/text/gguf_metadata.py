"""A tokenizer as the keys `tokenizer.*` of a GGUF file: what `tokenizer_gguf` reads, written."""

import json
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from kwen.text.backends import JsonBackend
from kwen.text.patterns import gguf_pre_tokenizer
from kwen.text.tokenizer import Tokenizer

PRE_NAMES = ("qwen2", "llama-bpe", "smollm", "gpt-2", "default")
"""Values of `tokenizer.ggml.pre`, one for each way of cutting that llama.cpp and Kwen both know; the first that fits is taken."""
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5
PROBES = (
    "It's 2023; they'LL say: \"naïve café\" costs $1,234.56!  Don't   you think?\n\n",
    "def f(x, y=10):\n    return x**2 + y // 3  # 1000000 times\n\n\tif not x: pass\n",
    "通义千问是一个语言模型。2023年8月3日,共7B参数。 日本語のテキスト 한국어 русский язык العربية हिन्दी",
    " leading,trailing \r\n mixed\r\n\r\n   lines   \u3000wide ½ ² x² 🙂👍🏽 é \ufb01 <tag attr='v'>&amp;</tag> a_b-c::d",
    "12 345 6789 0.001 1e-5 0xFF v1.2.3 CamelCaseName snake_case_name HTTPServer I'm we've he'd they're THEY'RE",
)
"""Texts on which the ways of cutting differ, in composed characters: llama.cpp composes none (NFC), as most text needs none."""


@dataclass(frozen=True)
class GGUFTokenizer:
    """metadata: the keys. differing: the share of the probes' tokens that llama.cpp will cut otherwise, 0 where `pre` fits."""

    metadata: dict[str, Any]
    differing: float


def gguf_tokenizer(tokenizer: Tokenizer, rows: int) -> GGUFTokenizer:
    """`tokenizer` for a model whose embedding has `rows` rows; ids without a token become unused ones.

    llama.cpp knows ways of cutting text by name alone. Where none gives the ids of `tokenizer`, the nearest is named and
    `differing` says how far off it is: such a file is right for prompts of token ids, and for text only nearly.
    """
    value = json.loads(tokenizer._parts.backend.to_json(tokenizer.control_tokens))
    vocab: dict[str, int] = value["model"]["vocab"]
    tokens, types = [f"[PAD{number}]" for number in range(rows)], [_UNUSED] * rows
    for spelling, number in vocab.items():
        tokens[number], types[number] = spelling, _NORMAL
    added = {token["content"]: token["id"] for token in value.get("added_tokens") or []} | tokenizer.control_tokens
    for surface, number in added.items():
        hidden = number in tokenizer._parts.hidden
        tokens[number], types[number] = surface, _CONTROL if hidden else _USER_DEFINED
    pre, differing = _nearest(tokenizer, value)
    pairs = (pair if isinstance(pair, str) else " ".join(pair) for pair in value["model"]["merges"])
    metadata: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": list(pairs),
    }
    # of an answer's ends the first is "end of sequence"; llama.cpp stops at the others too
    metadata |= {
        f"tokenizer.ggml.{name}_token_id": stop
        for name, stop in zip(("eos", "eot", "eom"), tokenizer.eos_token_ids, strict=False)
    }
    bos = (
        tokenizer.bos_ids[0]
        if tokenizer.bos_ids
        else tokenizer.control_tokens.get(tokenizer.template_variables.get("bos_token", ""))
    )
    for name, known in (("bos", bos), ("padding", tokenizer.pad_token_id)):
        if known is not None:
            metadata[f"tokenizer.ggml.{name}_token_id"] = known
    metadata["tokenizer.ggml.add_bos_token"] = bool(tokenizer.bos_ids)
    if tokenizer.chat_template is not None:
        metadata["tokenizer.chat_template"] = tokenizer.chat_template
    return GGUFTokenizer(metadata, differing)


def _nearest(tokenizer: Tokenizer, value: dict[str, Any]) -> tuple[str, float]:
    """The name of a pre-tokenizer with equal ids on the probes, else the one with most, and the share of tokens that differ."""
    expected = tokenizer.encode_batch(PROBES)
    best = (PRE_NAMES[0], 1.0)
    for name in PRE_NAMES:
        pre_tokenizer, _, ignore_merges = gguf_pre_tokenizer(name)
        model = value["model"] | {"ignore_merges": ignore_merges}
        text = json.dumps(value | {"pre_tokenizer": pre_tokenizer, "normalizer": None, "model": model}, ensure_ascii=False)
        ids = JsonBackend(text, list(tokenizer.control_tokens), name).encode_batch(PROBES)
        if ids == expected:
            return name, 0.0
        differing = _differing(expected, ids)
        if differing < best[1]:
            best = (name, differing)
    return best


def _differing(expected: list[list[int]], ids: list[list[int]]) -> float:
    """The share of the expected tokens that are not in the longest runs which both have."""
    pairs = zip(expected, ids, strict=True)
    kept = sum(block.size for one, other in pairs for block in SequenceMatcher(None, one, other, False).get_matching_blocks())
    return 1 - kept / sum(map(len, expected))
