"""A model as a GGUF file that llama.cpp runs; `gguf` reads it back to equal tensors.

The container is written by the `gguf` package, one tensor in memory at a time. Which type each tensor takes follows llama.cpp's
own `llama-quantize`: vectors stay float32; Q4_0 and Q4_K_M keep the output projection (a tied embedding too) in Q6_K, Q4_K_M
also some of the value and down projections; a width that 256 does not divide takes the next type of blocks of 32.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from torch import Tensor

from kwen.errors import UserError
from kwen.model.config import ModelConfig
from kwen.model.formats.gguf import LAYER, ROPE_FACTORS, WHOLE
from kwen.model.formats.quantize_blocks import SUPER_BLOCK, layer_rows, quantize_rows
from kwen.model.formats.tensors import LazyTensor, materialize
from kwen.model.quantize import QuantizedLinear
from kwen.model.rope import inverse_frequencies
from kwen.progress import Progress, silent

KINDS = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_k_m")
"""What a file can be told to hold."""
_FILE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 7, "q4_k_m": 15, "bf16": 32}
"""`general.file_type`, llama.cpp's enum llama_ftype."""
_NARROW = {"Q4_K": "Q5_0", "Q6_K": "Q8_0"}
_LAYER = {theirs: ours for ours, theirs in LAYER.items()}
_WHOLE = {theirs: ours for ours, theirs in WHOLE.items()}
_ARCHITECTURES = {"qwen": "qwen2", "qwen2": "qwen2", "qwen3": "qwen3", "llama": "llama"}


def write_gguf(
    path: Path,
    config: ModelConfig,
    tensors: Mapping[str, LazyTensor],
    kind: str,
    tokenizer: Mapping[str, Any],
    name: str,
    layers: Mapping[str, QuantizedLinear] | None = None,
    progress: Progress = silent,
) -> None:
    """Write the model of `config` and `tensors` (Hugging Face's names) to a new file at `path`, matrices as `kind` says.

    tokenizer: the keys `tokenizer.*`. layers: by name (`model.layers.0.mlp.up_proj`) those whose integers are known, in groups
    of 32 and symmetric; they are written as they are. Raises UserError for a model that GGUF or llama.cpp has no words for.
    """
    _check(config)
    named = [(_gguf_name(name), name, tensor) for name, tensor in tensors.items()]
    types = {name: _type_of(name, tensor.shape, kind, config) for _, name, tensor in named}
    writer = gguf.GGUFWriter(path, _ARCHITECTURES[config.model_type])
    try:
        _add_config(writer, config, kind, name)
        for key, value in tokenizer.items():
            _add_value(writer, key, value)
        factors = _rope_factors(config)
        if factors is not None:
            writer.add_tensor_info(ROPE_FACTORS, factors.shape, factors.dtype, factors.nbytes, gguf.GGMLQuantizationType.F32)
        for new, name, tensor in named:
            quant = gguf.GGMLQuantizationType[types[name]]
            shape = gguf.quant_shape_to_byte_shape(tensor.shape, quant) if types[name][0] == "Q" else tensor.shape
            size = math.prod(shape) * {"F32": 4, "F16": 2, "BF16": 2}.get(types[name], 1)
            writer.add_tensor_info(new, shape, np.dtype(np.uint8 if types[name][0] == "Q" else np.float32), size, quant)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if factors is not None:
            writer.write_tensor_data(factors)
        for number, (_, name, tensor) in enumerate(named):
            known = (layers or {}).get(name.removesuffix(".weight"))
            writer.write_tensor_data(_data(config, name, tensor, types[name], known))
            progress(number + 1, len(named))
        writer.flush()
    finally:
        writer.close()
    with open(path, "rb") as written:
        os.fsync(written.fileno())


