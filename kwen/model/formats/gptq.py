"""Folders of GPTQ and AWQ checkpoints: config.json says how, and each linear layer of the blocks is packed (`packed`).

Read: GPTQ of 4 and 8 bits, groups of any size (-1: a whole row), without the column order of `desc_act`; AWQ of 4 bits, `gemm`.
Written: GPTQ, or AWQ where 4-bit groups have zero points; vLLM and transformers read both. AWQ knows no 8 bits: projections of
values in 8 are written as float16, which vLLM, where queries, keys and values are one matrix, does not read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import torch

from kwen.errors import UserError
from kwen.files import write_json
from kwen.model.config import ModelConfig
from kwen.model.formats.packed import Layout, PackedWeight, awq_tensors, gptq_tensors
from kwen.model.formats.tensors import LazyTensor, MemoryTensor, StoredTensor, materialize
from kwen.model.quantize import VALUES, QuantizedLinear
from kwen.model.transformer import Transformer

METHODS = ("gptq", "awq")
_PARTS = ("qweight", "qzeros", "scales")


class Quantization:
    """What `quantization_config` says of a GPTQ or AWQ checkpoint, checked."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path = path
        self.method = values.get("quant_method")
        bits, group_size = values.get("bits"), values.get("group_size", 128)
        allowed = (4, 8) if self.method == "gptq" else (4,)
        if type(bits) is not int or bits not in allowed:
            shown = " or ".join(map(str, allowed))
            raise UserError(f"{path}: quantization_config has {bits!r} bits; {self.method} of {shown} bits is read")
        if type(group_size) is not int or not (group_size == -1 or 0 < group_size < 1 << 24):
            raise UserError(f"{path}: quantization_config has group_size {group_size!r}; a positive number or -1 is expected")
        self.bits: Literal[4, 8] = 4 if bits == 4 else 8
        self.group_size = group_size
        version = values.get("version", "gemm") if self.method == "awq" else values.get("checkpoint_format", "gptq")
        layouts: dict[str, Layout] = {"gemm": "awq"} if self.method == "awq" else {"gptq": "gptq", "gptq_v2": "gptq_v2"}
        if str(version).lower() not in layouts:
            raise UserError(f"{path}: {self.method} in the layout {str(version)[:40]!r} is not read; {' and '.join(layouts)} is")
        self.layout = layouts[str(version).lower()]


def unpacked(
    folder: Path, config: ModelConfig, quantization: Mapping[str, Any], tensors: Mapping[str, LazyTensor]
) -> dict[str, LazyTensor]:
    """`tensors` of a packed checkpoint under the names of a plain one: a PackedWeight for each qweight, qzeros and scales.

    Raises UserError, naming the layer, for parts that are missing or disagree, and for columns in another order (desc_act).
    """
    how = Quantization(folder / "config.json", quantization)
    plain = {name: tensor for name, tensor in tensors.items() if name.rpartition(".")[2] not in (*_PARTS, "g_idx")}
    if words := next((name for name, tensor in plain.items() if tensor.dtype == torch.int32), None):
        raise UserError(f"{folder}: {words} is of int32; only the parts of packed layers are")
    for name in tensors:
        layer, _, part = name.rpartition(".")
        if part not in _PARTS or f"{layer}.weight" in plain:
            continue
        missing = [part for part in _PARTS if f"{layer}.{part}" not in tensors]
        if missing:
            raise UserError(f"{folder}: the packed layer {layer} lacks {missing[0]}")
        plain[f"{layer}.weight"] = _packed_weight(folder, layer, how, tensors)
        extra = plain.pop(f"{layer}.bias", None) if _extra_bias(config, layer) else None
        if extra is not None and bool(materialize(extra).any()):
            raise UserError(f"{folder}: {layer}.bias is not zero, but a model of this config has no such bias")
    return plain


