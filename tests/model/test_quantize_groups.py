"""QuantizedLinear: exact to what it says it holds, as close as its bits allow; a model made of it is close to what it was."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_checkpoints import tiny_config, tiny_model
from torch import nn

from kwen.errors import UserError
from kwen.model.quantize import QuantizedLinear, dequantize_levels, pack, quantize_model, unpack
from kwen.model.rounding import round_matrix


def linear(inputs: int = 80, outputs: int = 24, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(inputs, outputs, bias=bias)
    with torch.no_grad():
        layer.weight[3] *= 50
        layer.weight[5, :40] = 0
    return layer


@given(st.integers(1, 40), st.sampled_from([4, 8]), st.data())
def test_packing_keeps_every_level(width: int, bits: int, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.lists(st.integers(0, (1 << bits) - 1), min_size=width, max_size=width), min_size=1, max_size=3))
    levels = torch.tensor(rows, dtype=torch.uint8)
    packed = pack(levels, bits)
    assert packed.shape[1] == (width if bits == 8 else (width + 1) // 2)
    assert torch.equal(unpack(packed, bits, width), levels)
    if bits == 4 and width > 1:
        assert int(packed[0, 0]) == rows[0][0] + 16 * rows[0][1]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group_size", [16, 32, 80, 128])
def test_each_weight_is_near_and_the_product_is_that_of_the_dequantised_ones(bits: int, symmetric: bool, group_size: int) -> None:
    """Group sizes that divide the 80 inputs, that do not, and that are larger."""
    layer = linear()
    ours = QuantizedLinear.quantize(layer, bits, group_size, symmetric=symmetric)
    assert ours.scale.shape == (24, -(-80 // group_size)) and (ours.zero is None) == symmetric
    step = ours.scale.float().abs().repeat_interleave(group_size, dim=1)[:, :80]
    error = (ours.dequantize() - layer.weight).abs()
    cut_off = 0.51 if bits == 8 and symmetric else 1.6  # a searched scale may cut off the largest values by up to a level
    assert bool((error <= cut_off * step + 1e-6).all())
    assert float(error.detach().square().mean() / layer.weight.detach().square().mean()) < {4: 0.01, 8: 1e-4}[bits]
    if not symmetric or group_size <= 32:
        assert bool((error[5, :32] == 0).all()), "a group of zeros stays zeros"
    x = torch.randn(2, 7, 80)
    assert torch.equal(ours(x), nn.functional.linear(x, ours.dequantize(), layer.bias))
    assert ours(x.bfloat16()).dtype == torch.bfloat16


def test_the_searched_scale_beats_the_plain_one_and_importance_moves_the_error() -> None:
    weight = linear(64, 200).weight.detach()
    levels, scale, _ = round_matrix(weight, 4, 32)
    searched = (dequantize_levels(levels, scale, None, 4, 32) - weight).square()
    groups = weight.view(200, 2, 32)
    plain_scale = groups.abs().amax(dim=-1, keepdim=True) / 7
    plain = ((groups / plain_scale.clamp_min(1e-9)).round() * plain_scale - groups).square()
    assert float(searched.sum()) < 0.9 * float(plain.sum())
    importance = torch.ones(64)
    importance[:8] = 100
    levels, scale, _ = round_matrix(weight, 4, 32, importance)
    weighted = (dequantize_levels(levels, scale, None, 4, 32) - weight).square()
    assert float(weighted[:, :8].sum()) < 0.9 * float(searched[:, :8].sum())


def test_weights_that_lie_on_a_grid_of_ggml_come_back_unchanged() -> None:
    """So a file of Q4_0 or Q8_0 loses nothing when it is loaded as int4 or int8."""
    generator = torch.Generator().manual_seed(1)
    for bits, low, high in ((4, -8, 7), (8, -127, 127)):
        levels = torch.randint(low, high + 1, (40, 4, 32), generator=generator)
        levels[:, :, 0] = -8 if bits == 4 else 127
        scale = (torch.rand(40, 4, generator=generator) - 0.5).half()
        weight = (levels * scale.float()[..., None]).view(40, 128)
        found = round_matrix(weight, bits, 32)
        assert torch.equal(dequantize_levels(*found, bits, 32), weight)


def test_casts_leave_the_scales_and_gradients_reach_the_input_alone() -> None:
    layer = QuantizedLinear.quantize(linear(), 4, 32)
    assert layer.to(torch.bfloat16).scale.dtype == torch.float16 and layer.weight.dtype == torch.uint8
    x = torch.randn(3, 80, requires_grad=True)
    layer.float()(x).sum().backward()
    assert x.grad is not None and torch.allclose(x.grad[0], layer.dequantize().sum(dim=0), atol=1e-4)
    assert not any(parameter.requires_grad for parameter in layer.parameters())


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_of_integers_computes_nearly_what_it_did(tied: bool) -> None:
    tokens = torch.arange(40).view(2, 20)
    for bits, bound in ((8, 0.02), (4, 0.3)):
        model = tiny_model(tiny_config(tie_word_embeddings=tied, hidden_size=64, head_dim=16))
        with torch.inference_mode():
            before = model(tokens)
            told: list[tuple[float, float]] = []
            quantize_model(model, bits, 32, progress=lambda done, total, told=told: told.append((done, total)))
            after = model(tokens)
        assert float((after - before).std() / before.std()) < bound
        linears = [module for module in model.model.layers.modules() if isinstance(module, nn.Linear)]
        assert not linears and model.lm_head is None and model.quantized_head.bits == 8  # type: ignore[union-attr]
        assert told[-1][0] == told[-1][1] and len(told) == 14


def test_weights_that_are_no_numbers_are_refused() -> None:
    for value in (float("nan"), float("inf"), 1e9):
        layer = linear()
        with torch.no_grad():
            layer.weight[0, 0] = value
        with pytest.raises(UserError, match="the weights hold"):
            QuantizedLinear.quantize(layer, 4, 32)
