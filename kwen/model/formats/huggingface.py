"""Checkpoints as Hugging Face folders: config.json, safetensors in one file or in shards, and what goes beside them."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from kwen.errors import UserError
from kwen.files import folder_aside, write_json
from kwen.model.config import ModelConfig
from kwen.model.formats import gptq
from kwen.model.formats.checkpoint import Checkpoint, match_tensors, read_json
from kwen.model.formats.safetensors_file import DTYPES, FLOAT_DTYPES, read_safetensors, write_safetensors
from kwen.model.formats.tensors import LazyTensor, MemoryTensor
from kwen.model.transformer import Transformer

SHARD_BYTES = 5 * 10**9
"""Larger checkpoints are split, as transformers has done it (its 5 GB is decimal)."""
INDEX_NAME = "model.safetensors.index.json"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
PICKLE_REFUSAL = "a pickled checkpoint can run code when it is loaded and is never read; convert it to safetensors first"
_SWITCHES = ("head_dim", "tie_word_embeddings", "attention_bias", "attention_output_bias", "mlp_bias", "qk_norm", "scores",
             "use_dynamic_ntk", "use_logn_attn", "attention_windows", "seq_length")  # fmt: skip
_TOKEN_KEYS = ("bos_token_id", "eos_token_id", "pad_token_id")
_DTYPE_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16", torch.float64: "float64"}


class TokenizerFiles(Protocol):
    """The part of a tokenizer that saving needs."""

    def save(self, folder: Path) -> Any:
        """Write tokenizer.json and its companions into `folder`."""


def read(folder: Path, values: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint in `folder`, whose parsed config.json is `values` (model_type qwen2, qwen3 or llama).

    Raises UserError for a model this decoder would compute wrongly, for pickled weights, for damaged safetensors, and for
    weights that are not the config's.
    """
    quantization = _packing(folder, values)
    try:
        config = ModelConfig.from_hf(values)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise UserError(f"{folder / 'config.json'}: a value has the wrong type or size ({error})") from error
    tensors = read_weights(folder, FLOAT_DTYPES if quantization is None else DTYPES)
    if quantization is not None:
        tensors = gptq.unpacked(folder, config, quantization, tensors)
    tensors = match_tensors(folder, config, tensors)
    return Checkpoint(folder, "huggingface", config, tensors, generation_config(folder, values), chat_template(folder))


def _packing(folder: Path, values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The quantization_config of GPTQ or AWQ, None where there is none; UserError for weights packed in another way."""
    quantization = values.get("quantization_config")
    if isinstance(quantization, Mapping) and quantization.get("quant_method") in gptq.METHODS:
        return quantization
    refuse_quantized(folder, values)
    return None


def refuse_quantized(folder: Path, values: Mapping[str, Any]) -> None:
    """UserError for a checkpoint whose config says that its weights are packed in a way that is not read."""
    quantization = values.get("quantization_config")
    if quantization:
        method = quantization.get("quant_method", "unknown") if isinstance(quantization, Mapping) else "unknown"
        path = folder / "config.json"
        raise UserError(f"{path}: quantization_config {method} is not read; use the unquantised checkpoint or a GGUF")


def read_weights(folder: Path, dtypes: Mapping[str, torch.dtype] = FLOAT_DTYPES) -> dict[str, LazyTensor]:
    """Every tensor of the folder's safetensors files by name; shards as the index says where there is one."""
    index = folder / INDEX_NAME
    if index.exists():
        return _read_shards(folder, index, dtypes)
    whole = folder / "model.safetensors"
    files = [whole] if whole.exists() else sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLE_SUFFIXES)
        if pickled:
            raise UserError(f"{folder / pickled[0]}: {PICKLE_REFUSAL}")
        raise UserError(f"{folder}: no safetensors file beside config.json; the weights are missing")
    tensors: dict[str, LazyTensor] = {}
    for path in files:
        for name, tensor in read_safetensors(path, dtypes).items():
            if name in tensors:
                raise UserError(f"{path}: tensor {name} is in another file of the folder too")
            tensors[name] = tensor
    return tensors


