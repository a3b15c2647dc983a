"""The linear layer with an adapter: peft's, with a forward pass of fewer passes over memory. Importing this imports peft."""

from typing import cast

import torch.nn.functional as F
from peft.tuners.lora import Linear
from torch import Tensor, nn


class LoRALinear(Linear):
    """base(x) + scale * up @ down @ dropout(x).

    peft's own forward pass widens the input to float32, multiplies the whole product by the scale, and adds; here the scale
    meets the r columns between the two matrices, and everything is in the dtype that the base's product has. That is what
    LoRA costs beyond its few multiplications, most of all under autocast.
    """

    base_layer: nn.Module
    enabled = True

    def pair(self) -> tuple[Tensor, Tensor]:
        """The adapter: down (r, in) and up (out, r)."""
        return cast(Tensor, self.lora_A["default"].weight), cast(Tensor, self.lora_B["default"].weight)

    @property
    def scale(self) -> float:
        """What the product counts: alpha / r."""
        return self.scaling["default"]

    def dense_weight(self) -> Tensor:
        """The weights (out, in) that the layer computes with, in one matrix: float32 where the base is not plain bfloat16."""
        base = self.base_layer
        weight = cast(Tensor, base.weight if isinstance(base, nn.Linear) else base.dequantize())  # type: ignore[operator]
        if not self.enabled:
            return weight.detach()
        down, up = self.pair()
        return (weight.float() + self.scale * (up.float() @ down.float())).detach().to(weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        y = self.base_layer(x)
        if not self.enabled:
            return y
        down, up = self.pair()
        narrow = F.linear(self.lora_dropout["default"](x.to(y.dtype)), down.to(y.dtype)) * self.scale
        return y + F.linear(narrow, up.to(y.dtype))
