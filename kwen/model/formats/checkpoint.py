"""A checkpoint as every format hands it out, and the model built from it without a second copy of the weights."""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from kwen.errors import UserError
from kwen.model.config import ModelConfig
from kwen.model.formats.packed import holds_integers, packed_layer
from kwen.model.formats.tensors import LazyTensor, unsplit_operations
from kwen.model.transformer import Transformer

MAX_JSON_BYTES = 32 << 20
"""No config or index is as large as this; a file that is was not written by a converter."""
_READERS = 2
"""Tensors that are read at once; positioned reads and torch's kernels both run outside the interpreter lock."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says, with its weights still in the file.

    tensors: by Hugging Face names, complete for `config` and of its shapes.
    generation_config: Hugging Face's keys (eos_token_id, ...); empty where the checkpoint has none.
    metadata: a GGUF file's key-values; empty for a folder.
    """

    path: Path
    format: Literal["huggingface", "qwen1", "gguf"]
    config: ModelConfig
    tensors: Mapping[str, LazyTensor]
    generation_config: dict[str, Any] = field(default_factory=dict)
    chat_template: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tokenizer_source(self) -> Path | Mapping[str, Any]:
        """What the tokenizer is made from: the folder, or a GGUF file's metadata."""
        return self.metadata if self.format == "gguf" else self.path


class _Unfilled(TorchFunctionMode):
    """Leaves new weights as they are: on the meta device there is nothing to fill, and torch imports its compiler for it."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in ("normal_", "uniform_", "kaiming_uniform_"):
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def empty_model(config: ModelConfig) -> Transformer:
    """The model of `config` on the meta device: every name and shape, no memory for the weights."""
    with torch.device("meta"), _Unfilled():
        return Transformer(config)


def build_model(
    checkpoint: Checkpoint,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    keep_quantized: bool = False,
) -> Transformer:
    """The model of `checkpoint` in `dtype` on `device`, in evaluation mode.

    keep_quantized: linear layers that the file packs (GPTQ, AWQ, Q8_0, Q4_0, Q4_1) become `QuantizedLinear` layers of the same
    integers, an own output projection `quantized_head`; without it they are turned back into floats, and the model can be
    trained.

    Each parameter is allocated once and filled straight from the file, so the peak is the weights in `dtype` and a few
    megabytes. Raises UserError if the file turns out to be cut short.
    """
    model = empty_model(checkpoint.config)
    linears = [name for name, module in model.named_modules() if keep_quantized and isinstance(module, nn.Linear)]
    for name in linears:
        if holds_integers(checkpoint.tensors[f"{name}.weight"]):
            _keep_packed(model, name, checkpoint.tensors[f"{name}.weight"], device)

    def fill(name: str) -> None:
        holder, _, leaf = name.rpartition(".")
        tensor = torch.empty(checkpoint.tensors[name].shape, dtype=dtype)
        checkpoint.tensors[name].read(tensor)
        setattr(model.get_submodule(holder), leaf, nn.Parameter(tensor.to(device)))

    # A new thread starts with torch's own default, so each reader says it again.
    with unsplit_operations(), ThreadPoolExecutor(_READERS, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        largest_first = sorted(model.named_parameters(), key=lambda item: -item[1].numel())  # leaves no reader idle at the end
        list(pool.map(fill, [name for name, _ in largest_first]))
    model.frequencies = model.frequencies.to(device)
    return model.eval()


def _keep_packed(model: Transformer, name: str, tensor: LazyTensor, device: torch.device | str) -> None:
    """Put the layer of `tensor` in the place of the one called `name`; a bias is as unfilled as it was."""
    layer, bias = packed_layer(tensor).to(device), model.get_submodule(name).bias
    if name == "lm_head":
        model.lm_head, model.quantized_head = None, layer
        return
    layer.bias = None if bias is None else nn.Parameter(cast(Tensor, bias), requires_grad=False)
    model.set_submodule(name, layer)


def match_tensors(where: Path, config: ModelConfig, tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """The tensors that a model of `config` needs, in its order.

    Raises UserError that names the tensor (and how many more there are) for one that is missing, one that has no place in
    the model, or one whose shape is not the config's.
    """
    held = max((int(name.split(".")[2]) for name in tensors if _is_layer(name)), default=-1) + 1
    if held != config.num_hidden_layers:
        raise UserError(f"{where}: the config has num_hidden_layers {config.num_hidden_layers}, the weights have {held} layers")
    D = config.hidden_size
    query, key = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    sizes = {  # first of all those that bound everything a model of this config would allocate
        "model.embed_tokens.weight": (config.vocab_size, D),
        "model.layers.0.self_attn.q_proj.weight": (query, D),
        "model.layers.0.self_attn.k_proj.weight": (key, D),
        "model.layers.0.mlp.gate_proj.weight": (config.intermediate_size, D),
    }
    _check_shapes(where, sizes, tensors)
    try:
        model = empty_model(config)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UserError(f"{where}: the config does not make a model ({error})") from error
    if not 0 <= config.rms_norm_eps < 1:
        raise UserError(f"{where}: the config's rms_norm_eps is {config.rms_norm_eps}; a small number is expected")
    if not bool(model.frequencies.isfinite().all()):
        raise UserError(f"{where}: the config's RoPE gives no finite frequencies (rope_theta {config.rope_theta})")
    expected = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    _check_shapes(where, expected, tensors)
    present = {name for name in tensors if not name.endswith("rotary_emb.inv_freq")}  # old files store what is computed
    unexpected = sorted(present - expected.keys())
    if unexpected == ["lm_head.weight"] and config.tie_word_embeddings:
        _check_tied(where, tensors)
    elif unexpected:
        raise UserError(f"{where}: the weights hold {_some(unexpected)}, which a model of this config has no place for")
    return {name: tensors[name] for name in expected}


def _check_shapes(where: Path, expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, LazyTensor]) -> None:
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise UserError(f"{where}: the weights lack {_some(missing)}, which the config asks for")
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            raise UserError(
                f"{where}: {name} has shape {list(tensors[name].shape)}, the config asks for {list(shape)}; "
                "the config belongs to other weights"
            )


def _is_layer(name: str) -> bool:
    parts = name.split(".")
    return len(parts) > 3 and parts[:2] == ["model", "layers"] and parts[2].isascii() and parts[2].isdigit() and len(parts[2]) < 7


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _check_tied(where: Path, tensors: Mapping[str, LazyTensor]) -> None:
    """A tied checkpoint may carry its output projection again, as long as it is the embedding."""
    embedding, head = tensors["model.embed_tokens.weight"], tensors["lm_head.weight"]
    same = embedding.shape == head.shape
    rows, step = embedding.shape[0] if same else 0, 1024
    for first in range(0, rows, step):
        count = min(step, rows - first)
        left, right = torch.empty(2, count, *embedding.shape[1:]).unbind()
        embedding.read(left, first)
        head.read(right, first)
        same = same and torch.equal(left, right)
    if not same:
        raise UserError(f"{where}: the config ties lm_head.weight to the embedding, but the weights hold a different one")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in the file at `path`; UserError with the line where it is none."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UserError(f"{path}: larger than {MAX_JSON_BYTES} bytes; no config of a model is")
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: a JSON object is expected")
    return value
