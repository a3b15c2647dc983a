"""LoRA and QLoRA for every stage that trains: a frozen base, and beside each linear layer of its blocks a product of rank r.

    add_lora -> train (any stage; what requires gradients is trained) -> save_adapter   the adapter alone, for peft, vLLM, Kwen
                                                                      -> fold_adapter   the model as if it had been trained whole

peft puts the layers in (arXiv 2106.09685; QLoRA 2305.14314, here on int8), so an adapter is peft's own in name and number. peft
is an extra (`pip install "kwen[lora]"`) and is imported where it is used: `merge_adapter` and reading need none of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from kwen.errors import UserError
from kwen.files import folder_aside
from kwen.model.config import ModelConfig
from kwen.model.formats import load_checkpoint
from kwen.model.formats.adapter import CONFIG, check_base, fingerprint, merged, read_adapter, write_adapter
from kwen.model.formats.convert import convert
from kwen.model.formats.huggingface import TokenizerFiles, memory_tensors
from kwen.model.formats.tensors import materialize
from kwen.model.quantize import Int8Linear
from kwen.model.transformer import Transformer
from kwen.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from kwen.align.lora_layer import LoRALinear

Target = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ALL_LINEAR: tuple[Target, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LoRAConfig(BaseModel):
    """The adapters' shape. The defaults of r and alpha are the report's fine-tuning script's, on every linear layer too;
    its dropout is 0.05, its learning rate 3e-4.

    quantize: "int8" keeps the blocks' frozen weights in a byte each (QLoRA).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    r: int = Field(64, ge=1)
    alpha: float = Field(16, gt=0, description="an adapter's product counts alpha / r")
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: tuple[Target, ...] = Field(ALL_LINEAR, min_length=1)
    quantize: Literal["int8"] | None = None


def add_lora(model: Transformer, config: LoRAConfig, seed: int) -> None:
    """Put adapters into `model`, in place, and leave them alone trainable; the head of a model of scores stays trainable too.

    The model computes what it did, but for the rounding of `quantize`: `up` starts at zero, `down` uniform as a pure function of
    (shapes, seed). Adapters are float32 whatever the model is. Raises UserError where peft is not installed.
    """
    _inject(model, config, list(config.targets))
    generator = torch.Generator().manual_seed(seed)
    for _, layer in lora_layers(model):
        down, up = layer.pair()
        with torch.no_grad():
            bound = down.shape[1] ** -0.5
            down.copy_(torch.empty(down.shape).uniform_(-bound, bound, generator=generator))
            up.zero_()


def lora_parameters(model: ModelConfig, config: LoRAConfig) -> int:
    """How many parameters the adapters of a model have."""
    D, W = model.hidden_size, model.intermediate_size
    query, key = model.num_attention_heads * model.head_dim, model.num_key_value_heads * model.head_dim
    sizes: dict[Target, int] = {
        "q_proj": D + query, "k_proj": D + key, "v_proj": D + key, "o_proj": query + D,
        "gate_proj": D + W, "up_proj": D + W, "down_proj": W + D,
    }  # fmt: skip
    return model.num_hidden_layers * config.r * sum(sizes[target] for target in config.targets)


def _inject(model: Transformer, config: LoRAConfig, modules: list[str]) -> None:
    """peft's layers in the `modules` (last parts of names, or whole names), with weights yet to be filled."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError('LoRA needs the peft package: pip install "kwen[lora]"') from error
    from kwen.align.lora_layer import LoRALinear

    assert not lora_layers(model), "the model has an adapter already: fold it first"
    alpha: Any = config.alpha  # peft divides it by r, whatever number it is
    settings = LoraConfig(r=config.r, lora_alpha=alpha, lora_dropout=config.dropout, target_modules=modules)
    settings._register_custom_module({nn.Linear: LoRALinear})
    with torch.random.fork_rng(devices=[]):  # peft draws starting values, which are replaced
        inject_adapter_in_model(settings, model)
    del model.peft_config  # peft's note to itself, by which it would take a later adapter for a second one
    if config.quantize is not None:
        _replace_linears(model, nn.Linear, Int8Linear)
    model.train(model.training)  # the new layers' dropout follows the model
    for name, parameter in model.named_parameters():
        adapted = ".lora_" in name
        if adapted:
            parameter.data = parameter.data.float()
        parameter.requires_grad_(adapted or name == "score.weight")


def _replace_linears(model: Transformer, old: type[nn.Module], new: Any) -> None:
    """Each frozen linear layer of the blocks of type `old`, adapters' own left out, becomes new(layer)."""
    for parent_name, parent in list(model.model.layers.named_modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, old) and ".lora_" not in f".{parent_name}":
                setattr(parent, name, new(child))


