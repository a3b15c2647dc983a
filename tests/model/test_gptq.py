"""GPTQ: what a layer computes on inputs like the calibration's stays closer than by rounding to nearest."""

import pytest
import torch
from tiny_checkpoints import tiny_config, tiny_model
from torch import Tensor, nn

from kwen.model.gptq import calibrate_model, round_layer
from kwen.model.quantize import QuantizedLinear, quantize_model


def correlated_inputs(tokens: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(width, width, generator=generator) / width**0.5
    scales = torch.logspace(-1, 1, width)
    return torch.randn(tokens, width, generator=generator) @ mixing * scales


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group_size", [32, 64])
def test_outputs_are_closer_than_by_rounding_to_nearest(group_size: int, symmetric: bool) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(80, 48), correlated_inputs(2000, 80)
    ours = round_layer(layer, x[:1000].T @ x[:1000] / 1000, 4, group_size, symmetric)
    nearest = QuantizedLinear.quantize(layer, 4, group_size, symmetric=symmetric)
    assert (ours.zero is None) == symmetric and torch.equal(ours.bias, layer.bias)  # type: ignore[arg-type]
    with torch.inference_mode():
        unseen = x[1000:]
        errors = [float((one(unseen) - layer(unseen)).square().mean()) for one in (ours, nearest)]
    assert errors[0] < 0.6 * errors[1]


def test_inputs_that_never_occur_are_no_obstacle() -> None:
    x = correlated_inputs(500, 64)
    x[:, 10] = 0
    x[:, 20] = x[:, 21]
    layer = nn.Linear(64, 8)
    ours = round_layer(layer, x.T @ x / 500, 4, 32)
    with torch.inference_mode():
        assert float((ours(x) - layer(x)).square().mean() / layer(x).var()) < 0.02


def test_a_calibrated_model_stays_closer_than_a_rounded_one() -> None:
    config = tiny_config(hidden_size=64, head_dim=16, intermediate_size=96)
    generator = torch.Generator().manual_seed(3)
    rows = torch.randint(0, 67, (24, 32), generator=generator)
    seen, unseen = rows[:20], rows[20:]
    with torch.inference_mode():
        expected = tiny_model(config)(unseen)
        told: list[float] = []
        ours = calibrate_model(tiny_model(config), seen, 4, 32, batch=8, progress=lambda done, total: told.append(done / total))
        nearest = quantize_model(tiny_model(config), 4, 32)
        errors = [float((model(unseen) - expected).square().mean()) for model in (ours, nearest)]
    assert errors[0] < 0.8 * errors[1]
    assert told == sorted(told) and told[-1] == 1
    assert all(isinstance(layer, QuantizedLinear) for layer in (ours.model.layers[1].mlp.down_proj, ours.quantized_head))
    assert ours.model.layers[0].self_attn.q_proj.bias is not None


def test_equal_input_gives_equal_integers() -> None:
    rows = torch.arange(60).view(3, 20)
    one, other = (calibrate_model(tiny_model(tiny_config()), rows, 4, 32) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), other.buffers(), strict=True))