def _check(config: ModelConfig) -> None:
    if config.scores:
        raise UserError("a reward model has no place in a GGUF file; convert it to hf")
    if config.model_type in ("qwen", "qwen2") and not config.attention_bias:
        raise UserError("llama.cpp's qwen2 has biases on q, k and v, this model has none; only hf expresses it")
    if config.qk_norm and config.model_type != "qwen3":
        raise UserError(f"llama.cpp's {config.model_type} has no norm of q and k, this model has; only hf expresses it")
    if config.attention_windows is not None:
        raise UserError(
            f"llama.cpp's {config.model_type} has no attention windows by layer, this model has; only hf expresses it"
        )
    scaling = config.rope_scaling
    plain = {"rope_type", "factor", "original_max_position_embeddings"}
    extra = [] if scaling is None else [key for key, value in vars(scaling).items() if value is not None and key not in plain]
    if scaling is not None and scaling.rope_type == "yarn" and extra:
        raise UserError(f"the model's yarn scaling sets {extra[0]}, which is not written to GGUF; only hf expresses it")
    if scaling is not None and scaling.rope_type == "llama3" and config.model_type != "llama":
        raise UserError(f"llama.cpp's {config.model_type} knows no llama3 scaling of RoPE; only hf expresses it")


def _gguf_name(name: str) -> str:
    base, _, kind = name.rpartition(".")
    if base.startswith("model.layers."):
        _, _, number, part = base.split(".", 3)
        return f"blk.{number}.{_LAYER[part]}.{kind}"
    return f"{_WHOLE[base]}.{kind}"


def _type_of(name: str, shape: tuple[int, ...], kind: str, config: ModelConfig) -> str:
    """The ggml type of one tensor in a file of `kind`."""
    if len(shape) < 2 or kind == "f32":
        return "F32"
    if kind in ("f16", "bf16"):
        return kind.upper()
    wanted = {"q8_0": "Q8_0", "q4_0": "Q4_0", "q4_k_m": "Q4_K"}[kind]
    head = name.startswith("lm_head.") or (name.startswith("model.embed_tokens.") and config.tie_word_embeddings)
    if wanted != "Q8_0" and (head or (wanted == "Q4_K" and _sensitive(name, config.num_hidden_layers))):
        wanted = "Q6_K"
    if shape[1] % SUPER_BLOCK:
        wanted = _NARROW.get(wanted, wanted)
    return wanted if shape[1] % 32 == 0 else "F16"


def _sensitive(name: str, layers: int) -> bool:
    """Q4_K_M's choice: value and down projections of the first and last eighth of the blocks, and of every third between."""
    if not name.endswith(("self_attn.v_proj.weight", "mlp.down_proj.weight")):
        return False
    number, eighth = int(name.split(".")[2]), layers // 8
    return number < eighth or number >= 7 * layers // 8 or (number - eighth) % 3 == 2


def _data(config: ModelConfig, name: str, tensor: LazyTensor, kind: str, layer: QuantizedLinear | None) -> np.ndarray:
    """The bytes of one tensor, rows of LLaMA's q and k interleaved as ggml rotates them."""
    rows: Tensor
    if layer is not None and kind == ("Q8_0" if layer.bits == 8 else "Q4_0"):
        rows = layer_rows(layer)
    else:
        wide = materialize(tensor, torch.float32)
        if kind == "F32":
            rows = wide
        elif kind in ("F16", "BF16"):
            rows = wide.half() if kind == "F16" else wide.bfloat16().view(torch.int16)
        else:
            rows = quantize_rows(kind, wide)
    part = name.split(".")[-2]
    if config.model_type == "llama" and part in ("q_proj", "k_proj"):
        heads = config.num_attention_heads if part == "q_proj" else config.num_key_value_heads
        rows = rows.view(heads, 2, config.head_dim // 2, -1).transpose(1, 2).reshape(rows.shape)
    return rows.contiguous().numpy()


def _add_config(writer: gguf.GGUFWriter, config: ModelConfig, kind: str, name: str) -> None:
    writer.add_name(name)
    writer.add_file_type(_FILE_TYPES[kind])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    scaling = config.rope_scaling
    if scaling is not None and scaling.rope_type in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(scaling.rope_type))
        writer.add_rope_scaling_factor(scaling.factor)
        if scaling.original_max_position_embeddings is not None:
            writer.add_rope_scaling_orig_ctx_len(scaling.original_max_position_embeddings)


def _add_value(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _rope_factors(config: ModelConfig) -> np.ndarray | None:
    """What llama3's scaling divides the frequencies by, (E / 2,) float32; None for other models."""
    if config.rope_scaling is None or config.rope_scaling.rope_type != "llama3":
        return None
    plain = inverse_frequencies(ModelConfig(**(vars(config) | {"rope_scaling": None})))[0]
    return (plain / inverse_frequencies(config)[0]).numpy()
