"""Qwen-1's own layout (`QWenLMHeadModel`): fused q, k, v; `w2` the gate; `intermediate_size` doubled; qwen.tiktoken.

Facts: report.md 3.3 and 3.5. The layout can express one kind of model: full multi-head attention with biases on q, k, v
alone, untied embeddings, plain RoPE. Everything else is refused by the name of its field when saving.
"""

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from kwen.errors import UserError
from kwen.files import folder_aside, write_bytes, write_json
from kwen.model.config import ModelConfig
from kwen.model.formats.checkpoint import Checkpoint, match_tensors
from kwen.model.formats.huggingface import (
    chat_template,
    check_replaceable,
    generation_config,
    memory_tensors,
    read_weights,
    refuse_quantized,
    write_weights,
)
from kwen.model.formats.tensors import LazyTensor, RowSlice, StackedRows
from kwen.model.transformer import Transformer

_WHOLE = {
    "transformer.wte.weight": "model.embed_tokens.weight",
    "transformer.ln_f.weight": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
}
_LAYER = {
    "ln_1.weight": "input_layernorm.weight",
    "attn.c_proj.weight": "self_attn.o_proj.weight",
    "ln_2.weight": "post_attention_layernorm.weight",
    "mlp.w2.weight": "mlp.gate_proj.weight",
    "mlp.w1.weight": "mlp.up_proj.weight",
    "mlp.c_proj.weight": "mlp.down_proj.weight",
}
_FUSED = ("attn.c_attn.weight", "attn.c_attn.bias")
_FIXED: dict[str, tuple[Any, ...]] = {
    "rotary_pct": (1.0,),
    "no_bias": (True,),
    "scale_attn_weights": (True,),
    "tie_word_embeddings": (False,),
}
"""Fields of Qwen-1's config.json that have one value in every released model, and only that one here."""


class RankedTokenizer(Protocol):
    """The part of `kwen.text`'s Tokenizer that writing qwen.tiktoken needs."""

    vocab_size: int
    control_tokens: dict[str, int]

    @classmethod
    def load(cls, path: Path) -> "RankedTokenizer":
        """The tokenizer of a qwen.tiktoken file."""

    def token_bytes(self, number: int) -> bytes:
        """The bytes of a token."""

    def decode(self, ids: list[int]) -> str:
        """Text of ids."""

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text."""


def read(folder: Path, values: Mapping[str, Any]) -> Checkpoint:
    """The Qwen-1 checkpoint in `folder`, whose parsed config.json is `values`; tensors get Hugging Face names, unread.

    `config.max_position_embeddings` is the file's `seq_length`, the length that the weights are good for, or where it switches
    dynamic NTK or LogN on, the file's own `max_position_embeddings`. Raises UserError as `huggingface.read` does.
    """
    refuse_quantized(folder, values)
    config = _read_config(folder / "config.json", values)
    tensors = match_tensors(folder, config, _split(folder, config, read_weights(folder)))
    return Checkpoint(folder, "qwen1", config, tensors, generation_config(folder, values), chat_template(folder))


def _read_config(path: Path, values: Mapping[str, Any]) -> ModelConfig:
    for name, allowed in _FIXED.items():
        if values.get(name, allowed[0]) not in allowed:
            raise UserError(f"{path}: {name} is {values[name]!r}; Qwen-1 models have {allowed[0]}, others are not supported")
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    for name in names:
        if type(values.get(name)) is not int or not 0 < values[name] < 2**31:
            raise UserError(f"{path}: {name} is {values.get(name)!r}; a positive whole number is expected")
    vocab, hidden, doubled, layers, heads = (values[name] for name in names)
    head_dim = values.get("kv_channels", 128)
    if doubled % 2 or head_dim != hidden / heads:
        raise UserError(
            f"{path}: intermediate_size {doubled} must be even and kv_channels {head_dim} must be hidden_size / "
            f"num_attention_heads ({hidden} / {heads})"
        )
    trained = values.get("seq_length", 2048)
    extended = bool(values.get("use_dynamic_ntk") or values.get("use_logn_attn"))
    try:
        return ModelConfig(
            vocab_size=vocab,
            hidden_size=hidden,
            intermediate_size=doubled // 2,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            head_dim=head_dim,
            max_position_embeddings=max(trained, values.get("max_position_embeddings", 8192)) if extended else trained,
            rms_norm_eps=float(values.get("layer_norm_epsilon", 1e-6)),
            rope_theta=float(values.get("rotary_emb_base", 10000)),
            initializer_range=float(values.get("initializer_range", 0.02)),
            model_type="qwen",
            use_dynamic_ntk=values.get("use_dynamic_ntk", False),
            use_logn_attn=values.get("use_logn_attn", False),
            seq_length=trained if extended else None,
        )
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"{path}: {error}") from error


def _split(folder: Path, config: ModelConfig, stored: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """The file's tensors under Hugging Face names, c_attn in its thirds; an unknown name stays, to be reported."""
    tensors: dict[str, LazyTensor] = {}
    for name, tensor in stored.items():
        match = re.fullmatch(r"transformer\.h\.(\d{1,6})\.(.+)", name)
        prefix, rest = (f"model.layers.{match[1]}.", match[2]) if match else ("", name)
        if match and rest in _FUSED:
            third = config.hidden_size
            if tensor.shape[0] != 3 * third:
                raise UserError(f"{folder}: {name} has {tensor.shape[0]} rows, the config asks for 3 times {third}")
            for position, letter in enumerate("qkv"):
                new = f"{prefix}self_attn.{letter}_proj.{rest.rpartition('.')[2]}"
                tensors[new] = RowSlice(tensor, position * third, third)
        elif match and rest in _LAYER:
            tensors[prefix + _LAYER[rest]] = tensor
        elif not name.endswith("rotary_emb.inv_freq"):
            tensors[_WHOLE.get(name, name)] = tensor
    return tensors