def _packed_weight(folder: Path, layer: str, how: Quantization, tensors: Mapping[str, LazyTensor]) -> PackedWeight:
    qweight, qzeros, scales = (cast(StoredTensor, tensors[f"{layer}.{part}"]) for part in _PARTS)
    dtypes = (qweight.dtype, qzeros.dtype, scales.dtype)
    matrices = all(len(tensor.shape) == 2 for tensor in (qweight, qzeros, scales))
    if dtypes[:2] != (torch.int32, torch.int32) or dtypes[2] == torch.int32 or not matrices:
        raise UserError(f"{folder}: {layer} is not packed as {how.method} packs: int32 matrices and a matrix of float scales")
    per_word = 32 // how.bits
    rows, columns = qweight.shape
    size = (columns * per_word, rows) if how.layout == "awq" else (columns, rows * per_word)
    group_size = size[1] if how.group_size == -1 else min(how.group_size, size[1])
    groups = -(-size[1] // group_size) if group_size else 0
    order = tensors.get(f"{layer}.g_idx")
    shapes = [(groups, size[0]), (groups, size[0] / per_word), (size[1],)]
    held = [tuple(tensor.shape) for tensor in (scales, qzeros, *([] if order is None else [order]))]
    if held != shapes[: len(held)]:
        raise UserError(
            f"{folder}: {layer} has {', '.join(str(list(shape)) for shape in held)} for scales, qzeros and g_idx, which do not "
            f"belong to qweight {list(qweight.shape)} in groups of {how.group_size}"
        )
    if order is not None and not torch.equal(materialize(order).long(), torch.arange(size[1]) // group_size):
        raise UserError(f"{folder}: {layer} has its columns in another order (desc_act), which is not read")
    return PackedWeight(layer, how.layout, how.bits, group_size, qweight, qzeros, scales)


def _extra_bias(config: ModelConfig, layer: str) -> bool:
    """Whether the model has no bias at this layer: some packers write one of zeros everywhere."""
    part = layer.rpartition(".")[2]
    if part in ("q_proj", "k_proj", "v_proj"):
        return not config.attention_bias
    return not (config.attention_output_bias if part == "o_proj" else config.mlp_bias)


def method_of(model: Transformer) -> str:
    """The format for a model of QuantizedLinear: AWQ where 4-bit groups have zero points, else GPTQ.

    vLLM reads GPTQ without zero points alone.
    """
    layers = [module for module in model.modules() if isinstance(module, QuantizedLinear)]
    return "awq" if any(layer.bits == 4 and layer.zero is not None for layer in layers) else "gptq"


def _bits(model: Transformer) -> int:
    """Of the layers of the blocks, but for what is kept in more."""
    return min(module.bits for module in model.model.modules() if isinstance(module, QuantizedLinear))


def packed_tensors(model: Transformer) -> dict[str, LazyTensor]:
    """The tensors of `model`, whose blocks are of QuantizedLinear, as its format names them; what is not packed is float16.

    The output projection stays as wide as the embedding is: that is what every reader of the formats takes.
    """
    pack = awq_tensors if method_of(model) == "awq" else gptq_tensors
    tensors: dict[str, LazyTensor] = {}
    bits = _bits(model)
    for name, module in model.named_modules():
        if isinstance(module, QuantizedLinear) and name.startswith("model."):
            if module.bits == bits:
                tensors |= {f"{name}.{part}": tensor for part, tensor in pack(module).items()}
            else:
                tensors[f"{name}.weight"] = MemoryTensor(module.dequantize().half())
    for name, parameter in model.named_parameters():
        if name not in tensors:
            tensors[name] = MemoryTensor(parameter.detach().half())
    return tensors


def write_settings(folder: Path, config_values: dict[str, Any], model: Transformer, group_size: int) -> None:
    """config.json with its quantization_config, for GPTQ quantize_config.json too, for the tensors of `packed_tensors`."""
    bits = _bits(model)
    common: dict[str, Any] = {"quant_method": method_of(model), "bits": bits, "group_size": group_size}
    if common["quant_method"] == "awq":
        floats = {VALUES for module in model.model.modules() if isinstance(module, QuantizedLinear) and module.bits != bits}
        settings = common | {"zero_point": True, "version": "gemm", "modules_to_not_convert": sorted(floats) or None}
    else:
        settings = common | {"desc_act": False, "sym": True, "lm_head": False, "checkpoint_format": "gptq"}
        write_json(folder / "quantize_config.json", settings)
    write_json(folder / "config.json", config_values | {"quantization_config": settings})