def _read_shards(folder: Path, index: Path, dtypes: Mapping[str, torch.dtype]) -> dict[str, LazyTensor]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise UserError(f"{index}: weight_map must give a file name for every tensor")
    shards: dict[str, Mapping[str, LazyTensor]] = {}
    tensors: dict[str, LazyTensor] = {}
    for name, file in weight_map.items():
        if file not in shards:
            if Path(file).name != file or not file.endswith(".safetensors"):
                raise UserError(f"{index}: {file!r} is not the name of a safetensors file beside it")
            shards[file] = read_safetensors(folder / file, dtypes)
        if name not in shards[file]:
            raise UserError(f"{index}: tensor {name} is not in {file}")
        tensors[name] = shards[file][name]
    return tensors


def generation_config(folder: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """generation_config.json, or where it is absent the token ids that config.json names."""
    path = folder / "generation_config.json"
    if path.exists():
        return read_json(path)
    return {key: values[key] for key in _TOKEN_KEYS if values.get(key) is not None}


def chat_template(folder: Path) -> str | None:
    """The Jinja chat template of the folder: chat_template.jinja, or the one inside tokenizer_config.json."""
    path = folder / "chat_template.jinja"
    if path.exists():
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: not valid UTF-8 ({error.reason} at byte {error.start})") from error
    path = folder / "tokenizer_config.json"
    template = read_json(path).get("chat_template") if path.exists() else None
    if isinstance(template, list):  # several by name: [{"name": "default", "template": ...}, ...]
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def save(
    model: Transformer,
    tokenizer: TokenizerFiles | None,
    out: Path | str,
    generation_config: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write `model` as a folder that transformers, vLLM and llama.cpp load as it is.

    dtype: that of the files, by default the parameters'. Equal weights give equal bytes. The folder is written aside and
    takes the place of `out` when it is complete. Raises UserError where no Hugging Face architecture fits the config.
    """
    check_replaceable(Path(out))
    with folder_aside(out) as aside:
        write_model(aside, model.config, memory_tensors(model), generation_config, dtype)
        if tokenizer is not None:
            tokenizer.save(aside)


def check_replaceable(out: Path) -> None:
    """UserError where saving to `out` would replace something that is no model folder."""
    if out.exists() and not (out / "config.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists and is no model folder, so it is left as it is; name a new folder")


def memory_tensors(model: Transformer) -> dict[str, LazyTensor]:
    """A model's parameters as LazyTensors, without copying them."""
    return {name: MemoryTensor(parameter) for name, parameter in model.named_parameters()}


def write_model(
    folder: Path,
    config: ModelConfig,
    tensors: Mapping[str, LazyTensor],
    generation_config: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write config, weights and generation config into the existing `folder`, one tensor in memory at a time."""
    values = config.to_hf()
    again = ModelConfig.from_hf(values)
    for name in _SWITCHES:
        if getattr(again, name) != getattr(config, name):
            raise UserError(f"{values['architectures'][0]} cannot express {name} {getattr(config, name)} of this model")
    stored = dtype or tensors["model.embed_tokens.weight"].dtype
    values |= {"dtype": _DTYPE_NAMES[stored], "torch_dtype": _DTYPE_NAMES[stored]}
    generation = dict(generation_config or {})
    values |= {key: generation[key] for key in _TOKEN_KEYS if generation.get(key) is not None}
    write_json(folder / "config.json", values)
    if generation:
        write_json(folder / "generation_config.json", generation)
    write_weights(folder, tensors, dtype, shard_bytes)


def write_weights(
    folder: Path, tensors: Mapping[str, LazyTensor], dtype: torch.dtype | None, shard_bytes: int = SHARD_BYTES
) -> None:
    """model.safetensors, or numbered shards of at most `shard_bytes` (or one tensor) with their index."""
    shards: list[dict[str, LazyTensor]] = [{}]
    total = filled = 0
    for name, tensor in tensors.items():
        size = math.prod(tensor.shape) * (dtype or tensor.dtype).itemsize
        if shards[-1] and filled + size > shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += size
        total += size
    if len(shards) == 1:
        write_safetensors(folder / "model.safetensors", shards[0], dtype)
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        write_safetensors(folder / file, shard, dtype)
        weight_map |= dict.fromkeys(shard, file)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(folder / INDEX_NAME, index)
