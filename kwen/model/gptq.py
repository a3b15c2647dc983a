"""GPTQ: rounding a layer's weights so that its outputs on calibration text stay close (arXiv 2210.17323).

Blocks are done from the first to the last, on the hidden states that the blocks rounded before hand on:

    for each block:  1. run the calibration rows, summing H = sum of x xT over the inputs x of each linear layer
                     2. round each layer column by column; the columns still to come take over the error of each, through H
                     3. fit the scales once more to the levels that came out
                     4. run the rows again through the rounded block: the next block's inputs

Columns go from the largest mean square to the smallest, so that what matters most is rounded while all others can still make
up for it. Scales are chosen before, by group as the inputs lie: files need no index of the columns (no `desc_act`).
Legend: R calibration rows, T tokens of a row, D hidden, I inputs of a layer.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kwen.model.quantize import DEFAULT_GROUPS, VALUES, QuantizedLinear, pack, quantize_head
from kwen.model.rounding import fit_scales, round_matrix
from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent

DAMPING = 0.01
"""Of the mean diagonal of H, added to it: the paper's."""
_COLUMNS = 128
"""Columns whose errors are carried to the rest in one product."""


class _FirstBlockReached(Exception):
    """Ends a forward pass once the arguments of the first block are known."""


@torch.no_grad()
def calibrate_model(
    model: Transformer,
    rows: Tensor,
    bits: Literal[4, 8],
    group_size: int = DEFAULT_GROUPS[4],
    head_bits: Literal[4, 8] | None = 8,
    *,
    symmetric: bool = True,
    value_bits: Literal[4, 8] | None = None,
    damping: float = DAMPING,
    batch: int = 8,
    progress: Progress = silent,
) -> Transformer:
    """Round `model`, float32 on a CPU, in place as `quantize_model` does, with the inputs that the token ids `rows` (R, T) give.

    symmetric: without it each group has a zero point. value_bits: of the projections of attention's values, None as the others.
    The hidden states of all rows are kept, R * T * D floats, and the sums of one block. The head is rounded to nearest.
    """
    model.eval()
    batches = list(rows.split(batch))
    starts = [_first_block_inputs(model, part) for part in batches]
    hidden = [arguments[0] for arguments, _ in starts]
    for index, block in enumerate(model.model.layers):

        def run(number: int, states: Tensor, block: nn.Module = block) -> Tensor:
            (_, *others), named = starts[number]
            return block(states, *others, **named)

        linears = {name: layer for name, layer in block.named_modules() if isinstance(layer, nn.Linear)}
        moments = _second_moments(linears, run, hidden)
        for number, (name, layer) in enumerate(linears.items()):
            own = value_bits or bits if name.endswith(VALUES) else bits
            block.set_submodule(name, round_layer(layer, moments[name], own, group_size, symmetric, damping))
            progress(index + (number + 1) / (len(linears) + 1), len(model.model.layers))
        hidden = [run(number, states) for number, states in enumerate(hidden)]
        progress(index + 1, len(model.model.layers))
    if head_bits is not None:
        quantize_head(model, head_bits)
    return model


def _first_block_inputs(model: Transformer, token_ids: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the first block is called with for `token_ids`: hidden states and whatever all blocks share."""
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def stop(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen.append((arguments, named))
        raise _FirstBlockReached

    handle = model.model.layers[0].register_forward_pre_hook(stop, with_kwargs=True)
    try:
        model.hidden(token_ids)
    except _FirstBlockReached:
        return seen[0]
    finally:
        handle.remove()
    raise AssertionError("a forward pass runs the first block")


def _second_moments(
    linears: dict[str, nn.Linear], run: Callable[[int, Tensor], Tensor], hidden: list[Tensor]
) -> dict[str, Tensor]:
    """The mean of x xT (I, I) over the inputs of each layer; layers with one input share the sum."""
    sums: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    latest: tuple[Tensor | None, str] = (None, "")
    count = 0

    def add(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            nonlocal latest, count
            x = arguments[0]
            if latest[0] is x:
                shared[name] = latest[1]
                return
            latest = (x, name)
            flat = x.reshape(-1, x.shape[-1]).float()
            sums.setdefault(name, torch.zeros(flat.shape[1], flat.shape[1])).addmm_(flat.T, flat)
            count += len(flat)

        return hook

    handles = [layer.register_forward_pre_hook(add(name)) for name, layer in linears.items()]
    try:
        for number, states in enumerate(hidden):
            run(number, states)
    finally:
        for handle in handles:
            handle.remove()
    tokens = count / len(sums)
    return {name: sums[shared.get(name, name)] / tokens for name in linears}


@torch.no_grad()
def round_layer(
    linear: nn.Linear, moment: Tensor, bits: Literal[4, 8], group_size: int, symmetric: bool = True, damping: float = DAMPING
) -> QuantizedLinear:
    """`linear` on a grid of `bits`, with little error in its outputs for inputs whose mean x xT is `moment` (I, I)."""
    original = linear.weight.detach().float()
    rows, width = original.shape
    order = moment.diagonal().argsort(descending=True, stable=True)
    weight, inverse = original[:, order], _inverse_factor(moment[order][:, order], damping)
    alone = torch.empty(width)
    alone[order] = inverse.square().sum(dim=0).reciprocal()  # of each input what the others do not tell
    _, scale, zero = round_matrix(original, bits, group_size, alone, symmetric)
    levels = torch.empty(rows, width, dtype=torch.uint8)
    steps = scale.float().T.contiguous()
    offsets = torch.full_like(steps, 1 << bits - 1) if zero is None else zero.float().T.contiguous()
    per_step = torch.where(steps == 0, 0.0, 1.0 / steps)
    groups = (order // group_size).tolist()
    for first in range(0, width, _COLUMNS):
        stop = min(first + _COLUMNS, width)
        part, factor = weight[:, first:stop].T.contiguous(), inverse[first:stop, first:stop].contiguous()
        errors = torch.empty_like(part)
        for column in range(stop - first):
            value, group = part[column], groups[first + column]
            level = (value * per_step[group]).round_().add_(offsets[group]).clamp_(0, (1 << bits) - 1)
            levels[:, order[first + column]] = level.to(torch.uint8)
            errors[column] = (value - (level - offsets[group]) * steps[group]) / factor[column, column]
            part[column + 1 :].addr_(factor[column, column + 1 :], errors[column], alpha=-1)
        weight[:, stop:].addmm_(errors.T, inverse[first:stop, stop:], alpha=-1)
    fitted = fit_scales(original, levels, scale, zero, bits, group_size, moment)
    return QuantizedLinear(bits, group_size, width, pack(levels, bits), fitted, zero, linear.bias)


def _inverse_factor(moment: Tensor, damping: float) -> Tensor:
    """The upper Cholesky factor of the inverse of `moment`, damped more where that is needed for it to exist."""
    diagonal = moment.diagonal()
    mean = diagonal.mean().clamp_min(1e-12)
    while True:
        damped = moment + torch.diag(torch.where(diagonal == 0, mean, damping * mean))
        factor, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(factor), upper=True)
            if not failed:
                return upper
        damping *= 10
