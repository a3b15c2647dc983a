"""The layouts in which GPTQ and AWQ keep a linear layer: int32 words of 4- or 8-bit numbers, scales and zero points by group.

                qweight                              qzeros                              scales
    GPTQ        (in * bits / 32, out), words along   (groups, out * bits / 32), words    (groups, out) float16
                the inputs, lowest bits first        along the outputs, one less than
                                                     the zero (`gptq_v2`: the zero)
    AWQ gemm    (in, out / 8), words along the       (groups, out / 8), likewise         (groups, out) float16
                outputs in the order of AWQ_ORDER

weight[o, i] = scales[i / group_size, o] * (level[o, i] - zero[i / group_size, o]). Layouts: AutoGPTQ's qlinear_cuda.py, AutoAWQ's
packing_utils.py, checked in tests against dequantisers written from these definitions.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from kwen.errors import UserError
from kwen.model.formats.tensors import (
    HalfSplitRows,
    LazyTensor,
    MemoryTensor,
    QuantizedTensor,
    StoredTensor,
    half_split,
    materialize,
)
from kwen.model.quantize import QuantizedLinear, pack

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Nibble n of an AWQ word holds output AWQ_ORDER[n] of its eight."""
Layout = Literal["gptq", "gptq_v2", "awq"]


@dataclass(frozen=True)
class PackedWeight:
    """The weight of one packed linear layer, unread: a LazyTensor of its float values that can also give the integers."""

    name: str
    layout: Layout
    bits: Literal[4, 8]
    group_size: int
    qweight: StoredTensor
    qzeros: StoredTensor
    scales: StoredTensor

    @property
    def shape(self) -> tuple[int, ...]:
        """(out, in)."""
        rows, columns = self.qweight.shape
        per_word = 32 // self.bits
        return (columns * per_word, rows) if self.layout == "awq" else (columns, rows * per_word)

    @property
    def dtype(self) -> torch.dtype:
        """float32 holds every scale times level."""
        return torch.float32

    def read(self, out: Tensor, start: int = 0) -> None:
        """See `LazyTensor.read`. Rows lie across the file, so each read goes through all of it."""
        out.copy_(self.layer().dequantize()[start : start + len(out)])

    def layer(self) -> QuantizedLinear:
        """The layer of these integers, without a bias. Raises UserError for zero points beyond a byte."""
        words, zero_words = materialize(self.qweight), materialize(self.qzeros)
        if self.layout == "awq":
            levels, zero = _from_awq(words), _from_awq(zero_words)
        else:
            levels = _numbers(words.T, self.bits).view(torch.uint8)
            zero = _numbers(zero_words, self.bits).short()
            zero = (zero + 1 if self.layout == "gptq" else zero).T
        if int(zero.max()) > 255:
            raise UserError(f"{self.qzeros.file.path}: {self.name} has a zero point of 256, which no level of 8 bits can be")
        scale = materialize(self.scales, torch.float16).T.contiguous()
        middle = bool((zero == 1 << self.bits - 1).all())
        stored_zero = None if middle else zero.to(torch.uint8).contiguous()
        return QuantizedLinear(
            self.bits, self.group_size, self.shape[1], pack(levels.contiguous(), self.bits), scale, stored_zero
        )


def holds_integers(tensor: LazyTensor) -> bool:
    """Whether `packed_layer` can make a layer of `tensor`: GPTQ, AWQ, and GGUF's Q8_0, Q4_0 and Q4_1."""
    base = tensor.base if isinstance(tensor, HalfSplitRows) else tensor
    return isinstance(base, PackedWeight) or (isinstance(base, QuantizedTensor) and base.kind.name in ("Q8_0", "Q4_0", "Q4_1"))


