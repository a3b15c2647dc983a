"""Every block type decodes to exactly what the gguf package decodes."""

import gguf
import numpy as np
import pytest
import torch

from kwen.model.formats.dequantize import QUANT_TYPES, dequantize_into


@pytest.mark.parametrize("number", QUANT_TYPES, ids=lambda number: QUANT_TYPES[number].name)
def test_any_bytes_decode_as_gguf_decodes_them(number: int) -> None:
    """Random bytes reach every code and scale: negative, subnormal, infinite and not-a-number scales too."""
    kind = QUANT_TYPES[number]
    raw = np.random.default_rng(number).integers(0, 256, (3000, kind.block_bytes), dtype=np.uint8)
    raw[:20] = 0
    raw[20:40] = 255
    out = torch.empty(len(raw), kind.block_values)
    dequantize_into(kind, torch.from_numpy(raw), out)
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(number))
    assert np.array_equal(out.numpy(), expected, equal_nan=True)
    finite = np.isfinite(expected)
    assert np.array_equal(out.numpy().view(np.int32)[finite], expected.view(np.int32)[finite])  # the sign of zero too


def test_block_sizes_are_ggmls() -> None:
    for number, kind in QUANT_TYPES.items():
        quant = gguf.GGMLQuantizationType(number)
        assert (kind.name, (kind.block_values, kind.block_bytes)) == (quant.name, gguf.GGML_QUANT_SIZES[quant])
