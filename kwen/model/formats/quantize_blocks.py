"""Floats into ggml's blocks: what `dequantize` reads, written.

Q8_0, Q5_0 and Q4_0 are `rounding`'s grids in groups of 32. Q4_K and Q6_K hold 256 values a block and the scales of their
sub-blocks as small integers: sub-blocks are fitted one by one, their scales rounded, and the values rounded once more to what
came out. The layouts are those that `dequantize` cites. Legend: N blocks, J sub-blocks of a block, S values of a sub-block.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from kwen.model.quantize import QuantizedLinear
from kwen.model.rounding import best_symmetric, round_matrix

SUPER_BLOCK = 256
"""Values of a K-quant's block."""


def quantize_rows(name: str, values: Tensor) -> Tensor:
    """The bytes (rows, row bytes) of float32 `values` (rows, width) in the ggml type `name`, whose blocks divide the width."""
    blocks = _WRITERS[name](values)
    return blocks.view(len(values), -1)


def layer_rows(layer: QuantizedLinear) -> Tensor:
    """The bytes (out, row bytes) of a layer of symmetric groups of 32 as Q4_0 or Q8_0, each integer as it is."""
    assert layer.group_size == 32 and layer.zero is None and layer.in_features % 32 == 0
    pack = _pack_q8_0 if layer.bits == 8 else _pack_q4_0
    return pack(layer.levels(), layer.scale).view(layer.out_features, -1)


def _bytes(halves: Tensor) -> Tensor:
    """float16 (n, k) as their bytes (n, 2k)."""
    return halves.contiguous().view(torch.uint8).view(len(halves), -1)


def _nibbles(levels: Tensor, groups: int) -> Tensor:
    """Levels (n, m) as bytes (n, m / 2): in each of `groups` runs, the first half in the low nibbles, the rest in the high."""
    halves = levels.view(len(levels), groups, 2, -1)
    return (halves[:, :, 0] | halves[:, :, 1] << 4).flatten(1)


def _pack_q8_0(levels: Tensor, scale: Tensor) -> Tensor:
    signed = (levels.to(torch.int16) - 128).to(torch.int8).view(-1, 32).view(torch.uint8)
    return torch.cat((_bytes(scale.reshape(-1, 1)), signed), dim=1)


def _pack_q4_0(levels: Tensor, scale: Tensor) -> Tensor:
    return torch.cat((_bytes(scale.reshape(-1, 1)), _nibbles(levels.reshape(-1, 32), 1)), dim=1)


def _q8_0(values: Tensor) -> Tensor:
    return _pack_q8_0(*round_matrix(values, 8, 32)[:2])


def _q4_0(values: Tensor) -> Tensor:
    return _pack_q4_0(*round_matrix(values, 4, 32)[:2])


def _q5_0(values: Tensor) -> Tensor:
    """Levels 0 to 31 around 16: four low bits in nibbles, the high bits of the 32 values in four bytes before them."""
    wide = values.view(-1, 1, 32)
    scale, signed = best_symmetric(wide, torch.ones(1, 1, 32), 16)
    levels = (signed[:, 0] + 16).to(torch.uint8)
    high = ((levels >> 4).view(-1, 4, 8) << torch.arange(8, dtype=torch.uint8)).sum(dim=-1, dtype=torch.uint8)
    return torch.cat((_bytes(scale.half()), high, _nibbles(levels & 15, 1)), dim=1)


def _q4_k(values: Tensor) -> Tensor:
    """value = d * scale * level - dmin * minimum: 6-bit scales and minima of eight sub-blocks, levels 0 to 15."""
    wide = values.view(-1, 8, 32)
    scale, minimum = _best_affine(wide, 15)
    d, dmin = (part.amax(dim=1, keepdim=True).div(63).half() for part in (scale, minimum))
    scales, minima = (_ratio(part, unit).clamp_(0, 63) for part, unit in ((scale, d), (minimum, dmin)))
    step, low = (d.float() * scales)[..., None], (dmin.float() * minima)[..., None]
    levels = torch.where(step > 0, (wide + low) / step, 0.0).round_().clamp_(0, 15).to(torch.uint8)
    s, m = scales.to(torch.uint8), minima.to(torch.uint8)
    packed = torch.cat(
        (s[:, :4] | (s[:, 4:] >> 4) << 6, m[:, :4] | (m[:, 4:] >> 4) << 6, s[:, 4:] & 15 | (m[:, 4:] & 15) << 4), dim=1
    )
    return torch.cat((_bytes(d), _bytes(dmin), packed, _nibbles(levels.view(-1, 256), 4)), dim=1)


