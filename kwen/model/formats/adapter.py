"""LoRA adapters on disk, in peft's form: adapter_config.json and adapter_model.safetensors.

An adapter adds `scaling * up @ down` to the weight of some linear layers; the file holds `down` as lora_A (r, in) and `up` as
lora_B (out, r) under `base_model.model.` and the layer's Hugging Face name (peft's checkpoint format document). Reading trusts
nothing, needs no peft, and refuses by name every variant that computes something else. Beside peft's two files Kwen writes
base.json with a fingerprint of the weights that the adapter belongs to, because a path says little once folders move.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kwen.errors import UserError
from kwen.files import write_json
from kwen.model.config import ModelConfig
from kwen.model.formats.checkpoint import Checkpoint, read_json
from kwen.model.formats.huggingface import PICKLE_REFUSAL, PICKLE_SUFFIXES, chat_template
from kwen.model.formats.safetensors_file import read_safetensors, write_safetensors
from kwen.model.formats.tensors import LazyTensor, MemoryTensor, as_bytes, materialize

CONFIG, WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "base.json"
PREFIX = "base_model.model."
_LEAVES = {"lora_A.weight": 0, "lora_B.weight": 1}
_OTHER_KINDS = (
    "use_dora", "use_qalora", "lora_bias", "fan_in_fan_out", "modules_to_save", "trainable_token_indices", "target_parameters",
    "rank_pattern", "alpha_pattern", "layer_replication", "alora_invocation_tokens", "use_bdlora", "arrow_config",
    "velora_config", "monteclora_config", "kasa_config",
)  # fmt: skip
"""Settings of peft's LoraConfig that, when set, mean weights or products which are not plain LoRA's."""


@dataclass(frozen=True)
class Adapter:
    """A plain LoRA adapter: what each layer adds, still in the file.

    base: what its config says it was trained on. fingerprint: of that base, None where peft wrote the adapter.
    alpha: the product counts alpha / r (that of rsLoRA, arXiv 2312.03732, is stated in these terms).
    layers: (down (r, in), up (out, r)) by the layer's name, such as model.layers.0.self_attn.q_proj.
    """

    path: Path
    base: str
    fingerprint: str | None
    r: int
    alpha: float
    dropout: float
    layers: Mapping[str, tuple[LazyTensor, LazyTensor]]

    @property
    def scaling(self) -> float:
        """What the product of a layer is multiplied by."""
        return self.alpha / self.r


def read_adapter(folder: Path | str) -> Adapter:
    """The adapter in `folder`, checked but for its fit to a base (`check_base`).

    Raises UserError for a folder that is no adapter, pickled weights, another method than LoRA or a variant of it, and for
    weights that do not come in pairs of rank r.
    """
    folder = Path(folder)
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"{folder}: no {CONFIG} there; give the folder of a LoRA adapter")
    values = read_json(path)
    if values.get("peft_type") != "LORA":
        raise UserError(f"{path}: peft_type is {str(values.get('peft_type'))[:40]!r}; only LORA is read")
    other = [name for name in _OTHER_KINDS if values.get(name)]
    if other or values.get("bias", "none") != "none":
        raise UserError(f"{path}: {other[0] if other else 'bias'} is set; only plain LoRA on linear layers is read")
    r = _number(path, values, "r")
    if r != int(r):
        raise UserError(f"{path}: r is {r}; the rank is a whole number")
    alpha = _number(path, values, "lora_alpha")
    dropout = values.get("lora_dropout", 0.0)
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise UserError(f"{path}: lora_dropout is {str(dropout)[:40]}; a number from 0 to below 1 is expected")
    alpha *= math.sqrt(r) if values.get("use_rslora") else 1
    base, fingerprint = values.get("base_model_name_or_path"), None
    if (folder / BASE).is_file():
        fingerprint = read_json(folder / BASE).get("fingerprint")
        if not isinstance(fingerprint, str):
            raise UserError(f"{folder / BASE}: no fingerprint; the file is damaged, delete it to check shapes alone")
    named = base if isinstance(base, str) and base else "an unnamed base"
    return Adapter(folder, named, fingerprint, int(r), alpha, float(dropout), _read_layers(folder, int(r)))


def _number(path: Path, values: Mapping[str, Any], key: str) -> float:
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise UserError(f"{path}: {key} is {str(value)[:40]}; a positive number is expected")
    return value


def _read_layers(folder: Path, r: int) -> dict[str, tuple[LazyTensor, LazyTensor]]:
    path = folder / WEIGHTS
    if not path.is_file():
        pickled = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLE_SUFFIXES)
        raise UserError(f"{folder / pickled[0]}: {PICKLE_REFUSAL}" if pickled else f"{folder}: {WEIGHTS} is missing")
    sides: dict[str, list[LazyTensor | None]] = {}
    for name, tensor in read_safetensors(path).items():
        leaf = next((leaf for leaf in _LEAVES if name.endswith(f".{leaf}")), None)
        if leaf is None or not name.startswith(PREFIX):
            raise UserError(f"{path}: tensor {name} is no lora_A or lora_B of a linear layer; only plain LoRA is read")
        side = _LEAVES[leaf]
        if len(tensor.shape) != 2 or tensor.shape[side] != r:
            raise UserError(f"{path}: tensor {name} has shape {list(tensor.shape)}, which does not fit r {r} of {CONFIG}")
        sides.setdefault(name[len(PREFIX) : -len(leaf) - 1], [None, None])[side] = tensor
    layers: dict[str, tuple[LazyTensor, LazyTensor]] = {}
    for layer, (down, up) in sorted(sides.items()):
        if down is None or up is None:
            raise UserError(f"{path}: {layer} has {'lora_B' if down is None else 'lora_A'} alone; the file is incomplete")
        layers[layer] = (down, up)
    if not layers:
        raise UserError(f"{path}: holds no tensors")
    return layers


def check_base(adapter: Adapter, where: Path | str, config: ModelConfig, tensors: Mapping[str, LazyTensor]) -> None:
    """UserError, naming both, unless `adapter` belongs to the model at `where` with these weights (Hugging Face names)."""
    for layer, (down, up) in adapter.layers.items():
        shape = (up.shape[0], down.shape[1])
        weight = tensors.get(f"{layer}.weight")
        if weight is None or tuple(weight.shape) != shape:
            held = "no such layer" if weight is None else f"one of {list(weight.shape)}"
            raise UserError(
                f"{adapter.path}: this adapter was trained on {adapter.base}, not on {where}: it changes {layer} of "
                f"{list(shape)}, the model has {held}"
            )
    if adapter.fingerprint is not None and adapter.fingerprint != fingerprint(config, tensors):
        raise UserError(
            f"{adapter.path}: this adapter was trained on {adapter.base}, and {where} has the same shape but other weights; "
            "give the base that it was trained on"
        )


def fingerprint(config: ModelConfig, tensors: Mapping[str, LazyTensor]) -> str:
    """SHA-256 of a model's names, shapes and a sample of every tensor's values, the same in any format and float dtype.

    The sample is a vector, or a matrix's first row, rounded to bfloat16: fine-tuning changes some of them in every layer.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        shape = tensors[name].shape
        # A GGUF file's query and key projections are read by whole heads (formats.tensors.HalfSplitRows).
        rows = shape[0] if len(shape) == 1 else config.head_dim if name.endswith(("q_proj.weight", "k_proj.weight")) else 1
        sample = torch.empty(rows, *shape[1:])
        tensors[name].read(sample)
        digest.update(f"{name} {list(shape)}\n".encode())
        digest.update(as_bytes(sample.to(torch.bfloat16)))
    return digest.hexdigest()


