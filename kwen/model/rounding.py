"""Weights onto a grid of integers: one scale (and perhaps a zero point) a group of inputs, chosen for the least squared error.

Legend: N groups, S values of a group.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kwen.errors import UserError

_CHUNK = 1 << 19
"""Values rounded at a time: what a candidate costs stays in the processor's cache."""
_STRETCHES = (0.0, -1.0, -0.75, -0.5, -0.25, 0.25, 0.5, 0.75, 1.0)
"""How far beyond the last level the largest value of a group may lie, in levels: a grid that cuts it off serves the others."""


def round_matrix(
    weight: Tensor, bits: int, group_size: int, importance: Tensor | None = None, symmetric: bool = True
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The uint8 levels (out, in), float16 scales (out, groups) and uint8 zeros (out, groups) or None for `weight` (out, in).

    weight = scale * (level - zero); a symmetric grid has its zero at the middle level. importance: (in,), what a squared error
    counts at each input. Raises UserError for weights that are not finite or too large for float16 scales.
    """
    rows, width = weight.shape
    groups = -(-width // group_size)
    counts = torch.ones(width) if importance is None else importance.float()
    counts = F.pad(counts, (0, groups * group_size - width)).view(1, groups, group_size)
    levels = torch.empty(rows, width, dtype=torch.uint8)
    scale = torch.empty(rows, groups, dtype=torch.float16)
    zero = None if symmetric else torch.empty(rows, groups, dtype=torch.uint8)
    step = max(1, _CHUNK // width)
    for first in range(0, rows, step):
        part = slice(first, first + step)
        wide = F.pad(weight[part].float(), (0, groups * group_size - width)).view(-1, groups, group_size)
        if not bool(wide.isfinite().all()):
            raise UserError("the weights hold infinite or not-a-number values: the checkpoint is damaged")
        if symmetric:
            chosen, found = _symmetric(wide, counts, bits)
        else:
            chosen, found, zeros = _with_zero(wide, counts, bits)
            zero[part] = zeros  # type: ignore[index]
        if not bool(chosen.isfinite().all()):
            raise UserError("the weights hold values beyond what a float16 scale reaches")
        levels[part] = found.flatten(1)[:, :width]
        scale[part] = chosen
    return levels.to(weight.device), scale.to(weight.device), None if zero is None else zero.to(weight.device)


def _symmetric(wide: Tensor, counts: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """(scale (rows, N), levels (rows, N, S)) of `wide` (rows, N, S) on levels -half to half - 1 around the middle.

    With 8 bits, where a level is little, the grid is symmetric to the last level and nothing is tried, as in ggml's Q8_0.
    """
    half = 1 << bits - 1
    if bits == 8:
        scale = (wide.abs().amax(dim=-1) / (half - 1)).half()
        return scale, _levels(wide, scale, half).add_(half)
    scale, levels = best_symmetric(wide, counts, half)
    return scale, levels.add_(half)


def best_symmetric(wide: Tensor, counts: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """(float16 scale (rows, N), float levels (rows, N, S)): `wide` (rows, N, S) on levels -half to half - 1 with the least error.

    The value of largest magnitude takes the side that has one level more, hence scales of either sign. counts: what a squared
    error counts, broadcast to `wide`.
    """
    furthest = wide.gather(-1, wide.abs().argmax(dim=-1, keepdim=True))[..., 0]
    weighted = wide * counts
    best = torch.full_like(furthest, float("inf"))
    best_scale = torch.full_like(furthest, float("inf"), dtype=torch.float16)  # stays where no float16 serves
    for stretch in _STRETCHES:
        levels = _levels(wide, furthest / -(half + stretch), half)
        squares = (levels * levels * counts).sum(dim=-1)
        scale = ((weighted * levels).sum(dim=-1) / squares.clamp_min(1e-30)).half()  # the best one for these levels
        levels = _levels(wide, scale, half)
        error = levels.mul_(scale.float()[..., None]).sub_(wide).square_().mul_(counts).sum(dim=-1)
        better = error < best
        best = torch.where(better, error, best)
        best_scale = torch.where(better, scale, best_scale)
    return best_scale, _levels(wide, best_scale, half)


def _levels(wide: Tensor, scale: Tensor, half: int) -> Tensor:
    """`wide` in whole steps of `scale`, from -half to half - 1; 0 where the scale is 0."""
    inverse = torch.where(scale == 0, 0.0, 1.0 / scale.float())
    return (wide * inverse[..., None]).round_().clamp_(-half, half - 1)


def _with_zero(wide: Tensor, counts: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """(scale, levels, zero) on levels 0 to top, zero being a level: the range of the group with zero in it, cut a little.

    The zero is 1 at least: GPTQ's files hold no other.
    """
    top = (1 << bits) - 1
    low, high = wide.amin(dim=-1).clamp_max(0), wide.amax(dim=-1).clamp_min(0)
    best = torch.full_like(low, float("inf"))
    best_scale, best_zero = torch.full_like(low, float("inf"), dtype=torch.float16), torch.zeros_like(low)
    for cut in (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15):
        scale = ((high - low) * (1 - cut) / top).half()
        inverse = torch.where(scale == 0, 0.0, 1.0 / scale.float())
        zero = (-low * (1 - cut) * inverse).round_().clamp_(1, top)
        levels = (wide * inverse[..., None]).round_().add_(zero[..., None]).clamp_(0, top)
        error = levels.sub_(zero[..., None]).mul_(scale.float()[..., None]).sub_(wide).square_().mul_(counts).sum(dim=-1)
        better = error < best
        best = torch.where(better, error, best)
        best_scale, best_zero = torch.where(better, scale, best_scale), torch.where(better, zero, best_zero)
    inverse = torch.where(best_scale == 0, 0.0, 1.0 / best_scale.float())
    levels = (wide * inverse[..., None]).round_().add_(best_zero[..., None]).clamp_(0, top)
    return best_scale, levels, best_zero


def fit_scales(
    weight: Tensor, levels: Tensor, scale: Tensor, zero: Tensor | None, bits: int, group_size: int, moment: Tensor
) -> Tensor:
    """The float16 scales (out, groups) with which `levels` (out, in) come closest to `weight` on inputs of mean x xT `moment`.

    All groups of a row at once: the least squares of the layer's output. A row where that does not lower the error keeps `scale`.
    """
    rows, width = weight.shape
    groups = scale.shape[1]
    padded = groups * group_size - width
    middle = float(1 << bits - 1)
    offset = torch.full_like(scale, middle, dtype=torch.float32) if zero is None else zero.float()
    H = F.pad(moment, (0, padded, 0, padded))
    fitted = scale.clone()
    step = max(1, (1 << 25) // len(H) ** 2)
    for first in range(0, rows, step):
        part = slice(first, first + step)
        old = scale[part].float()
        signed = F.pad(levels[part].float(), (0, padded)).view(-1, groups, group_size) - offset[part, :, None]
        signed.flatten(1)[:, width:] = 0
        n = len(signed)
        # (n, groups, in): each group's levels through H, then met by every group's levels
        through = torch.stack([signed[:, g] @ H[g * group_size : (g + 1) * group_size] for g in range(groups)], dim=1)
        products = (through.view(n, groups, groups, group_size) * signed[:, None]).sum(dim=-1)
        target = (through @ F.pad(weight[part], (0, padded))[..., None])[..., 0]
        strength = products.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(1e-20)
        ridge = (1e-3 * strength)[:, None] * torch.ones(groups)
        best = old + torch.linalg.solve(products + torch.diag_embed(ridge), target - (products @ old[..., None])[..., 0])
        best = best.half().float()

        def error(s: Tensor, products: Tensor = products, target: Tensor = target) -> Tensor:
            return ((products @ s[..., None])[..., 0] * s).sum(dim=1) - 2 * (target * s).sum(dim=1)

        better = (error(best) < error(old)) & best.isfinite().all(dim=1)
        fitted[part] = torch.where(better[:, None], best, old).half()
    return fitted