def save(
    model: Transformer,
    tokenizer: RankedTokenizer | None,
    out: Path | str,
    generation_config: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write `model` as a Qwen-1 folder with qwen.tiktoken; see `huggingface.save` for the rest.

    Raises UserError, naming the field, for a model or a tokenizer that Qwen-1's files cannot express.
    """
    check_replaceable(Path(out))
    with folder_aside(out) as aside:
        write_model(aside, model.config, memory_tensors(model), generation_config, dtype)
        if tokenizer is not None:
            write_tokenizer(aside, tokenizer)


def write_model(
    folder: Path,
    config: ModelConfig,
    tensors: Mapping[str, LazyTensor],
    generation_config: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write config, fused weights and generation config into the existing `folder`."""
    _check_expressible(config)
    stored = dtype or tensors["model.embed_tokens.weight"].dtype
    write_json(folder / "config.json", _write_config(config, stored))
    if generation_config:
        write_json(folder / "generation_config.json", dict(generation_config))
    write_weights(folder, _fuse(config, tensors), dtype)


def _check_expressible(config: ModelConfig) -> None:
    """UserError unless Qwen-1's modelling code would compute this model."""
    wanted = {
        "num_key_value_heads": config.num_attention_heads,
        "head_dim": config.hidden_size // config.num_attention_heads,
        "qk_norm": False,
        "attention_bias": True,
        "attention_output_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "rope_scaling": None,
        "attention_windows": None,
    }
    for name, value in wanted.items():
        if getattr(config, name) != value:
            raise UserError(
                f"Qwen-1's layout cannot express {name} {getattr(config, name)}, it needs {value}; convert to hf instead"
            )
    if config.head_dim * config.num_attention_heads != config.hidden_size:
        raise UserError(
            f"Qwen-1's layout cannot express hidden_size {config.hidden_size} with {config.num_attention_heads} heads of "
            f"{config.head_dim}; convert to hf instead"
        )


def _write_config(config: ModelConfig, dtype: torch.dtype) -> dict[str, Any]:
    """config.json with the fields and order of the released models (report.md 3.3)."""
    return {
        "architectures": ["QWenLMHeadModel"],
        "auto_map": {
            "AutoConfig": "configuration_qwen.QWenConfig",
            "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel",
        },
        "attn_dropout_prob": 0.0,
        "bf16": dtype == torch.bfloat16,
        "emb_dropout_prob": 0.0,
        "fp16": dtype == torch.float16,
        "fp32": dtype == torch.float32,
        "hidden_size": config.hidden_size,
        "initializer_range": config.initializer_range,
        "intermediate_size": 2 * config.intermediate_size,
        "kv_channels": config.head_dim,
        "layer_norm_epsilon": config.rms_norm_eps,
        "max_position_embeddings": config.max_position_embeddings,
        "model_type": "qwen",
        "no_bias": True,
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": config.num_hidden_layers,
        "rotary_emb_base": int(config.rope_theta) if config.rope_theta.is_integer() else config.rope_theta,
        "rotary_pct": 1.0,
        "scale_attn_weights": True,
        "seq_length": config.trained_length,
        "tie_word_embeddings": False,
        "tokenizer_class": "QWenTokenizer",
        "torch_dtype": str(dtype).removeprefix("torch."),
        "use_cache": True,
        "use_dynamic_ntk": config.use_dynamic_ntk,
        "use_flash_attn": "auto",
        "use_logn_attn": config.use_logn_attn,
        "vocab_size": config.vocab_size,
    }


def _fuse(config: ModelConfig, tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """The model's tensors under Qwen-1's names, q, k and v one below the other."""
    fused: dict[str, LazyTensor] = {}
    for layer in range(config.num_hidden_layers):
        ours, theirs = f"model.layers.{layer}.", f"transformer.h.{layer}."
        for name in _FUSED:
            parts = [tensors[f"{ours}self_attn.{letter}_proj.{name.rpartition('.')[2]}"] for letter in "qkv"]
            fused[theirs + name] = StackedRows(tuple(parts))
        fused |= {theirs + there: tensors[ours + here] for there, here in _LAYER.items()}
    return fused | {there: tensors[here] for there, here in _WHOLE.items()}


_PROBES = [
    "It's 1,024 or 3.14 — isn't it?\n\n\tdef f(x):\r\n        return x  ",
    "Qwen 通义千问 2023年9月, naïve café 안녕 ١٢٣",
    "   \n  a",
]
_PROBED_TOKENS = 1000


def write_tokenizer(folder: Path, tokenizer: RankedTokenizer) -> None:
    """qwen.tiktoken (base64 of the bytes, a space, the rank; one token a line) and its tokenizer_config.json.

    In this format a token's id is its merge priority and Qwen's 208 control tokens follow the last rank. The written file is
    read again and must give the same ids; UserError for a tokenizer that has another form.
    """
    control = set(tokenizer.control_tokens.values())
    count = min(control, default=tokenizer.vocab_size)
    tokens = [tokenizer.token_bytes(number) for number in range(count)]
    refusal = "the tokenizer cannot be written as qwen.tiktoken"
    if len(set(tokens)) != count or control != set(range(count, tokenizer.vocab_size)):
        raise UserError(f"{refusal}: its control tokens do not follow its ordinary ones; convert to hf instead")
    path = folder / "qwen.tiktoken"
    write_bytes(path, b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens)))
    again = type(tokenizer).load(path)
    for surface, number in tokenizer.control_tokens.items():
        if again.control_tokens.get(surface) != number:
            raise UserError(f"{refusal}: Qwen-1 has no control token {surface} with id {number}; convert to hf instead")
    sample = range(0, count, max(1, count // _PROBED_TOKENS))
    probes = _PROBES + [tokenizer.decode([number]) for number in sample]
    if again.encode_batch(probes) != tokenizer.encode_batch(probes):
        raise UserError(f"{refusal}: it cuts or merges text in another way than Qwen-1's; convert to hf instead")
    tokenizer_config = {
        "model_max_length": 8192,
        "tokenizer_class": "QWenTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]},
    }
    write_json(folder / "tokenizer_config.json", tokenizer_config)
