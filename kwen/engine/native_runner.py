"""The model on a CPU through the native kernels: weights packed once, one call a pass.

A row's logits have the same bits alone, in any batch, in chunks and from the prefix cache (native/product.h says why).
Legend: D hidden, H query heads, K key/value heads, E head dim, W feed-forward width, V vocabulary.
"""

import ctypes
from functools import partial
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kwen.engine.native_library import library
from kwen.engine.runner import BLOCK, CACHE_DTYPES, CacheDtype, Logits, Step
from kwen.model.attention import CacheLayout, untouched_zeros
from kwen.model.quantize import Int8Linear, QuantizedLinear
from kwen.model.rope import chunk_of, logn_scale, rotation
from kwen.model.transformer import Block, RMSNorm, Transformer

_FLOAT32, _BFLOAT16, _INT8, _INT4 = range(4)
_LARGEST_HEAD = 512
_POINTER = ctypes.c_void_p


class _Matrix(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("kind", "outputs", "inputs", "group", "form")),
        *((name, _POINTER) for name in ("weight", "scale", "zero", "minimum", "bias")),
    ]


class _Layer(ctypes.Structure):
    _fields_ = [
        *((name, _Matrix) for name in ("qkv", "value", "out", "gate_up", "down")),
        *((name, _POINTER) for name in ("attention_norm", "mlp_norm", "q_norm", "k_norm")),
        *((name, ctypes.c_int32) for name in ("window", "group")),
    ]


class _Model(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("layers", "D", "H", "K", "E", "W", "V", "embedding_kind", "cache_kind")),
        ("eps", ctypes.c_float),
        *((name, _POINTER) for name in ("embedding", "norm", "layer")),
        ("head", _Matrix),
    ]


class _Step(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("threads", "tokens", "sequences", "table_stride", "rows", "logits_stride")),
        *((name, _POINTER) for name in ("token_ids", "positions", "starts", "tables", "row_tokens", "cos", "sin", "query_scale")),
        *((name, _POINTER) for name in ("keys", "values", "key_scales", "value_scales", "logits", "best", "most", "log_sum")),
    ]


