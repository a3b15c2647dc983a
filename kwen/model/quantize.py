"""Int8 weights for linear layers that are frozen: the base of QLoRA.

Each output row has its own scale, weight = int8 * scale, symmetric, so the largest error is half a step: the row's largest
absolute value / 254. The product runs in the dtype of the input. `torch._weight_int8pack_mm` would read the int8 weights as they
are, but is made for a token at a time: on a CPU at 512 tokens it takes 2.7 times as long in bfloat16, 43 times in float32,
as converting the matrix first, which is what happens here.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Int8Product(torch.autograd.Function):
    """x @ dequantised(weight).T, differentiated by x alone. Autograd would keep the converted matrix until the backward pass,
    and with it the memory that int8 saves; this converts it again.

    The scale meets the weight, not the product: the product scaled by rows is what torch.compile takes for the kernel above.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:  # noqa: ANN001
        ctx.save_for_backward(weight, scale)
        return F.linear(x, _dequantize(weight, scale).to(x.dtype))

    @staticmethod
    def backward(ctx, gradient: Tensor):  # noqa: ANN001, ANN205
        weight, scale = ctx.saved_tensors
        return gradient @ _dequantize(weight, scale).to(gradient.dtype), None, None


def _dequantize(weight: Tensor, scale: Tensor) -> Tensor:
    return weight.float() * scale[:, None]


class Int8Linear(nn.Module):
    """A frozen linear layer with int8 weights (out, in), one float32 scale an output row, and the bias as it was."""

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        """Quantise `linear`, rounding to nearest. A row of zeros stays zeros."""
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        wide = linear.weight.detach().float()
        scale = wide.abs().amax(dim=1) / 127
        steps = wide / torch.where(scale > 0, scale, 1.0)[:, None]
        self.register_buffer("weight", steps.round_().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach(), requires_grad=False)

    def _apply(self, fn, recurse: bool = True):  # noqa: ANN001, ANN202 (torch's own signature)
        """Moves follow the module, casts do not: the scales stay float32."""
        scale = self.scale
        super()._apply(fn, recurse)
        self.scale = scale.to(self.scale.device)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out), in autocast's dtype where that is on, else in that of `x`."""
        device = x.device.type
        if torch.is_autocast_enabled(device):
            x = x.to(torch.get_autocast_dtype(device))
        y = cast(Tensor, _Int8Product.apply(x, self.weight, self.scale))
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def dequantize(self) -> Tensor:
        """The weights (out, in) as float32, the very ones that `forward` computes with."""
        return _dequantize(self.weight, self.scale)
