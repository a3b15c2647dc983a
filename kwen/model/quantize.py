"""Frozen linear layers with integer weights, and the models made of them.

`Int8Linear` is the base of QLoRA: int8, one float32 scale an output row. `QuantizedLinear` is what models are served from and
what GPTQ, AWQ and GGUF files hold: 8 or 4 bits, one float16 scale (and perhaps a zero point) for each group of inputs of a row.
Both compute with the weights turned back into floats; the engine's kernels read the integers of a `QuantizedLinear` as they are.

`torch._weight_int8pack_mm` would read int8 weights as they are, but is made for a token at a time: on a CPU at 512 tokens it
takes 2.7 times as long in bfloat16, 43 times in float32, as converting the matrix first, which is what happens here.
"""

from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kwen.model.rounding import round_matrix
from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent

DEFAULT_GROUPS: dict[int, int] = {8: 64, 4: 32}
"""Inputs that share a scale, by bits. 32 is the group of ggml's Q8_0 and Q4_0; at 8 bits twice as many cost a thousandth of the
perplexity (docs/log.md) and spare the engine's kernels half of their scaling."""
VALUES = "v_proj"
"""The projections of attention's values: a thirtieth of a model's weights, and more than half of what 4 bits cost it."""


class _FrozenLinear(nn.Module):
    """What the quantised layers share: their scales keep their dtype when the model around them is cast."""

    weight: Tensor
    scale: Tensor
    bias: nn.Parameter | None

    def _apply(self, fn, recurse: bool = True):  # noqa: ANN001, ANN202 (torch's own signature)
        """Moves follow the module, casts do not."""
        scale, minimum = self.scale, getattr(self, "minimum", None)
        super()._apply(fn, recurse)
        self.scale = scale.to(self.scale.device)
        if minimum is not None:
            self.minimum = minimum.to(self.scale.device)
        return self

    def _keep_bias(self, linear: nn.Linear) -> None:
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach(), requires_grad=False)


class _Int8Product(torch.autograd.Function):
    """x @ dequantised(weight).T, differentiated by x alone. Autograd would keep the converted matrix until the backward pass,
    and with it the memory that int8 saves; this converts it again.

    The scale meets the weight, not the product: the product scaled by rows is what torch.compile takes for the kernel above.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:  # noqa: ANN001
        ctx.save_for_backward(weight, scale)
        return F.linear(x, _dequantize_rows(weight, scale).to(x.dtype))

    @staticmethod
    def backward(ctx, gradient: Tensor):  # noqa: ANN001, ANN205
        weight, scale = ctx.saved_tensors
        return gradient @ _dequantize_rows(weight, scale).to(gradient.dtype), None, None


def _dequantize_rows(weight: Tensor, scale: Tensor) -> Tensor:
    return weight.float() * scale[:, None]


class Int8Linear(_FrozenLinear):
    """A frozen linear layer with int8 weights (out, in), one float32 scale an output row, and the bias as it was.

    weight = int8 * scale, symmetric, so the largest error is half a step: the row's largest absolute value / 254.
    """

    def __init__(self, linear: nn.Linear) -> None:
        """Quantise `linear`, rounding to nearest. A row of zeros stays zeros."""
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        wide = linear.weight.detach().float()
        scale = wide.abs().amax(dim=1) / 127
        steps = wide / torch.where(scale > 0, scale, 1.0)[:, None]
        self.register_buffer("weight", steps.round_().to(torch.int8))
        self.register_buffer("scale", scale)
        self._keep_bias(linear)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out), in autocast's dtype where that is on, else in that of `x`."""
        device = x.device.type
        if torch.is_autocast_enabled(device):
            x = x.to(torch.get_autocast_dtype(device))
        y = cast(Tensor, _Int8Product.apply(x, self.weight, self.scale))
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def dequantize(self) -> Tensor:
        """The weights (out, in) as float32, the very ones that `forward` computes with."""
        return _dequantize_rows(self.weight, self.scale)


