"""The native kernels compute what torch computes, for every kind of weight."""

import pytest
import torch
from random_models import random_model
from torch import nn

from kwen.engine.engine import Engine
from kwen.engine.native_library import library, why_not
from kwen.engine.native_runner import NativeRunner
from kwen.engine.request import Request
from kwen.engine.runner import Logits
from kwen.engine.sampler import SamplingParams
from kwen.model.config import ModelConfig
from kwen.model.quantize import QuantizedLinear, quantize_model
from kwen.model.transformer import Transformer
from kwen.text.tokenizer import Tokenizer

pytestmark = pytest.mark.skipif(library() is None, reason=f"no native kernels: {why_not()}")


def make_model(tokenizer: Tokenizer, dtype: torch.dtype = torch.float32, hidden: int = 96, wide: int = 208) -> Transformer:
    config = ModelConfig(tokenizer.vocab_size, hidden, wide, 2, 6, 2, 16, max_position_embeddings=256)
    return random_model(config, 0.15, 0.1, seed=3).to(dtype)


def prompt_logprobs(model: Transformer, tokenizer: Tokenizer, prompt: list[int]) -> torch.Tensor:
    engine = Engine(model, runner=NativeRunner(model, "float32"))
    request = Request(0, prompt, SamplingParams(1, prompt_logprobs=0), tokenizer)
    engine.add([request])
    while engine.busy:
        engine.step()
    return torch.tensor([one.logprob for one in request.prompt_logprobs[1:]])


@torch.inference_mode()
def by_torch(model: Transformer, prompt: list[int]) -> torch.Tensor:
    logits = model(torch.tensor([prompt]))[0].float()
    return Logits.of(logits[:-1]).logprobs(torch.tensor(prompt[1:]))


def prompt_of(tokenizer: Tokenizer, count: int = 80) -> list[int]:
    return torch.randint(0, tokenizer.vocab_size, (count,), generator=torch.Generator().manual_seed(4)).tolist()


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-4), (torch.float16, 2e-2), (torch.bfloat16, 0.15)])
def test_float_weights_give_torchs_logprobs(tokenizer: Tokenizer, dtype: torch.dtype, near: float) -> None:
    model, prompt = make_model(tokenizer, dtype), prompt_of(tokenizer)
    assert (prompt_logprobs(model, tokenizer, prompt) - by_torch(model, prompt)).abs().max() < near


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize("zeros", [False, True])
def test_integer_weights_give_torchs_logprobs_but_for_rounded_activations(
    tokenizer: Tokenizer, bits: int, group: int, zeros: bool
) -> None:
    """Inputs of 96 and 208: whole groups and cut ones. Activations are integers of 8 bits in the kernels, floats in torch."""
    model, prompt = quantize_model(make_model(tokenizer), bits, group), prompt_of(tokenizer)  # type: ignore[arg-type]
    if zeros:
        for layer in [one for one in model.modules() if isinstance(one, QuantizedLinear)]:
            middle = 2 ** (bits - 1)
            around = torch.randint(middle - 2, middle + 3, layer.scale.shape, generator=torch.Generator().manual_seed(5))
            layer.zero = around.to(torch.uint8)
    got, wanted = prompt_logprobs(model, tokenizer, prompt), by_torch(model, prompt)
    assert (got - wanted).abs().max() < 0.3 and (got - wanted).abs().mean() < 0.04


@pytest.mark.parametrize("values", ["int8", "int8 in wider groups", "float"])
@pytest.mark.parametrize("heads", [16, 24])
def test_values_may_be_wider_than_queries_and_keys(tokenizer: Tokenizer, values: str, heads: int) -> None:
    """Two matrices then write one row: with heads of 24 neither ends where a vector does."""
    config = ModelConfig(tokenizer.vocab_size, 96, 208, 2, 3, 1, heads, max_position_embeddings=256)
    model = random_model(config, 0.15, 0.15)
    kept = [nn.Linear(96, heads) for _ in model.model.layers]
    for layer, linear in zip(model.model.layers, kept, strict=True):
        linear.load_state_dict(layer.self_attn.v_proj.state_dict())  # type: ignore[union-attr, operator]
    quantize_model(model, 4, 32, value_bits=8)
    for layer, linear in zip(model.model.layers, kept, strict=True):
        if values != "int8":
            wide = QuantizedLinear.quantize(linear, 8, 128) if values.endswith("groups") else linear
            layer.self_attn.v_proj = wide  # type: ignore[union-attr]
    prompt = prompt_of(tokenizer)
    got, wanted = prompt_logprobs(model, tokenizer, prompt), by_torch(model, prompt)
    assert (got - wanted).abs().max() < 0.3 and (got - wanted).abs().mean() < 0.04


def test_integers_that_need_no_rounding_are_exact(tokenizer: Tokenizer) -> None:
    """Levels and activations that are whole numbers: the product is that of the integers, whatever the zero points are."""
    torch.manual_seed(6)
    for bits, group in ((8, 64), (4, 32), (4, 128)):
        model = make_model(tokenizer, hidden=128, wide=256)
        model = quantize_model(model, bits, group, head_bits=None)  # type: ignore[arg-type]
        layer = model.model.layers[0].mlp.down_proj  # type: ignore[union-attr]
        assert isinstance(layer, QuantizedLinear)
        layer.scale.copy_(2.0 ** torch.randint(-3, 3, layer.scale.shape))
        layer.zero = torch.randint(0, 2**bits, layer.scale.shape).to(torch.uint8)
        runner = NativeRunner(model)
        x = torch.randint(-127, 128, (7, 256)).float()
        x[:, ::32] = 127  # so that the scale of each chunk is 1
        assert torch.equal(runner.product(layer, x), nn.functional.linear(x, layer.dequantize()))
        layer.zero, layer.minimum = None, torch.randint(-9, 10, layer.scale.shape).half()
        assert torch.equal(runner.product(layer, x), nn.functional.linear(x, layer.dequantize()))
