"""The configuration of a dense decoder, and its two spellings in Hugging Face's config.json."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from kwen.errors import UserError

ModelType = Literal["qwen", "qwen2", "qwen3", "llama"]
_CLASS_NAMES = {
    "qwen": "QWenLMHeadModel",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "llama": "LlamaForCausalLM",
}
_SCORING = "ForSequenceClassification"
_MOST_LAYERS = 100_000  # of a file whose windows are to be listed


@dataclass(frozen=True)
class RopeScaling:
    """How RoPE's inverse frequencies are stretched; the fields are those of Hugging Face's `rope_scaling`.

    `linear` divides them by `factor`; `yarn` (arXiv 2309.00071) and `llama3` (Llama 3.1) blend by wavelength.
    """

    rope_type: Literal["linear", "yarn", "llama3"]
    factor: float
    original_max_position_embeddings: int | None = None
    attention_factor: float | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None


@dataclass(frozen=True)
class ModelConfig:
    """Everything that shapes a decoder. Names are Hugging Face's; `attention_bias` is the bias of q, k and v.

    The defaults are the report's architecture (section 2.3): untied embeddings, bias on q, k, v only, no q/k norm.
    `intermediate_size` is the real width of the feed-forward layer (Qwen-1's own file doubles it). `scores` makes a reward or
    value model: one number a token where the language model has logits.

    Beyond the trained length, training-free (report sections 5.1 to 5.3), all off by default: `use_dynamic_ntk` stretches RoPE's
    base by the chunk that a sequence's length lies in, `use_logn_attn` scales queries by their position, `attention_windows`
    gives each layer the number of positions that a query sees, its own and those before it (None: all of them). `seq_length` is
    the length that the weights were trained at, by default `max_position_embeddings`, which is as far as sequences may go.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    tie_word_embeddings: bool = False
    attention_bias: bool = True
    attention_output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    initializer_range: float = 0.02
    model_type: ModelType = "qwen2"
    scores: bool = False
    use_dynamic_ntk: bool = False
    use_logn_attn: bool = False
    attention_windows: tuple[int | None, ...] | None = None
    seq_length: int | None = None

    def __post_init__(self) -> None:
        for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                     "num_key_value_heads", "head_dim", "max_position_embeddings"):  # fmt: skip
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
                raise UserError(f"config: {name} is {value!r}; it must be a positive whole number")
        if self.num_attention_heads % self.num_key_value_heads:
            raise UserError(
                f"config: num_attention_heads {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads {self.num_key_value_heads}"
            )
        if self.head_dim % 2:
            raise UserError(f"config: head_dim is {self.head_dim}; rotary embedding needs an even number")
        self._check_long_context()

    def _check_long_context(self) -> None:
        for name in ("use_dynamic_ntk", "use_logn_attn"):
            if not isinstance(getattr(self, name), bool):
                raise UserError(f"config: {name} is {getattr(self, name)!r}; it must be true or false")
        if self.seq_length is not None and not _is_count(self.seq_length):
            raise UserError(f"config: seq_length is {self.seq_length!r}; it must be a positive whole number")
        if self.use_dynamic_ntk and (self.rope_scaling is not None or self.head_dim == 2):
            other = "rope_scaling" if self.rope_scaling is not None else "head_dim 2"
            raise UserError(f"config: use_dynamic_ntk cannot be on with {other}; switch one of them off")
        if self.use_logn_attn and self.trained_length < 2:
            raise UserError("config: use_logn_attn needs a seq_length of 2 at least")
        windows = self.attention_windows
        if windows is None:
            return
        if not isinstance(windows, list | tuple) or not all(one is None or _is_count(one) for one in windows):
            raise UserError(
                f"config: attention_windows is {windows!r}; it must list a positive whole number or null for each layer"
            )
        if len(windows) != self.num_hidden_layers:
            raise UserError(f"config: attention_windows lists {len(windows)} layers, the model has {self.num_hidden_layers}")
        object.__setattr__(self, "attention_windows", tuple(windows) if any(windows) else None)

    @property
    def trained_length(self) -> int:
        """The length T that the long-context switches refer to: tokens of the sequences that the weights were trained on."""
        return self.seq_length or self.max_position_embeddings

    @property
    def on_policy_context(self) -> int:
        """The longest sequence that a pass in training mode, where the training-free switches are off, gives the logits of that
        the model was sampled with: T where dynamic NTK or LogN is on, else all of the context."""
        free = self.use_dynamic_ntk or self.use_logn_attn
        return min(self.trained_length, self.max_position_embeddings) if free else self.max_position_embeddings

    @property
    def windows(self) -> tuple[int | None, ...]:
        """Of each layer, how many positions a query sees; None for all."""
        return self.attention_windows or (None,) * self.num_hidden_layers

    @property
    def num_parameters(self) -> int:
        """Count of weights; a tied output projection is counted once."""
        query, key_value = self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        attention = self.hidden_size * (2 * query + 2 * key_value)
        attention += (query + 2 * key_value) * self.attention_bias + self.hidden_size * self.attention_output_bias
        attention += 2 * self.head_dim * self.qk_norm
        mlp = 3 * self.hidden_size * self.intermediate_size
        mlp += (2 * self.intermediate_size + self.hidden_size) * self.mlp_bias
        layers = self.num_hidden_layers * (attention + mlp + 2 * self.hidden_size)
        embedding, norm = self.vocab_size * self.hidden_size, self.hidden_size
        head = self.hidden_size if self.scores else 0 if self.tie_word_embeddings else embedding
        return embedding + layers + norm + head

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> "ModelConfig":
        """Read the parsed config.json of a qwen2, qwen3 or llama checkpoint; either spelling of RoPE is accepted.

        Raises UserError for an architecture or feature that this decoder would compute wrongly.
        """
        model_type = values.get("model_type")
        if model_type not in ("qwen2", "qwen3", "llama"):
            raise UserError(f"config.json: model_type {model_type!r} is not supported; supported: qwen, qwen2, qwen3, llama")
        if values.get("hidden_act", "silu") != "silu":
            raise UserError(f"config.json: hidden_act {values['hidden_act']!r} is not supported; only silu is")
        required = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        missing = [name for name in required if name not in values]
        if missing:
            raise UserError(f"config.json: {missing[0]} is missing; without it the model's shape is unknown")
        named, labels = values.get("architectures"), values.get("id2label")
        scores = isinstance(named, list) and bool(named) and str(named[0]).endswith(_SCORING)
        if scores and not (isinstance(labels, Mapping) and len(labels) == 1):
            raise UserError("config.json: a sequence classifier of several labels is not supported; a reward model has one")
        theta, scaling = _rope_from_hf(values)
        heads = values["num_attention_heads"]
        biased = bool(values.get("attention_bias", False))
        try:
            return cls(
                vocab_size=values["vocab_size"],
                hidden_size=values["hidden_size"],
                intermediate_size=values["intermediate_size"],
                num_hidden_layers=values["num_hidden_layers"],
                num_attention_heads=heads,
                num_key_value_heads=values.get("num_key_value_heads") or heads,
                head_dim=values.get("head_dim") or (128 if model_type == "qwen3" else values["hidden_size"] // heads),
                max_position_embeddings=values.get("max_position_embeddings", 2048 if model_type == "llama" else 32768),
                rms_norm_eps=float(values.get("rms_norm_eps", 1e-6)),
                rope_theta=theta,
                rope_scaling=scaling,
                tie_word_embeddings=bool(values.get("tie_word_embeddings", False)),
                attention_bias=True if model_type == "qwen2" else biased,
                attention_output_bias=biased and model_type != "qwen2",
                mlp_bias=bool(values.get("mlp_bias", False)),
                qk_norm=model_type == "qwen3",
                initializer_range=float(values.get("initializer_range", 0.02)),
                model_type=model_type,
                scores=scores,
                use_dynamic_ntk=values.get("use_dynamic_ntk", False),
                use_logn_attn=values.get("use_logn_attn", False),
                attention_windows=_windows_from_hf(values),
                seq_length=values.get("seq_length"),
            )
        except UserError:
            raise
        except (TypeError, ValueError, ZeroDivisionError) as error:
            raise UserError(f"config.json: a number has the wrong type or is zero ({error})") from error

    def to_hf(self) -> dict[str, Any]:
        """The config.json of this model for transformers (qwen2, qwen3 or llama), with RoPE in both spellings."""
        model_type = "qwen2" if self.model_type == "qwen" else self.model_type
        rope = {"rope_type": "default"}
        if self.rope_scaling:
            rope = {name: value for name, value in asdict(self.rope_scaling).items() if value is not None}
        class_name = _CLASS_NAMES[model_type]
        values: dict[str, Any] = {
            "architectures": [class_name.replace("ForCausalLM", _SCORING) if self.scores else class_name],
            "model_type": model_type,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_position_embeddings,
            "initializer_range": self.initializer_range,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": rope if self.rope_scaling else None,
            "rope_parameters": {"rope_theta": self.rope_theta, **rope},
            "tie_word_embeddings": self.tie_word_embeddings,
            "attention_dropout": 0.0,
            "use_cache": True,
        }
        if model_type == "qwen2":
            values |= {"use_sliding_window": False}
        else:
            values |= {"attention_bias": self.attention_output_bias}
        switches = ("use_dynamic_ntk", "use_logn_attn", "attention_windows", "seq_length")
        values |= {name: getattr(self, name) for name in switches if getattr(self, name)}
        widths = {one for one in self.windows if one}
        if len(widths) == 1 and model_type != "llama":  # what transformers can compute too
            kinds = ["sliding_attention" if one else "full_attention" for one in self.windows]
            values |= {"use_sliding_window": True, "sliding_window": widths.pop(), "layer_types": kinds}
        if model_type == "llama":
            values |= {"mlp_bias": self.mlp_bias}
        if self.scores:
            values |= {"id2label": {"0": "reward"}, "label2id": {"reward": 0}}
        return values


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31


def _windows_from_hf(values: Mapping[str, Any]) -> Any:
    """Our own key, or what transformers makes of `use_sliding_window`: the layers from `max_window_layers` on, or those of
    `layer_types`, share one window."""
    if values.get("attention_windows") is not None or not values.get("use_sliding_window"):
        return values.get("attention_windows")
    if values["model_type"] == "llama":
        raise UserError("config.json: use_sliding_window is on; llama has no sliding windows, only full attention is supported")
    layers, first = values["num_hidden_layers"], values.get("max_window_layers", 28)
    if not _is_count(layers) or layers > _MOST_LAYERS:
        raise UserError(f"config: num_hidden_layers is {layers!r}; it must be a positive whole number, {_MOST_LAYERS} at most")
    kinds = values.get("layer_types") or ["sliding_attention" if layer >= first else "full_attention" for layer in range(layers)]
    if unknown := [kind for kind in kinds if kind not in ("sliding_attention", "full_attention")]:
        raise UserError(f"config.json: layer_types has {unknown[0]!r}; known are sliding_attention and full_attention")
    return tuple(values.get("sliding_window", 4096) if kind == "sliding_attention" else None for kind in kinds)


def _rope_from_hf(values: Mapping[str, Any]) -> tuple[float, RopeScaling | None]:
    parameters = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if not isinstance(parameters, Mapping):
        raise UserError(f"config.json: RoPE's parameters are {parameters!r}; an object is expected")
    theta = parameters.get("rope_theta", values.get("rope_theta", 10000.0))
    rope_type = parameters.get("rope_type", parameters.get("type", "default"))
    if rope_type == "default":
        return float(theta), None
    if rope_type not in ("linear", "yarn", "llama3"):
        raise UserError(f"config.json: rope_type {rope_type!r} is not supported; supported: default, linear, yarn, llama3")
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise UserError("config.json: partial_rotary_factor is not supported")
    if not isinstance(parameters.get("factor"), int | float):
        raise UserError(f"config.json: rope_type {rope_type} needs a numeric factor")
    known = {name: parameters[name] for name in RopeScaling.__dataclass_fields__ if name in parameters}
    known["rope_type"] = rope_type
    if rope_type != "linear":
        known.setdefault("original_max_position_embeddings", values.get("max_position_embeddings"))
    return float(theta), RopeScaling(**known)
