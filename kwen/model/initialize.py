"""Starting weights by name.

`report`: normal(0, 0.02), output projections of each half-layer divided by sqrt(2 L), biases 0, norms 1 (report's shipped code).
`scaled`: for narrow models: matrices by their fan-in, wide embeddings, output projection equal to the embedding over sqrt(D).
`induction`: `scaled`, and three circuits written into it that together copy: two heads of the first layer attend to the tokens
one and two before, and two heads of a middle layer look for the place where the present token stood before and copy what
followed it. Models of a few million parameters do not find this by themselves in a few million tokens; starting from it,
training adapts it. It is plain weights of the plain architecture, and ours, not the report's (docs/log.md has the trials).
"""

from typing import Literal, cast

import torch
from torch import Tensor

from kwen.errors import UserError
from kwen.model.config import ModelConfig
from kwen.model.transformer import Attention, Block, Transformer

Initialization = Literal["report", "scaled", "induction"]

EMBEDDING_STD = 0.3
FASTEST_SLOW = 0.17  # rotary frequencies below this turn too little to tell neighbouring positions apart


@torch.no_grad()
def initialize(model: Transformer, kind: Initialization, seed: int) -> None:
    """Fill every parameter of `model` as a pure function of (its shape, kind, seed).

    Raises UserError when `induction` is asked of a shape that cannot hold it.
    """
    config = model.config
    generator = torch.Generator().manual_seed(seed)
    residual = (2 * config.num_hidden_layers) ** -0.5
    for name, p in model.named_parameters():
        if p.dim() == 1:
            p.fill_(1.0 if "norm" in name else 0.0)
            continue
        std = config.initializer_range if kind == "report" else _scaled_std(name, p)
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            std *= residual
        p.copy_(torch.randn(p.shape, generator=generator) * std)
    if kind != "report" and model.lm_head is not None:
        model.lm_head.weight.copy_(model.model.embed_tokens.weight * config.hidden_size**-0.5)
    if kind == "induction":
        _write_induction(model, generator)


def _scaled_std(name: str, p: Tensor) -> float:
    return EMBEDDING_STD if "embed" in name else 0.5 * p.shape[1] ** -0.5


def _write_induction(model: Transformer, generator: torch.Generator) -> None:
    config = model.config
    D, E, H = config.hidden_size, config.head_dim, config.num_attention_heads
    if (
        config.num_key_value_heads != H
        or H < 2
        or config.num_hidden_layers < 2
        or 2 * E > D
        or not config.attention_bias
        or config.qk_norm
    ):
        raise UserError(
            "initialization induction needs at least 2 layers and 2 heads, num_key_value_heads equal to num_attention_heads, "
            "hidden_size at least twice head_dim, bias on q and k, and no q/k norm; use scaled instead"
        )
    read = _orthonormal(E, D, generator)  # what a head reads of the present token
    written = _orthonormal(D, D, generator)  # orthogonal places for the token at distance 1 and at distance 2
    mix = _orthonormal(E, E, generator)
    blocks = cast(list[Block], list(model.model.layers))
    first, middle = blocks[0].self_attn, blocks[config.num_hidden_layers // 2].self_attn
    _attend_back(first, 0, read, written[:E], 1, config)
    _attend_back(first, 1, read, written[E : 2 * E], 2, config)
    for head in range(2):
        rows = slice(head * E, (head + 1) * E)
        copied = _orthonormal(E, D, generator)
        middle.q_proj.weight[rows] = 1.5 * (read + 0.5 * mix @ written[:E])
        middle.k_proj.weight[rows] = 1.5 * (written[:E] + 0.5 * mix @ written[E : 2 * E])
        middle.v_proj.weight[rows] = copied
        middle.o_proj.weight[:, rows] = 2 * EMBEDDING_STD * copied.T


def _attend_back(attention: Attention, head: int, read: Tensor, place: Tensor, distance: int, config: ModelConfig) -> None:
    """Make `head` attend `distance` tokens back by q and k biases alone, and write what it `read` there into `place`."""
    E = config.head_dim
    rows = slice(head * E, (head + 1) * E)
    theta = config.rope_theta ** (-torch.arange(E // 2) / (E // 2))
    fast = (theta >= FASTEST_SLOW).float()
    gain = 4.7 * (64 / E) ** 0.25
    attention.q_proj.weight[rows] *= 0.3
    attention.k_proj.weight[rows] *= 0.3
    attention.q_proj.bias[rows] = torch.cat((gain * fast, 0 * fast))
    attention.k_proj.bias[rows] = torch.cat((gain * (distance * theta).cos() * fast, gain * (distance * theta).sin() * fast))
    attention.v_proj.weight[rows] = read
    attention.o_proj.weight[:, rows] = EMBEDDING_STD * place.T


def _orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """(rows, columns) with orthonormal rows (rows at most columns)."""
    return torch.linalg.qr(torch.randn(columns, rows, generator=generator))[0].T