def lora_layers(model: Transformer) -> list[tuple[str, "LoRALinear"]]:
    """The layers of `model` that hold an adapter, by name, in the model's order."""
    return [(name, module) for name, module in model.named_modules() if hasattr(module, "lora_A")]  # type: ignore[misc]


@contextmanager
def without_adapter(model: Transformer) -> Iterator[None]:
    """The base alone computes inside: the reference policy of RLHF and DPO without a second copy of the weights."""
    layers = [layer for _, layer in lora_layers(model)]
    for layer in layers:
        layer.enabled = False
    try:
        yield
    finally:
        for layer in layers:
            layer.enabled = True


@torch.no_grad()
def fold_adapter(model: Transformer) -> None:
    """Add each adapter's product to its weight, in place, and leave the plain model of the plain names.

    An int8 base comes back as the float32 numbers that it stood for, so the model computes what it did while training.
    """
    for name, layer in lora_layers(model):
        down, up = layer.pair()
        linear = _dequantized(layer.base_layer) if isinstance(layer.base_layer, Int8Linear) else cast(nn.Linear, layer.base_layer)
        linear.weight.copy_(torch.addmm(linear.weight.float(), up, down, alpha=layer.scale))
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, linear)
    _replace_linears(model, Int8Linear, _dequantized)
    model.requires_grad_(True)


def _dequantized(layer: Int8Linear) -> nn.Linear:
    linear = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    linear.weight = nn.Parameter(layer.dequantize())
    if layer.bias is not None:
        linear.bias = nn.Parameter(layer.bias.detach())
    return linear


def save_adapter(
    model: Transformer, folder: Path | str, base_path: Path | str, config: LoRAConfig, tokenizer: TokenizerFiles | None = None
) -> None:
    """Write the adapter of `model` as the folder that peft, vLLM and `load_adapter` read; it replaces an adapter there.

    base_path: the model that the adapter was trained on. Its path is recorded as given (a relative one keeps the bytes the
    same on every machine), and a fingerprint of its weights is. tokenizer: saved too where training brought its own, such as
    a chat template; merging then uses it. Raises UserError where `folder` holds something else, and where the base is
    another than the adapter was trained on as far as shapes tell.
    """
    assert not model.config.scores, "the head of a model of scores is trained whole: fold the adapter and save the model"
    folder = Path(folder)
    if folder.exists() and not (folder / CONFIG).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists and holds no adapter, so it is left as it is; name a new folder")
    base = load_checkpoint(base_path)
    layers = {name: layer.pair() for name, layer in lora_layers(model)}
    with folder_aside(folder) as aside:
        write_adapter(
            aside, layers, r=config.r, alpha=config.alpha, dropout=config.dropout, targets=config.targets,
            base=str(base_path), fingerprint=fingerprint(base.config, base.tensors),
        )  # fmt: skip
        check_base(read_adapter(aside), base_path, base.config, base.tensors)
        if tokenizer is not None:
            tokenizer.save(aside)


def load_adapter(
    model: Transformer,
    folder: Path | str,
    *,
    base_path: Path | str = "this model",
    quantize: Literal["int8"] | None = None,
    trainable: bool = False,
) -> LoRAConfig:
    """Put the adapter in `folder` (Kwen's or peft's) into `model`, a plain model, and return its settings.

    base_path: where `model` is from, for the error line. quantize: as in LoRAConfig. trainable: whether to go on training it.
    Raises UserError, naming both, when the adapter belongs to another base, and for what is no plain LoRA adapter.
    """
    adapter = read_adapter(folder)
    check_base(adapter, base_path, model.config, memory_tensors(model))
    leaves = {name.rpartition(".")[2]: name for name in adapter.layers}
    other = [name for leaf, name in leaves.items() if leaf not in ALL_LINEAR]
    if other:
        raise UserError(f"{folder}: the adapter changes {other[0]}, which is no layer of the blocks; it can only be merged")
    targets = tuple(target for target in ALL_LINEAR if target in leaves)
    config = LoRAConfig(r=adapter.r, alpha=adapter.alpha, dropout=adapter.dropout, targets=targets, quantize=quantize)
    _inject(model, config, list(adapter.layers))
    layers = dict(lora_layers(model))
    assert layers.keys() == adapter.layers.keys()
    with torch.no_grad():
        for name, pair in adapter.layers.items():
            for parameter, stored in zip(layers[name].pair(), pair, strict=True):
                parameter.copy_(materialize(stored))
    if not trainable:
        model.requires_grad_(False)
    return config


def merge_adapter(base: Path | str, adapter: Path | str, out: Path | str) -> None:
    """Write the model `base` with `adapter` added as the new Hugging Face folder `out`, tokenizer, template and all.

    Weights go one at a time, in the base's dtype; peft is not needed. Raises UserError where `out` exists or the adapter
    belongs to another base.
    """
    convert(merged(load_checkpoint(base), read_adapter(adapter)), out, "hf", Tokenizer.from_source)