def write_adapter(
    folder: Path,
    layers: Mapping[str, tuple[Tensor, Tensor]],
    *,
    r: int,
    alpha: float,
    dropout: float,
    targets: tuple[str, ...],
    base: str,
    fingerprint: str,
) -> None:
    """Write an adapter into the existing `folder` so that peft and vLLM load it; equal arguments give equal bytes.

    layers: (down, up) by layer name. targets: the last parts of those names. base: the path or name of the base, as it is
    to be recorded.
    """
    values = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "revision": None,
        "inference_mode": True,
        "r": r,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "lora_dropout": dropout,
        "target_modules": sorted(targets),
        "modules_to_save": None,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
    }
    tensors: dict[str, LazyTensor] = {}
    for layer, pair in layers.items():
        for leaf, side in _LEAVES.items():
            tensors[f"{PREFIX}{layer}.{leaf}"] = MemoryTensor(pair[side])
    write_safetensors(folder / WEIGHTS, tensors)
    write_json(folder / BASE, {"fingerprint": fingerprint})
    write_json(folder / CONFIG, values)


@dataclass(frozen=True)
class MergedTensor:
    """A base's weight with what an adapter adds to it; the sum is made in float32 and rounded to the dtype asked for."""

    base: LazyTensor
    down: Tensor
    up: Tensor
    scaling: float

    @property
    def shape(self) -> tuple[int, ...]:
        """See `LazyTensor.shape`."""
        return self.base.shape

    @property
    def dtype(self) -> torch.dtype:
        """See `LazyTensor.dtype`."""
        return self.base.dtype

    def read(self, out: Tensor, start: int = 0) -> None:
        """See `LazyTensor.read`."""
        wide = out if out.dtype == torch.float32 else torch.empty(out.shape)
        self.base.read(wide, start)
        wide.addmm_(self.up[start : start + len(out)], self.down, alpha=self.scaling)
        if wide is not out:
            out.copy_(wide)


def merged(checkpoint: Checkpoint, adapter: Adapter) -> Checkpoint:
    """`checkpoint` with `adapter` added to its weights as they are read, in the checkpoint's own dtype.

    A tokenizer, chat template or generation config in the adapter's folder (fine-tuning may bring its own) takes the place of
    the base's. Raises UserError when the adapter belongs to another base.
    """
    check_base(adapter, checkpoint.path, checkpoint.config, checkpoint.tensors)
    tensors = dict(checkpoint.tensors)
    for layer, (down, up) in adapter.layers.items():
        narrow, wide = materialize(down, torch.float32), materialize(up, torch.float32)
        tensors[f"{layer}.weight"] = MergedTensor(tensors[f"{layer}.weight"], narrow, wide, adapter.scaling)
    checkpoint = replace(checkpoint, tensors=tensors)
    settings = adapter.path / "generation_config.json"
    if settings.is_file():
        checkpoint = replace(checkpoint, generation_config=read_json(settings))
    if (adapter.path / "tokenizer.json").is_file():
        template = chat_template(adapter.path) or checkpoint.chat_template
        checkpoint = replace(checkpoint, path=adapter.path, format="huggingface", chat_template=template)
    return checkpoint