def packed_layer(tensor: LazyTensor) -> QuantizedLinear:
    """The layer, without a bias, of the integers that the file holds for a weight which `holds_integers`."""
    if isinstance(tensor, PackedWeight):
        return tensor.layer()
    if isinstance(tensor, HalfSplitRows):
        layer = packed_layer(tensor.base)
        weight, scale = half_split(layer.weight, tensor.heads), half_split(layer.scale, tensor.heads)
        minimum = None if layer.minimum is None else half_split(layer.minimum, tensor.heads)
        return QuantizedLinear(layer.bits, layer.group_size, layer.in_features, weight, scale, minimum=minimum)
    assert isinstance(tensor, QuantizedTensor)
    rows, width = tensor.shape
    raw = tensor.read_blocks().view(rows, width // 32, tensor.kind.block_bytes)
    scale = raw[:, :, :2].contiguous().view(torch.float16)[:, :, 0].contiguous()
    if tensor.kind.name == "Q8_0":
        levels = (raw[:, :, 2:].view(torch.int8).to(torch.int16) + 128).to(torch.uint8)
        return QuantizedLinear(8, 32, width, levels.reshape(rows, width), scale)
    minimum = None
    if tensor.kind.name == "Q4_1":
        minimum = raw[:, :, 2:4].contiguous().view(torch.float16)[:, :, 0].contiguous()
    packed = raw[:, :, 2:] if minimum is None else raw[:, :, 4:]
    levels = torch.cat((packed & 15, packed >> 4), dim=-1)
    return QuantizedLinear(4, 32, width, pack(levels.reshape(rows, width), 4), scale, minimum=minimum)


def _numbers(words: Tensor, bits: int) -> Tensor:
    """The uint8 numbers (n, m * 32 / bits) in int32 `words` (n, m), lowest bits first."""
    octets = words.contiguous().view(torch.uint8)
    return octets if bits == 8 else torch.stack((octets & 15, octets >> 4), dim=-1).flatten(1)


def _words(numbers: Tensor, bits: int) -> Tensor:
    """The int32 words (n, m) of `_numbers`."""
    octets = numbers if bits == 8 else numbers[:, 0::2] | numbers[:, 1::2] << 4
    return octets.reshape(-1).view(torch.int32).view(len(numbers), -1)


def _from_awq(words: Tensor) -> Tensor:
    """The numbers (out, n) in AWQ's `words` (n, out / 8)."""
    nibbles = _numbers(words, 4).view(len(words), -1, 8)
    places = torch.tensor(AWQ_ORDER).argsort()
    return nibbles[:, :, places].flatten(1).T


def _to_awq(numbers: Tensor) -> Tensor:
    """AWQ's words (n, out / 8) of numbers (out, n)."""
    octuples = numbers.T.reshape(numbers.shape[1], -1, 8)
    return _words(octuples[:, :, torch.tensor(AWQ_ORDER)].flatten(1), 4)


def awq_tensors(layer: QuantizedLinear) -> dict[str, LazyTensor]:
    """`layer`, of 4 bits, as the tensors qweight, qzeros and scales of AWQ's layout, its bias too where it has one.

    Raises UserError for a number of outputs that fills no whole words.
    """
    assert layer.bits == 4
    if layer.out_features % 8:
        raise UserError(f"a layer of {layer.out_features} outputs does not fill AWQ's words of 8; --to gguf has no such limit")
    zero = torch.full(layer.scale.shape, 8, dtype=torch.uint8) if layer.zero is None else layer.zero
    tensors = {"qweight": _to_awq(layer.levels()), "qzeros": _to_awq(zero), "scales": layer.scale.T.contiguous()}
    if layer.bias is not None:
        tensors["bias"] = layer.bias.detach().half()
    return {name: MemoryTensor(tensor) for name, tensor in tensors.items()}


def gptq_tensors(layer: QuantizedLinear) -> dict[str, LazyTensor]:
    """`layer` as the tensors qweight, qzeros, scales and g_idx of the GPTQ layout, its bias too where it has one.

    Raises UserError for what the layout cannot hold: sizes that fill no whole words, and a zero point of 0.
    """
    per_word = 32 // layer.bits
    if layer.in_features % per_word or layer.out_features % per_word:
        raise UserError(
            f"a layer of {layer.in_features} inputs and {layer.out_features} outputs does not fill GPTQ's words of {per_word}; "
            "--to gguf has no such limit"
        )
    middle = torch.full(layer.scale.shape, 1 << layer.bits - 1, dtype=torch.uint8)
    zero = middle if layer.zero is None else layer.zero
    if not bool(zero.all()):
        raise UserError("a group has the zero point 0, which GPTQ's layout cannot hold")
    tensors = {
        "qweight": _words(layer.levels(), layer.bits).T.contiguous(),
        "qzeros": _words((zero - 1).T, layer.bits),
        "scales": layer.scale.T.contiguous(),
        "g_idx": torch.arange(layer.in_features, dtype=torch.int32) // layer.group_size,
    }
    if layer.bias is not None:
        tensors["bias"] = layer.bias.detach().half()
    return {name: MemoryTensor(tensor) for name, tensor in tensors.items()}
