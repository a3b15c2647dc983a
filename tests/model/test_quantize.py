"""Int8Linear: close to the layer it stands for, exact to what it says it holds, and a quarter of the memory."""

import pytest
import torch
from torch import nn

from kwen.model.quantize import Int8Linear


@pytest.fixture
def linear() -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(48, 40)
    with torch.no_grad():
        layer.weight[3] *= 100
        layer.weight[5] = 0
    return layer


def test_each_weight_is_within_half_a_step_of_its_row(linear: nn.Linear) -> None:
    error = (Int8Linear(linear).dequantize() - linear.weight).abs()
    assert bool((error <= linear.weight.abs().amax(dim=1, keepdim=True) / 254 * 1.0001).all())
    assert bool((error[5] == 0).all())


def test_the_product_is_that_of_the_dequantised_weights(linear: nn.Linear) -> None:
    layer, x = Int8Linear(linear), torch.randn(2, 7, 48, requires_grad=True)
    plain = nn.functional.linear(x, layer.dequantize(), linear.bias)
    assert torch.equal(layer(x), plain)
    direction = torch.randn_like(plain)
    for got, expected in zip(torch.autograd.grad(layer(x), x, direction), torch.autograd.grad(plain, x, direction), strict=True):
        assert torch.allclose(got, expected, atol=1e-6)


def test_gradients_by_x_are_those_of_finite_differences(linear: nn.Linear) -> None:
    layer = Int8Linear(linear).double()
    layer.bias = None
    assert layer.scale.dtype == torch.float32
    assert torch.autograd.gradcheck(layer, torch.randn(3, 48, dtype=torch.float64, requires_grad=True))


def test_nothing_is_trained_and_no_converted_matrix_is_kept(linear: nn.Linear) -> None:
    layer = Int8Linear(linear)
    assert not any(parameter.requires_grad for parameter in layer.parameters())
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(torch.randn(4, 48, requires_grad=True))
    assert {(tensor.dtype, tensor.numel()) for tensor in kept} == {(torch.int8, 48 * 40), (torch.float32, 40)}


def test_autocast_and_casts_leave_the_scales_as_they_are(linear: nn.Linear) -> None:
    layer, x = Int8Linear(linear), torch.randn(5, 48)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = layer(x)
    assert low.dtype == torch.bfloat16 and torch.allclose(low.float(), layer(x), rtol=0.02, atol=0.5)
    cast = Int8Linear(linear).to(torch.bfloat16)
    assert torch.equal(cast.scale, layer.scale) and torch.equal(cast.weight, layer.weight)
