"""ggml's block quantisations turned back into float32.

Each type stores a fixed number of values in a block of a fixed number of bytes. The layouts are those of ggml's
`ggml-quants.h`/`.c`; the judge is the `gguf` package's own decoder, to which every value is equal, bit for bit: products and
sums are therefore rounded one after the other, never fused.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class QuantType:
    """One block layout: `unpack` fills float32 `out` (n, block_values) from uint8 `raw` (n, block_bytes)."""

    name: str
    block_values: int
    block_bytes: int
    unpack: Callable[[Tensor, Tensor], None]


def dequantize_into(kind: QuantType, raw: Tensor, out: Tensor) -> None:
    """Fill float32 `out` (n, block_values) with the values of the uint8 blocks `raw` (n, block_bytes)."""
    assert raw.shape[1] == kind.block_bytes and out.shape[1] == kind.block_values and out.dtype == torch.float32
    kind.unpack(raw, out)


def _halves(raw: Tensor, first: int, count: int = 1) -> Tensor:
    """`count` float16 numbers of each block from byte `first` on, as float32 (n, count)."""
    return raw[:, first : first + 2 * count].contiguous().view(torch.float16).float()


def _nibbles(packed: Tensor, groups: int) -> Tensor:
    """4-bit numbers (n, groups, 2, width) of `packed` (n, groups * width): all low nibbles of a group, then all high."""
    packed = packed.reshape(len(packed), groups, -1)
    out = torch.empty(len(packed), groups, 2, packed.shape[2], dtype=torch.uint8)
    torch.bitwise_and(packed, 15, out=out[:, :, 0])
    torch.bitwise_right_shift(packed, 4, out=out[:, :, 1])
    return out


def _bits(packed: Tensor, width: int, count: int) -> Tensor:
    """`count` numbers of `width` bits of every byte of `packed` (n, ...), lowest first: (n, count, ...)."""
    shifts = torch.arange(0, width * count, width, dtype=torch.uint8).view(1, count, *([1] * (packed.dim() - 1)))
    return (packed[:, None] >> shifts) & ((1 << width) - 1)


_SPREAD = ((torch.arange(256)[:, None] >> torch.arange(8) & 1) << 4).to(torch.uint8).view(torch.int64).view(256)
"""For every byte its eight bits, lowest first, as eight bytes of 16 or 0: one lookup where shifting takes 32 steps."""


def _fifth_bits(raw: Tensor, first: int) -> Tensor:
    """The 32 high bits of a block (4 bytes, lowest first), each as 16 or 0: (n, 32)."""
    return _SPREAD[raw[:, first : first + 4].int()].view(torch.uint8).view(len(raw), 32)


def _q4_0(raw: Tensor, out: Tensor) -> None:
    out.copy_(_nibbles(raw[:, 2:], 1).view(-1, 32)).sub_(8).mul_(_halves(raw, 0))


def _q4_1(raw: Tensor, out: Tensor) -> None:
    out.copy_(_nibbles(raw[:, 4:], 1).view(-1, 32)).mul_(_halves(raw, 0)).add_(_halves(raw, 2))


def _q5_0(raw: Tensor, out: Tensor) -> None:
    out.copy_(_nibbles(raw[:, 6:], 1).view(-1, 32) | _fifth_bits(raw, 2)).sub_(16).mul_(_halves(raw, 0))


def _q5_1(raw: Tensor, out: Tensor) -> None:
    out.copy_(_nibbles(raw[:, 8:], 1).view(-1, 32) | _fifth_bits(raw, 4)).mul_(_halves(raw, 0)).add_(_halves(raw, 2))


def _q8_0(raw: Tensor, out: Tensor) -> None:
    out.copy_(raw[:, 2:].view(torch.int8)).mul_(_halves(raw, 0))


def _scales_and_minima(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Scales and minima of the 8 sub-blocks of a Q4_K or Q5_K block, (n, 8, 1) each.

    After the two float16 factors come 12 bytes: 6-bit scales and minima, the upper two bits of the later four of each kept
    in the top of the first eight bytes.
    """
    packed = raw[:, 4:16]
    low_scales, low_minima, rest = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = torch.cat((low_scales & 63, (rest & 15) | ((low_scales >> 2) & 48)), dim=1)
    minima = torch.cat((low_minima & 63, (rest >> 4) | ((low_minima >> 2) & 48)), dim=1)
    return (_halves(raw, 0) * scales)[:, :, None], (_halves(raw, 2) * minima)[:, :, None]


def _q4_k(raw: Tensor, out: Tensor) -> None:
    scales, minima = _scales_and_minima(raw)
    out.copy_(_nibbles(raw[:, 16:], 4).view(-1, 256))
    out.view(-1, 8, 32).mul_(scales).sub_(minima)


def _q5_k(raw: Tensor, out: Tensor) -> None:
    scales, minima = _scales_and_minima(raw)
    high = _bits(raw[:, 16:48], 1, 8).view(-1, 256) << 4
    out.copy_(_nibbles(raw[:, 48:], 4).view(-1, 256) | high)
    out.view(-1, 8, 32).mul_(scales).sub_(minima)


def _q6_k(raw: Tensor, out: Tensor) -> None:
    low = _nibbles(raw[:, :128], 2).view(-1, 256)
    high = _bits(raw[:, 128:192].reshape(-1, 32), 2, 4).view(-1, 256) << 4
    scales = _halves(raw, 208) * raw[:, 192:208].view(torch.int8)
    out.copy_(low | high).sub_(32)
    out.view(-1, 16, 16).mul_(scales[:, :, None])


QUANT_TYPES: dict[int, QuantType] = {
    2: QuantType("Q4_0", 32, 18, _q4_0),
    3: QuantType("Q4_1", 32, 20, _q4_1),
    6: QuantType("Q5_0", 32, 22, _q5_0),
    7: QuantType("Q5_1", 32, 24, _q5_1),
    8: QuantType("Q8_0", 32, 34, _q8_0),
    12: QuantType("Q4_K", 256, 144, _q4_k),
    13: QuantType("Q5_K", 256, 176, _q5_k),
    14: QuantType("Q6_K", 256, 210, _q6_k),
}
"""Quantised types by ggml's type number (the numbers of `enum ggml_type`)."""

PLAIN_TYPES: dict[int, tuple[str, torch.dtype]] = {
    0: ("F32", torch.float32),
    1: ("F16", torch.float16),
    30: ("BF16", torch.bfloat16),
    28: ("F64", torch.float64),
}
"""Types that are a dtype as they stand."""

REFUSED_TYPES: dict[int, str] = {
    9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL",
    21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0",
    39: "MXFP4",
}  # fmt: skip
"""Known types that are not read, so that the error line can name them."""
