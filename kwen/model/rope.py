"""Rotary position embedding: inverse frequencies in float32, the rotation of queries and keys, and what lets them go beyond the
trained length T without training: dynamic NTK (report section 5.1) and LogN (5.2).
"""

import math

import torch
from torch import Tensor

from kwen.model.config import ModelConfig, RopeScaling

CHUNKS = 32
"""Of a sequence's length: up to T, 2 T, 4 T, ... with room for all lengths below 2^31."""


def chunk_of(length: int, trained_length: int) -> int:
    """The chunk that a sequence's length lies in: how often T has to be doubled to hold it, 0 up to T."""
    return (-(-max(length, 1) // trained_length) - 1).bit_length()


def chunks_of(lengths: Tensor, trained_length: int) -> Tensor:
    """`chunk_of` for each length of an integer tensor."""
    borders = trained_length << torch.arange(CHUNKS, device=lengths.device)
    return (lengths[..., None] > borders).sum(dim=-1)


def ntk_alpha(chunk: int) -> int:
    """Dynamic NTK's alpha: max(2^ceil(log2(L/T) + 1) - 1, 1) for a length L in this chunk; 1, 3, 7, 15, ..."""
    return 2 ** (chunk + 1) - 1


def ntk_theta(config: ModelConfig, chunk: int) -> float:
    """Dynamic NTK's base b' = b * alpha^(d / (d - 2)) for sequences whose length lies in this chunk."""
    return config.rope_theta * ntk_alpha(chunk) ** (config.head_dim / (config.head_dim - 2))


def logn_scale(positions: Tensor, trained_length: int) -> Tensor:
    """LogN's float32 factor of the query at each position from 0 on: ln i / ln T where i = position + 1 > T, else 1."""
    return ((positions + 1).float().log() / math.log(trained_length)).masked_fill(positions < trained_length, 1.0)


def frequency_table(config: ModelConfig) -> tuple[Tensor, float]:
    """`inverse_frequencies` for each chunk (CHUNKS, E/2) where dynamic NTK is on, else (1, E/2); and their factor."""
    frequencies, factor = inverse_frequencies(config)
    if not config.use_dynamic_ntk:
        return frequencies[None], factor
    stretched = [inverse_frequencies(config, ntk_theta(config, chunk))[0] for chunk in range(1, CHUNKS)]
    return torch.stack([frequencies, *stretched]), factor


def inverse_frequencies(config: ModelConfig, theta: float | None = None) -> tuple[Tensor, float]:
    """Float32 inverse frequencies (E/2,) and the factor that cos and sin are multiplied by (1 except for YaRN).

    theta: the base, by default the config's. They stay in float32 whatever the model's precision (report section 2.3): in bf16
    far positions would blur.
    """
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.int64).float() / config.head_dim
    frequencies = 1.0 / (config.rope_theta if theta is None else theta) ** exponents
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies, 1.0
    if scaling.rope_type == "linear":
        return frequencies / scaling.factor, 1.0
    if scaling.rope_type == "llama3":
        return _llama3(frequencies, scaling), 1.0
    return _yarn(frequencies, scaling, config.head_dim, config.rope_theta)


def _llama3(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Llama 3.1's scheme: long wavelengths are stretched, short ones kept, those between are blended."""
    original = scaling.original_max_position_embeddings or 8192
    low, high = scaling.low_freq_factor or 1.0, scaling.high_freq_factor or 4.0
    wavelengths = 2 * math.pi / frequencies
    blend = ((original / wavelengths - low) / (high - low)).clamp(0, 1)
    blended = (1 - blend) * frequencies / scaling.factor + blend * frequencies
    long = wavelengths > original / low
    short = wavelengths < original / high
    return torch.where(long, frequencies / scaling.factor, torch.where(short, frequencies, blended))


def _yarn(frequencies: Tensor, scaling: RopeScaling, head_dim: int, theta: float) -> tuple[Tensor, float]:
    """YaRN (arXiv 2309.00071): dimensions that turn often are kept, slow ones are interpolated, a ramp between."""
    original = scaling.original_max_position_embeddings or 2048

    def dimension_turning(times: float) -> float:
        return head_dim * math.log(original / (times * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension_turning(scaling.beta_fast or 32), dimension_turning(scaling.beta_slow or 1)
    if scaling.truncate is not False:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    width = high - low if high != low else 0.001
    ramp = ((torch.arange(head_dim // 2, dtype=torch.float32) - low) / width).clamp(0, 1)
    return frequencies / scaling.factor * ramp + frequencies * (1 - ramp), _yarn_attention_factor(scaling)


def _yarn_attention_factor(scaling: RopeScaling) -> float:
    def magnitude(multiplier: float) -> float:
        return 1.0 if scaling.factor <= 1 else 0.1 * multiplier * math.log(scaling.factor) + 1.0

    if scaling.attention_factor is not None:
        return scaling.attention_factor
    if scaling.mscale and scaling.mscale_all_dim:
        return magnitude(scaling.mscale) / magnitude(scaling.mscale_all_dim)
    return magnitude(1.0)


def rotation(positions: Tensor, frequencies: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """Cos and sin (B, 1, T, E/2) in float32 for `positions` (B, T) and `frequencies` (E/2,), or (B, 1, 1 or T, E/2)."""
    angles = positions[:, None, :, None].float() * frequencies
    return angles.cos() * factor, angles.sin() * factor


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn `x` (B, heads, T, E) in float32 by pairs (i, i + E/2), the half-split pairing of Qwen and LLaMA."""
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)