class QuantizedLinear(_FrozenLinear):
    """A frozen linear layer whose weights are scale * (level - zero), one scale and zero for each group of inputs of a row; or
    scale * level + minimum, as GGUF's Q4_1 has it.

    weight: uint8, the levels. 8 bits: (out, in), 0 to 255. 4 bits: (out, ceil(in / 2)), 0 to 15, input 2i in the low nibble of
        byte i and input 2i + 1 in the high one.
    scale: float16 (out, groups); of either sign, 0 in a group of zeros. Group g is the inputs from g * group_size on; the last
        may be shorter.
    zero: uint8 (out, groups), or None where it is the middle, 128 or 8, everywhere.
    minimum: float16 (out, groups), or None where there are zeros or a middle.
    bias: as the layer had it, or None.
    """

    zero: Tensor | None
    minimum: Tensor | None

    def __init__(
        self,
        bits: Literal[4, 8],
        group_size: int,
        in_features: int,
        weight: Tensor,
        scale: Tensor,
        zero: Tensor | None = None,
        bias: Tensor | None = None,
        minimum: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.bits, self.group_size, self.in_features, self.out_features = bits, group_size, in_features, len(weight)
        groups = -(-in_features // group_size)
        assert weight.dtype == torch.uint8 and tuple(weight.shape) == (
            len(weight),
            in_features if bits == 8 else -(-in_features // 2),
        )
        assert scale.dtype == torch.float16 and tuple(scale.shape) == (len(weight), groups)
        assert zero is None or (zero.dtype == torch.uint8 and zero.shape == scale.shape)
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        assert minimum is None or (zero is None and minimum.dtype == torch.float16 and minimum.shape == scale.shape)
        self.register_buffer("zero", zero)
        self.register_buffer("minimum", minimum)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    @classmethod
    def quantize(
        cls,
        linear: nn.Linear,
        bits: Literal[4, 8],
        group_size: int | None = None,
        *,
        importance: Tensor | None = None,
        symmetric: bool = True,
    ) -> "QuantizedLinear":
        """`linear` rounded to the nearest levels, with the scales that cost the least squared error (`rounding.round_matrix`).

        group_size: by default that of DEFAULT_GROUPS. importance: (in,) what a squared error at each input counts, such as the
        mean square of that input.
        """
        group_size = group_size or DEFAULT_GROUPS[bits]
        levels, scale, zero = round_matrix(linear.weight.detach(), bits, group_size, importance, symmetric)
        return cls(bits, group_size, linear.in_features, pack(levels, bits), scale, zero, linear.bias)

    def levels(self) -> Tensor:
        """The levels (out, in) as uint8, one a byte."""
        return unpack(self.weight, self.bits, self.in_features)

    def dequantize(self) -> Tensor:
        """The weights (out, in) as float32, the very ones that `forward` computes with."""
        return dequantize_levels(self.levels(), self.scale, self.zero, self.bits, self.group_size, self.minimum)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out) in the dtype of `x`."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.dequantize().to(x.dtype), bias)

    def extra_repr(self) -> str:
        """What print(model) shows of the layer."""
        zero = "None" if self.zero is None else "..."
        return f"{self.in_features}, {self.out_features}, bits={self.bits}, group_size={self.group_size}, zero={zero}"


def pack(levels: Tensor, bits: int) -> Tensor:
    """uint8 levels (..., in) as `QuantizedLinear.weight` holds them."""
    if bits == 8:
        return levels
    if levels.shape[-1] % 2:
        levels = F.pad(levels, (0, 1))
    return levels[..., 0::2] | levels[..., 1::2] << 4


def unpack(packed: Tensor, bits: int, in_features: int) -> Tensor:
    """The uint8 levels (..., in) of `pack`."""
    if bits == 8:
        return packed
    levels = torch.stack((packed & 15, packed >> 4), dim=-1)
    return levels.flatten(-2)[..., :in_features]


def dequantize_levels(
    levels: Tensor, scale: Tensor, zero: Tensor | None, bits: int, group_size: int, minimum: Tensor | None = None
) -> Tensor:
    """scale * (level - zero), or scale * level + minimum, as float32 (out, in) of uint8 `levels` (out, in); the others are
    (out, groups)."""
    rows, width = levels.shape
    groups = scale.shape[1]
    wide = (
        torch.zeros(rows, groups * group_size, device=levels.device)
        if width % group_size
        else torch.empty_like(levels, dtype=torch.float32)
    )
    wide[:, :width] = levels
    grouped = wide.view(rows, groups, group_size)
    if minimum is None:
        grouped.sub_(float(1 << bits - 1) if zero is None else zero.float()[:, :, None])
    grouped.mul_(scale.float()[:, :, None])
    if minimum is not None:
        grouped.add_(minimum.float()[:, :, None])
    return wide[:, :width]


@torch.no_grad()
def quantize_model(
    model: Transformer,
    bits: Literal[4, 8],
    group_size: int | None = None,
    head_bits: Literal[4, 8] | None = 8,
    progress: Progress = silent,
    *,
    symmetric: bool = True,
    value_bits: Literal[4, 8] | None = None,
) -> Transformer:
    """Round the linear layers of all blocks of `model` to `bits`, those of attention's values to `value_bits` (None: as the
    others), and its output projection to `head_bits` (None: it stays as it is), in place.

    Each float matrix goes as its integers come, so the peak is the float model and one matrix. The output projection becomes
    `model.quantized_head` (an own one leaves `lm_head`; a tied embedding stays as it is for the tokens that go in).
    """
    layers = [(name, layer) for name, layer in model.model.layers.named_modules() if isinstance(layer, nn.Linear)]
    total = sum(layer.weight.numel() for _, layer in layers)
    done = 0
    for name, layer in layers:
        own = value_bits or bits if name.endswith(VALUES) else bits
        model.model.layers.set_submodule(name, QuantizedLinear.quantize(layer, own, group_size, symmetric=symmetric))
        done += layer.weight.numel()
        layer.weight = nn.Parameter(torch.empty(0))
        progress(done, total)
    if head_bits is not None:
        quantize_head(model, head_bits)
    return model


@torch.no_grad()
def quantize_head(model: Transformer, bits: Literal[4, 8] = 8, group_size: int | None = None) -> None:
    """Give `model` its output projection in `bits` as `quantized_head`; an own `lm_head` goes.

    A model of scores, and one that has such a head, is left as it is.
    """
    if model.config.scores or model.quantized_head is not None:
        return
    weight = model.output_weight.detach()
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight = nn.Parameter(weight, requires_grad=False)
    model.quantized_head = QuantizedLinear.quantize(linear, bits, group_size)
    model.lm_head = None
