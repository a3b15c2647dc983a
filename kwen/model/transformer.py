"""The decoder: embeddings, pre-norm blocks of attention and SwiGLU, final norm, output projection.

Parameter names are Hugging Face's, so a checkpoint maps one to one. Legend: B batch, T sequence, D hidden, H query heads,
K key/value heads, E head dim, V vocabulary.
"""

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kwen.model.attention import PagedView, attend, attend_plainly, document_mask, document_positions, window_mask
from kwen.model.config import ModelConfig
from kwen.model.rope import chunks_of, frequency_table, logn_scale, rotate, rotation

PLAIN_ATTENTION_LIMIT = 512
"""On a CPU, training rows up to this length use `attend_plainly`."""


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last dimension, computed in float32 (arXiv 1910.07467)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` (..., size)."""
        wide = x.float()
        scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * scaled.to(x.dtype)


@dataclass
class _Context:
    """What every layer of one forward pass shares."""

    cos: Tensor
    sin: Tensor
    query_scale: Tensor | None  # (B, 1, T, 1)
    masks: list[Tensor | None]  # of each layer
    cache: PagedView | None
    plain: bool


class Attention(nn.Module):
    """Multi-head attention with grouped keys and values; bias and q/k norm as configured."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        D, E = config.hidden_size, config.head_dim
        H, K = config.num_attention_heads, config.num_key_value_heads
        self.layer, self.head_dim = layer, E
        self.q_proj = nn.Linear(D, H * E, bias=config.attention_bias)
        self.k_proj = nn.Linear(D, K * E, bias=config.attention_bias)
        self.v_proj = nn.Linear(D, K * E, bias=config.attention_bias)
        self.o_proj = nn.Linear(H * E, D, bias=config.attention_output_bias)
        self.q_norm = RMSNorm(E, config.rms_norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(E, config.rms_norm_eps) if config.qk_norm else None

    def forward(self, x: Tensor, context: _Context) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        B, T, _ = x.shape
        q = self.q_proj(x).view(B, T, -1, self.head_dim)
        k = self.k_proj(x).view(B, T, -1, self.head_dim)
        v = self.v_proj(x).view(B, T, -1, self.head_dim).transpose(1, 2)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q = rotate(q.transpose(1, 2), context.cos, context.sin)
        k = rotate(k.transpose(1, 2), context.cos, context.sin)
        if context.query_scale is not None:
            q = (q * context.query_scale).to(q.dtype)
        mask = context.masks[self.layer]
        if context.cache is not None:
            y = context.cache.attend(self.layer, q, k, v)
        elif context.plain and mask is not None:
            y = attend_plainly(q, k, v, mask)
        else:
            y = attend(q, k, v, mask)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, -1))


class MLP(nn.Module):
    """SwiGLU feed-forward layer (arXiv 2002.05202)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        D, W = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(D, W, bias=config.mlp_bias)
        self.up_proj = nn.Linear(D, W, bias=config.mlp_bias)
        self.down_proj = nn.Linear(W, D, bias=config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """One decoder layer: both halves normalise first and add to the residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, context: _Context) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        x = x + self.self_attn(self.input_layernorm(x), context)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Embedding, layers and final norm: what Hugging Face keeps under the prefix `model.`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class Transformer(nn.Module):
    """The causal language model, or with `config.scores` a model of one score a token.

    Weights are uninitialised noise until `initialize` or a checkpoint fills them. Dynamic NTK and LogN (report sections 5.1 and
    5.2) are for inference: in training mode they are off. Attention windows are on in both.
    """

    frequencies: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        own_head = not (config.tie_word_embeddings or config.scores)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False) if own_head else None
        self.score = nn.Linear(config.hidden_size, 1, bias=False) if config.scores else None
        self.quantized_head: nn.Module | None = None  # a `QuantizedLinear` where weights are integers
        with torch.device("cpu"):  # real even when the module is built on the meta device: no checkpoint holds it
            frequencies, self.rope_factor = frequency_table(config)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def _apply(self, fn, recurse: bool = True):  # noqa: ANN001, ANN202 (torch's own signature)
        """Moves follow the module, casts do not: the inverse frequencies stay float32."""
        frequencies = self.frequencies
        super()._apply(fn, recurse)
        self.frequencies = frequencies.to(self.frequencies.device if not self.frequencies.is_meta else "cpu")
        return self

    @property
    def output_weight(self) -> Tensor:
        """The output projection (V, D): its own matrix, or the embedding where tied; as floats where it is integers."""
        if self.lm_head is not None:
            return self.lm_head.weight
        own = self.quantized_head if not self.config.tie_word_embeddings else None
        return self.model.embed_tokens.weight if own is None else cast(Any, own).dequantize()

    def with_switches(self, **changes: Any) -> "Transformer":
        """The same weights, shared, under a config that differs in the fields of long context and the context's length alone."""
        allowed = {"use_dynamic_ntk", "use_logn_attn", "attention_windows", "seq_length", "max_position_embeddings"}
        assert changes.keys() <= allowed
        with torch.device("meta"):
            other = Transformer(replace(self.config, **changes))
        other.model, other.lm_head, other.score = self.model, self.lm_head, self.score
        other.quantized_head, other.training = self.quantized_head, self.training
        other.frequencies = other.frequencies.to(self.frequencies.device)
        return other

    def hidden(
        self,
        token_ids: Tensor,
        *,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        seen_by: Tensor | None = None,
        cache: PagedView | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Hidden states (B, T, D) after the final norm for `token_ids` (B, T).

        positions: (B, T), default 0 to T-1, or restarting with each document.
        documents: (B, T) ids, runs of equal ids; a token attends within its document alone. seen_by: (B, T), the other document
        that continues from a token and sees it too (-2 for none).
        cache: the keys and values that the rows read and extend; needs `positions`.
        lengths: (B,), of each row without its padding, by which dynamic NTK chooses the base; by default up to its last position,
        and of each document on its own where there are documents.
        """
        B, T = token_ids.shape
        masks: list[Tensor | None] = [None] * self.config.num_hidden_layers
        mask, plain = None, False
        if cache is not None:
            if positions is None:
                raise ValueError("a cache needs positions")
        else:
            plain = self.training and token_ids.device.type == "cpu" and T <= PLAIN_ATTENTION_LIMIT
            if documents is not None:
                mask = document_mask(documents, seen_by)
                positions = document_positions(documents, seen_by) if positions is None else positions
            elif plain:
                mask = torch.ones(T, T, dtype=torch.bool, device=token_ids.device).tril()
            rows = torch.arange(T, device=token_ids.device)[None] if positions is None else positions
            positions = rows.expand(B, T)
            masks = _masks(self.config.windows, rows, mask, plain)
        cos, sin = rotation(positions, self._frequencies(positions, lengths, documents, seen_by), self.rope_factor)
        scale = None
        if self.config.use_logn_attn and not self.training:
            scale = logn_scale(positions, self.config.trained_length)[:, None, :, None]
        context = _Context(cos, sin, scale, masks, cache, plain)
        x = self.model.embed_tokens(token_ids)
        for layer in self.model.layers:
            x = layer(x, context)
        return self.model.norm(x)

    def _frequencies(self, positions: Tensor, lengths: Tensor | None, documents: Tensor | None, seen_by: Tensor | None) -> Tensor:
        """Inverse frequencies (E/2,), or with dynamic NTK those of each row (B, 1, 1, E/2), of each token (B, 1, T, E/2)."""
        if not self.config.use_dynamic_ntk or self.training:
            return self.frequencies[0]
        if lengths is None and documents is None:
            lengths = positions.amax(dim=1) + 1
        elif lengths is None:
            assert documents is not None
            same = documents[:, :, None] == documents[:, None, :]
            lengths = torch.where(same, positions[:, None, :], 0).amax(dim=-1) + 1
        chunks = chunks_of(lengths, self.config.trained_length)
        if seen_by is not None and bool(chunks.any()):
            raise ValueError("documents that share a beginning have one base, so none may be longer than the trained length")
        return self.frequencies[chunks.view(len(positions), 1, -1)]

    def project(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of hidden states (..., D)."""
        return F.linear(hidden, self.output_weight) if self.quantized_head is None else self.quantized_head(hidden)

    def scores(self, hidden: Tensor) -> Tensor:
        """The score (...) of hidden states (..., D) of a model whose config has `scores`, as float32."""
        assert self.score is not None
        return self.score(hidden)[..., 0].float()

    def forward(
        self,
        token_ids: Tensor,
        *,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
        cache: PagedView | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, T, V); the arguments are those of `hidden`."""
        hidden = self.hidden(token_ids, positions=positions, documents=documents, cache=cache, lengths=lengths)
        return self.project(hidden)


def _masks(windows: tuple[int | None, ...], rows: Tensor, mask: Tensor | None, plain: bool) -> list[Tensor | None]:
    """Of each layer: `mask` within its window; plain: as a bias of 0 and minus infinity."""

    def within(window: int | None) -> Tensor | None:
        near = mask if window is None or window >= rows.shape[1] else window_mask(rows, window, mask)
        return torch.where(near, 0.0, float("-inf")) if plain and near is not None else near

    of_window = {window: within(window) for window in windows}
    return [of_window[window] for window in windows]
