"""GGUF files of llama.cpp: architectures qwen2, qwen3 and llama, quantised or not, as a Checkpoint.

Metadata keys and tensor names are those of gguf's `constants.py`; shapes and values are checked by `gguf_file`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kwen.errors import UserError
from kwen.model.config import ModelConfig, RopeScaling
from kwen.model.formats.checkpoint import Checkpoint, match_tensors
from kwen.model.formats.gguf_file import read_gguf
from kwen.model.formats.tensors import HalfSplitRows, LazyTensor, materialize
from kwen.model.rope import inverse_frequencies

ARCHITECTURES = ("qwen2", "qwen3", "llama")
WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
ROPE_FACTORS = "rope_freqs.weight"
_LLAMA3_ORIGINAL_LENGTH = 8192
"""Of every Llama 3.1, 3.2 and 3.3; a GGUF file carries the factors alone, not what they were computed from."""


class _Keys:
    """The metadata of one architecture, read with type checks."""

    def __init__(self, path: Path, metadata: Mapping[str, Any], architecture: str) -> None:
        self.path, self.metadata, self.architecture = path, metadata, architecture

    def get(self, name: str, kind: type, default: Any = None) -> Any:
        """`architecture.name`, of type int or float (a whole number is also a float); UserError for another type."""
        key = f"{self.architecture}.{name}"
        value = self.metadata.get(key, default)
        if value is not default and (isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind)):
            shown = "a list" if isinstance(value, list) else repr(value)[:40]
            raise UserError(f"{self.path}: {key} is {shown}; {kind.__name__} is expected")
        return value

    def need(self, name: str, kind: type) -> Any:
        """The same; UserError where it is absent."""
        value = self.get(name, kind)
        if value is None:
            raise UserError(f"{self.path}: the metadata key {self.architecture}.{name} is missing")
        return value


def read(path: Path) -> Checkpoint:
    """The checkpoint in the GGUF file at `path`, its weights unread; quantised ones read as float32.

    Raises UserError for other architectures, mixtures of experts, sliding windows, split files, unknown rope scaling, types
    that are not read, and every damage that `gguf_file.read_gguf` finds.
    """
    file = read_gguf(path)
    metadata = file.metadata
    architecture = metadata.get("general.architecture")
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UserError(f"{path}: architecture {str(architecture)[:40]!r} is not supported; supported: {known}")
    if metadata.get("split.count", 0) not in (0, 1):
        raise UserError(f"{path}: one of {metadata['split.count']} parts; merge them with llama.cpp's gguf-split first")
    keys = _Keys(path, metadata, architecture)
    try:
        config = _read_config(keys, file.tensors)
    except UserError as error:
        raise UserError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from error
    tensors = match_tensors(path, config, _rename(config, file.tensors))
    return Checkpoint(path, "gguf", config, tensors, _generation_config(metadata), _chat_template(metadata), metadata)


def _read_config(keys: _Keys, tensors: Mapping[str, LazyTensor]) -> ModelConfig:
    for name in ("expert_count", "attention.sliding_window"):
        value = keys.get(name, int, 0)
        if value:
            raise UserError(f"{keys.path}: {keys.architecture}.{name} is {value}; only dense models with full attention are read")
    if "token_embd.weight" not in tensors:
        raise UserError(f"{keys.path}: the weights lack token_embd.weight; not a language model, or a damaged one")
    hidden, heads = keys.need("embedding_length", int), keys.need("attention.head_count", int)
    head_dim = keys.get("attention.key_length", int, hidden // heads if heads else 0)
    for name in ("attention.value_length", "rope.dimension_count"):
        if keys.get(name, int, head_dim) != head_dim:
            raise UserError(f"{keys.path}: {keys.architecture}.{name} is not the head dim {head_dim}; such models are not read")
    config = ModelConfig(
        vocab_size=tensors["token_embd.weight"].shape[0],
        hidden_size=hidden,
        intermediate_size=keys.need("feed_forward_length", int),
        num_hidden_layers=keys.need("block_count", int),
        num_attention_heads=heads,
        num_key_value_heads=keys.get("attention.head_count_kv", int, heads),
        head_dim=head_dim,
        max_position_embeddings=keys.need("context_length", int),
        # stored as float32: its shortest decimal is the number that the original config held
        rms_norm_eps=_shortest(keys.need("attention.layer_norm_rms_epsilon", float)),
        rope_theta=_shortest(keys.get("rope.freq_base", float, 10000.0)),
        rope_scaling=_rope_scaling(keys),
        tie_word_embeddings="output.weight" not in tensors,
        attention_bias="blk.0.attn_q.bias" in tensors,
        attention_output_bias="blk.0.attn_output.bias" in tensors,
        mlp_bias="blk.0.ffn_gate.bias" in tensors,
        qk_norm=keys.architecture == "qwen3",
        model_type=keys.architecture,  # type: ignore[arg-type]
    )
    factors = tensors.get(ROPE_FACTORS)
    return config if factors is None else _with_rope_factors(keys.path, config, factors)


def _shortest(value: float) -> float:
    """The float32 `value` as the shortest decimal that rounds to it: 9.999999974e-06 is 1e-05."""
    for digits in range(1, 10):
        candidate = float(f"{value:.{digits}g}")
        if float(np.float32(candidate)) == value:
            return candidate
    return value


def _rope_scaling(keys: _Keys) -> RopeScaling | None:
    kind = keys.metadata.get(f"{keys.architecture}.rope.scaling.type", "none")
    if kind == "none":
        return None
    if kind not in ("linear", "yarn"):
        raise UserError(f"{keys.path}: rope scaling {str(kind)[:40]!r} is not supported; supported: none, linear, yarn")
    if keys.get("rope.scaling.attn_factor", float, 1.0) != 1.0 or keys.get("rope.scaling.yarn_log_multiplier", float, 0.0):
        raise UserError(f"{keys.path}: rope scaling with an attention factor or log multiplier of its own is not supported")
    factor = _shortest(keys.need("rope.scaling.factor", float))
    if factor <= 0:
        raise UserError(f"{keys.path}: {keys.architecture}.rope.scaling.factor is {factor}; a positive number is expected")
    if kind == "linear":
        return RopeScaling("linear", factor)
    return RopeScaling("yarn", factor, keys.need("rope.scaling.original_context_length", int))


def _with_rope_factors(path: Path, config: ModelConfig, stored: LazyTensor) -> ModelConfig:
    """`config` with the llama3 scaling whose frequency divisors are `stored`; UserError if they are another scheme's."""
    if config.rope_scaling is None and stored.shape == (config.head_dim // 2,):
        factors = materialize(stored, torch.float32)
        scaling = RopeScaling(
            rope_type="llama3",
            factor=float(factors[-1]),
            original_max_position_embeddings=_LLAMA3_ORIGINAL_LENGTH,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
        )
        scaled = replace(config, rope_scaling=scaling)
        if scaling.factor > 0:
            plain, stretched = inverse_frequencies(config)[0], inverse_frequencies(scaled)[0]
            if torch.allclose(stretched * factors, plain, rtol=1e-4, atol=0):
                return scaled
    raise UserError(f"{path}: {ROPE_FACTORS} holds frequency factors that are not Llama 3's; such models are not supported")


def _rename(config: ModelConfig, stored: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Tensors under Hugging Face names, LLaMA's rotated rows in half-split order; an unknown name stays, to be reported."""
    tensors: dict[str, LazyTensor] = {}
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for name, tensor in stored.items():
        if name == ROPE_FACTORS:
            continue
        base, _, kind = name.rpartition(".")
        match = re.fullmatch(r"blk\.(\d{1,6})\.(\w+)", base)
        if match and match[2] in LAYER:
            part = match[2]
            if config.model_type == "llama" and part in heads and tensor.shape[0] == heads[part] * config.head_dim:
                tensor = HalfSplitRows(tensor, heads[part])
            tensors[f"model.layers.{match[1]}.{LAYER[part]}.{kind}"] = tensor
        else:
            tensors[f"{WHOLE[base]}.{kind}" if base in WHOLE else name] = tensor
    return tensors


def _generation_config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The token ids that end and pad text, in Hugging Face's keys; end of turn and end of text where both are named."""
    ids = {
        "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": metadata.get("tokenizer.ggml.eos_token_id"),
        "pad_token_id": metadata.get("tokenizer.ggml.padding_token_id"),
    }
    config: dict[str, Any] = {key: value for key, value in ids.items() if type(value) is int}
    end_of_turn = metadata.get("tokenizer.ggml.eot_token_id")
    if type(end_of_turn) is int and "eos_token_id" in config and end_of_turn != config["eos_token_id"]:
        config["eos_token_id"] = [end_of_turn, config["eos_token_id"]]
    return config


def _chat_template(metadata: Mapping[str, Any]) -> str | None:
    template = metadata.get("tokenizer.chat_template")
    return template if isinstance(template, str) else None