class NativeRunner:
    """Runs `model` (on a CPU) with the kernels; `supports` says whether it can.

    Weights: float32 from float32 and float16 parameters, bfloat16, int8 and int4 from `QuantizedLinear`. Activations that meet
    integer weights are rounded to int8, a scale for each token and each 32 or 64 inputs. cache_dtype: of keys and values; by
    default as narrow as the weights: int8 with integers, bfloat16, float32.
    """

    batch_invariant = True

    def __init__(self, model: Transformer, cache_dtype: CacheDtype | None = None) -> None:
        kernels = library()
        assert kernels is not None and supports(model)
        self._kernels, self._model, self._config = kernels, model, model.config
        kernels.kwen_create.restype = _POINTER
        kernels.kwen_packed_bytes.restype = ctypes.c_int64
        self._panel = int(kernels.kwen_panel())
        narrow = model.model.embed_tokens.weight.dtype == torch.bfloat16
        kept: CacheDtype = cache_dtype or ("int8" if _is_quantized(model) else "bfloat16" if narrow else "float32")
        self._cache_kind, self._cache_dtype = list(CACHE_DTYPES).index(kept), CACHE_DTYPES[kept]
        config = model.config
        self._head_dim = -(-config.head_dim // 16) * 16
        self._layout = CacheLayout.of(config)
        self._shape = (config.num_key_value_heads, self._head_dim * BLOCK)
        layer_bytes = 2 * config.num_key_value_heads * BLOCK * self._head_dim * self._cache_dtype.itemsize
        layer_bytes += 2 * config.num_key_value_heads * BLOCK * 4 * (self._cache_dtype == torch.int8)
        self.block_bytes = layer_bytes * self._layout.depth
        self._blocks = 0
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._key_scales: list[Tensor] = []
        self._value_scales: list[Tensor] = []
        self._turns: dict[int, tuple[Tensor, Tensor]] = {}  # of each chunk of lengths: cos and sin (positions, E / 2)
        self._logits = torch.empty(0, -(-config.vocab_size // 16) * 16 + 16)  # rows not at the same place of a page
        self._best, self._most, self._log_sum = torch.empty(0, dtype=torch.int32), torch.empty(0), torch.empty(0)
        self._handle: int | None = None
        self._seen: list[tuple[int, int]] = []
        self.refresh()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self._kernels.kwen_destroy(_POINTER(self._handle))

    def refresh(self) -> bool:
        """Pack the weights anew if any has changed since."""
        seen = _fingerprint(self._model)
        if seen == self._seen:
            return False
        self._seen = seen
        with torch.inference_mode():
            self._pack()
        return True

    def reserve(self, blocks: int) -> None:
        """Make room for `blocks` blocks; what is in the cache stays."""
        if blocks <= self._blocks:
            return
        slots = range(self._layout.depth)
        self._keys = [_grown(self._keys, n, (blocks, *self._shape), self._cache_dtype) for n in slots]
        self._values = [_grown(self._values, n, (blocks, *self._shape), self._cache_dtype) for n in slots]
        if self._cache_dtype == torch.int8:
            scales = (blocks, self._config.num_key_value_heads, BLOCK)
            self._key_scales = [_grown(self._key_scales, n, scales, torch.float32) for n in slots]
            self._value_scales = [_grown(self._value_scales, n, scales, torch.float32) for n in slots]
        self._blocks = blocks
        stores = (self._keys, self._values, self._key_scales, self._value_scales)
        self._pointers = [
            (_POINTER * len(self._layout.slot))(*(store[slot].data_ptr() for slot in self._layout.slot if store))
            for store in stores
        ]  # of each layer

    def copy_block(self, source: int, target: int) -> None:
        """Copy one block's keys and values."""
        for tensor in (*self._keys, *self._values, *self._key_scales, *self._value_scales):
            tensor[target].copy_(tensor[source])

    def forward(self, step: Step) -> Logits:
        """Extend the cache by the step's tokens and give the logits of its rows."""
        config, positions = self._config, int(step.positions.max()) + 1
        chunks = [chunk_of(length, config.trained_length) if config.use_dynamic_ntk else 0 for length in step.lengths.tolist()]
        turns = {chunk: self._turn(chunk, positions) for chunk in {*chunks}}
        angles = [np.array([turns[chunk][n].data_ptr() for chunk in chunks], dtype=np.uintp) for n in (0, 1)]  # cos, sin
        scale = logn_scale(torch.from_numpy(step.positions), config.trained_length) if config.use_logn_attn else None
        rows = len(step.rows)
        if rows > len(self._logits):  # kept: new memory for each pass costs more than its product at small sizes
            self._logits = torch.empty(rows, self._logits.shape[1])
            self._best = torch.empty(rows, dtype=torch.int32)
            self._most, self._log_sum = torch.empty(2, rows).unbind()
        given = [
            np.ascontiguousarray(array, dtype=np.int32)
            for array in (step.token_ids, step.positions, step.starts, step.tables, step.rows)
        ]
        call = _Step(
            torch.get_num_threads(), len(step.token_ids), len(step.starts) - 1, step.tables.shape[2], rows, self._logits.shape[1],
            *(array.ctypes.data for array in given), *(array.ctypes.data for array in angles),
            None if scale is None else scale.data_ptr(),
            *(ctypes.addressof(pointers) for pointers in self._pointers),
            self._logits.data_ptr(), self._best.data_ptr(), self._most.data_ptr(), self._log_sum.data_ptr(),
        )  # fmt: skip
        self._kernels.kwen_step(_POINTER(self._handle), ctypes.byref(call))
        values = self._logits[:rows, : self._config.vocab_size]
        return Logits(values, self._best[:rows].long(), self._most[:rows], self._log_sum[:rows])

    def product(self, layer: nn.Module, x: Tensor) -> Tensor:
        """One layer's product without its bias, float32 (rows, in) to (rows, out), as a pass computes it."""
        matrix = self._matrix([layer])
        out = torch.empty(len(x), matrix.outputs)
        rows = x.float().contiguous()
        self._kernels.kwen_product(ctypes.byref(matrix), len(x), _POINTER(rows.data_ptr()), _POINTER(out.data_ptr()))
        return out

    def _turn(self, chunk: int, positions: int) -> tuple[Tensor, Tensor]:
        """Cos and sin (positions or more, E / 2) for sequences whose length lies in `chunk`; twice as many each time."""
        held = len(self._turns[chunk][0]) if chunk in self._turns else 0
        if positions > held:
            count = min(max(positions, 2 * held, 512), max(self._config.max_position_embeddings, positions))
            cos, sin = rotation(torch.arange(count)[None], self._model.frequencies[chunk], self._model.rope_factor)
            self._turns[chunk] = cos[0, 0].contiguous(), sin[0, 0].contiguous()
        return self._turns[chunk]

    def _pack(self) -> None:
        model, config = self._model, self._config
        self._kept: list[Any] = []  # what the kernels point to
        layers = (_Layer * config.num_hidden_layers)(*map(self._layer, model.model.layers))  # type: ignore[arg-type]
        self._kept.append(layers)
        embedding = model.model.embed_tokens.weight.detach()
        kind = _BFLOAT16 if embedding.dtype == torch.bfloat16 else _FLOAT32
        embedding = self._keep(embedding if kind == _BFLOAT16 else embedding.float())
        head = model.quantized_head if model.quantized_head is not None else model.output_weight
        described = _Model(
            config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.num_key_value_heads, config.head_dim,
            config.intermediate_size, config.vocab_size, kind, self._cache_kind, config.rms_norm_eps,
            embedding.data_ptr(), self._norm(model.model.norm), ctypes.addressof(layers), self._matrix([head]),
        )  # fmt: skip
        if self._handle is not None:
            self._kernels.kwen_destroy(_POINTER(self._handle))
        self._handle = self._kernels.kwen_create(ctypes.byref(described))

    def _layer(self, block: Block) -> _Layer:
        attention, mlp = block.self_attn, block.mlp
        projections: list[nn.Module | Tensor] = [attention.q_proj, attention.k_proj, attention.v_proj]
        whole = 2 if _form(projections[0]) == _form(projections[1]) != _form(projections[2]) else 3
        return _Layer(
            self._matrix(projections[:whole]),
            self._matrix(projections[whole:]) if whole < 3 else _Matrix(),
            self._matrix([attention.o_proj]),
            self._matrix([mlp.gate_proj, mlp.up_proj], interleave=True),
            self._matrix([mlp.down_proj]),
            self._norm(block.input_layernorm), self._norm(block.post_attention_layernorm),
            self._norm(attention.q_norm), self._norm(attention.k_norm),
            self._config.windows[attention.layer] or 0, self._layout.group[attention.layer],
        )  # fmt: skip

    def _norm(self, norm: RMSNorm | None) -> int | None:
        return None if norm is None else self._keep(norm.weight.detach().float()).data_ptr()

    def _keep(self, tensor: Tensor) -> Tensor:
        tensor = tensor.contiguous()
        self._kept.append(tensor)
        return tensor

    def _matrix(self, parts: list[nn.Module | Tensor], interleave: bool = False) -> _Matrix:
        """`parts` one below the other as one packed matrix; interleave: half a panel of each in turn (SwiGLU's gate and up)."""
        join = partial(_interleaved, count=self._panel // 2) if interleave else torch.cat
        biases = [None if isinstance(part, Tensor) else part.bias for part in parts]
        if len({_form(part) for part in parts}) == 1 and isinstance(parts[0], QuantizedLinear):
            return self._quantized(parts, join, biases)  # type: ignore[arg-type]
        weights = [_dense(part) for part in parts]
        kind = _BFLOAT16 if all(weight.dtype == torch.bfloat16 for weight in weights) else _FLOAT32
        weight = join([weight if kind == _BFLOAT16 else weight.float() for weight in weights]).contiguous()
        packed = self._packed(kind, weight, weight.shape[1])
        return _Matrix(kind, weight.shape[0], weight.shape[1], 64, 0, packed, None, None, None, self._bias(biases, weights, join))

    def _quantized(self, parts: list[QuantizedLinear], join: Any, biases: list[Any]) -> _Matrix:
        first = parts[0]
        kind = _INT8 if first.bits == 8 else _INT4
        levels = join([part.weight for part in parts]).contiguous()
        scale = self._keep(_in_panels(join([part.scale for part in parts]), self._panel))
        zero = minimum = None
        if any(part.minimum is not None for part in parts):
            assert all(part.minimum is not None for part in parts)
            minimum = self._keep(_in_panels(join([part.minimum for part in parts]), self._panel)).data_ptr()
        elif any(part.zero is not None for part in parts):
            middle = 128 if kind == _INT8 else 8
            zeros = [torch.full_like(one.scale, middle, dtype=torch.uint8) if one.zero is None else one.zero for one in parts]
            zero = self._keep(_in_panels(join(zeros), self._panel)).data_ptr()
        packed = self._packed(kind, levels, first.in_features)
        bias = self._bias(biases, [part.scale for part in parts], join)
        sizes = (kind, levels.shape[0], first.in_features, first.group_size, 0)
        return _Matrix(*sizes, packed, scale.data_ptr(), zero, minimum, bias)

    def _packed(self, kind: int, rows: Tensor, inputs: int) -> int:
        size = self._kernels.kwen_packed_bytes(kind, rows.shape[0], inputs)
        packed = self._keep(torch.zeros(size + 64, dtype=torch.uint8))
        aligned = -(-packed.data_ptr() // 64) * 64
        self._kernels.kwen_pack(
            kind, rows.shape[0], inputs, _POINTER(rows.data_ptr()), _POINTER(aligned), torch.get_num_threads()
        )  # fmt: skip
        return aligned

    def _bias(self, biases: list[Any], like: list[Tensor], join: Any) -> int | None:
        if all(bias is None for bias in biases):
            return None
        told = [
            torch.zeros(len(rows), 1) if bias is None else bias.detach().float()[:, None]
            for bias, rows in zip(biases, like, strict=True)
        ]
        bias = join(told)[:, 0]
        return self._keep(F.pad(bias, (0, -len(bias) % self._panel))).data_ptr()


def supports(model: Transformer) -> bool:
    """Whether the kernels can run `model`: on a CPU, of dense or quantised linear layers, where `library()` is there."""
    weight = model.model.embed_tokens.weight
    if weight.device.type != "cpu" or weight.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    linears = (getattr(half, name) for block in model.model.layers for half, names in _projections(block) for name in names)
    known = all(type(one) in (nn.Linear, Int8Linear, QuantizedLinear) or hasattr(one, "dense_weight") for one in linears)
    return known and model.config.head_dim <= _LARGEST_HEAD and library() is not None


def _projections(block: nn.Module) -> list[tuple[nn.Module, tuple[str, ...]]]:
    assert isinstance(block, Block)
    return [
        (block.self_attn, ("q_proj", "k_proj", "v_proj", "o_proj")),
        (block.mlp, ("gate_proj", "up_proj", "down_proj")),
    ]  # fmt: skip


def _is_quantized(model: Transformer) -> bool:
    return any(isinstance(module, QuantizedLinear) for module in model.modules())


def _fingerprint(model: Transformer) -> list[tuple[int, int]]:
    """Where each weight is and how often it was written to."""
    held = [*model.parameters(), *model.buffers()]
    return [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in held]


def _form(part: nn.Module | Tensor) -> object:
    """Equal for layers that can be one matrix."""
    if isinstance(part, QuantizedLinear):
        return part.bits, part.group_size, part.minimum is None
    return None


def _dense(part: nn.Module | Tensor) -> Tensor:
    """The weights (out, in) of a layer, whatever form they have."""
    if isinstance(part, Tensor):
        return part.detach()
    if hasattr(part, "dense_weight"):
        return cast(Any, part).dense_weight()
    if isinstance(part, Int8Linear | QuantizedLinear):
        return part.dequantize()
    assert isinstance(part, nn.Linear)
    return part.weight.detach()


def _interleaved(parts: list[Tensor], count: int) -> Tensor:
    """Rows of the parts in turn, `count` of each, padded with rows of zeros."""
    padded = [F.pad(part, (0, 0, 0, -len(part) % count)).view(-1, count, part.shape[1]) for part in parts]
    return torch.stack(padded, dim=1).flatten(0, 2)


def _in_panels(values: Tensor, panel: int) -> Tensor:
    """(out, groups) as [panels][group][panel], outputs padded with zeros."""
    padded = F.pad(values, (0, 0, 0, -len(values) % panel))
    return padded.view(-1, panel, values.shape[1]).transpose(1, 2).contiguous()


def _grown(held: list[Tensor], number: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    store = untouched_zeros(shape, dtype)
    if held:
        store[: len(held[number])] = held[number]
    return store