def _q6_k(values: Tensor) -> Tensor:
    """value = d * scale * (level - 32): signed 8-bit scales of sixteen sub-blocks, levels 0 to 63."""
    wide = values.view(-1, 16, 16)
    scale, _ = best_symmetric(wide, torch.ones(1, 1, 16), 32)
    furthest = scale.gather(1, scale.abs().argmax(dim=1, keepdim=True))
    d = (furthest / -128).half()
    scales = _ratio(scale, d).clamp_(-128, 127)
    step = (d.float() * scales)[..., None]
    signed = torch.where(step != 0, wide / step, 0.0).round_().clamp_(-32, 31)
    levels = (signed + 32).to(torch.uint8).view(-1, 256)
    pairs = (levels >> 4).view(-1, 2, 4, 32)
    high = (pairs << torch.tensor([0, 2, 4, 6], dtype=torch.uint8).view(1, 1, 4, 1)).sum(dim=2, dtype=torch.uint8).flatten(1)
    return torch.cat((_nibbles(levels & 15, 2), high, scales.to(torch.int8).view(torch.uint8), _bytes(d)), dim=1)


def _ratio(part: Tensor, unit: Tensor) -> Tensor:
    """`part` in whole units; 0 where the unit is 0."""
    wide = unit.float()
    return torch.where(wide == 0, 0.0, part / torch.where(wide == 0, 1.0, wide)).round_()


def _best_affine(wide: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """(scale, minimum >= 0), (N, J) each: value = scale * level - minimum, levels 0 to `top`; large values' errors count more.

    Candidates stretch the range of the sub-block; for the levels of each the best scale and minimum are the least squares.
    """
    low, high = wide.amin(dim=-1).clamp_max(0), wide.amax(dim=-1)
    counts = wide.square().mean(dim=-1, keepdim=True).sqrt() + wide.abs()
    total, total_x = counts.sum(dim=-1), (counts * wide).sum(dim=-1)
    best = torch.full_like(low, float("inf"))
    best_scale, best_minimum = torch.zeros_like(low), torch.zeros_like(low)
    for stretch in (-1.0, -0.6, -0.3, 0.0, 0.3, 0.6):
        inverse = torch.where(high > low, (top + stretch) / (high - low).clamp_min(1e-30), 0.0)
        levels = ((wide - low[..., None]) * inverse[..., None]).round_().clamp_(0, top)
        weighted = counts * levels
        one, ll, lx = weighted.sum(dim=-1), (weighted * levels).sum(dim=-1), (weighted * wide).sum(dim=-1)
        determinant = total * ll - one * one
        scale = torch.where(determinant > 0, (total * lx - total_x * one) / determinant.clamp_min(1e-30), 0.0)
        minimum = torch.where(determinant > 0, (one * lx - ll * total_x) / determinant.clamp_min(1e-30), -low)
        alone = (minimum < 0) & (ll > 0)  # a minimum above zero cannot be stored: then the scale alone is fitted
        scale, minimum = torch.where(alone, lx / ll.clamp_min(1e-30), scale), minimum.clamp_min(0)
        error = ((levels * scale[..., None] - minimum[..., None] - wide).square_() * counts).sum(dim=-1)
        better = (error < best) & (scale >= 0)
        best = torch.where(better, error, best)
        best_scale, best_minimum = torch.where(better, scale, best_scale), torch.where(better, minimum, best_minimum)
    return best_scale, best_minimum


_WRITERS: dict[str, Callable[[Tensor], Tensor]] = {"Q4_0": _q4_0, "Q8_0": _q8_0, "Q5_0": _q5_0, "Q4_K": _q4_k, "Q6_K": _q6_k}
