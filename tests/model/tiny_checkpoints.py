"""Tiny models and files for the tests of checkpoint formats."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from kwen.model.config import ModelConfig
from kwen.model.transformer import Transformer

QUANTIZABLE = ("embd", "attn_q.w", "attn_k.w", "attn_v.w", "attn_output.w", "ffn_", "output.w")


def tiny_config(**changes: Any) -> ModelConfig:
    """A Qwen-shaped config of two layers, with `changes`."""
    values: dict[str, Any] = {
        "vocab_size": 67, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 4, "head_dim": 8, "max_position_embeddings": 128, "rope_theta": 1e6,
    }  # fmt: skip
    return ModelConfig(**(values | changes))


def tiny_model(config: ModelConfig, seed: int = 0) -> Transformer:
    """A model whose every weight, norms and biases too, is a different number."""
    model = Transformer(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def write_gguf(
    path: Path,
    architecture: str,
    config: ModelConfig,
    tensors: Mapping[str, torch.Tensor],
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    metadata: Mapping[str, Any] | None = None,
    extra: Mapping[str, np.ndarray] | None = None,
    blocks: Mapping[str, tuple[np.ndarray, gguf.GGMLQuantizationType]] | None = None,
) -> None:
    """A GGUF file as llama.cpp's converter writes it, matrices as `kind`; LLaMA's q and k rows are interleaved as there.

    `extra` are further tensors, `blocks` further ones that are quantised already.
    """
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_token_list(["a", "b", "<|im_end|>"])
    writer.add_eos_token_id(2)
    for key, value in (metadata or {}).items():
        if isinstance(value, str):
            writer.add_string(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        else:
            writer.add_uint32(key, value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in tensors.items():
        part = name.split(".")[-2]
        if architecture == "llama" and part in heads:
            rows = tensor.reshape(heads[part], 2, config.head_dim // 2, -1).transpose(1, 2)
            tensor = rows.reshape(tensor.shape)
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert new is not None, name
        data = tensor.detach().float().contiguous().numpy()
        if kind != gguf.GGMLQuantizationType.F32 and any(word in new for word in QUANTIZABLE) and data.ndim == 2:
            writer.add_tensor(new, gguf.quants.quantize(data, kind), raw_dtype=kind)
        else:
            writer.add_tensor(new, data)
    for name, array in (extra or {}).items():
        writer.add_tensor(name, array)
    for name, (raw, block_kind) in (blocks or {}).items():
        writer.add_tensor(name, raw, raw_dtype=block_kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
